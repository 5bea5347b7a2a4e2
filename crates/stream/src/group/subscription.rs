//! Which topics a group's members subscribe to: the one thing that the coordinator reads in metadata that is
//! otherwise the clients' own affair. Deleting or expiring offsets under a living consumer's feet must not happen.

use super::consumer::Subscription;
use super::state::Group;
use bowline_model::group::State;
use std::collections::BTreeSet;

/// Protocol type of consumers; others (Connect, Schema Registry) have other metadata.
const CONSUMER: &str = "consumer";

/// Which topics must be left alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subscribed {
    Topics(BTreeSet<String>),
    /// Somebody's metadata cannot be read: any.
    Unknown,
    /// The members are no consumers.
    NotConsumers,
}

impl Subscribed {
    pub fn contains(&self, topic: &str) -> bool {
        match self {
            Subscribed::Topics(topics) => topics.contains(topic),
            Subscribed::Unknown => true,
            Subscribed::NotConsumers => false,
        }
    }
}

impl Group {
    /// By the metadata of all present members.
    pub fn subscribed(&self) -> Subscribed {
        if let Some(consumer) = &self.consumer {
            return Subscribed::Topics(consumer.subscribed_names());
        }
        if self.state == State::Empty {
            return Subscribed::Topics(BTreeSet::new());
        }
        if self.protocol_type != CONSUMER {
            return Subscribed::NotConsumers;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            for (_, metadata) in &member.protocols {
                match Subscription::parse(metadata) {
                    Some(subscription) => topics.extend(subscription.topics),
                    None => return Subscribed::Unknown,
                }
            }
        }
        Subscribed::Topics(topics)
    }
}
