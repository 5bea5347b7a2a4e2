//! Refusals with the words clients know from RabbitMQ and Kafka. The front ends use them too, for what they find
//! out by looking (passive declares, consuming from a queue that is not there).

use bowline_model::meta::{Reason, Rejection};
use std::fmt;

pub fn refuse(reason: Reason, text: impl Into<String>) -> Rejection {
    Rejection { reason, text: text.into() }
}

/// `queue 'q' in vhost '/'`, as RabbitMQ names things in its explanations.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub kind: &'static str,
    pub vhost: &'a str,
    pub name: &'a str,
}

impl<'a> Resource<'a> {
    pub fn queue(vhost: &'a str, name: &'a str) -> Resource<'a> {
        Resource { kind: "queue", vhost, name }
    }

    pub fn exchange(vhost: &'a str, name: &'a str) -> Resource<'a> {
        Resource { kind: "exchange", vhost, name }
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}' in vhost '{}'", self.kind, self.name, self.vhost)
    }
}

pub fn no_queue(vhost: &str, name: &str) -> Rejection {
    refuse(Reason::NotFound, format!("no {}", Resource::queue(vhost, name)))
}

pub fn no_exchange(vhost: &str, name: &str) -> Rejection {
    refuse(Reason::NotFound, format!("no {}", Resource::exchange(vhost, name)))
}

pub fn no_vhost(vhost: &str) -> Rejection {
    refuse(Reason::NotFound, format!("vhost '{vhost}' not found"))
}

pub fn no_user(user: &str) -> Rejection {
    refuse(Reason::NotFound, format!("user '{user}' not found"))
}

/// Kafka's words (error 3).
pub fn no_topic() -> Rejection {
    refuse(Reason::NotFound, "This server does not host this topic-partition.")
}

/// The queue is exclusive to another connection, or the declaration's exclusive flag differs.
pub fn locked(vhost: &str, name: &str) -> Rejection {
    refuse(
        Reason::Locked,
        format!(
            "cannot obtain exclusive access to locked {}. It could be originally declared on another connection or \
             the exclusive property value does not match that of the original declaration.",
            Resource::queue(vhost, name)
        ),
    )
}

/// if-unused of queue.delete and exchange.delete.
pub fn in_use(resource: Resource<'_>) -> Rejection {
    refuse(Reason::InUse, format!("{resource} in use"))
}

/// if-empty of queue.delete.
pub fn not_empty(resource: Resource<'_>) -> Rejection {
    refuse(Reason::NotEmpty, format!("{resource} not empty"))
}

pub fn unknown_exchange_type(kind: &str) -> Rejection {
    refuse(Reason::InvalidArgument, format!("unknown exchange type '{kind}'"))
}

pub fn default_exchange() -> Rejection {
    refuse(Reason::Forbidden, "operation not permitted on the default exchange")
}

/// New exchanges and queues whose names begin with `amq.`.
pub fn reserved_name(kind: &str, name: &str) -> Rejection {
    refuse(Reason::Forbidden, format!("{kind} name '{name}' contains reserved prefix 'amq.*'"))
}
