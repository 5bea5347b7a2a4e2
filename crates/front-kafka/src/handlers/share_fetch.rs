//! ShareFetch (78): acknowledges, and acquires records for the member and hands them out.
//!
//! ```text
//! acknowledgements ─► shards ────────────────────────────────────────────────────────────┐
//! (dead-letter topic? ─►) where the group begins? ─► Join ─► Acquire, shard after shard ─► Fetch (─► Rest) ─► enough? ─ yes ─►│ answer
//!                                          ▲                                  │ no          (when all is in the log)
//!                                          └────── some are there ◄── wait ◄──┘  (deadline: answer with what there is)
//! ```
//! Whole batches are answered, beside them which of their records the member now holds. In the mode `record_limit`
//! these are never more than the client asked for. In `batch_optimized` (KIP-1206) the last batch of each partition
//! that it has got a part of becomes the client's as a whole, as far as nobody else has records of it: the shard knows
//! no batches, so the rest is asked for when they have been read. What was acquired and does not fit the answer goes
//! back as if it had never been handed out.

use super::create_topics::{self, Creation};
use super::fetch::{Budget, records};
use super::list_offsets::seek;
use super::share_acks::{Acks, Batch, partition_of};
use crate::catalog::is_valid_name;
use crate::pending::{Context, Pending, Step};
use crate::share::coverage::{self, Coverage, batch_end};
use crate::share::session::{Holder, Joined, PARTITIONS_MAX, Phase, Place, ShareSession};
use crate::{errors, share};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::share_fetch_request::ForgottenTopic;
use bowline_codec_kafka::messages::share_fetch_response::{
    AcquiredRecords, PartitionData, ShareFetchableTopicResponse,
};
use bowline_codec_kafka::messages::{ShareFetchRequest, ShareFetchResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::{BatchSlice, Event, FetchError, FetchedPartition, OffsetFound, SLICE_ABORTED};
use bowline_model::request::{Fetch, FetchPartition, OffsetQuery, Request};
use bowline_model::share::{
    Acquire, AcquireRest, Acquired, Join, JoinError, Outcome, Reply, Request as ShareRequest, Settle, Start,
};
use bowline_model::share_config::{Reset, ShareConfig};
use bowline_model::{ConsumerId, PartitionId, ShardId};
use bowline_topology::config::DEAD_LETTERS;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most records of one request, whatever it asks for, but for the rest of the last batches.
const RECORDS_MAX: u32 = 10_000;
/// `ShareAcquireMode`: no more records than were asked for. The other, 0, is that of version 1.
const RECORD_LIMIT: i8 = 1;
/// Runs that are so close are read in one go, offsets.
const SPAN_BREAK: u64 = 64;
/// Places of one partition that are read at a time.
const SPANS_MAX: usize = 32;

struct Sharing {
    group: String,
    member: String,
    consumer: ConsumerId,
    config: ShareConfig,
    deadline: Instant,
    min_bytes: u64,
    max_bytes: u32,
    max_records: u32,
    /// The last batch of a partition is acquired as a whole; and how many records the client wants told in one run.
    whole_batches: bool,
    batch_size: u64,
    /// What the session fetches from, or why it cannot.
    targets: Vec<(Place, Result<PartitionId, ErrorCode>)>,
    acks: Acks,
    stage: Stage,
    /// Questions of the stage.
    asked: Vec<(u32, ShardId)>,
    next_sub: u32,
    /// Records from then on are for a new group.
    start_time: i64,
    starts: BTreeMap<PartitionId, Start>,
    /// With targets, in the order in which they are asked for records.
    shards: Vec<ShardId>,
    /// How many of them have been asked.
    at: usize,
    /// By partition, in the order in which they were acquired.
    acquired: Vec<(PartitionId, Vec<Acquired>)>,
    /// Records among them.
    taken: u32,
    fetched: BTreeMap<PartitionId, Found>,
    /// The whole request fails.
    error: ErrorCode,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// The group's dead-letter topic is being created.
    Topic,
    Starts,
    Join,
    Acquire,
    Fetch,
    /// The rest of batches that were read is being acquired.
    Rest,
    /// To be told that there is something.
    Notice,
    /// Only acknowledgements are still to be answered.
    Done,
}

/// What was read of a partition.
#[derive(Default)]
struct Found {
    batches: BTreeMap<u64, BatchSlice>,
    /// First offset and end of what was read without a break.
    spans: Vec<(u64, u64)>,
    error: Option<ErrorCode>,
}

pub fn start(request: ShareFetchRequest, cx: &mut Context<'_>) -> Step {
    let (Some(group), Some(member)) = (request.group_id, request.member_id) else {
        return refuse(ErrorCode::InvalidRequest, cx);
    };
    if !is_name(&group) || !is_name(&member) {
        return refuse(ErrorCode::InvalidRequest, cx);
    }
    let denied = ErrorCode::GroupAuthorizationFailed;
    if let Err(error) = cx.check(Operation::Read, Resource::Group(&group), denied) {
        return refuse(error, cx);
    }
    let (mut named, mut batches): (Vec<Place>, Vec<(Place, Vec<Batch>)>) = Default::default();
    for topic in request.topics {
        for partition in topic.partitions {
            let place = (topic.topic_id, partition.partition_index);
            named.push(place);
            let of = partition.acknowledgement_batches.into_iter();
            let of: Vec<Batch> =
                of.map(|batch| (batch.first_offset, batch.last_offset, batch.acknowledge_types)).collect();
            if !of.is_empty() {
                batches.push((place, of));
            }
        }
    }
    // Nothing can have been acquired in a session that is only being opened.
    if request.share_session_epoch == 0 && !batches.is_empty() {
        return refuse(ErrorCode::InvalidRequest, cx);
    }
    let entered = match cx.shares.enter_to_fetch(&group, &member, request.share_session_epoch) {
        Ok(entered) => entered,
        Err(error) => return refuse(error, cx),
    };
    entered.replaced.into_iter().for_each(|holder| end(holder, cx));
    let (phase, (_, consumer)) = (entered.phase, entered.holder);
    let forgotten = request.forgotten_topics_data;
    let state = cx.shares.with(&group, &member, |session| keep(session, named, forgotten));
    let Some((places, turn)) = state.unwrap_or_default() else {
        return refuse(ErrorCode::InvalidRequest, cx);
    };
    let config = share::config(&group, cx);
    let mut next_sub = 0;
    let renew = request.is_renew_ack && config.renew;
    let acks = Acks::send(entered.holder, batches, renew, &mut next_sub, cx);
    let fetches = phase != Phase::Closes && !request.is_renew_ack;
    let max_records = if fetches { (request.max_records.max(0) as u32).min(RECORDS_MAX) } else { 0 };
    let whole_batches = request.share_acquire_mode != RECORD_LIMIT;
    let max_bytes = (request.max_bytes.max(0) as u32).min(cx.broker.options.limits.fetch_bytes_max);
    let targets: Vec<_> = places.into_iter().map(|place| (place, partition_of(place, cx))).collect();
    let mut shards: Vec<ShardId> = Vec::new();
    for partition in targets.iter().filter_map(|(_, target)| target.ok()) {
        let shard = cx.shard_of(partition);
        if !shards.contains(&shard) {
            shards.push(shard);
        }
    }
    if !shards.is_empty() {
        let turn = turn % shards.len();
        shards.rotate_left(turn);
    }
    let mut sharing = Sharing {
        consumer,
        config,
        deadline: cx.now.instant + Duration::from_millis(request.max_wait_ms.max(0) as u64),
        min_bytes: (request.min_bytes.max(0) as u64).min(max_bytes.into()),
        max_bytes,
        max_records,
        whole_batches,
        // Runs are not divided where records are counted one by one.
        batch_size: if whole_batches { request.batch_size.max(1) as u64 } else { u64::MAX },
        targets,
        acks,
        stage: Stage::Done,
        asked: Vec::new(),
        next_sub,
        start_time: 0,
        starts: BTreeMap::new(),
        shards,
        at: 0,
        acquired: Vec::new(),
        taken: 0,
        fetched: BTreeMap::new(),
        error: ErrorCode::None,
        group,
        member,
    };
    if phase == Phase::Closes {
        end_session(&sharing.group, &sharing.member, cx);
    }
    let step = match sharing.max_records == 0 || sharing.max_bytes == 0 || sharing.shards.is_empty() {
        true => sharing.finish(cx),
        false => sharing.begin(cx),
    };
    match step {
        Step::Stay => Step::Wait(Box::new(sharing)),
        step => step,
    }
}

/// What the session fetches from now, and whose turn it is; `None`: it is too much, and is not kept.
fn keep(
    session: &mut ShareSession,
    named: Vec<Place>,
    forgotten: Vec<ForgottenTopic>,
) -> Option<(Vec<Place>, usize)> {
    session.places.extend(named);
    for topic in forgotten {
        for index in topic.partitions {
            session.places.remove(&(topic.topic_id, index));
        }
    }
    if session.places.len() > PARTITIONS_MAX {
        session.places.clear();
        return None;
    }
    let turn = session.turn;
    session.turn = turn.wrapping_add(1);
    Some((session.places.iter().copied().collect(), turn))
}

/// Whether it may name a group or a member.
pub fn is_name(name: &str) -> bool {
    (1..=bowline_model::share::NAME_BYTES_MAX).contains(&name.len())
}

/// The session is over: what its consumer holds comes back.
pub fn end_session(group: &str, member: &str, cx: &mut Context<'_>) {
    if let Some(holder) = cx.shares.close(group, member) {
        end(holder, cx);
    }
}

fn end((session, consumer): Holder, cx: &mut Context<'_>) {
    for shard in 1..=cx.broker.data_shards {
        cx.send(ShardId(shard), Request::Share(ShareRequest::End { session, consumer }));
    }
}

fn refuse(error: ErrorCode, cx: &Context<'_>) -> Step {
    cx.reply(&ShareFetchResponse { error_code: error.code(), ..Default::default() })
}

impl Pending for Sharing {
    fn event(&mut self, sub: u32, event: Event, cx: &mut Context<'_>) -> Step {
        if self.acks.have_asked(sub) {
            return match self.acks.take(sub, event) {
                true if self.stage == Stage::Done => self.answer(cx),
                true => Step::Stay,
                false => cx.mismatch(),
            };
        }
        let Some(at) = self.asked.iter().position(|(asked, _)| *asked == sub) else { return Step::Stay };
        let (_, shard) = self.asked.remove(at);
        match (self.stage, event) {
            (_, Event::Failed { reason, .. }) => {
                self.error = errors::failure(reason);
                return self.finish(cx);
            }
            // If it cannot be created, the dead are lost, as they are while it is not there.
            (Stage::Topic, Event::Meta { .. }) => {}
            (Stage::Starts, Event::Offsets { results, .. }) => self.began(results),
            (Stage::Join, Event::Share { reply: Reply::Joined(result), .. }) => {
                self.joined(shard, result, cx)
            }
            (Stage::Acquire | Stage::Rest, Event::Share { reply: Reply::Acquired(runs), .. }) => {
                self.take(runs);
            }
            (Stage::Notice, Event::Share { reply: Reply::Acquired(_), .. }) => {
                self.asked.clear();
                (self.stage, self.at) = (Stage::Acquire, 0);
            }
            (Stage::Fetch, Event::Fetched { partitions, .. }) => self.read(partitions),
            _ => return cx.mismatch(),
        }
        match self.asked.is_empty() {
            true => self.advance(cx),
            false => Step::Stay,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        (self.stage == Stage::Notice).then_some(self.deadline)
    }

    fn expired(&mut self, cx: &mut Context<'_>) -> Step {
        self.finish(cx)
    }
}

impl Sharing {
    /// Has the consumer take part in the group where it does not yet, or on other terms.
    fn begin(&mut self, cx: &mut Context<'_>) -> Step {
        let mut partitions: Vec<PartitionId> = self.targets.iter().filter_map(|(_, t)| t.ok()).collect();
        partitions.sort_unstable();
        let wanted = Joined { partitions, config: self.config.clone() };
        let has_joined = |session: &mut ShareSession| session.joined.as_ref() == Some(&wanted);
        if cx.shares.with(&self.group, &self.member, has_joined) == Some(true) {
            self.stage = Stage::Acquire;
            return self.advance(cx);
        }
        match self.missing_dead_letter_topic(cx) {
            Some(name) => self.create(name, cx),
            None => self.look_for_starts(cx),
        }
    }

    /// The group's dead-letter topic, if it is to be created.
    fn missing_dead_letter_topic(&self, cx: &mut Context<'_>) -> Option<String> {
        let name = self.config.dead_letter_topic.as_ref()?;
        let defaults = cx.broker.catalog.defaults();
        let may = defaults.creates_dead_letter_topics() && name.starts_with(defaults.dead_letter_prefix());
        (may && is_valid_name(name) && cx.topic(name).is_none()).then(|| name.clone())
    }

    fn create(&mut self, name: String, cx: &mut Context<'_>) -> Step {
        self.stage = Stage::Topic;
        self.next_sub += 1;
        self.asked.push((self.next_sub, ShardId::META));
        let configs = vec![(DEAD_LETTERS.to_owned(), "true".to_owned())];
        let creation = Creation { name, partitions: cx.broker.options.num_partitions, configs };
        create_topics::propose(self.next_sub, creation, cx);
        Step::Stay
    }

    /// Looks where a new group begins, if that is a matter of time.
    fn look_for_starts(&mut self, cx: &mut Context<'_>) -> Step {
        let Reset::ByDuration(ms) = self.config.reset else { return self.join(cx) };
        self.stage = Stage::Starts;
        let time = cx.now.millis.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)).max(0);
        self.start_time = time;
        for shard in self.shards.clone() {
            let queries = self.targets_of(shard, cx).into_iter().map(|id| (id, OffsetQuery::Timestamp(time)));
            let queries = queries.collect();
            let token = self.ask(shard, cx);
            cx.send(shard, Request::ListOffsets { token, queries });
        }
        Step::Stay
    }

    fn began(&mut self, results: Vec<(PartitionId, Result<OffsetFound, FetchError>)>) {
        for (partition, found) in results {
            // A batch that cannot be read is found again when it is fetched.
            if let Ok(OffsetFound::Batches { batches, log_start, .. }) = found
                && let Ok(Some((offset, _))) = seek(&batches, log_start, self.start_time)
            {
                self.starts.insert(partition, Start::Offset(offset as u64));
            }
        }
    }

    fn join(&mut self, cx: &mut Context<'_>) -> Step {
        self.stage = Stage::Join;
        let start = match self.config.reset {
            Reset::Earliest => Start::First,
            // Nothing is young enough.
            Reset::Latest | Reset::ByDuration(_) => Start::Next,
        };
        for shard in self.shards.clone() {
            let begin = |id: PartitionId| (id, self.starts.get(&id).copied().unwrap_or(start));
            let partitions = self.targets_of(shard, cx).into_iter().map(begin).collect();
            let join = Join {
                token: self.ask(shard, cx),
                consumer: self.consumer,
                channel: self.consumer.0 as u16,
                group: self.group.clone(),
                partitions,
                returns_max: Some(self.config.returns_max()),
                lock: Some(self.config.lock()),
                stays: true,
                dead_letters: None,
                policy: self.config.policy(),
            };
            cx.send(shard, Request::Share(ShareRequest::Join(join)));
        }
        Step::Stay
    }

    fn joined(&mut self, shard: ShardId, result: Result<(), JoinError>, cx: &Context<'_>) {
        match result {
            Ok(()) => {}
            // One of them has gone; which one, the topology says by the next request.
            Err(JoinError::UnknownPartition) => {
                for (_, target) in &mut self.targets {
                    if target.is_ok_and(|id| cx.shard_of(id) == shard) {
                        *target = Err(ErrorCode::UnknownTopicOrPartition);
                    }
                }
                self.shards.retain(|other| *other != shard);
            }
            Err(JoinError::TooMany) => self.error = ErrorCode::GroupMaxSizeReached,
            Err(JoinError::Storage) => self.error = ErrorCode::KafkaStorageError,
        }
    }

    /// All questions of the stage are answered.
    fn advance(&mut self, cx: &mut Context<'_>) -> Step {
        match self.stage {
            Stage::Topic => return self.look_for_starts(cx),
            Stage::Starts => return self.join(cx),
            Stage::Join => {
                let is_whole = self.targets.iter().all(|(_, target)| target.is_ok());
                if self.error != ErrorCode::None || !is_whole {
                    return self.finish(cx);
                }
                let mut partitions: Vec<PartitionId> =
                    self.targets.iter().filter_map(|(_, t)| t.ok()).collect();
                partitions.sort_unstable();
                let joined = Joined { partitions, config: self.config.clone() };
                cx.shares.with(&self.group, &self.member, |session| session.joined = Some(joined));
                self.stage = Stage::Acquire;
            }
            _ => {}
        }
        if self.stage == Stage::Acquire {
            if self.taken < self.max_records
                && let Some(&shard) = self.shards.get(self.at)
            {
                self.at += 1;
                self.acquire(shard, self.max_records - self.taken, false, cx);
                return Step::Stay;
            }
            if self.acquired.is_empty() {
                return self.wait(cx);
            }
            return self.fetch(cx);
        }
        if self.stage == Stage::Fetch && self.whole_batches && self.acquire_rests(cx) {
            return Step::Stay;
        }
        let bytes: u64 =
            self.fetched.values().flat_map(|found| found.batches.values()).map(|b| u64::from(b.len)).sum();
        let failed = self.fetched.values().any(|found| found.error.is_some());
        match bytes >= self.min_bytes || self.taken >= self.max_records || failed {
            true => self.finish(cx),
            false => self.wait(cx),
        }
    }

    /// Waits for (more) records, unless an answer is due.
    fn wait(&mut self, cx: &mut Context<'_>) -> Step {
        let broken = self.targets.iter().any(|(_, target)| target.is_err());
        let acknowledged = !self.acks.results.is_empty();
        if broken || acknowledged || cx.now.instant >= self.deadline {
            return self.finish(cx);
        }
        self.stage = Stage::Notice;
        for shard in self.shards.clone() {
            self.acquire(shard, 0, true, cx);
        }
        Step::Stay
    }

    fn acquire(&mut self, shard: ShardId, max: u32, wait: bool, cx: &mut Context<'_>) {
        let acquire = Acquire { token: self.ask(shard, cx), consumer: self.consumer, max, wait };
        cx.send(shard, Request::Share(ShareRequest::Acquire(acquire)));
    }

    /// Asks for what is left of the last batch of each partition, if anything may be.
    fn acquire_rests(&mut self, cx: &mut Context<'_>) -> bool {
        let mut rests: BTreeMap<ShardId, Vec<(PartitionId, u64, u64)>> = BTreeMap::new();
        for (partition, runs) in &self.acquired {
            let Some(found) = self.fetched.get(partition) else { continue };
            let mut batches: Vec<BatchSlice> = found.batches.values().cloned().collect();
            coverage::needed(runs, &mut batches);
            let Some((first, count)) = coverage::rest(runs, &batches) else { continue };
            rests.entry(cx.shard_of(*partition)).or_default().push((*partition, first, count));
        }
        self.stage = Stage::Rest;
        let any = !rests.is_empty();
        for (shard, runs) in rests {
            let rest = AcquireRest { token: self.ask(shard, cx), consumer: self.consumer, runs };
            cx.send(shard, Request::Share(ShareRequest::AcquireRest(rest)));
        }
        any
    }

    fn take(&mut self, runs: Vec<Acquired>) {
        for run in runs {
            self.taken += run.count as u32;
            match self.acquired.iter_mut().find(|(partition, _)| *partition == run.partition) {
                Some((_, known)) => {
                    let at = known.partition_point(|before| before.first < run.first);
                    known.insert(at, run);
                }
                None => self.acquired.push((run.partition, vec![run])),
            }
        }
    }

    /// Reads what was acquired.
    fn fetch(&mut self, cx: &mut Context<'_>) -> Step {
        self.stage = Stage::Fetch;
        self.fetched.clear();
        let max_bytes = (self.max_bytes / (self.acquired.len() as u32).max(1)).max(1);
        let mut wanted: Vec<(ShardId, Vec<FetchPartition>)> = Vec::new();
        for (partition, runs) in &self.acquired {
            let partition = *partition;
            let mut offsets = Vec::new();
            let mut behind = None;
            for run in runs {
                if behind.is_none_or(|behind| run.first > behind + SPAN_BREAK) && offsets.len() < SPANS_MAX {
                    offsets.push(run.first);
                }
                behind = Some(run.first + run.count);
            }
            let fetch = |offset| FetchPartition { partition, offset, max_bytes };
            let shard = cx.shard_of(partition);
            match wanted.iter_mut().find(|(known, _)| *known == shard) {
                Some((_, of)) => of.extend(offsets.into_iter().map(fetch)),
                None => wanted.push((shard, offsets.into_iter().map(fetch).collect())),
            }
            self.fetched.insert(partition, Found::default());
        }
        let max_bytes = self.max_bytes;
        for (shard, partitions) in wanted {
            for wanted in &partitions {
                if let Some(found) = self.fetched.get_mut(&wanted.partition) {
                    // How far it was read is known when the answer comes.
                    found.spans.push((wanted.offset, wanted.offset));
                }
            }
            let committed = self.config.committed;
            let fetch = Fetch { token: self.ask(shard, cx), partitions, max_bytes, committed };
            cx.send(shard, Request::Fetch(fetch));
        }
        Step::Stay
    }

    fn read(&mut self, partitions: Vec<FetchedPartition>) {
        let mut is_first = true;
        let mut nth: BTreeMap<PartitionId, usize> = BTreeMap::new();
        for FetchedPartition { partition, result } in partitions {
            let Some(found) = self.fetched.get_mut(&partition) else { continue };
            let span = nth.entry(partition).or_default();
            let Some((start, upto)) = found.spans.get_mut(*span) else { continue };
            *span += 1;
            match result {
                Ok(fetched) => {
                    match fetched.batches.last() {
                        Some(last) => *upto = batch_end(last),
                        // The first may be of any size, so there is nothing.
                        None if is_first && self.config.committed => *upto = fetched.last_stable.max(*start),
                        None if is_first => *upto = fetched.high_watermark.max(*start),
                        None => {}
                    }
                    // To who wants what is committed, there is no record where one was aborted.
                    let kept = fetched.batches.into_iter().filter(|batch| batch.flags & SLICE_ABORTED == 0);
                    found.batches.extend(kept.map(|batch| (batch.base_offset, batch)));
                }
                // Retention has taken it out of the group's hands as well.
                Err(FetchError::OutOfRange { .. }) => {}
                Err(error) => found.error = Some(errors::fetch(error)),
            }
            is_first = false;
        }
    }

    /// Answers as soon as the acknowledgements are in the log.
    fn finish(&mut self, cx: &mut Context<'_>) -> Step {
        self.stage = Stage::Done;
        self.asked.clear();
        match self.acks.are_answered() {
            true => self.answer(cx),
            false => Step::Stay,
        }
    }

    fn answer(&mut self, cx: &mut Context<'_>) -> Step {
        let mut budget = Budget::new(self.max_bytes.into());
        let mut settles: Vec<(ShardId, Vec<Settle>)> = Vec::new();
        let mut data: BTreeMap<Place, PartitionData> = BTreeMap::new();
        let names: BTreeMap<PartitionId, Place> =
            self.targets.iter().filter_map(|(place, target)| Some((target.ok()?, *place))).collect();
        for (partition, runs) in std::mem::take(&mut self.acquired) {
            let mut found = self.fetched.remove(&partition).unwrap_or_default();
            let mut batches: Vec<BatchSlice> = std::mem::take(&mut found.batches).into_values().collect();
            coverage::needed(&runs, &mut batches);
            let records = records(&batches, &mut budget);
            let admitted = records.segments.len() / 2;
            if let Some(batch) = batches.get(admitted) {
                // Nothing is known of what could not be taken along.
                found.spans.iter_mut().for_each(|(_, upto)| *upto = (*upto).min(batch.base_offset));
                batches.truncate(admitted);
            }
            let ranges: Vec<(u64, u64)> = batches.iter().map(|b| (b.base_offset, batch_end(b))).collect();
            let spans = coverage::joined(std::mem::take(&mut found.spans));
            let Coverage { found: held, gaps, left } =
                coverage::cover(&runs, &ranges, &spans, self.batch_size);
            let shard = cx.shard_of(partition);
            let settled = gaps.into_iter().map(|run| (run, Outcome::Accepted));
            let settled = settled.chain(left.into_iter().map(|run| (run, Outcome::Untouched)));
            let consumer = self.consumer;
            let settled = settled.map(|((first, count), outcome)| Settle {
                consumer,
                partition,
                first,
                count,
                outcome,
            });
            match settles.iter_mut().find(|(known, _)| *known == shard) {
                Some((_, known)) => known.extend(settled),
                None => settles.push((shard, settled.collect())),
            }
            let Some(place) = names.get(&partition) else { continue };
            if held.is_empty() && found.error.is_none() {
                continue;
            }
            let data = data.entry(*place).or_insert_with(|| partition_data(*place));
            data.error_code = found.error.map_or(0, |error| error.code());
            data.records = Some(records);
            data.acquired_records = held.iter().map(acquired_records).collect();
        }
        for (shard, settles) in settles {
            if !settles.is_empty() {
                cx.send(shard, Request::Share(ShareRequest::Settle(settles)));
            }
        }
        for (place, target) in &self.targets {
            if let Err(error) = target {
                data.entry(*place).or_insert_with(|| partition_data(*place)).error_code = error.code();
            }
        }
        for (place, error) in &self.acks.results {
            data.entry(*place).or_insert_with(|| partition_data(*place)).acknowledge_error_code =
                error.code();
        }
        let mut responses: Vec<ShareFetchableTopicResponse> = Vec::new();
        for ((topic_id, _), data) in data {
            match responses.last_mut().filter(|topic| topic.topic_id == topic_id) {
                Some(topic) => topic.partitions.push(data),
                None => responses.push(ShareFetchableTopicResponse { topic_id, partitions: vec![data] }),
            }
        }
        cx.reply(&ShareFetchResponse {
            error_code: self.error.code(),
            acquisition_lock_timeout_ms: self.config.record_lock_ms as i32,
            responses,
            ..Default::default()
        })
    }

    fn targets_of(&self, shard: ShardId, cx: &Context<'_>) -> Vec<PartitionId> {
        let all = self.targets.iter().filter_map(|(_, target)| target.ok());
        all.filter(|id| cx.shard_of(*id) == shard).collect()
    }

    fn ask(&mut self, shard: ShardId, cx: &Context<'_>) -> bowline_model::Token {
        self.next_sub += 1;
        self.asked.push((self.next_sub, shard));
        cx.token(self.next_sub)
    }
}

fn partition_data((_, partition_index): Place) -> PartitionData {
    PartitionData { partition_index, records: Some(Default::default()), ..Default::default() }
}

fn acquired_records(run: &Acquired) -> AcquiredRecords {
    AcquiredRecords {
        first_offset: run.first as i64,
        last_offset: (run.first + run.count - 1) as i64,
        delivery_count: i16::try_from(run.returns.saturating_add(1)).unwrap_or(i16::MAX),
    }
}
