//! Refusals with the words clients know from RabbitMQ and Kafka. The front ends use them too, for what they find
//! out by looking (passive declares, consuming from a queue that is not there).

use bowline_model::meta::{Reason, Rejection};

pub fn refuse(reason: Reason, text: impl Into<String>) -> Rejection {
    Rejection { reason, text: text.into() }
}

pub fn no_queue(vhost: &str, name: &str) -> Rejection {
    refuse(Reason::NotFound, format!("no queue '{name}' in vhost '{vhost}'"))
}

pub fn no_exchange(vhost: &str, name: &str) -> Rejection {
    refuse(Reason::NotFound, format!("no exchange '{name}' in vhost '{vhost}'"))
}

pub fn no_vhost(vhost: &str) -> Rejection {
    refuse(Reason::NotFound, format!("vhost '{vhost}' not found"))
}

/// The queue is exclusive to another connection, or the declaration's exclusive flag differs.
pub fn locked(vhost: &str, name: &str) -> Rejection {
    refuse(
        Reason::Locked,
        format!(
            "cannot obtain exclusive access to locked queue '{name}' in vhost '{vhost}'. It could be originally \
             declared on another connection or the exclusive property value does not match that of the original \
             declaration."
        ),
    )
}

pub fn unknown_exchange_type(kind: &str) -> Rejection {
    refuse(Reason::InvalidArgument, format!("unknown exchange type '{kind}'"))
}
