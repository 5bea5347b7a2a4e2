//! Consumers of a group on a stream (`x-group`): they share its records like a work queue, and settle each.
//!
//! Who holds what is the business of the shard that owns a partition (`bowline_model::share`). The session asks for
//! records into the consumer's credit (*acquires*), fetches them as any reader does, delivers them, and passes on what
//! the client says of each.
//!
//! A topic's partitions may be spread over data shards; the consumer has one *lane* per shard. With one lane, an
//! acquire waits at the shard until there is something. With several, only one lane is asked for records at a time,
//! so that no lane sits on credit that another could use; lanes that had less than was asked are asked to say when
//! there is more.

use std::collections::VecDeque;
use std::sync::Arc;

use bowline_codec_amqp::{TableRef, Value};
use bowline_codec_kafka::records::RecordIter;
use bowline_convert::Incoming;
use bowline_model::event::{BatchSlice, FetchError, FetchedPartition, OffsetFound, SubscribeError};
use bowline_model::meta::ConfigKind;
use bowline_model::request::{Fetch, FetchPartition, OffsetQuery, Outcome, Request};
use bowline_model::share::{
    self, Acquire, Acquired, DeadLetterExchange, Join, JoinError, Lock, NAME_BYTES_MAX, Start,
};
use bowline_model::share_config::ShareConfig;
use bowline_model::{ConsumerId, PartitionId, ShardId, Token};
use bytes::Bytes;

use crate::broker::{Broker, look_up};
use crate::consumers::{Consumer, Consumers, Settles, Source};

use crate::options::{GROUP_FETCH_BYTES, STREAM_OUTBOX_BYTES};
use crate::refusal::{Refusal, Step};
use crate::session::Session;
use crate::stream::{OpenedBatch, Place, Scratch, StartAt, first_at, open_batch, put_delivery, record_len};
use crate::token::Asker;
use crate::unacked::Slot;

/// Longest name of an exchange, and longest routing key, octets.
const SHORT_STRING_BYTES_MAX: usize = 255;

/// What the arguments of a consumer say of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupArguments {
    pub name: String,
    /// `x-delivery-limit`.
    pub returns_max: Option<u64>,
    /// `x-dead-letter-exchange`, with `x-dead-letter-routing-key`.
    pub dead_letters: Option<Arc<DeadLetterExchange>>,
}

impl GroupArguments {
    /// `None` without `x-group`.
    pub fn read(arguments: TableRef<'_>, vhost: &str) -> Step<Option<GroupArguments>> {
        let invalid = |what: &str| Refusal::precondition(format!("invalid arguments of a consumer: {what}"));
        let name = match arguments.get("x-group") {
            None => return Ok(None),
            Some(Value::LongStr(name)) if (1..=NAME_BYTES_MAX).contains(&name.len()) => {
                std::str::from_utf8(name).map_err(|_| invalid("x-group is not UTF-8"))?.to_string()
            }
            Some(_) => return Err(invalid("x-group is not a string of 1 to 255 octets")),
        };
        for other in ["x-stream-filter", "x-priority"] {
            if arguments.get(other).is_some() {
                return Err(Refusal::not_implemented(format!("{other} of a consumer with x-group")));
            }
        }
        let returns_max = match arguments.get("x-delivery-limit") {
            None => None,
            Some(value) => {
                let limit = value.as_i64().and_then(|limit| u64::try_from(limit).ok());
                Some(limit.ok_or_else(|| invalid("x-delivery-limit is not a non-negative integer"))?)
            }
        };
        let text = |argument: &'static str| match arguments.get(argument) {
            None => Ok(None),
            Some(Value::LongStr(text)) if text.len() <= SHORT_STRING_BYTES_MAX => {
                let text =
                    std::str::from_utf8(text).map_err(|_| invalid(&format!("{argument} is not UTF-8")))?;
                Ok(Some(text.to_string()))
            }
            Some(_) => Err(invalid(&format!("{argument} is not a string of up to 255 octets"))),
        };
        let dead_letters = match (text("x-dead-letter-exchange")?, text("x-dead-letter-routing-key")?) {
            (Some(exchange), routing_key) => {
                Some(Arc::new(DeadLetterExchange { vhost: vhost.to_string(), exchange, routing_key }))
            }
            (None, Some(_)) => {
                return Err(invalid("x-dead-letter-routing-key without x-dead-letter-exchange"));
            }
            (None, None) => None,
        };
        Ok(Some(GroupArguments { name, returns_max, dead_letters }))
    }
}

