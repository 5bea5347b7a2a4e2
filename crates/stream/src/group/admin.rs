//! What tools ask: describe, list, delete a group, delete some of its offsets.

use super::TopicPartitions;
use super::state::Group;
use super::subscription::Subscribed;
use bowline_model::group::{DescribedMember, Description, Error, GroupKind, Listed, PartitionResults, State};

impl Group {
    /// Metadata and assignments are told when they hold, that is in a stable group (as Kafka does).
    pub fn describe(&self, name: &str) -> Description {
        let stable = self.state == State::Stable;
        let protocol_name = self.protocol.clone().filter(|_| stable).unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(&protocol_name) } else { Default::default() },
            assignment: if stable { member.assignment.clone() } else { Default::default() },
        });
        Description {
            group: name.to_owned(),
            state: self.state,
            protocol_type: self.protocol_type.clone(),
            members: members.collect(),
            protocol_name,
        }
    }

    pub fn list(&self, name: &str) -> Listed {
        let (protocol_type, kind) = match self.consumer {
            None => (self.protocol_type.clone(), GroupKind::Classic),
            Some(_) => ("consumer".to_owned(), GroupKind::Consumer),
        };
        Listed { group: name.to_owned(), protocol_type, state: self.state(), kind }
    }

    pub fn may_be_deleted(&self) -> Result<(), Error> {
        match self.state() {
            State::Empty => Ok(()),
            State::Dead => Err(Error::GroupIdNotFound),
            _ => Err(Error::NonEmptyGroup),
        }
    }

    /// What to log, and what to answer when that is done. Topics that members subscribe to are refused; if the
    /// members are no consumers, all is (KIP-496). `waits`: an open transaction has an offset there.
    pub fn delete_offsets(
        &self,
        topics: TopicPartitions,
        waits: impl Fn(&str, i32) -> bool,
    ) -> Result<(TopicPartitions, PartitionResults), Error> {
        let subscribed = self.subscribed();
        if subscribed == Subscribed::NotConsumers {
            return Err(Error::NonEmptyGroup);
        }
        let mut accepted = Vec::new();
        let mut results = Vec::with_capacity(topics.len());
        for (topic, partitions) in topics {
            let refused = subscribed.contains(&topic);
            let verdict = if refused { Err(Error::GroupSubscribedToTopic) } else { Ok(()) };
            results.push((topic.clone(), partitions.iter().map(|&p| (p, verdict)).collect()));
            let is_there = |&p: &i32| self.offsets.get(&topic, p).is_some() || waits(&topic, p);
            if !refused && partitions.iter().any(is_there) {
                accepted.push((topic, partitions));
            }
        }
        Ok((accepted, results))
    }
}

/// A group that does not exist.
pub fn describe_dead(group: String) -> Description {
    Description {
        group,
        state: State::Dead,
        protocol_type: String::new(),
        protocol_name: String::new(),
        members: Vec::new(),
    }
}
