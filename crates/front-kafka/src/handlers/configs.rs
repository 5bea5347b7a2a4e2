//! DescribeConfigs (32), AlterConfigs (33) and IncrementalAlterConfigs (44): settings of topics, groups, subscriptions
//! to clients' metrics, and the broker. Only settings that are enforced exist.

mod broker;
mod client_metrics;
mod group;
mod loggers;

use super::create_topics::Refusal;
use super::denied;
use crate::access::Named;
use crate::catalog::{Topic, VHOST, is_valid_name};
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::create_topics_response::CreatableTopicConfigs;
use bowline_codec_kafka::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use bowline_codec_kafka::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use bowline_model::acl::{Operation as Permission, Resource};
use bowline_model::meta::{Command, MetaRequest};
use bowline_topology::config::{self, Effective, Type, effective_of};
use hashbrown::HashMap;
use std::sync::Arc;

// Resource types.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;

// Where a value comes from.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

/// Explicit settings of a topic by name, sorted.
type Settings = Vec<(String, String)>;

pub fn describe(request: DescribeConfigsRequest, cx: &mut Context<'_>) -> Step {
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let described = match resource.resource_type {
            TOPIC => existing(Permission::DescribeConfigs, &resource.resource_name, cx)
                .map_err(|refusal| impossible(&resource.resource_name, refusal))
                .map(|topic| describe_topic(&topic, cx)),
            BROKER => may_use_broker(Permission::DescribeConfigs, cx)
                .and_then(|()| broker::describe(&resource.resource_name, cx)),
            BROKER_LOGGER => may_use_broker(Permission::DescribeConfigs, cx)
                .and_then(|()| loggers::describe(&resource.resource_name, cx)),
            CLIENT_METRICS => may_use_broker(Permission::DescribeConfigs, cx)
                .and_then(|()| client_metrics::describe(&resource.resource_name, cx)),
            GROUP => may_use_group(Permission::DescribeConfigs, &resource.resource_name, cx)
                .and_then(|()| group::describe(&resource.resource_name, cx)),
            _ => Err(no_settings()),
        };
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        };
        match described {
            Ok(mut configs) => {
                // Null or none at all asks for everything.
                if let Some(keys) = resource.configuration_keys.filter(|keys| !keys.is_empty()) {
                    configs.retain(|config| keys.contains(&config.name));
                }
                for config in &mut configs {
                    if !request.include_synonyms {
                        config.synonyms.clear();
                    }
                    if !request.include_documentation {
                        config.documentation = None;
                    }
                }
                result.configs = configs;
            }
            Err((error, message)) => {
                result.error_code = error.code();
                result.error_message = Some(message);
            }
        }
        results.push(result);
    }
    cx.reply(&DescribeConfigsResponse { results, ..Default::default() })
}

/// Replaces all explicit settings of each topic.
pub fn alter(request: AlterConfigsRequest, cx: &mut Context<'_>) -> Step {
    use bowline_codec_kafka::messages::alter_configs_response::AlterConfigsResourceResponse;
    let changes = request.resources.into_iter().map(|resource| Change {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        operations: resource.configs.into_iter().map(|c| (c.name, Operation::Set as i8, c.value)).collect(),
        keep: false,
    });
    change(changes.collect(), request.validate_only, cx, |results, cx| {
        let responses = results.into_iter().map(|done| AlterConfigsResourceResponse {
            error_code: done.error.code(),
            error_message: done.message,
            resource_type: done.resource_type,
            resource_name: done.resource_name,
        });
        cx.reply(&AlterConfigsResponse { responses: responses.collect(), ..Default::default() })
    })
}

/// Changes the named settings only.
pub fn alter_incrementally(request: IncrementalAlterConfigsRequest, cx: &mut Context<'_>) -> Step {
    use bowline_codec_kafka::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
    let changes = request.resources.into_iter().map(|resource| Change {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        operations: resource.configs.into_iter().map(|c| (c.name, c.config_operation, c.value)).collect(),
        keep: true,
    });
    change(changes.collect(), request.validate_only, cx, |results, cx| {
        let responses = results.into_iter().map(|done| AlterConfigsResourceResponse {
            error_code: done.error.code(),
            error_message: done.message,
            resource_type: done.resource_type,
            resource_name: done.resource_name,
        });
        cx.reply(&IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() })
    })
}