/// A group's consumer, as its session sees it.
pub struct GroupReader {
    name: String,
    group: GroupArguments,
    lock: Option<Lock>,
    prefetch: u32,
    /// Of the channel, which waits for the answer to basic.consume.
    operation: u32,
    start: StartAt,
    parts: Vec<Part>,
    lanes: Vec<Lane>,
    /// Lanes whose answer the start waits for.
    lanes_left: usize,
    /// Acquired and not delivered.
    undelivered: u64,
    /// What lanes may still answer with.
    asked: u32,
    /// The part that the next record is looked for in, and the lane to be asked next.
    turn: usize,
    next_lane: usize,
}

/// One partition.
struct Part {
    partition: PartitionId,
    /// Place in the topic.
    index: u32,
    start: Start,
    /// Ascending and disjoint.
    acquired: VecDeque<Acquired>,
    open: Option<Opened>,
    /// Fetched and not yet looked into. Others may have what is in it.
    ready: VecDeque<BatchSlice>,
}

/// A batch that records are taken from.
struct Opened {
    batch: OpenedBatch,
    /// The offset behind the record that was looked at last.
    passed: u64,
}

struct Lane {
    shard: ShardId,
    /// Indexes into the reader's parts.
    parts: Vec<usize>,
    fetching: bool,
    asking: Asking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Nothing,
    /// For so many records.
    Records(u32),
    /// To be told of some.
    Notice,
}

/// A delivery's number within its consumer: the part and the offset, so that neighbours are settled as ranges.
const OFFSET_BITS: u32 = 48;

/// What a part has at the front.
enum Front {
    Nothing,
    Record {
        bytes: Bytes,
        acquired: Acquired,
    },
    /// Offsets without records, up to here.
    Gap(u64),
}

