//! Fetch (1): batches from partitions, at once or when enough of them have come.
//!
//! ```text
//! Fetch to every shard ─► enough bytes, an error, or no time? ─ yes ─► answer
//!          ▲                                  │ no
//!          └── Moved ◄── Watch at the ends ◄──┘          (deadline: answer with what there is)
//! ```
//! Fetch sessions (KIP-227) stand before and behind it: [`crate::fetch_sessions`] makes of a request all that it asks
//! for, and leaves of the answer what is news. Batches leave as they lie in the log, but for the first 16 bytes, which
//! carry offset and leader epoch.

use super::LEADER_EPOCH;
use crate::access::Named;
use crate::errors;
use crate::fetch_sessions::Mode;
use crate::pending::{Context, Pending, Step};
use bowline_codec_kafka::messages::fetch_request::{FetchRequest, FetchTopic};
use bowline_codec_kafka::messages::fetch_response::{
    AbortedTransaction, FetchResponse, FetchableTopicResponse, PartitionData,
};
use bowline_codec_kafka::{ErrorCode, Records, Uuid};
use bowline_model::acl::Operation;
use bowline_model::event::{BatchSlice, Event, FetchError, Fetched, FetchedPartition};
use bowline_model::request::{Fetch, FetchPartition, Request};
use bowline_model::{PartitionId, ShardId};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// First version in which topics are named by id.
const TOPIC_IDS_FROM: i16 = 13;

/// base_offset, batch_length and partition_leader_epoch: what is rewritten for readers.
const PATCHED_BYTES: usize = 16;

const READ_COMMITTED: i8 = 1;

struct Fetching {
    /// What becomes of the answer.
    mode: Mode,
    min_bytes: u64,
    max_bytes: u64,
    deadline: Instant,
    read_committed: bool,
    topics: Vec<Topic>,
    shards: Vec<Shard>,
    next_sub: u32,
}

struct Topic {
    name: String,
    id: Uuid,
    partitions: Vec<Partition>,
}

struct Partition {
    index: i32,
    /// Where to read, or why not.
    target: Result<FetchPartition, ErrorCode>,
    /// The latest answer of its shard.
    found: Option<Result<Fetched, FetchError>>,
}

/// What is asked of one shard.
struct Shard {
    shard: ShardId,
    /// Topic and partition positions.
    places: Vec<(u32, u32)>,
    state: Asked,
}

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// Something may have come: fetch (again).
    Due,
    Fetch(u32),
    Answered,
    Watch(u32),
}

pub fn start(mut request: FetchRequest, cx: &mut Context<'_>) -> Step {
    let by_id = cx.head.version >= TOPIC_IDS_FROM;
    let (mode, topics) = match cx.broker.fetch_sessions.enter(&mut request, by_id, cx.now.instant) {
        Ok(entered) => entered,
        Err(error) => {
            return cx.reply(&FetchResponse { error_code: error.code(), ..Default::default() });
        }
    };
    let max_bytes = (request.max_bytes.max(0) as u32).min(cx.broker.options.limits.fetch_bytes_max);
    let max_bytes = match (max_bytes, cx.fetch_budget(max_bytes)) {
        // An empty answer that says when to come again. A session that is there goes on.
        (1.., 0) => {
            let session_id = if let Mode::Continuing { id, .. } = mode { id } else { 0 };
            return cx.reply(&FetchResponse { session_id, ..Default::default() });
        }
        (_, budget) => budget,
    };
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let topics = topics.into_iter().map(|topic| resolve(topic, cx)).collect();
    let mut fetching = Fetching {
        mode,
        // More than may be answered need not be waited for.
        min_bytes: (request.min_bytes.max(0) as u64).min(max_bytes.into()),
        max_bytes: max_bytes.into(),
        deadline: cx.now.instant + wait,
        read_committed: request.isolation_level == READ_COMMITTED,
        topics,
        shards: Vec::new(),
        next_sub: 0,
    };
    fetching.group_by_shard(cx);
    match fetching.advance(cx) {
        Step::Stay => Step::Wait(Box::new(fetching)),
        step => step,
    }
}

impl Pending for Fetching {
    fn event(&mut self, sub: u32, event: Event, cx: &mut Context<'_>) -> Step {
        let asked = |shard: &Shard| matches!(shard.state, Asked::Fetch(s) | Asked::Watch(s) if s == sub);
        let Some(at) = self.shards.iter().position(asked) else { return Step::Stay };
        match (self.shards[at].state, event) {
            (Asked::Fetch(_), Event::Fetched { partitions, .. }) => {
                self.shards[at].state = Asked::Answered;
                self.take(at, partitions);
            }
            (Asked::Watch(_), Event::Moved { .. }) => self.shards[at].state = Asked::Due,
            // The node cannot serve just now; an empty answer makes the client ask again.
            (_, Event::Failed { .. }) => {
                self.deadline = cx.now.instant;
                self.shards[at].state = Asked::Answered;
            }
            _ => return cx.mismatch(),
        }
        self.advance(cx)
    }

