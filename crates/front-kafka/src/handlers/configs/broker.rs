//! Settings of brokers (resource type 4): how this one was started, read only, and what topics inherit, which can be
//! changed while it runs: for this broker, or by the empty name for all of them.

use super::{Change, SOURCE_DEFAULT, operated};
use crate::errors;
use crate::handlers::create_topics::Refusal;
use crate::options::Options;
use crate::pending::Context;
use crate::telemetry::PUSH_BYTES_MAX;
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};
use bowline_model::meta::{Command, ConfigKind};
use bowline_topology::Defaults;
use bowline_topology::config::{self, Entry, Type};

const SOURCE_DYNAMIC: i8 = 2;
const SOURCE_DYNAMIC_OF_ALL: i8 = 3;
const SOURCE_STATIC: i8 = 4;

/// The name that stands for all brokers.
const ALL: &str = "";

pub fn describe(name: &str, cx: &Context<'_>) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    check_name(name, cx)?;
    if name == ALL {
        // What is set for all, and nothing else, as in Kafka.
        let set = cx.broker.catalog.configs(ConfigKind::Broker, ALL);
        let entries = set.iter().filter_map(|(name, _)| config::broker::entry(name));
        return Ok(entries.map(|entry| changeable(entry, false, cx)).collect());
    }
    let mut configs: Vec<_> =
        fixed(cx).into_iter().map(|(name, kind, value)| static_one(name, kind, value)).collect();
    let inherited = config::ENTRIES.iter().chain(config::broker::OWN);
    let inherited = inherited.filter(|entry| !entry.broker_name.is_empty());
    configs.extend(inherited.map(|entry| changeable(entry, true, cx)));
    let defaults = cx.broker.catalog.defaults();
    configs.extend(config::started::entries().map(|entry| started_one(entry, &defaults)));
    configs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(configs)
}

pub fn changed(change: &Change, cx: &Context<'_>) -> Result<Command, Refusal> {
    let name = change.resource_name.clone();
    check_name(&name, cx)?;
    let defaults = cx.broker.catalog.defaults();
    let list = |name: &str| {
        let entry = config::broker::entry(name).filter(|entry| entry.kind == Type::List)?;
        Some(entry.inherited(&defaults))
    };
    let configs = operated(change, &cx.broker.catalog.configs(ConfigKind::Broker, &name), list)?;
    config::broker::validate(&configs)
        .map_err(|rejection| (errors::rejection(&rejection), rejection.text))?;
    Ok(Command::ConfigPut { kind: ConfigKind::Broker, name, configs })
}

/// Where the value of a setting comes from that topics inherit.
pub fn source_of(broker_name: &str, cx: &Context<'_>) -> i8 {
    let own = cx.broker.options.node_id.to_string();
    let is_set_for = |name: &str| {
        let set = cx.broker.catalog.configs(ConfigKind::Broker, name);
        set.iter().any(|(setting, _)| setting == broker_name)
    };
    match () {
        () if is_set_for(&own) => SOURCE_DYNAMIC,
        () if is_set_for(ALL) => SOURCE_DYNAMIC_OF_ALL,
        () => SOURCE_DEFAULT,
    }
}

fn check_name(name: &str, cx: &Context<'_>) -> Result<(), Refusal> {
    match name == ALL || name == cx.broker.options.node_id.to_string() {
        true => Ok(()),
        false => Err((ErrorCode::InvalidRequest, format!("this is broker {}", cx.broker.options.node_id))),
    }
}