impl GroupReader {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        name: String,
        group: GroupArguments,
        partitions: &[PartitionId],
        prefetch: u16,
        lock: Option<Lock>,
        start: StartAt,
        operation: u32,
        data_shards: u16,
    ) -> GroupReader {
        let mut lanes: Vec<Lane> = Vec::new();
        for (at, partition) in partitions.iter().enumerate() {
            let shard = ShardId::of(partition.0, data_shards);
            match lanes.iter_mut().find(|lane| lane.shard == shard) {
                Some(lane) => lane.parts.push(at),
                None => lanes.push(Lane { shard, parts: vec![at], fetching: false, asking: Asking::Nothing }),
            }
        }
        let begin = match start {
            StartAt::First => Start::First,
            StartAt::Last => Start::Last,
            StartAt::Offset(offset) => Start::Offset(offset),
            StartAt::Next | StartAt::Time(_) => Start::Next,
        };
        let part = |(index, &partition)| Part {
            partition,
            index: index as u32,
            start: begin,
            acquired: VecDeque::new(),
            open: None,
            ready: VecDeque::new(),
        };
        GroupReader {
            name,
            group,
            lock,
            prefetch: prefetch.into(),
            operation,
            start,
            parts: partitions.iter().enumerate().map(part).collect(),
            lanes,
            lanes_left: 0,
            undelivered: 0,
            asked: 0,
            turn: 0,
            next_lane: 0,
        }
    }

    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.lanes.iter().map(|lane| lane.shard)
    }

    /// Notes what the client has made of `count` deliveries from number `first` on.
    pub fn settle(&self, id: u32, first: u64, count: u64, outcome: Outcome, settles: &mut Settles) {
        let Some(part) = self.parts.get((first >> OFFSET_BITS) as usize) else { return };
        let outcome = match outcome {
            Outcome::Acked => share::Outcome::Accepted,
            Outcome::Rejected => share::Outcome::Rejected,
            Outcome::Withdrawn { .. } => share::Outcome::Untouched,
            Outcome::FailedFor { delay_ms } => share::Outcome::ReleasedFor { delay_ms },
            Outcome::Returned | Outcome::Failed => share::Outcome::Released,
        };
        let offset = first & ((1 << OFFSET_BITS) - 1);
        self.book(id, part, (offset, count), outcome, settles);
    }

    fn book(
        &self,
        id: u32,
        part: &Part,
        (first, count): (u64, u64),
        outcome: share::Outcome,
        settles: &mut Settles,
    ) {
        let shard = self.lanes.iter().find(|lane| lane.parts.contains(&(part.index as usize)));
        let Some(shard) = shard.map(|lane| lane.shard) else { return };
        let (consumer, partition) = (ConsumerId(id), part.partition);
        settles.share(shard, share::Settle { consumer, partition, first, count, outcome });
    }

    fn part_of(&mut self, partition: PartitionId) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.partition == partition)
    }

    /// The next record to deliver, with its part's index; parts take turns.
    fn next_record(
        &mut self,
        id: u32,
        settles: &mut Settles,
    ) -> Result<Option<(usize, Bytes, Acquired)>, String> {
        for _ in 0..self.parts.len() {
            let at = self.turn;
            loop {
                match self.parts[at].front()? {
                    Front::Nothing => break,
                    Front::Gap(end) => {
                        let part = &mut self.parts[at];
                        let Some(first) = part.acquired.front().map(|acquired| acquired.first) else { break };
                        let count = part.take_front(end - first);
                        self.undelivered -= count;
                        // Nobody needs what is not there.
                        let accepted = share::Outcome::Accepted;
                        self.book(id, &self.parts[at], (first, count), accepted, settles);
                    }
                    Front::Record { bytes, acquired } => {
                        self.undelivered -= self.parts[at].take_front(1);
                        return Ok(Some((at, bytes, acquired)));
                    }
                }
            }
            self.turn = (at + 1) % self.parts.len();
        }
        Ok(None)
    }

    /// Fetches what has been acquired and is not at hand, and acquires more if there is credit.
    fn ask(&mut self, id: u32, outstanding: u32, mut send: impl FnMut(ShardId, Request)) {
        for (at, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| !lane.fetching) {
            let wanted = |&at: &usize| {
                let part = &self.parts[at];
                let offset = part.acquired.front()?.first;
                Some(FetchPartition { partition: part.partition, offset, max_bytes: GROUP_FETCH_BYTES })
            };
            let partitions: Vec<FetchPartition> = lane.parts.iter().filter_map(wanted).collect();
            if !partitions.is_empty() {
                lane.fetching = true;
                let token = Asker::GroupFetch { consumer: id, lane: at as u16 }.token();
                send(
                    lane.shard,
                    Request::Fetch(Fetch {
                        token,
                        partitions,
                        max_bytes: GROUP_FETCH_BYTES,
                        committed: true,
                    }),
                );
            }
        }
        let spoken_for = u64::from(outstanding) + self.undelivered + u64::from(self.asked);
        let credit = u64::from(self.prefetch).saturating_sub(spoken_for) as u32;
        let asks = |lane: &Lane| matches!(lane.asking, Asking::Records(_));
        if credit == 0 || self.lanes.iter().any(asks) {
            return;
        }
        let alone = self.lanes.len() == 1;
        for at in 0..self.lanes.len() {
            let at = (self.next_lane + at) % self.lanes.len();
            let lane = &mut self.lanes[at];
            if lane.asking == Asking::Nothing {
                lane.asking = Asking::Records(credit);
                self.asked += credit;
                self.next_lane = at;
                let token = Asker::GroupAcquire { consumer: id, lane: at as u16 }.token();
                let acquire = Acquire { token, consumer: ConsumerId(id), max: credit, wait: alone };
                return send(lane.shard, Request::Share(share::Request::Acquire(acquire)));
            }
        }
    }

    /// A lane's answer. What was acquired waits for delivery.
    fn acquired(&mut self, id: u32, lane: u16, acquired: Vec<Acquired>, send: impl FnOnce(ShardId, Request)) {
        let several = self.lanes.len() > 1;
        let Some(answered) = self.lanes.get_mut(usize::from(lane)) else { return };
        let asking = std::mem::replace(&mut answered.asking, Asking::Nothing);
        let shard = answered.shard;
        let mut count = 0;
        for run in acquired {
            count += run.count;
            if let Some(part) = self.part_of(run.partition) {
                let at = part.acquired.partition_point(|before| before.first < run.first);
                part.acquired.insert(at, run);
            }
        }
        self.undelivered += count;
        let Asking::Records(asked) = asking else { return };
        self.asked -= asked;
        if several && count < u64::from(asked) {
            self.lanes[usize::from(lane)].asking = Asking::Notice;
            let token = Asker::GroupAcquire { consumer: id, lane }.token();
            let acquire = Acquire { token, consumer: ConsumerId(id), max: 0, wait: true };
            send(shard, Request::Share(share::Request::Acquire(acquire)));
        }
        self.next_lane = (usize::from(lane) + 1) % self.lanes.len();
    }

    /// Nothing more is delivered: what has been acquired for that goes back as if it never had been.
    fn give_back(&mut self, id: u32, settles: &mut Settles) {
        for at in 0..self.parts.len() {
            for run in std::mem::take(&mut self.parts[at].acquired) {
                let untouched = share::Outcome::Untouched;
                self.book(id, &self.parts[at], (run.first, run.count), untouched, settles);
            }
            (self.parts[at].open, self.parts[at].ready) = (None, VecDeque::new());
        }
        self.undelivered = 0;
    }
}