    fn deadline(&self) -> Option<Instant> {
        // While a shard is being asked there is nothing to answer with; its answer will find the deadline passed.
        let asking = self.shards.iter().any(|shard| matches!(shard.state, Asked::Fetch(_)));
        (!asking).then_some(self.deadline)
    }

    fn expired(&mut self, cx: &mut Context<'_>) -> Step {
        self.finish(cx)
    }
}

impl Fetching {
    fn group_by_shard(&mut self, cx: &Context<'_>) {
        for (t, topic) in self.topics.iter().enumerate() {
            for (p, partition) in topic.partitions.iter().enumerate() {
                let Ok(target) = partition.target else { continue };
                let shard = cx.shard_of(target.partition);
                let place = (t as u32, p as u32);
                match self.shards.iter_mut().find(|known| known.shard == shard) {
                    Some(known) => known.places.push(place),
                    None => self.shards.push(Shard { shard, places: vec![place], state: Asked::Due }),
                }
            }
        }
    }

    /// Asks, answers or goes on waiting.
    fn advance(&mut self, cx: &mut Context<'_>) -> Step {
        for at in 0..self.shards.len() {
            if self.shards[at].state == Asked::Due {
                self.fetch(at, cx);
            }
        }
        if self.shards.iter().any(|shard| matches!(shard.state, Asked::Fetch(_))) {
            return Step::Stay;
        }
        if self.is_enough() || cx.now.instant >= self.deadline {
            return self.finish(cx);
        }
        for at in 0..self.shards.len() {
            if self.shards[at].state == Asked::Answered {
                self.watch(at, cx);
            }
        }
        Step::Stay
    }

    fn fetch(&mut self, at: usize, cx: &mut Context<'_>) {
        let sub = self.next_sub();
        let shard = &mut self.shards[at];
        shard.state = Asked::Fetch(sub);
        let targets = shard
            .places
            .iter()
            .filter_map(|place| self.topics[place.0 as usize].partitions[place.1 as usize].target.ok());
        let fetch = Fetch {
            token: cx.token(sub),
            partitions: targets.collect(),
            max_bytes: self.max_bytes as u32,
            committed: self.read_committed,
        };
        cx.send(shard.shard, Request::Fetch(fetch));
    }

    /// Sleeps until a partition of the shard has more than was seen of it.
    fn watch(&mut self, at: usize, cx: &mut Context<'_>) {
        let sub = self.next_sub();
        let shard = &mut self.shards[at];
        shard.state = Asked::Watch(sub);
        let ends = shard.places.iter().filter_map(|place| {
            let partition = &self.topics[place.0 as usize].partitions[place.1 as usize];
            match (&partition.target, &partition.found) {
                (Ok(target), Some(Ok(found))) if self.read_committed => {
                    Some((target.partition, found.last_stable.max(target.offset)))
                }
                (Ok(target), Some(Ok(found))) => Some((target.partition, found.high_watermark)),
                _ => None,
            }
        });
        let watch = Request::Watch {
            token: cx.token(sub),
            partitions: ends.collect(),
            committed: self.read_committed,
        };
        cx.send(shard.shard, watch);
    }

    fn next_sub(&mut self) -> u32 {
        self.next_sub = (self.next_sub + 1) & 0x00ff_ffff;
        self.next_sub
    }

    /// Stores a shard's answers, which come in the order in which the partitions were named.
    fn take(&mut self, at: usize, partitions: Vec<FetchedPartition>) {
        let mut answers = partitions.into_iter().peekable();
        for (t, p) in &self.shards[at].places {
            let partition = &mut self.topics[*t as usize].partitions[*p as usize];
            let Ok(target) = partition.target else { continue };
            partition.found =
                answers.next_if(|answer| answer.partition == target.partition).map(|a| a.result);
        }
    }

    /// Kafka's reasons to answer before the time is over: enough bytes, any error, nothing to wait for.
    fn is_enough(&self) -> bool {
        let mut bytes = 0;
        for partition in self.topics.iter().flat_map(|topic| &topic.partitions) {
            match (&partition.target, &partition.found) {
                (Ok(_), Some(Ok(found))) => {
                    bytes += found.batches.iter().map(|b| u64::from(b.len)).sum::<u64>()
                }
                _ => return true,
            }
        }
        bytes >= self.min_bytes || self.shards.is_empty()
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Step {
        for shard in &self.shards {
            if let Asked::Watch(sub) = shard.state {
                let token = cx.token(sub);
                cx.send(shard.shard, Request::Unwatch { token });
            }
        }
        let mut budget = Budget::new(self.max_bytes);
        let topics = std::mem::take(&mut self.topics);
        let responses = topics.into_iter().map(|topic| FetchableTopicResponse {
            topic: topic.name,
            topic_id: topic.id,
            partitions: topic
                .partitions
                .into_iter()
                .map(|p| answer(p, self.read_committed, &mut budget))
                .collect(),
        });
        let mut response = FetchResponse { responses: responses.collect(), ..Default::default() };
        let mode = std::mem::replace(&mut self.mode, Mode::Plain);
        let by_id = cx.head.version >= TOPIC_IDS_FROM;
        cx.broker.fetch_sessions.leave(mode, by_id, &mut response, cx.now.instant, random_id);
        cx.reply(&response)
    }
}

/// A candidate for a session's id. Not to be guessed, so that nobody disturbs the sessions of others by accident.
fn random_id() -> i32 {
    (uuid::Uuid::new_v4().as_u128() & 0x7fff_ffff) as i32
}

/// The bytes of records that the response may still carry. Shards are asked side by side, each for as much as the whole
/// response may hold, so together they may bring too much.
pub(super) struct Budget {
    left: u64,
    any: bool,
}

impl Budget {
    pub fn new(left: u64) -> Budget {
        Budget { left, any: false }
    }

