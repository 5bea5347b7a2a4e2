//! Arguments of declarations: what they mean, which are refused, and RabbitMQ's words for it.

use bowline_model::meta::{ExchangeKind, ExchangeSpec, QueueDeclaration, Rejection, Table, Value};

/// What argument `x-queue-type` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeclaredType {
    Classic,
    Quorum,
    /// Make it a topic: `Command::TopicCreate`.
    Stream,
}

/// Reads `x-queue-type`; absent is classic. Refused: values that are none of these.
pub fn declared_type(vhost: &str, name: &str, arguments: &Table) -> Result<DeclaredType, Rejection> {
    let _ = (vhost, name, arguments);
    Ok(DeclaredType::Classic)
}

/// Everything that can be wrong with a classic or quorum declaration by itself.
pub fn validate_queue(declaration: &QueueDeclaration) -> Result<(), Rejection> {
    let _ = declaration;
    Ok(())
}

/// Everything that can be wrong with declaring a stream; `durable`, `exclusive`, `auto_delete` as the client sent them.
/// Gives the topic configuration that its arguments amount to (`x-max-age`, `x-max-length-bytes`).
pub fn validate_stream(
    vhost: &str,
    name: &str,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    arguments: &Table,
) -> Result<Vec<(String, String)>, Rejection> {
    let _ = (vhost, name, durable, exclusive, auto_delete, arguments);
    Ok(Vec::new())
}

/// Everything that can be wrong with an exchange declaration by itself.
pub fn validate_exchange(spec: &ExchangeSpec) -> Result<(), Rejection> {
    let _ = spec;
    Ok(())
}

/// `direct`, `fanout`, `topic`, `headers`; anything else is refused as RabbitMQ does.
pub fn exchange_kind(name: &str) -> Result<ExchangeKind, Rejection> {
    match name {
        "direct" => Ok(ExchangeKind::Direct),
        "fanout" => Ok(ExchangeKind::Fanout),
        "topic" => Ok(ExchangeKind::Topic),
        "headers" => Ok(ExchangeKind::Headers),
        _ => Err(crate::refusal::unknown_exchange_type(name)),
    }
}

/// The value of an argument.
pub fn get<'a>(arguments: &'a Table, name: &str) -> Option<&'a Value> {
    arguments.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}
