//! Acknowledgements, as ShareFetch brings them along and ShareAcknowledge brings nothing else.
//!
//! For each partition they are done all together or not at all (121 INVALID_RECORD_STATE), and answered when the log
//! has them: what a client was told to be accepted does not come again.

use crate::pending::Context;
use crate::share::session::{Holder, Place};
use bowline_codec_kafka::ErrorCode;
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::request::Request;
use bowline_model::share::{self, Acknowledge, AcknowledgeError, AcknowledgedRuns, Outcome, Reply};
use bowline_model::{PartitionId, ShardId};

// Types of acknowledgement.
const GAP: i8 = 0;
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;
const RENEW: i8 = 4;

/// First offset, last offset, and one type for all or one for each.
pub type Batch = (i64, i64, Vec<i8>);

/// What is asked of one shard, and which results it answers.
type Asked = (ShardId, Vec<(PartitionId, AcknowledgedRuns)>, Vec<usize>);

/// The acknowledgements of one request.
#[derive(Default)]
pub struct Acks {
    pub results: Vec<(Place, ErrorCode)>,
    /// Questions under way, and which results they answer.
    asked: Vec<(u32, Vec<usize>)>,
}

impl Acks {
    /// Passes them on. `renew`: locks may be prolonged.
    pub fn send(
        (session, consumer): Holder,
        batches: Vec<(Place, Vec<Batch>)>,
        renew: bool,
        next_sub: &mut u32,
        cx: &mut Context<'_>,
    ) -> Acks {
        let mut acks = Acks::default();
        let mut shards: Vec<Asked> = Vec::new();
        for (place, batches) in batches {
            let index = acks.results.len();
            let checked =
                partition_of(place, cx).and_then(|partition| Ok((partition, runs(&batches, renew)?)));
            acks.results.push((place, checked.as_ref().map_or_else(|error| *error, |_| ErrorCode::None)));
            let Ok((partition, runs)) = checked else { continue };
            let shard = cx.shard_of(partition);
            match shards.iter_mut().find(|(known, ..)| *known == shard) {
                Some((_, partitions, indexes)) => {
                    partitions.push((partition, runs));
                    indexes.push(index);
                }
                None => shards.push((shard, vec![(partition, runs)], vec![index])),
            }
        }
        for (shard, partitions, indexes) in shards {
            *next_sub += 1;
            let acknowledge = Acknowledge { token: cx.token(*next_sub), session, consumer, partitions };
            cx.send(shard, Request::Share(share::Request::Acknowledge(acknowledge)));
            acks.asked.push((*next_sub, indexes));
        }
        acks
    }

    pub fn are_answered(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether the question is one of these.
    pub fn have_asked(&self, sub: u32) -> bool {
        self.asked.iter().any(|(asked, _)| *asked == sub)
    }

    /// Takes the answer; false if it is none.
    pub fn take(&mut self, sub: u32, event: Event) -> bool {
        let Some(at) = self.asked.iter().position(|(asked, _)| *asked == sub) else { return false };
        let (_, indexes) = self.asked.remove(at);
        match event {
            Event::Share { reply: Reply::Acknowledged(results), .. } if results.len() == indexes.len() => {
                for (index, (_, result)) in indexes.into_iter().zip(results) {
                    self.results[index].1 = result.map_or_else(code, |()| ErrorCode::None);
                }
            }
            Event::Failed { .. } => {
                indexes.into_iter().for_each(|index| self.results[index].1 = ErrorCode::NotLeaderOrFollower);
            }
            _ => return false,
        }
        true
    }
}

/// The partition that the client means.
pub fn partition_of((topic, index): Place, cx: &mut Context<'_>) -> Result<PartitionId, ErrorCode> {
    let topic = cx.topic_by_id(topic).ok_or(ErrorCode::UnknownTopicId)?;
    cx.check(Operation::Read, Resource::Topic(&topic.name), ErrorCode::TopicAuthorizationFailed)?;
    topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)
}

fn code(error: AcknowledgeError) -> ErrorCode {
    match error {
        // Who is no member of the partition holds nothing of it either.
        AcknowledgeError::NotHeld | AcknowledgeError::UnknownPartition => ErrorCode::InvalidRecordState,
        AcknowledgeError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// The batches as runs of the same outcome. They have to ascend without touching one another.
fn runs(batches: &[Batch], renew: bool) -> Result<AcknowledgedRuns, ErrorCode> {
    let mut runs = AcknowledgedRuns::new();
    let mut behind = 0;
    for (first, last, types) in batches {
        let invalid = ErrorCode::InvalidRequest;
        let (first, last) = (u64::try_from(*first), u64::try_from(*last));
        let (first, last) = first.ok().zip(last.ok()).ok_or(invalid)?;
        if first < behind || last < first {
            return Err(invalid);
        }
        let count = last - first + 1;
        behind = last + 1;
        if let [one] = types[..] {
            runs.push((first, count, outcome(one, renew)?));
            continue;
        }
        if types.len() as u64 != count {
            return Err(invalid);
        }
        for (offset, one) in (first..).zip(types) {
            let outcome = outcome(*one, renew)?;
            match runs.last_mut() {
                Some((at, n, same)) if *same == outcome && *at + *n == offset => *n += 1,
                _ => runs.push((offset, 1, outcome)),
            }
        }
    }
    Ok(runs)
}

fn outcome(kind: i8, renew: bool) -> Result<Outcome, ErrorCode> {
    Ok(match kind {
        // Nobody needs what is not there.
        GAP | ACCEPT => Outcome::Accepted,
        RELEASE => Outcome::Released,
        REJECT => Outcome::Rejected,
        RENEW if renew => Outcome::Renewed,
        _ => return Err(ErrorCode::InvalidRequest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_become_runs() {
        let ok = |batches: &[Batch]| runs(batches, true).unwrap();
        assert_eq!(ok(&[(3, 7, vec![1])]), [(3, 5, Outcome::Accepted)]);
        assert_eq!(
            ok(&[(3, 7, vec![1, 0, 2, 2, 3]), (8, 8, vec![4])]),
            [
                (3, 2, Outcome::Accepted),
                (5, 2, Outcome::Released),
                (7, 1, Outcome::Rejected),
                (8, 1, Outcome::Renewed),
            ]
        );
        for bad in [
            vec![(-1, 3, vec![1])],
            vec![(3, 2, vec![1])],
            vec![(3, 5, vec![1, 1])],
            vec![(3, 5, vec![])],
            vec![(3, 5, vec![9])],
            vec![(3, 5, vec![1]), (5, 6, vec![1])],
            vec![(0, i64::MAX, vec![1, 1])],
        ] {
            assert_eq!(runs(&bad, true), Err(ErrorCode::InvalidRequest), "{bad:?}");
        }
        assert_eq!(runs(&[(3, 3, vec![4])], false), Err(ErrorCode::InvalidRequest), "not unless it was said");
        assert_eq!(ok(&[(0, i64::MAX, vec![1])]), [(0, 1 << 63, Outcome::Accepted)]);
    }
}
