//! What tools ask of such a group.

use super::{Consumer, collect, pairs};
use crate::topics::Topics;
use bowline_model::consumer_group::{DescribedMember, DescribedTopic, Description, Partitions};

impl Consumer {
    pub fn describe(&self, name: &str, topics: &Topics) -> Description {
        let named = |partitions: &Partitions| {
            let described = partitions.iter().map(|(id, numbers)| DescribedTopic {
                id: *id,
                // A topic that is gone has no name any more.
                name: topics.name(id).map(|name| name.to_string()).unwrap_or_default(),
                partitions: numbers.iter().copied().collect(),
            });
            described.collect()
        };
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member_id: id.clone(),
            instance_id: member.at.instance_id.clone(),
            rack_id: member.at.rack_id.clone(),
            epoch: member.at.epoch,
            client_id: member.at.client_id.clone(),
            client_host: member.at.client_host.clone(),
            topics: member.at.topics.clone(),
            regex: member.at.regex.clone(),
            // What it has still to give back it has, too.
            assigned: named(&collect(pairs(&member.at.assigned).chain(pairs(&member.at.revoking)))),
            target: named(&member.at.target),
            classic: member.at.classic.is_some(),
        });
        Description {
            group: name.to_owned(),
            state: self.state(),
            epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: self.assignor().to_owned(),
            members: members.collect(),
        }
    }
}
