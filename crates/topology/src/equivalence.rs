//! Declared again: is it the same? AMQP 0-9-1 asks for it (queue.declare, rule `equivalent`), RabbitMQ words the
//! refusals, and compares only arguments that it knows.

use crate::arguments::{self, DeclaredType, QUEUE_TYPE};
use crate::refusal::{Resource, refuse};
use crate::value;
use bowline_model::meta::{ExchangeSpec, Reason, Rejection, Table, Value};
use std::fmt::Display;

/// One property.
pub(crate) fn check_field<T: PartialEq + Display>(
    resource: &Resource<'_>,
    name: &str,
    current: T,
    received: T,
) -> Result<(), Rejection> {
    if current == received {
        return Ok(());
    }
    Err(inequivalent(resource, name, &format!("'{received}'"), &format!("'{current}'")))
}

/// Property by property in RabbitMQ's order; of the arguments only those count that mean something.
pub(crate) fn check_exchange(current: &ExchangeSpec, received: &ExchangeSpec) -> Result<(), Rejection> {
    let resource = Resource::exchange(&current.vhost, &current.name);
    let kind = arguments::exchange_kind_name;
    check_field(&resource, "type", kind(current.kind), kind(received.kind))?;
    check_field(&resource, "durable", current.durable, received.durable)?;
    check_field(&resource, "auto_delete", current.auto_delete, received.auto_delete)?;
    check_field(&resource, "internal", current.internal, received.internal)?;
    for name in [arguments::ALTERNATE_EXCHANGE, arguments::DELAYED_TYPE, arguments::DEDUPLICATION] {
        check_argument(
            &resource,
            name,
            arguments::get(&current.arguments, name),
            arguments::get(&received.arguments, name),
        )?;
    }
    Ok(())
}

/// The arguments that the existing queue's type knows.
pub(crate) fn check_queue_arguments(
    resource: &Resource<'_>,
    kind: DeclaredType,
    current: &Table,
    received: &Table,
) -> Result<(), Rejection> {
    for name in arguments::known_to(kind) {
        if name == QUEUE_TYPE {
            check_queue_type(resource, kind, received)?;
        } else {
            check_argument(resource, name, arguments::get(current, name), arguments::get(received, name))?;
        }
    }
    Ok(())
}

/// RabbitMQ adds the default type to declarations that have none, so both sides always have one.
fn check_queue_type(
    resource: &Resource<'_>,
    current: DeclaredType,
    received: &Table,
) -> Result<(), Rejection> {
    let received = match arguments::get(received, QUEUE_TYPE) {
        Some(Value::Str(name)) if matches!(name.as_slice(), b"" | b"undefined") => "classic".to_owned(),
        Some(other) => value::printed(other),
        None => "classic".to_owned(),
    };
    check_field(resource, QUEUE_TYPE, current.name(), received.as_str())
}

fn check_argument(
    resource: &Resource<'_>,
    name: &str,
    current: Option<&Value>,
    received: Option<&Value>,
) -> Result<(), Rejection> {
    let (received, current) = match (received, current) {
        (None, None) => return Ok(()),
        (Some(received), Some(current)) if value::same(received, current) => return Ok(()),
        // The types are told only when one side has nothing.
        (Some(received), Some(current)) => {
            (format!("'{}'", value::printed(received)), format!("'{}'", value::printed(current)))
        }
        (received, current) => (described(received), described(current)),
    };
    Err(inequivalent(resource, name, &received, &current))
}

fn described(value: Option<&Value>) -> String {
    match value {
        None => "none".to_owned(),
        Some(value) => {
            format!("the value '{}' of type '{}'", value::printed(value), value::type_name(value))
        }
    }
}

fn inequivalent(resource: &Resource<'_>, name: &str, received: &str, current: &str) -> Rejection {
    refuse(
        Reason::Inequivalent,
        format!("inequivalent arg '{name}' for {resource}: received {received} but current is {current}"),
    )
}