impl Part {
    /// Looks for the record of the first offset that has been acquired.
    fn front(&mut self) -> Result<Front, String> {
        let Some(&acquired) = self.acquired.front() else { return Ok(Front::Nothing) };
        let offset = acquired.first;
        loop {
            if let Some(open) = &mut self.open {
                if (open.batch.base_offset..open.end()).contains(&offset) {
                    return open.seek(acquired);
                }
                self.open = None;
            }
            // Only the last batch that does not begin behind the offset can hold it.
            while self.ready.get(1).is_some_and(|slice| slice.base_offset <= offset) {
                self.ready.pop_front();
            }
            let Some(slice) = self.ready.pop_front_if(|slice| slice.base_offset <= offset) else {
                self.ready.clear();
                return Ok(Front::Nothing);
            };
            let batch = open_batch(0, slice).map_err(|error| error.to_string())?;
            self.open = Some(Opened { passed: batch.base_offset, batch });
        }
    }

    /// The first `count` offsets, at most the first run, are dealt with. How many those are.
    fn take_front(&mut self, count: u64) -> u64 {
        let Some(run) = self.acquired.front_mut() else { return 0 };
        let count = count.min(run.count);
        (run.first, run.count) = (run.first + count, run.count - count);
        if run.count == 0 {
            self.acquired.pop_front();
        }
        count
    }
}

impl Opened {
    fn end(&self) -> u64 {
        self.batch.base_offset + self.batch.header.last_offset_delta.max(0) as u64 + 1
    }

