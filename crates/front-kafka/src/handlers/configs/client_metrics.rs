//! Settings of subscriptions to clients' metrics (resource type 16). As groups, they can be described under any name.

use super::{Change, SOURCE_DEFAULT, operated};
use crate::errors;
use crate::handlers::create_topics::Refusal;
use crate::pending::Context;
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};
use bowline_model::meta::{Command, ConfigKind};
use bowline_topology::config::client_metrics::{SETTINGS, Setting, shown, validate};

const SOURCE_CLIENT_METRICS: i8 = 7;

pub fn describe(name: &str, cx: &Context<'_>) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    must_be_served(cx)?;
    if name.is_empty() {
        let text = "Client metrics subscription name must not be empty";
        return Err((ErrorCode::InvalidRequest, text.into()));
    }
    let explicit = cx.broker.catalog.configs(ConfigKind::ClientMetrics, name);
    let describe = |setting: &Setting| {
        let own = explicit.iter().find(|(name, _)| name == setting.name);
        let own = own.map(|(_, value)| shown(setting, value));
        let synonym = |value: &String| DescribeConfigsSynonym {
            name: setting.name.into(),
            value: Some(value.clone()),
            source: SOURCE_CLIENT_METRICS,
        };
        DescribeConfigsResourceResult {
            name: setting.name.into(),
            read_only: false,
            config_source: if own.is_some() { SOURCE_CLIENT_METRICS } else { SOURCE_DEFAULT },
            synonyms: own.iter().map(synonym).collect(),
            value: Some(own.unwrap_or_else(|| setting.default.to_owned())),
            is_sensitive: false,
            config_type: setting.kind as i8,
            documentation: Some(setting.doc.to_owned()),
        }
    };
    Ok(SETTINGS.iter().map(describe).collect())
}

pub fn changed(change: &Change, cx: &Context<'_>) -> Result<Command, Refusal> {
    must_be_served(cx)?;
    let name = change.resource_name.clone();
    let explicit = cx.broker.catalog.configs(ConfigKind::ClientMetrics, &name);
    // As in Kafka these lists are set as a whole.
    let configs = operated(change, &explicit, |_| None)?;
    validate(&name, &configs).map_err(|rejection| (errors::rejection(&rejection), rejection.text))?;
    Ok(Command::ConfigPut { kind: ConfigKind::ClientMetrics, name, configs })
}

/// Nobody is to wait for metrics that never come.
fn must_be_served(cx: &Context<'_>) -> Result<(), Refusal> {
    match cx.broker.options.telemetry {
        Some(_) => Ok(()),
        None => {
            let text = "this broker takes no metrics of clients: it was started without a topic for them \
                        (--client-metrics-topic)";
            Err((ErrorCode::InvalidRequest, text.into()))
        }
    }
}
