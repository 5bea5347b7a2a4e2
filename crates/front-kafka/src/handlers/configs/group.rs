//! Settings of groups (resource type 32). They exist for every name, whether or not there is such a group yet.

use super::{Change, operated};
use crate::errors;
use crate::handlers::create_topics::Refusal;
use crate::pending::Context;
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};
use bowline_model::meta::{Command, ConfigKind};
use bowline_topology::config;

const SOURCE_GROUP: i8 = 8;

pub fn describe(name: &str, cx: &Context<'_>) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    if name.is_empty() {
        return Err((ErrorCode::InvalidRequest, "Group name must not be empty".into()));
    }
    let explicit = cx.broker.catalog.configs(ConfigKind::Group, name);
    let defaults = cx.broker.catalog.defaults();
    let describe = |entry: &config::Entry| {
        let own = explicit.iter().find(|(name, _)| name == entry.name).map(|(_, value)| value.clone());
        let default = entry.inherited(&defaults);
        let inherited = super::broker::started_source(entry, &defaults);
        let synonym = |name: &str, value: &String, source| DescribeConfigsSynonym {
            name: name.into(),
            value: Some(value.clone()),
            source,
        };
        let mut synonyms: Vec<_> = own.iter().map(|value| synonym(entry.name, value, SOURCE_GROUP)).collect();
        if !entry.broker_name.is_empty() {
            synonyms.push(synonym(entry.broker_name, &default, inherited));
        }
        DescribeConfigsResourceResult {
            name: entry.name.into(),
            read_only: false,
            config_source: if own.is_some() { SOURCE_GROUP } else { inherited },
            value: Some(own.unwrap_or(default)),
            is_sensitive: false,
            synonyms,
            config_type: entry.kind as i8,
            documentation: Some(entry.doc.to_owned()),
        }
    };
    Ok(config::group::ENTRIES.iter().map(describe).collect())
}

pub fn changed(change: &Change, cx: &Context<'_>) -> Result<Command, Refusal> {
    let name = change.resource_name.clone();
    if name.is_empty() {
        return Err((ErrorCode::InvalidRequest, "Default group resources are not allowed.".into()));
    }
    let explicit = cx.broker.catalog.configs(ConfigKind::Group, &name);
    let configs = operated(change, &explicit, |_| None)?;
    let inherited = config::group::inherited(&cx.broker.catalog.defaults());
    config::group::validate(&configs)
        .and_then(|()| config::group::check_timeouts(&configs, &inherited))
        .map_err(|rejection| (errors::rejection(&rejection), rejection.text))?;
    Ok(Command::ConfigPut { kind: ConfigKind::Group, name, configs })
}