/// How the broker was started, and the bounds of this front end.
fn fixed(cx: &Context<'_>) -> Vec<(&'static str, Type, String)> {
    let Options { node_id, auto_create, num_partitions, limits, rebalance_delay_ms, .. } = &cx.broker.options;
    let offsets_retention_minutes = cx.broker.options.offsets_retention_ms / 60_000;
    let (host, port) = &cx.peer.advertised;
    let sessions = cx.broker.fetch_sessions.bounds().sessions_max;
    vec![
        ("advertised.listeners", Type::String, format!("PLAINTEXT://{host}:{port}")),
        ("auto.create.topics.enable", Type::Boolean, auto_create.to_string()),
        ("broker.id", Type::Int, node_id.to_string()),
        ("connections.max.idle.ms", Type::Long, limits.idle.as_millis().to_string()),
        ("default.replication.factor", Type::Int, "1".to_owned()),
        ("fetch.max.bytes", Type::Int, limits.fetch_bytes_max.to_string()),
        ("group.initial.rebalance.delay.ms", Type::Int, rebalance_delay_ms.to_string()),
        ("max.incremental.fetch.session.cache.slots", Type::Int, sessions.to_string()),
        ("node.id", Type::Int, node_id.to_string()),
        ("num.partitions", Type::Int, num_partitions.to_string()),
        ("offsets.retention.minutes", Type::Int, offsets_retention_minutes.to_string()),
        ("telemetry.max.bytes", Type::Int, PUSH_BYTES_MAX.to_string()),
        ("socket.request.max.bytes", Type::Int, limits.request_bytes_max.to_string()),
    ]
}

fn static_one(name: &str, kind: Type, value: String) -> DescribeConfigsResourceResult {
    let synonym =
        DescribeConfigsSynonym { name: name.into(), value: Some(value.clone()), source: SOURCE_STATIC };
    DescribeConfigsResourceResult {
        name: name.into(),
        value: Some(value),
        read_only: true,
        config_source: SOURCE_STATIC,
        is_sensitive: false,
        synonyms: vec![synonym],
        config_type: kind as i8,
        documentation: None,
    }
}

/// Where the value of a setting comes from that is made at the start.
pub fn started_source(entry: &Entry, defaults: &Defaults) -> i8 {
    match defaults.started.iter().any(|(name, _)| name == entry.broker_name) {
        true => SOURCE_STATIC,
        false => SOURCE_DEFAULT,
    }
}

/// What is set at the start, if at all.
fn started_one(entry: &Entry, defaults: &Defaults) -> DescribeConfigsResourceResult {
    let source = started_source(entry, defaults);
    let mut values = vec![(entry.started_with(defaults), source)];
    if source == SOURCE_STATIC {
        values.push((entry.started_with(&Defaults::default()), SOURCE_DEFAULT));
    }
    described(entry, &values, true)
}

/// What topics inherit. `own`: as it is set for this broker, or else only as it is for all.
fn changeable(entry: &Entry, own: bool, cx: &Context<'_>) -> DescribeConfigsResourceResult {
    let mut places = vec![(ALL.to_owned(), SOURCE_DYNAMIC_OF_ALL)];
    if own {
        places.insert(0, (cx.broker.options.node_id.to_string(), SOURCE_DYNAMIC));
    }
    let found = places.into_iter().filter_map(|(place, source)| {
        let set = cx.broker.catalog.configs(ConfigKind::Broker, &place);
        let value = set.into_iter().find(|(name, _)| name == entry.broker_name)?.1;
        Some((value, source))
    });
    let last = (entry.started_with(&cx.broker.catalog.defaults()), SOURCE_DEFAULT);
    let values: Vec<(String, i8)> = found.chain([last]).collect();
    described(entry, &values, false)
}

/// `values`: at least one, with where each is set; the first counts.
fn described(entry: &Entry, values: &[(String, i8)], read_only: bool) -> DescribeConfigsResourceResult {
    let synonyms = values.iter().map(|(value, source)| DescribeConfigsSynonym {
        name: entry.broker_name.into(),
        value: Some(value.clone()),
        source: *source,
    });
    DescribeConfigsResourceResult {
        name: entry.broker_name.into(),
        value: Some(values[0].0.clone()),
        read_only,
        config_source: values[0].1,
        is_sensitive: false,
        synonyms: synonyms.collect(),
        config_type: entry.kind as i8,
        documentation: Some(entry.doc.to_owned()),
    }
}