/// Settings of a topic that is to be created: known, valid, each with a value. A name that comes twice counts as it
/// came last.
pub fn checked(configs: impl Iterator<Item = (String, Option<String>)>) -> Result<Settings, Refusal> {
    let mut settings = Settings::new();
    for (name, value) in configs {
        let Some(value) = value else {
            return Err((ErrorCode::InvalidConfig, format!("{name} must have a value")));
        };
        set(&mut settings, name, value);
    }
    validate(&settings)?;
    Ok(settings)
}

/// The settings of a topic that is being created, as CreateTopics reports them.
pub fn describe_new(explicit: &[(String, String)], cx: &Context<'_>) -> Vec<CreatableTopicConfigs> {
    let settings = effective_of(explicit, &cx.broker.catalog.defaults());
    let describe = |setting: Effective| CreatableTopicConfigs {
        name: setting.name.into(),
        value: Some(setting.value),
        read_only: false,
        config_source: if setting.explicit { SOURCE_TOPIC } else { SOURCE_DEFAULT },
        is_sensitive: false,
    };
    settings.into_iter().map(describe).collect()
}

struct Change {
    resource_type: i8,
    resource_name: String,
    /// Name, operation, value.
    operations: Vec<(String, i8, Option<String>)>,
    /// What is not named stays.
    keep: bool,
}

struct Done {
    resource_type: i8,
    resource_name: String,
    error: ErrorCode,
    message: Option<String>,
}

