//! Offsets that are committed with a transaction: who may, and what becomes of them in the end. Where they wait for
//! that is [`crate::txn::Pending`].

use super::{COMMIT_METADATA_BYTES_MAX, Groups, OFFSETS_PER_GROUP_MAX};
use bowline_model::Millis;
use bowline_model::group::{Error, Member, PartitionCommit, PartitionResults, State};

/// By topic.
type Topics = Vec<(String, Vec<PartitionCommit>)>;

impl Groups {
    /// What to log of the commit (nothing if no partition passed), and what to answer when that is done. A producer
    /// that says nothing of a member may commit as well: older ones cannot (KIP-447). `pending`: offsets of the group
    /// that wait already.
    pub fn check_txn_commit(
        &mut self,
        member: &Member,
        topics: Topics,
        pending: usize,
    ) -> Result<(Topics, PartitionResults), Error> {
        let names_member =
            member.generation >= 0 || !member.member_id.is_empty() || member.instance_id.is_some();
        let group = self.by_name.get(member.group.as_str());
        match group {
            Some(group) if names_member && group.consumer.is_some() => {
                if let Some(consumer) = &group.consumer {
                    consumer.admit_commit(member, &topics, &self.topics)?;
                }
            }
            Some(group) if names_member && !(member.generation < 0 && group.state == State::Empty) => {
                group.validate_generation(member)?;
            }
            None if member.generation >= 0 && pending > 0 => return Err(Error::UnknownMemberId),
            None if member.generation >= 0 => return Err(Error::IllegalGeneration),
            _ => {}
        }
        let full = group.map_or(0, |group| group.offsets.len()) + pending;
        let mut room = OFFSETS_PER_GROUP_MAX.saturating_sub(full);
        let (mut accepted, mut results) = (Topics::new(), PartitionResults::new());
        for (topic, partitions) in topics {
            let (mut taken, mut verdicts) = (Vec::new(), Vec::with_capacity(partitions.len()));
            for one in partitions {
                let too_long =
                    one.metadata.as_ref().is_some_and(|text| text.len() > COMMIT_METADATA_BYTES_MAX);
                let verdict = match (too_long, room) {
                    (true, _) => Err(Error::OffsetMetadataTooLarge),
                    (false, 0) => Err(Error::CoordinatorNotAvailable),
                    (false, _) => Ok(()),
                };
                verdicts.push((one.partition, verdict));
                if verdict.is_ok() {
                    room -= 1;
                    taken.push(one);
                }
            }
            if !taken.is_empty() {
                accepted.push((topic.clone(), taken));
            }
            results.push((topic, verdicts));
        }
        Ok((accepted, results))
    }

    /// These offsets are committed, by whatever record.
    pub fn commit_applied(&mut self, group: String, topics: Topics, stamp: Millis) {
        let group = self.by_name.entry(self.key(&group)).or_default();
        for (topic, partitions) in topics {
            partitions.into_iter().for_each(|one| group.offsets.commit(&topic, one, stamp));
        }
    }
}
