//! Names of exchanges, queues and topics.

use crate::refusal::{refuse, reserved_name};
use bowline_model::meta::{Reason, Rejection};

/// AMQP short strings.
pub const NAME_BYTES_MAX: usize = 255;
/// Kafka's bound for topic names.
pub const KAFKA_TOPIC_BYTES_MAX: usize = 249;
/// The pseudo-queue of direct reply-to, and the beginning of the names made from it.
pub const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Removes CR and LF, as RabbitMQ does with the names clients declare. Do this before anything else with a name
/// that came with a declare, bind, unbind or delete.
pub fn cleaned(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '\r' | '\n')).collect()
}

/// Whether only the broker may create an exchange or queue of this name.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("amq.")
}

/// Refuses the queue names that clients must not choose. RabbitMQ applies it to every active declaration with a
/// name, of existing queues too. `Topology` does not: server-named queues are called `amq.gen-…`.
pub fn validate_queue_choice(name: &str) -> Result<(), Rejection> {
    if is_reserved(name) { Err(reserved_name("queue", name)) } else { Ok(()) }
}

/// `name-N`, partition N of a topic: the topic's name, and N.
pub fn partition_name(name: &str) -> Option<(&str, usize)> {
    let (topic, index) = name.rsplit_once('-')?;
    let number: usize = index.parse().ok()?;
    // As we would write it: no sign, no zeros in front.
    (number.to_string() == index).then_some((topic, number))
}

/// Whether it can be an AMQP name at all: 1-255 octets without CR and LF. InvalidName otherwise.
pub fn validate(kind: &str, name: &str) -> Result<(), Rejection> {
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("is longer than {NAME_BYTES_MAX} octets")
    } else if name.contains(['\r', '\n']) {
        "has a line break".to_owned()
    } else {
        return Ok(());
    };
    Err(refuse(Reason::InvalidName, format!("{kind} name {problem}")))
}

/// Kafka's rule for topic names: 1-249 of `[a-zA-Z0-9._-]`, not `.` or `..`. InvalidName (Kafka error 17) otherwise.
pub fn validate_kafka_topic(name: &str) -> Result<(), Rejection> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let problem = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > KAFKA_TOPIC_BYTES_MAX {
        format!("the length of '{name}' is longer than the max allowed length {KAFKA_TOPIC_BYTES_MAX}")
    } else if !name.bytes().all(allowed) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(refuse(Reason::InvalidName, format!("Topic name is invalid: {problem}")))
}

/// Kafka topics must differ in more than `.` against `_`, because metrics write one for the other.
pub(crate) fn folded(topic: &str) -> String {
    topic.replace('.', "_")
}