    /// Moves to the record of `acquired.first`, which lies in the batch.
    fn seek(&mut self, acquired: Acquired) -> Result<Front, String> {
        let batch = &mut self.batch;
        if acquired.first < self.passed {
            batch.rewind();
            self.passed = batch.base_offset;
        }
        while batch.left > 0 {
            let malformed = || "a record is malformed".to_string();
            let len = record_len(&batch.records[batch.at..]).ok_or_else(malformed)?;
            let bytes = batch.records.slice(batch.at..batch.at + len);
            let delta = RecordIter::new(&bytes, 1)
                .next()
                .and_then(Result::ok)
                .and_then(|record| u64::try_from(record.offset_delta).ok());
            let offset = batch.base_offset + delta.ok_or_else(malformed)?;
            if offset > acquired.first {
                return Ok(Front::Gap(offset));
            }
            batch.at += len;
            batch.left -= 1;
            self.passed = offset + 1;
            if offset == acquired.first {
                return Ok(Front::Record { bytes, acquired });
            }
        }
        Ok(Front::Gap(self.end()))
    }
}

impl Session {
    /// Has the new consumer join its group.
    pub(crate) fn start_group(&mut self, id: u32, broker: &mut dyn Broker) {
        let Some(reader) = group(&mut self.consumers, id) else { return };
        reader.lanes_left = reader.lanes.len();
        let StartAt::Time(time) = reader.start else { return self.join_group(id, broker) };
        for (at, lane) in reader.lanes.iter().enumerate() {
            let query = |&at: &usize| (reader.parts[at].partition, OffsetQuery::Timestamp(time));
            let request = Request::ListOffsets {
                token: Asker::GroupStart { consumer: id, lane: at as u16 }.token(),
                queries: lane.parts.iter().map(query).collect(),
            };
            broker.send(lane.shard, request);
        }
    }

    /// Where records of the time that was asked for begin.
    pub(crate) fn group_offsets(
        &mut self,
        id: u32,
        results: Vec<(PartitionId, Result<OffsetFound, FetchError>)>,
        broker: &mut dyn Broker,
    ) {
        let Some(reader) = group(&mut self.consumers, id) else { return };
        for (partition, result) in results {
            let StartAt::Time(time) = reader.start else { return };
            let Some(part) = reader.part_of(partition) else { continue };
            // A partition that is gone is found out by joining.
            if let Ok(OffsetFound::Batches { batches: slices, .. }) = result
                && let Some(offset) = first_at(&slices, time)
            {
                part.start = Start::Offset(offset);
            }
        }
        reader.lanes_left -= 1;
        if reader.lanes_left == 0 {
            reader.lanes_left = reader.lanes.len();
            self.join_group(id, broker);
        }
    }

