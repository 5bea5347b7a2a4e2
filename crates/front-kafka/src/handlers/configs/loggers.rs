//! Levels of the node's log (resource type 8), by the names of its parts.

use super::{Change, Operation};
use crate::handlers::create_topics::Refusal;
use crate::loggers::{LEVELS, Loggers, ROOT, level};
use crate::pending::Context;
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_configs_response::DescribeConfigsResourceResult;
use bowline_topology::config::Type;

const SOURCE_LOGGER: i8 = 6;

/// What is to become of loggers.
pub type Levels = Vec<(String, Option<&'static str>)>;

pub fn describe(name: &str, cx: &Context<'_>) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let loggers = loggers(name, cx)?;
    let one = |(name, level, _): (String, &str, bool)| DescribeConfigsResourceResult {
        name,
        value: Some(level.into()),
        read_only: false,
        config_source: SOURCE_LOGGER,
        is_sensitive: false,
        synonyms: Vec::new(),
        config_type: Type::String as i8,
        documentation: None,
    };
    Ok(loggers.levels().into_iter().map(one).collect())
}

pub fn changed(change: &Change, cx: &Context<'_>) -> Result<Levels, Refusal> {
    let loggers = loggers(&change.resource_name, cx)?;
    if !change.keep {
        return Err((ErrorCode::InvalidRequest, "levels are changed one by one".into()));
    }
    let one = |(name, operation, value): &(String, i8, Option<String>)| {
        if !loggers.is_known(name) {
            return Err((ErrorCode::InvalidConfig, format!("Logger {name} does not exist!")));
        }
        match (Operation::from_i8(*operation), value) {
            (Some(Operation::Set), Some(value)) => match level(value) {
                Some(level) => Ok((name.clone(), Some(level))),
                None => {
                    let text = format!(
                        "Cannot set the log level of {name} to {value}: it is one of {}",
                        LEVELS.join(", ")
                    );
                    Err((ErrorCode::InvalidConfig, text))
                }
            },
            (Some(Operation::Delete), _) if name == ROOT => {
                Err((ErrorCode::InvalidRequest, "the root logger has a level, always".into()))
            }
            (Some(Operation::Delete), _) => Ok((name.clone(), None)),
            _ => Err((ErrorCode::InvalidRequest, format!("{name}: levels are set or deleted"))),
        }
    };
    change.operations.iter().map(one).collect()
}

fn loggers<'a>(name: &str, cx: &'a Context<'_>) -> Result<&'a Loggers, Refusal> {
    let node_id = cx.broker.options.node_id;
    if name != node_id.to_string() {
        return Err((ErrorCode::InvalidRequest, format!("this is broker {node_id}")));
    }
    let loggers = cx.broker.options.loggers.as_deref();
    loggers.ok_or_else(|| (ErrorCode::InvalidRequest, "levels of the log do not change here".into()))
}