    /// The first batch is always allowed, or a client could never get past one that is larger than its limit (KIP-74).
    fn admits(&mut self, bytes: u64) -> bool {
        if self.any && bytes > self.left {
            self.left = 0;
            return false;
        }
        self.any = true;
        self.left = self.left.saturating_sub(bytes);
        true
    }
}

fn resolve(asked: FetchTopic, cx: &mut Context<'_>) -> Topic {
    let named = Named::new(cx.head.version >= TOPIC_IDS_FROM, &asked.topic, asked.topic_id);
    let topic = cx.permitted(Operation::Read, named);
    let partitions = asked.partitions.into_iter().map(|partition| {
        let target = match &topic {
            Err(error) => Err(*error),
            Ok(topic) => match topic.partition(partition.partition) {
                None => Err(ErrorCode::UnknownTopicOrPartition),
                Some(id) => target(id, &partition),
            },
        };
        Partition { index: partition.partition, target, found: None }
    });
    Topic { name: asked.topic, id: asked.topic_id, partitions: partitions.collect() }
}

fn target(
    partition: PartitionId,
    asked: &bowline_codec_kafka::messages::fetch_request::FetchPartition,
) -> Result<FetchPartition, ErrorCode> {
    check_leader_epoch(asked.current_leader_epoch)?;
    let offset = u64::try_from(asked.fetch_offset).map_err(|_| ErrorCode::OffsetOutOfRange)?;
    Ok(FetchPartition { partition, offset, max_bytes: asked.partition_max_bytes.max(0) as u32 })
}

/// −1 does not ask for the check; a client that knows a later epoch than ours has met somebody else.
pub fn check_leader_epoch(known: i32) -> Result<(), ErrorCode> {
    match known {
        -1 | LEADER_EPOCH => Ok(()),
        later if later > LEADER_EPOCH => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Err(ErrorCode::FencedLeaderEpoch),
    }
}

fn answer(partition: Partition, read_committed: bool, budget: &mut Budget) -> PartitionData {
    let mut data = PartitionData {
        partition_index: partition.index,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        aborted_transactions: None,
        records: Some(Records::default()),
        ..Default::default()
    };
    let found = match (partition.target, partition.found) {
        (Err(error), _) => Err(error),
        // The shard has left it out; the client asks again.
        (Ok(_), None) => Err(ErrorCode::OffsetNotAvailable),
        (Ok(_), Some(found)) => found.map_err(|error| {
            if let FetchError::OutOfRange { log_start, high_watermark } = error {
                data.high_watermark = high_watermark as i64;
                data.last_stable_offset = high_watermark as i64;
                data.log_start_offset = log_start as i64;
            }
            errors::fetch(error)
        }),
    };
    match found {
        Err(error) => data.error_code = error.code(),
        Ok(found) => {
            data.high_watermark = found.high_watermark as i64;
            data.last_stable_offset = found.last_stable as i64;
            data.log_start_offset = found.log_start as i64;
            // Clients that read committed expect a list; for the others null says that it was not looked for.
            let aborted = found.aborted.into_iter().map(|(producer_id, first_offset)| AbortedTransaction {
                producer_id,
                first_offset: first_offset as i64,
            });
            data.aborted_transactions = read_committed.then(|| aborted.collect());
            data.records = Some(records(&found.batches, budget));
        }
    }
    data
}

/// The batches with their heads patched. The heads share one allocation; bodies stay where they are.
pub(super) fn records(batches: &[BatchSlice], budget: &mut Budget) -> Records {
    let admitted = batches.iter().take_while(|batch| budget.admits(batch.len.into())).count();
    let mut heads = Vec::with_capacity(admitted * PATCHED_BYTES);
    for batch in &batches[..admitted] {
        let at = batch.offset as usize;
        heads.extend_from_slice(&batch.base_offset.to_be_bytes());
        heads.extend_from_slice(&batch.block.payload[at + 8..at + 12]);
        heads.extend_from_slice(&LEADER_EPOCH.to_be_bytes());
    }
    let mut heads = Bytes::from(heads);
    let mut segments = Vec::with_capacity(admitted * 2);
    for batch in &batches[..admitted] {
        let (at, end) = (batch.offset as usize, (batch.offset + batch.len) as usize);
        segments.push(heads.split_to(PATCHED_BYTES));
        segments.push(batch.block.payload.slice(at + PATCHED_BYTES..end));
    }
    Records { segments }
}
