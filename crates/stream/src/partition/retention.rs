//! Trim: moving the log start up, because somebody asked (Kafka's DeleteRecords) or because of retention.
//!
//! Both are PartitionTrim records, so that every replica forgets the same. Retention works in whole extents, may
//! take all of them (as Kafka may delete the active segment once it has expired), and decides on the leader's
//! clock; the record it proposes is what counts.

use super::Partitions;
use super::state::Partition;
use crate::out::{Out, Proposal, Waiter};
use bowline_model::event::{Event, FetchError};
use bowline_model::record::{self, Kind};
use bowline_model::{Millis, PartitionId, SessionId, Token};

/// How often the memory of expired producers is given back, ms.
const PRODUCER_PURGE_MS: u64 = 60 * 60 * 1000;
/// PartitionTrim records in one proposal.
const TRIMS_PER_PROPOSAL: u32 = 4096;

impl Partitions {
    /// Answers by `Event::Trimmed` with the log start: at once if it lies at or above `offset` already, else when
    /// the trim is durable. `None` means the high watermark of now.
    pub fn trim(
        &mut self,
        session: SessionId,
        token: Token,
        partition: PartitionId,
        offset: Option<u64>,
        out: &mut Out,
    ) {
        let result = match self.by_id.get(&partition) {
            None => Err(FetchError::UnknownPartition),
            Some(state) => {
                let (log_start, high_watermark) = (state.log_start, state.next_offset);
                let offset = offset.unwrap_or(high_watermark);
                if offset > high_watermark {
                    Err(FetchError::OutOfRange { log_start, high_watermark })
                } else if offset > log_start {
                    let mut proposal = Proposal::new(true);
                    proposal.waiter = Some(Waiter::Trim { session, token, partition });
                    put_trim(&mut proposal, partition, offset);
                    out.propose.push(proposal);
                    return;
                } else {
                    Ok(log_start)
                }
            }
        };
        out.replies.push((session, Event::Trimmed { token, result }));
    }

    /// Proposes what retention lets go.
    pub fn tick(&mut self, now: Millis, out: &mut Out) {
        if now < self.next_check {
            return;
        }
        self.next_check = now + self.options.retention_check_ms;
        let mut proposal = Proposal::new(false);
        for id in self.sorted_ids() {
            let Some(offset) = self.by_id.get(&id).and_then(|partition| expired_below(partition, now)) else {
                continue;
            };
            put_trim(&mut proposal, id, offset);
            if proposal.count == TRIMS_PER_PROPOSAL {
                out.propose.push(std::mem::replace(&mut proposal, Proposal::new(false)));
            }
        }
        if proposal.count > 0 {
            out.propose.push(proposal);
        }
        if now >= self.next_purge {
            self.next_purge = now + PRODUCER_PURGE_MS;
            self.purge_producers();
        }
    }

    /// When [`Partitions::tick`] has something to look at.
    pub fn next_deadline(&self) -> Option<Millis> {
        if self.by_id.is_empty() { None } else { Some(self.next_check) }
    }

    fn purge_producers(&mut self) {
        let clock = self.clock;
        for partition in self.by_id.values_mut() {
            if let Some(producers) = &mut partition.producers {
                producers.purge(clock);
                if producers.is_empty() {
                    partition.producers = None;
                }
            }
        }
    }
}

/// Where the log should start by the partition's configuration; `None` if it should stay.
fn expired_below(partition: &Partition, now: Millis) -> Option<u64> {
    let config = &partition.spec.config;
    let oldest = config.retention_ms.map(|ms| now.saturating_sub(ms) as i64);
    let lowest = config.retention_records.map(|max| partition.next_offset.saturating_sub(max));
    let mut bytes = partition.bytes;
    let mut upto = None;
    for extent in partition.extents.iter() {
        let too_old = oldest.is_some_and(|oldest| extent.max_timestamp < oldest);
        // The partition keeps at least `retention_bytes`, as in Kafka: it is a size to fall to, not below.
        let too_many = config.retention_bytes.is_some_and(|max| bytes - u64::from(extent.bytes) >= max);
        let too_far = lowest.is_some_and(|lowest| extent.end() <= lowest);
        if !too_old && !too_many && !too_far {
            break;
        }
        bytes -= u64::from(extent.bytes);
        upto = Some(extent.end());
    }
    upto
}

fn put_trim(proposal: &mut Proposal, partition: PartitionId, offset: u64) {
    record::put_value(&mut proposal.records, Kind::PartitionTrim, &(partition, offset));
    proposal.count += 1;
}
