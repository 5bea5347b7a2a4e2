//! OffsetCommit: who may commit, and what of it is proposed.

use super::state::Group;
use super::{COMMIT_METADATA_BYTES_MAX, OFFSETS_PER_GROUP_MAX};
use crate::topics::Topics;
use bowline_model::Millis;
use bowline_model::group::{Commit, Error, Member, OffsetCommitRecord, PartitionResults, State};

impl Group {
    /// What to log (nothing if no partition passed), and what to answer when that is done.
    pub fn commit(
        &mut self,
        now: Millis,
        commit: Commit,
        topics: &Topics,
    ) -> Result<(OffsetCommitRecord, PartitionResults), Error> {
        match &self.consumer {
            Some(consumer) => {
                if !commit.knows_epochs {
                    consumer.admit_without_epochs(&commit.member.member_id)?;
                }
                consumer.admit_commit(&commit.member, &commit.topics, topics)?;
            }
            None => self.admit_commit(&commit.member)?,
        }
        self.commit_asked = now;
        if matches!(self.state, State::Stable | State::PreparingRebalance) {
            self.touch(now, &commit.member.member_id);
        }
        let mut room = OFFSETS_PER_GROUP_MAX.saturating_sub(self.offsets.len());
        let mut results = Vec::with_capacity(commit.topics.len());
        let mut accepted = Vec::with_capacity(commit.topics.len());
        for (topic, partitions) in commit.topics {
            let mut verdicts = Vec::with_capacity(partitions.len());
            let mut taken = Vec::with_capacity(partitions.len());
            for one in partitions {
                let is_new = self.offsets.get(&topic, one.partition).is_none();
                if one.metadata.as_ref().is_some_and(|text| text.len() > COMMIT_METADATA_BYTES_MAX) {
                    verdicts.push((one.partition, Err(Error::OffsetMetadataTooLarge)));
                } else if is_new && room == 0 {
                    verdicts.push((one.partition, Err(Error::CoordinatorNotAvailable)));
                } else {
                    room -= usize::from(is_new);
                    verdicts.push((one.partition, Ok(())));
                    taken.push(one);
                }
            }
            if !taken.is_empty() {
                accepted.push((topic.clone(), taken));
            }
            results.push((topic, verdicts));
        }
        Ok((OffsetCommitRecord { group: commit.member.group, topics: accepted }, results))
    }

    /// Members of the current generation may commit, except between its birth and its assignment, when nobody
    /// knows yet who owns what. Who is no member may commit as long as there are none.
    fn admit_commit(&self, member: &Member) -> Result<(), Error> {
        if member.generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if member.generation < 0 && member.member_id.is_empty() && member.instance_id.is_none() {
            return Err(Error::UnknownMemberId);
        }
        self.validate_generation(member)?;
        match self.state {
            State::CompletingRebalance => Err(Error::RebalanceInProgress),
            _ => Ok(()),
        }
    }
}