    fn join_group(&mut self, id: u32, broker: &mut dyn Broker) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let Source::Group(reader) = &consumer.source else { return };
        let (returns_max, policy) = settings(&reader.group, broker);
        for (at, lane) in reader.lanes.iter().enumerate() {
            let part = |&at: &usize| (reader.parts[at].partition, reader.parts[at].start);
            let join = Join {
                token: Asker::GroupJoin { consumer: id, lane: at as u16 }.token(),
                consumer: ConsumerId(id),
                channel: consumer.channel,
                group: reader.group.name.clone(),
                partitions: lane.parts.iter().map(part).collect(),
                returns_max,
                lock: reader.lock,
                stays: false,
                dead_letters: reader.group.dead_letters.clone(),
                policy,
            };
            broker.send(lane.shard, Request::Share(share::Request::Join(join)));
        }
    }

    pub(crate) fn shared(&mut self, token: Token, reply: share::Reply, broker: &mut dyn Broker) {
        match (Asker::of(token), reply) {
            (Some(Asker::GroupJoin { consumer, .. }), share::Reply::Joined(result)) => {
                self.group_joined(consumer, result, broker);
            }
            (Some(Asker::GroupAcquire { consumer, lane }), share::Reply::Acquired(acquired)) => {
                self.group_acquired(consumer, lane, acquired, broker);
            }
            (asker, reply) => debug_assert!(false, "{reply:?} for {asker:?}"),
        }
    }

    fn group_joined(&mut self, id: u32, result: Result<(), JoinError>, broker: &mut dyn Broker) {
        let Some(consumer) = self.consumers.get_mut(&id).filter(|consumer| consumer.active) else {
            // Its channel has closed, or another lane refused: it must not stay a member.
            for shard in 1..=broker.data_shards() {
                let leave = share::Request::Leave { consumer: ConsumerId(id) };
                broker.send(ShardId(shard), Request::Share(leave));
            }
            return;
        };
        let channel = consumer.channel;
        let Source::Group(reader) = &mut consumer.source else { return };
        let result = result.map_err(|error| match error {
            JoinError::UnknownPartition => SubscribeError::NoSuchQueue,
            JoinError::TooMany => SubscribeError::Refused("there are too many groups on streams"),
            JoinError::Storage => SubscribeError::Refused("the group cannot be stored"),
        });
        reader.lanes_left -= 1;
        if result.is_ok() && reader.lanes_left > 0 {
            return;
        }
        let token = Asker::Channel { channel, operation: reader.operation }.token();
        if result.is_ok() {
            self.streams_to_pump.push(id);
        } else {
            self.leave_group(id, broker);
        }
        self.subscribed(token, result, broker);
    }

    fn group_acquired(&mut self, id: u32, lane: u16, acquired: Vec<Acquired>, broker: &mut dyn Broker) {
        match group(&mut self.consumers, id) {
            Some(reader) => {
                reader.acquired(id, lane, acquired, |shard, request| broker.send(shard, request));
                self.streams_to_pump.push(id);
            }
            // It was cancelled meanwhile.
            None => {
                for Acquired { partition, first, count, .. } in acquired {
                    let (consumer, outcome) = (ConsumerId(id), share::Outcome::Untouched);
                    let shard = ShardId::of(partition.0, broker.data_shards());
                    self.settles.share(shard, share::Settle { consumer, partition, first, count, outcome });
                }
            }
        }
    }

    pub(crate) fn group_fetched(
        &mut self,
        id: u32,
        lane: u16,
        partitions: Vec<FetchedPartition>,
        broker: &mut dyn Broker,
    ) {
        let Some(reader) = group(&mut self.consumers, id) else { return };
        if let Some(lane) = reader.lanes.get_mut(usize::from(lane)) {
            lane.fetching = false;
        }
        for fetched in partitions {
            let Some(part) = reader.part_of(fetched.partition) else { continue };
            match fetched.result {
                Ok(fetched) => {
                    part.ready = fetched.batches.into();
                    part.open = None;
                }
                // Retention removed what has been acquired.
                Err(FetchError::OutOfRange { log_start, .. }) => {
                    let mut lost = 0;
                    while let Some(run) = part.acquired.front()
                        && run.first < log_start
                    {
                        lost += part.take_front(log_start - run.first);
                    }
                    reader.undelivered -= lost;
                }
                Err(error) => {
                    tracing::info!(stream = reader.name, ?error, "consumer of a stream's group ends");
                    return self.end_group(id, broker);
                }
            }
        }
        self.streams_to_pump.push(id);
    }

    pub(crate) fn pump_group(&mut self, id: u32, broker: &mut dyn Broker) {
        let mut scratch = Scratch::default();
        loop {
            if self.out.len() >= STREAM_OUTBOX_BYTES {
                // It goes on when the socket has taken some.
                self.streams_to_pump.push(id);
                return;
            }
            match self.deliver_acquired(id, &mut scratch) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(consumer = id, error, "a batch cannot be read; consumer of a group ends");
                    return self.end_group(id, broker);
                }
            }
        }
        let Some(consumer) = self.consumers.get_mut(&id).filter(|consumer| consumer.active) else { return };
        let outstanding = consumer.outstanding;
        let Source::Group(reader) = &mut consumer.source else { return };
        let (settles, windows) = (&mut self.settles, &mut self.windows);
        reader.ask(id, outstanding, |shard, request| {
            // What was given back first.
            settles.hand_over(shard, windows, broker);
            broker.send(shard, request);
        });
    }

    /// Delivers one record. False if none is at hand.
    fn deliver_acquired(&mut self, id: u32, scratch: &mut Scratch) -> Result<bool, String> {
        let Some(consumer) = self.consumers.get_mut(&id).filter(|consumer| consumer.active) else {
            return Ok(false);
        };
        let Consumer { channel: number, tag, source, outstanding, .. } = consumer;
        let Source::Group(reader) = source else { return Ok(false) };
        let Some((at, bytes, acquired)) = reader.next_record(id, &mut self.settles)? else {
            return Ok(false);
        };
        let several = reader.parts.len() > 1;
        let part = &reader.parts[at];
        let record = RecordIter::new(&bytes, 1).next().and_then(Result::ok).ok_or("a record is malformed")?;
        let Some(open) = &part.open else { return Ok(false) };
        let incoming = Incoming {
            stream: &reader.name,
            offset: acquired.first,
            partition: several.then_some(part.index),
            timestamp: open.batch.header.record_timestamp(record.timestamp_delta),
            converted: open.batch.converted,
            key: record.key,
            value: record.value,
            headers: record.headers.clone(),
            returns: Some(acquired.returns),
        };
        let Some(Some(channel)) = self.channels.get_mut(usize::from(*number)) else { return Ok(false) };
        *outstanding += 1;
        let place = Place {
            channel: *number,
            tag,
            slot: Slot { consumer: id, number: u64::from(part.index) << OFFSET_BITS | acquired.first },
            redelivered: acquired.redelivered,
        };
        put_delivery(&mut self.out, channel, self.frame_max, &place, &incoming, &bytes, scratch);
        Ok(true)
    }

    /// The consumer leaves its group; what it has delivered stays with the channel.
    pub(crate) fn leave_group(&mut self, id: u32, broker: &mut dyn Broker) {
        let Some(reader) = group(&mut self.consumers, id) else { return };
        reader.give_back(id, &mut self.settles);
        let shards: Vec<ShardId> = reader.shards().collect();
        for shard in shards {
            let leave = share::Request::Leave { consumer: ConsumerId(id) };
            self.send(shard, Request::Share(leave), broker);
        }
    }

    /// The stream is gone or cannot be read: the consumer is cancelled.
    fn end_group(&mut self, id: u32, broker: &mut dyn Broker) {
        self.leave_group(id, broker);
        self.cancelled_by_broker(id);
    }
}

/// What the group's settings say where the consumer does not, and how it hands out records. Kafka's defaults do not
/// bind consumers that know nothing of Kafka: what is not set for the group is without limit.
fn settings(group: &GroupArguments, broker: &dyn Broker) -> (Option<u64>, share::Policy) {
    let explicit = look_up(broker, |topology| topology.configs(ConfigKind::Group, &group.name).to_vec());
    let config = ShareConfig::parsed(&explicit);
    let limit = config.delivery_count_limited.then(|| config.returns_max());
    let mut policy = config.policy();
    // Over AMQP nothing is read that is not committed.
    policy.committed = true;
    if !explicit.iter().any(|(name, _)| name == "share.partition.max.record.locks") {
        policy.window = 0;
    }
    (group.returns_max.or(limit), policy)
}

pub(crate) fn group(consumers: &mut Consumers, id: u32) -> Option<&mut GroupReader> {
    match consumers.get_mut(&id) {
        Some(Consumer { source: Source::Group(reader), active: true, .. }) => Some(reader),
        _ => None,
    }
}