#[derive(Clone, Copy)]
enum Operation {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

impl Operation {
    fn from_i8(value: i8) -> Option<Operation> {
        [Operation::Set, Operation::Delete, Operation::Append, Operation::Subtract]
            .into_iter()
            .find(|operation| *operation as i8 == value)
    }
}

fn change<F>(changes: Vec<Change>, validate_only: bool, cx: &mut Context<'_>, respond: F) -> Step
where
    F: FnOnce(Vec<Done>, &mut Context<'_>) -> Step + Send + 'static,
{
    let mut results: Vec<Done> = Vec::with_capacity(changes.len());
    let mut asked = Vec::new();
    // What is named more than once is not changed at all, for nobody could say which change is meant.
    let mut times: HashMap<(i8, String), u32, foldhash::fast::RandomState> = HashMap::default();
    for change in &changes {
        *times.entry((change.resource_type, change.resource_name.clone())).or_default() += 1;
    }
    for change in changes {
        let twice = times.get(&(change.resource_type, change.resource_name.clone())).is_some_and(|n| *n > 1);
        let settings = match twice {
            true => Err((ErrorCode::InvalidRequest, "the resource is named more than once".into())),
            // Not of the log: they change at once.
            false if change.resource_type == BROKER_LOGGER => may_use_broker(Permission::AlterConfigs, cx)
                .and_then(|()| loggers::changed(&change, cx))
                .map(|levels| {
                    if let Some(loggers) = cx.broker.options.loggers.as_ref().filter(|_| !validate_only) {
                        loggers.change(levels);
                    }
                    None
                }),
            false => changed(&change, cx).map(Some),
        };
        let mut done = Done {
            resource_type: change.resource_type,
            resource_name: change.resource_name,
            error: ErrorCode::None,
            message: None,
        };
        match settings {
            Ok(Some(configure)) if !validate_only => {
                cx.ask_meta(asked.len() as u32, MetaRequest::Propose(configure));
                asked.push(results.len());
            }
            Ok(_) => {}
            Err((error, message)) => (done.error, done.message) = (error, Some(message)),
        }
        results.push(done);
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (position, answer) in asked.into_iter().zip(answers) {
            let Some(changed) = errors::outcome(answer) else { return cx.mismatch() };
            if let Err((error, message)) = changed {
                let done = &mut results[position];
                (done.error, done.message) = (error, Some(message));
            }
        }
        respond(results, cx)
    })
}

/// The command that makes the change, of which the settings are known to be valid.
fn changed(change: &Change, cx: &mut Context<'_>) -> Result<Command, Refusal> {
    let name = change.resource_name.clone();
    match change.resource_type {
        TOPIC => {
            let topic = existing(Permission::AlterConfigs, &name, cx)
                .map_err(|refusal| impossible(&name, refusal))?;
            let now = effective_of(&topic.explicit, &cx.broker.catalog.defaults());
            let list = |name: &str| {
                let entry = config::entry(name).filter(|entry| entry.kind == Type::List)?;
                now.iter().find(|setting| setting.name == entry.name).map(|setting| setting.value.clone())
            };
            let configs = operated(change, &topic.explicit, list)?;
            validate(&configs)?;
            Ok(Command::TopicConfigure { vhost: VHOST.into(), name, configs })
        }
        GROUP => {
            may_use_group(Permission::AlterConfigs, &name, cx)?;
            group::changed(change, cx)
        }
        BROKER => {
            may_use_broker(Permission::AlterConfigs, cx)?;
            broker::changed(change, cx)
        }
        CLIENT_METRICS => {
            may_use_broker(Permission::AlterConfigs, cx)?;
            client_metrics::changed(change, cx)
        }
        _ => Err(no_settings()),
    }
}

/// The explicit settings after the change. `list` gives the value in force of a setting that is a list.
fn operated(
    change: &Change,
    explicit: &[(String, String)],
    list: impl Fn(&str) -> Option<String>,
) -> Result<Settings, Refusal> {
    check_form(change)?;
    let mut settings = if change.keep { explicit.to_vec() } else { Settings::new() };
    for (name, operation, value) in &change.operations {
        let Some(operation) = Operation::from_i8(*operation) else {
            return Err((ErrorCode::InvalidRequest, format!("unknown operation on {name}")));
        };
        if let Operation::Delete = operation {
            settings.retain(|(known, _)| known != name);
            continue;
        }
        let Some(value) = value else {
            return Err((ErrorCode::InvalidRequest, format!("{name} must have a value")));
        };
        let value = match operation {
            Operation::Append | Operation::Subtract => edited_list(name, operation, value, list(name))?,
            Operation::Set | Operation::Delete => value.clone(),
        };
        set(&mut settings, name.clone(), value);
    }
    Ok(settings)
}

/// What is wrong with a change whatever settings there are is told before all else, as in Kafka.
fn check_form(change: &Change) -> Result<(), Refusal> {
    for (position, (name, operation, value)) in change.operations.iter().enumerate() {
        if change.operations[..position].iter().any(|(earlier, ..)| earlier == name) {
            return Err((ErrorCode::InvalidRequest, format!("{name} is named more than once")));
        }
        if value.is_none() && *operation != Operation::Delete as i8 {
            return Err((ErrorCode::InvalidRequest, format!("{name} must have a value")));
        }
    }
    Ok(())
}

/// The list setting `name`, which is `now`, with the elements of `value` added or removed. What is in it already stays
/// in its place. As in Kafka, an element with blanks around it is none to remove.
fn edited_list(
    name: &str,
    operation: Operation,
    value: &str,
    now: Option<String>,
) -> Result<String, Refusal> {
    let Some(now) = now else {
        return Err((ErrorCode::InvalidConfig, format!("{name} is not a list")));
    };
    let elements = |text: &str| -> Vec<String> {
        text.split(',').map(|element| element.trim().to_owned()).filter(|e| !e.is_empty()).collect()
    };
    let mut list = elements(&now);
    match operation {
        Operation::Append => {
            for element in elements(value) {
                if !list.contains(&element) {
                    list.push(element);
                }
            }
        }
        _ => list.retain(|element| !value.split(',').any(|named| named == element)),
    }
    Ok(list.join(","))
}

fn set(settings: &mut Settings, name: String, value: String) {
    match settings.binary_search_by(|(known, _)| known.as_str().cmp(&name)) {
        Ok(at) => settings[at].1 = value,
        Err(at) => settings.insert(at, (name, value)),
    }
}

fn validate(settings: &[(String, String)]) -> Result<(), Refusal> {
    let valid = config::validate(settings).and_then(|()| config::validate_together(settings));
    valid.map_err(|rejection| (errors::rejection(&rejection), rejection.text))
}

fn no_settings() -> Refusal {
    let text = "only topics, groups, clients' metrics and brokers have settings";
    (ErrorCode::InvalidRequest, text.into())
}

fn existing(permission: Permission, name: &str, cx: &mut Context<'_>) -> Result<Arc<Topic>, Refusal> {
    cx.permitted(permission, Named::Name(name)).map_err(|error| match error {
        ErrorCode::UnknownTopicOrPartition => (error, format!("there is no topic '{name}'")),
        _ => denied(error),
    })
}

/// Of a topic that is not there and could not be, that is told instead.
fn impossible(name: &str, (error, text): Refusal) -> Refusal {
    if error == ErrorCode::UnknownTopicOrPartition && !is_valid_name(name) {
        return (ErrorCode::InvalidTopicException, format!("'{name}' cannot be a topic's name"));
    }
    (error, text)
}

fn may_use_group(permission: Permission, name: &str, cx: &mut Context<'_>) -> Result<(), Refusal> {
    cx.check(permission, Resource::Group(name), ErrorCode::GroupAuthorizationFailed).map_err(denied)
}

fn may_use_broker(permission: Permission, cx: &mut Context<'_>) -> Result<(), Refusal> {
    cx.check(permission, Resource::Cluster, ErrorCode::ClusterAuthorizationFailed).map_err(denied)
}

fn describe_topic(topic: &Topic, cx: &Context<'_>) -> Vec<DescribeConfigsResourceResult> {
    let settings = effective_of(&topic.explicit, &cx.broker.catalog.defaults());
    let describe = |setting: Effective| {
        let entry = config::entry(setting.name);
        let broker_name = entry.map_or("", |entry| entry.broker_name);
        let mut synonyms = Vec::new();
        if setting.explicit {
            synonyms.push(DescribeConfigsSynonym {
                name: setting.name.into(),
                value: Some(setting.value.clone()),
                source: SOURCE_TOPIC,
            });
        }
        if !broker_name.is_empty() {
            synonyms.push(DescribeConfigsSynonym {
                name: broker_name.into(),
                value: Some(setting.default),
                source: broker::source_of(broker_name, cx),
            });
        }
        DescribeConfigsResourceResult {
            name: setting.name.into(),
            value: Some(setting.value),
            read_only: false,
            config_source: if setting.explicit { SOURCE_TOPIC } else { broker::source_of(broker_name, cx) },
            is_sensitive: false,
            synonyms,
            config_type: entry.map_or(Type::String, |entry| entry.kind) as i8,
            documentation: entry.map(|entry| entry.doc.to_owned()),
        }
    };
    settings.into_iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_lists_come_and_go() {
        let edited = |operation, value| {
            let now = Some("delete,compact".to_owned());
            edited_list("cleanup.policy", operation, value, now).unwrap()
        };
        assert_eq!(edited(Operation::Append, "delete"), "delete,compact", "it is there, where it was");
        assert_eq!(edited(Operation::Append, "new,compact,new"), "delete,compact,new");
        assert_eq!(edited(Operation::Append, ""), "delete,compact");
        assert_eq!(edited(Operation::Subtract, "delete,absent"), "compact");
        assert_eq!(edited(Operation::Subtract, " delete"), "delete,compact");
        assert_eq!(edited(Operation::Subtract, "compact,delete"), "");
        let refused = edited_list("retention.ms", Operation::Append, "1", None).unwrap_err();
        assert_eq!(refused.0, ErrorCode::InvalidConfig);
    }

    #[test]
    fn a_change_without_form_is_told_before_what_it_would_do() {
        let error = |operations: &[(&str, Operation, Option<&str>)]| {
            let operations = operations.iter();
            let operations = operations.map(|(name, operation, value)| {
                ((*name).to_owned(), *operation as i8, value.map(str::to_owned))
            });
            let (resource_type, resource_name) = (CLIENT_METRICS, "m".to_owned());
            let change =
                Change { resource_type, resource_name, operations: operations.collect(), keep: true };
            operated(&change, &[], |_| None).err().map(|(error, _)| error)
        };
        let no_list = ("interval.ms", Operation::Append, Some("1"));
        assert_eq!(error(&[no_list]), Some(ErrorCode::InvalidConfig));
        assert_eq!(error(&[no_list, ("match", Operation::Set, None)]), Some(ErrorCode::InvalidRequest));
        let twice = ("metrics", Operation::Set, Some("a."));
        assert_eq!(error(&[no_list, twice, twice]), Some(ErrorCode::InvalidRequest));
        assert_eq!(error(&[twice, ("match", Operation::Delete, None)]), None);
    }
}
