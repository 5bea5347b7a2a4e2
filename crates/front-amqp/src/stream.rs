//! Streams over AMQP: publishes become records of a topic, and consumers read a topic's partitions.
//!
//! A stream consumer is driven by its session, not by a shard. It fetches while it has credit (its prefetch minus
//! what the client has not acknowledged) and while the outbox is not full; at the end of a partition it asks to be
//! told of more. Acknowledging gives credit back and removes nothing.
//!
//! A topic's partitions may be spread over data shards; the consumer has one *lane* per shard, with its own fetch
//! or watch. What was fetched waits as slices of blocks in one queue, so partitions take turns by fetch.

use std::collections::VecDeque;

use bowline_codec_amqp::frame::{DeliverHead, FRAME_END, FRAME_OVERHEAD, body_frame_head, body_frame_max};
use bowline_codec_amqp::{Properties, ShortStr, TableRef, Value};
use bowline_codec_kafka::records::{
    Batch, BatchBuilder, BatchHeader, Compression, HEADER_BYTES, Headers, RecordIter, recompress,
};
use bowline_convert::{
    FieldBuffer, HeaderBuffer, Incoming, Outgoing, append_record, partition_of, read_record, to_value,
};
use bowline_model::event::{BatchSlice, FetchError, FetchedPartition, OffsetFound, SLICE_ABORTED};
use bowline_model::record::APPEND_CONVERTED;
use bowline_model::request::{Fetch, FetchPartition, OffsetQuery, Request};
use bowline_model::{Millis, PartitionId, ShardId, Token};
use bowline_topology::TopicTarget;
use bowline_topology::arguments::{self, age_ms};
use bowline_topology::config::Recompression;
use bowline_topology::refusal::Resource;
use bowline_topology::value::{as_term, type_name};
use bytes::Bytes;

use crate::broker::Broker;
use crate::channel::Channel;
use crate::consumers::{Consumer, Source};
use crate::options::{COPY_BODY_BYTES_MAX, STREAM_BATCH_BYTES, STREAM_FETCH_BYTES, STREAM_OUTBOX_BYTES};
use crate::outbox::Outbox;
use crate::publisher::Content;
use crate::refusal::{Refusal, Step};
use crate::session::Session;
use crate::token::Asker;
use crate::unacked::Slot;

/// A decompressed batch may be this large, octets; Kafka clients send far less.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Records of one round of input for one partition.
pub struct OpenBatch {
    partition: PartitionId,
    builder: BatchBuilder,
    compression: Recompression,
}

/// Where a consumer begins: argument `x-stream-offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    First,
    /// The last batch.
    Last,
    /// What comes from now on. The default.
    Next,
    Offset(u64),
    /// The first record of this time or later, milliseconds since 1970.
    Time(i64),
}

impl StartAt {
    /// `first`, `last`, `next`, an offset, a timestamp, or an age such as `7D` or `1h`.
    /// `queue` is for the refusal.
    pub fn read(arguments: TableRef<'_>, now: Millis, queue: &Resource<'_>) -> Step<StartAt> {
        let Some(value) = arguments.get("x-stream-offset") else { return Ok(StartAt::Next) };
        let invalid = || invalid("x-stream-offset", "invalid_stream_offset_arg", value, queue);
        match value {
            Value::LongStr(b"first") => Ok(StartAt::First),
            Value::LongStr(b"last") => Ok(StartAt::Last),
            Value::LongStr(b"next") => Ok(StartAt::Next),
            Value::LongStr(age) => {
                let age_ms = age_ms(age).ok_or_else(invalid)?;
                Ok(StartAt::Time(now.saturating_sub(age_ms.unsigned_abs()) as i64))
            }
            Value::Timestamp(seconds) => {
                Ok(StartAt::Time(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)))
            }
            value => match value.as_i64() {
                Some(offset) if offset >= 0 => Ok(StartAt::Offset(offset as u64)),
                _ => Err(invalid()),
            },
        }
    }
}

/// Which messages a consumer wants: arguments `x-stream-filter` and `x-stream-match-unfiltered`. Unlike RabbitMQ's,
/// which passes whole chunks, it is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Sorted: a client may name thousands.
    values: Vec<Box<[u8]>>,
    /// Messages without a filter value pass too.
    unfiltered: bool,
}

/// Header of a published message, and of the record it becomes.
const FILTER_VALUE: &[u8] = b"x-stream-filter-value";

impl Filter {
    /// One value or an array of them. `None` without the argument. `queue` is for the refusal.
    pub fn read(arguments: TableRef<'_>, queue: &Resource<'_>) -> Step<Option<Filter>> {
        let invalid = |name, value| invalid(name, "unacceptable_value", value, queue);
        let Some(value) = arguments.get("x-stream-filter") else { return Ok(None) };
        let mut values = Vec::new();
        match value {
            Value::LongStr(value) => values.push(value.into()),
            Value::Array(several) => {
                for one in several.iter() {
                    let Value::LongStr(one) = one else { return Err(invalid("x-stream-filter", value)) };
                    values.push(one.into());
                }
            }
            value => return Err(invalid("x-stream-filter", value)),
        }
        values.sort_unstable();
        let unfiltered = match arguments.get("x-stream-match-unfiltered") {
            None => false,
            Some(Value::Bool(unfiltered)) => unfiltered,
            Some(value) => return Err(invalid("x-stream-match-unfiltered", value)),
        };
        Ok(Some(Filter { values, unfiltered }))
    }

    fn passes(&self, headers: Headers<'_>) -> bool {
        let mut headers = headers;
        match headers.find(|header| header.key == FILTER_VALUE).and_then(|header| header.value) {
            Some(value) => self.values.binary_search_by(|wanted| (**wanted).cmp(value)).is_ok(),
            None => self.unfiltered,
        }
    }
}

fn invalid(name: &str, problem: &str, value: Value<'_>, queue: &Resource<'_>) -> Refusal {
    let value = to_value(value);
    let problem = format!("{{{problem},{{{},{}}}}}", type_name(&value), as_term(&value));
    arguments::invalid(queue, name, &problem).into()
}

/// A consumer's place in a topic.
pub struct StreamReader {
    name: String,
    prefetch: u32,
    filter: Option<Filter>,
    partitions: Vec<Position>,
    lanes: Vec<Lane>,
    /// Fetched and not yet looked into.
    ready: VecDeque<Ready>,
    open: Option<OpenedBatch>,
    /// Deliveries made: numbers slots, so that neighbours can be settled as ranges.
    delivered: u64,
    start: StartAt,
}

struct Position {
    partition: PartitionId,
    /// Place in the topic.
    index: u32,
    /// The offset to be delivered next.
    next: u64,
}

struct Lane {
    shard: ShardId,
    /// Indexes into the reader's partitions.
    partitions: Vec<usize>,
    state: LaneState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneState {
    /// The first offsets are being looked up.
    Starting,
    Idle,
    Fetching,
    /// At the end of all its partitions.
    Watching,
}

struct Ready {
    position: usize,
    slice: BatchSlice,
}

/// A batch whose records are being delivered.
pub(crate) struct OpenedBatch {
    position: usize,
    pub header: BatchHeader,
    pub base_offset: u64,
    pub converted: bool,
    /// There is nothing in it for consumers.
    is_empty: bool,
    pub records: Bytes,
    /// Where the next record begins in `records`, and how many are left.
    pub at: usize,
    pub left: i32,
}

impl OpenedBatch {
    /// Back to the first record.
    pub fn rewind(&mut self) {
        self.at = 0;
        self.left = if self.is_empty { 0 } else { self.header.records_count };
    }
}

impl StreamReader {
    pub fn new(
        name: String,
        partitions: &[PartitionId],
        prefetch: u16,
        filter: Option<Filter>,
        data_shards: u16,
    ) -> StreamReader {
        let mut lanes: Vec<Lane> = Vec::new();
        for (at, partition) in partitions.iter().enumerate() {
            let shard = ShardId::of(partition.0, data_shards);
            match lanes.iter_mut().find(|lane| lane.shard == shard) {
                Some(lane) => lane.partitions.push(at),
                None => lanes.push(Lane { shard, partitions: vec![at], state: LaneState::Starting }),
            }
        }
        let position = |(index, &partition)| Position { partition, index: index as u32, next: 0 };
        StreamReader {
            name,
            prefetch: prefetch.into(),
            filter,
            partitions: partitions.iter().enumerate().map(position).collect(),
            lanes,
            ready: VecDeque::new(),
            open: None,
            delivered: 0,
            start: StartAt::Next,
        }
    }

    /// The watches to end when the consumer goes.
    pub fn watches(&self, consumer: u32) -> Vec<(ShardId, Token)> {
        let watching = |(at, lane): (usize, &Lane)| {
            let token = Asker::StreamWatch { consumer, lane: at as u16 }.token();
            (lane.state == LaneState::Watching).then_some((lane.shard, token))
        };
        self.lanes.iter().enumerate().filter_map(watching).collect()
    }

    /// Asks the lanes that have nothing to do for more.
    fn fetch(&mut self, consumer: u32, broker: &mut dyn Broker) {
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if lane.state != LaneState::Idle {
                continue;
            }
            lane.state = LaneState::Fetching;
            let partition = |&at: &usize| FetchPartition {
                partition: self.partitions[at].partition,
                offset: self.partitions[at].next,
                max_bytes: STREAM_FETCH_BYTES,
            };
            let fetch = Fetch {
                token: Asker::StreamFetch { consumer, lane: at as u16 }.token(),
                partitions: lane.partitions.iter().map(partition).collect(),
                max_bytes: STREAM_FETCH_BYTES,
                committed: true,
            };
            broker.send(lane.shard, Request::Fetch(fetch));
        }
    }

    fn watch(&mut self, consumer: u32, lane: u16, broker: &mut dyn Broker) {
        let Some(watched) = self.lanes.get_mut(usize::from(lane)) else { return };
        watched.state = LaneState::Watching;
        let partition = |&at: &usize| (self.partitions[at].partition, self.partitions[at].next);
        let request = Request::Watch {
            token: Asker::StreamWatch { consumer, lane }.token(),
            partitions: watched.partitions.iter().map(partition).collect(),
            committed: true,
        };
        broker.send(watched.shard, request);
    }

    fn position_of(&mut self, partition: PartitionId) -> Option<(usize, &mut Position)> {
        self.partitions.iter_mut().enumerate().find(|(_, position)| position.partition == partition)
    }

    /// Makes sure that `open` has a record to deliver, if there is any. `Err` when a batch cannot be read.
    fn open_next(&mut self) -> Result<bool, String> {
        loop {
            if let Some(open) = &self.open {
                if open.left > 0 {
                    return Ok(true);
                }
                let end = open.base_offset + open.header.last_offset_delta.max(0) as u64 + 1;
                let next = &mut self.partitions[open.position].next;
                *next = end.max(*next);
                self.open = None;
            }
            let Some(ready) = self.ready.pop_front() else { return Ok(false) };
            self.open = Some(open_batch(ready.position, ready.slice).map_err(|error| error.to_string())?);
        }
    }
}

pub(crate) fn open_batch(
    position: usize,
    slice: BatchSlice,
) -> Result<OpenedBatch, bowline_codec_kafka::records::BatchError> {
    let bytes = slice.block.payload.slice(slice.offset as usize..(slice.offset + slice.len) as usize);
    let header = BatchHeader::parse(&bytes)?;
    // Markers of transactions are for Kafka clients, and what was aborted is for nobody.
    let is_empty = header.is_control() || slice.flags & SLICE_ABORTED != 0;
    let records = if is_empty { Bytes::new() } else { Batch { header, bytes }.records(BATCH_BYTES_MAX)? };
    Ok(OpenedBatch {
        position,
        header,
        base_offset: slice.base_offset,
        converted: slice.flags & APPEND_CONVERTED != 0,
        records,
        at: 0,
        is_empty,
        left: if is_empty { 0 } else { header.records_count },
    })
}

/// An uncompressed batch as its topic wants it (`compression.type`).
fn compressed(bytes: Bytes, wanted: Recompression) -> Result<Bytes, String> {
    let (compression, level) = match wanted {
        Recompression::Producer | Recompression::Uncompressed => return Ok(bytes),
        Recompression::Gzip(level) => (Compression::Gzip, level),
        Recompression::Snappy => (Compression::Snappy, None),
        Recompression::Lz4 => (Compression::Lz4, None),
        Recompression::Zstd(level) => (Compression::Zstd, level),
    };
    let text = |error: bowline_codec_kafka::records::BatchError| error.to_string();
    let header = BatchHeader::parse(&bytes).map_err(text)?;
    recompress(&header, &bytes[HEADER_BYTES..], compression, level).map_err(text)
}

impl Session {
    /// Adds a message to the open batch of one of the topic's partitions.
    pub(crate) fn append_to_stream(
        &mut self,
        topic: &TopicTarget,
        content: &Content<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let key = content.routing_key;
        if topic.keyed && key.is_empty() {
            // As a full queue that rejects what is published: a nack, or a transaction that fails.
            if self.publisher.is_atomic() {
                return Err(Refusal::precondition(
                    "a compacted stream takes no message without a routing key",
                ));
            }
            self.publisher.fail();
            return Ok(());
        }
        // Records without a key take turns by round of input, which keeps batches large.
        let partition = partition_of(&topic.partitions, key, self.publisher.open_number());
        let joined: Vec<u8>;
        let body = match content.pieces {
            [] => &[][..],
            [body] => body,
            pieces => {
                joined = pieces.concat();
                &joined
            }
        };
        let message = Outgoing {
            exchange: content.exchange,
            routing_key: key,
            properties: Properties::parse(content.properties)?,
            body,
            timestamp: self.now.unix_ms as i64,
        };
        let at = match self.stream_batches.iter().position(|batch| batch.partition == partition) {
            Some(at) => at,
            None => {
                let builder = BatchBuilder::new(message.timestamp);
                let compression = topic.compression;
                self.stream_batches.push(OpenBatch { partition, builder, compression });
                self.stream_batches.len() - 1
            }
        };
        let builder = &mut self.stream_batches[at].builder;
        append_record(&message, &mut HeaderBuffer::default(), builder)
            .map_err(|error| Refusal::precondition(error.to_string()))?;
        if builder.uncompressed_bytes() >= STREAM_BATCH_BYTES {
            let batch = self.stream_batches.swap_remove(at);
            self.close_stream_batch(batch, broker);
        }
        Ok(())
    }

    /// The records of this round of input join the open batch of publishes.
    pub(crate) fn close_stream_batches(&mut self, broker: &mut dyn Broker) {
        while let Some(batch) = self.stream_batches.pop() {
            self.close_stream_batch(batch, broker);
        }
    }

    fn close_stream_batch(&mut self, batch: OpenBatch, broker: &mut dyn Broker) {
        let shard = ShardId::of(batch.partition.0, broker.data_shards());
        let built = batch.builder.build().map_err(|error| error.to_string());
        match built.and_then(|bytes| compressed(bytes, batch.compression)) {
            Ok(bytes) => self.publisher.append(broker, shard, batch.partition, APPEND_CONVERTED, &bytes),
            // It was not empty and far below any bound.
            Err(error) => debug_assert!(false, "{error}"),
        }
    }

    /// Looks up where a new stream consumer begins.
    pub(crate) fn start_stream(&mut self, id: u32, start: StartAt, broker: &mut dyn Broker) {
        let Some(reader) = reader(&mut self.consumers, id) else { return };
        reader.start = start;
        if let StartAt::Offset(offset) = start {
            reader.partitions.iter_mut().for_each(|position| position.next = offset);
            reader.lanes.iter_mut().for_each(|lane| lane.state = LaneState::Idle);
            self.streams_to_pump.push(id);
            return;
        }
        let query = match start {
            StartAt::First => OffsetQuery::Earliest,
            StartAt::Time(time) => OffsetQuery::Timestamp(time),
            StartAt::Last | StartAt::Next | StartAt::Offset(_) => OffsetQuery::LatestStable,
        };
        for (at, lane) in reader.lanes.iter().enumerate() {
            let request = Request::ListOffsets {
                token: Asker::StreamStart { consumer: id, lane: at as u16 }.token(),
                queries: lane.partitions.iter().map(|&at| (reader.partitions[at].partition, query)).collect(),
            };
            broker.send(lane.shard, request);
        }
    }

    pub(crate) fn stream_offsets(
        &mut self,
        token: Token,
        results: Vec<(PartitionId, Result<OffsetFound, FetchError>)>,
        broker: &mut dyn Broker,
    ) {
        let Some(Asker::StreamStart { consumer: id, lane }) = Asker::of(token) else { return };
        let Some(reader) = reader(&mut self.consumers, id) else { return };
        let start = reader.start;
        for (partition, result) in results {
            let Some((_, position)) = reader.position_of(partition) else { continue };
            match result {
                // The fetch from the last offset brings the whole batch that it is in.
                Ok(OffsetFound::Offset(offset)) if start == StartAt::Last => {
                    position.next = offset.saturating_sub(1);
                }
                Ok(OffsetFound::Offset(offset)) => position.next = offset,
                Ok(OffsetFound::Batches { batches: slices, .. }) => {
                    let StartAt::Time(time) = start else { continue };
                    // No record is that young: what comes from now on is; a fetch beyond the end finds it.
                    position.next = first_at(&slices, time).unwrap_or(u64::MAX);
                }
                Err(_) => return self.end_stream(id, broker),
            }
        }
        if let Some(lane) = reader.lanes.get_mut(usize::from(lane)) {
            lane.state = LaneState::Idle;
        }
        self.streams_to_pump.push(id);
    }

    pub(crate) fn stream_fetched(
        &mut self,
        token: Token,
        partitions: Vec<FetchedPartition>,
        broker: &mut dyn Broker,
    ) {
        let Some(Asker::StreamFetch { consumer: id, lane }) = Asker::of(token) else { return };
        let Some(reader) = reader(&mut self.consumers, id) else { return };
        let whole_batch = reader.start == StartAt::Last && reader.delivered == 0;
        let (mut found, mut moved) = (false, false);
        for fetched in partitions {
            let Some((at, position)) = reader.position_of(fetched.partition) else { continue };
            match fetched.result {
                Ok(fetched) => {
                    if whole_batch && let Some(first) = fetched.batches.first() {
                        position.next = first.base_offset;
                    }
                    found |= !fetched.batches.is_empty();
                    reader
                        .ready
                        .extend(fetched.batches.into_iter().map(|slice| Ready { position: at, slice }));
                }
                // Retention removed what was next, or the start lies beyond the end.
                Err(FetchError::OutOfRange { log_start, high_watermark }) => {
                    position.next = position.next.clamp(log_start, high_watermark.max(log_start));
                    moved = true;
                }
                Err(error) => {
                    tracing::info!(stream = reader.name, ?error, "stream consumer ends");
                    return self.end_stream(id, broker);
                }
            }
        }
        if found || moved {
            if let Some(lane) = reader.lanes.get_mut(usize::from(lane)) {
                lane.state = LaneState::Idle;
            }
            self.streams_to_pump.push(id);
        } else {
            reader.watch(id, lane, broker);
        }
    }

    pub(crate) fn stream_moved(&mut self, token: Token) {
        let Some(Asker::StreamWatch { consumer: id, lane }) = Asker::of(token) else { return };
        let Some(reader) = reader(&mut self.consumers, id) else { return };
        if let Some(lane) = reader.lanes.get_mut(usize::from(lane))
            && lane.state == LaneState::Watching
        {
            lane.state = LaneState::Idle;
            self.streams_to_pump.push(id);
        }
    }

    /// Acknowledgements on that channel gave its stream consumers credit.
    pub(crate) fn credit_streams(&mut self, number: u16) {
        let Some(Some(channel)) = self.channels.get(usize::from(number)) else { return };
        for (_, id) in &channel.consumers {
            let is_stream = matches!(
                self.consumers.get(id),
                Some(Consumer { source: Source::Stream(_) | Source::Group(_), active: true, .. })
            );
            if is_stream && !self.streams_to_pump.contains(id) {
                self.streams_to_pump.push(*id);
            }
        }
    }

    /// Delivers what streams have for consumers with credit, as long as the outbox has room.
    pub(crate) fn pump_streams(&mut self, broker: &mut dyn Broker) {
        let mut at = 0;
        while at < self.streams_to_pump.len() {
            if self.out.len() >= STREAM_OUTBOX_BYTES {
                self.streams_to_pump.drain(..at);
                return;
            }
            self.pump_stream(self.streams_to_pump[at], broker);
            at += 1;
        }
        self.streams_to_pump.clear();
    }

    fn pump_stream(&mut self, id: u32, broker: &mut dyn Broker) {
        let mut scratch = Scratch::default();
        loop {
            if self.out.len() >= STREAM_OUTBOX_BYTES {
                // It goes on when the socket has taken some.
                self.streams_to_pump.push(id);
                return;
            }
            let Some(consumer) = self.consumers.get_mut(&id).filter(|consumer| consumer.active) else {
                return;
            };
            let outstanding = consumer.outstanding;
            let Source::Stream(reader) = &mut consumer.source else { return self.pump_group(id, broker) };
            if outstanding >= reader.prefetch {
                return;
            }
            match reader.open_next() {
                Ok(true) => {}
                Ok(false) => return reader.fetch(id, broker),
                Err(error) => {
                    tracing::error!(
                        stream = reader.name,
                        error,
                        "a batch cannot be read; stream consumer ends"
                    );
                    return self.end_stream(id, broker);
                }
            }
            if self.deliver_record(id, &mut scratch).is_none() {
                tracing::error!(consumer = id, "a record cannot be read; stream consumer ends");
                return self.end_stream(id, broker);
            }
        }
    }

    /// Delivers the next record of the open batch, or passes it over if it lies before the consumer's start.
    /// `None` when it is malformed.
    fn deliver_record(&mut self, id: u32, scratch: &mut Scratch) -> Option<()> {
        let Consumer { channel: number, tag, source, outstanding, .. } = self.consumers.get_mut(&id)?;
        let Source::Stream(reader) = source else { return None };
        let several = reader.partitions.len() > 1;
        let open = reader.open.as_mut()?;
        let len = record_len(&open.records[open.at..])?;
        let bytes = open.records.slice(open.at..open.at + len);
        let record = RecordIter::new(&bytes, 1).next()?.ok()?;
        open.at += len;
        open.left -= 1;
        let position = &mut reader.partitions[open.position];
        let offset = open.base_offset + u64::try_from(record.offset_delta).ok()?;
        if offset < position.next {
            return Some(());
        }
        position.next = offset + 1;
        if reader.filter.as_ref().is_some_and(|filter| !filter.passes(record.headers.clone())) {
            return Some(());
        }

        let incoming = Incoming {
            stream: &reader.name,
            offset,
            partition: several.then_some(position.index),
            timestamp: open.header.record_timestamp(record.timestamp_delta),
            converted: open.converted,
            key: record.key,
            value: record.value,
            headers: record.headers.clone(),
            returns: None,
        };
        let channel = self.channels.get_mut(usize::from(*number)).and_then(Option::as_mut)?;
        let slot = Slot { consumer: id, number: reader.delivered };
        reader.delivered += 1;
        *outstanding += 1;
        let place = Place { channel: *number, tag, slot, redelivered: false };
        put_delivery(&mut self.out, channel, self.frame_max, &place, &incoming, &bytes, scratch);
        Some(())
    }

    /// The stream is gone or cannot be read: the consumer is cancelled.
    fn end_stream(&mut self, id: u32, broker: &mut dyn Broker) {
        if let Some(reader) = reader(&mut self.consumers, id) {
            for (shard, token) in reader.watches(id) {
                broker.send(shard, Request::Unwatch { token });
            }
        }
        self.cancelled_by_broker(id);
    }
}

#[derive(Default)]
pub(crate) struct Scratch {
    properties: Vec<u8>,
    fields: FieldBuffer,
}

/// Whom a record is delivered to, and as what.
pub(crate) struct Place<'a> {
    pub channel: u16,
    pub tag: &'a [u8],
    pub slot: Slot,
    pub redelivered: bool,
}

/// Writes the frames of one delivery; the record's octets are `bytes`.
pub(crate) fn put_delivery(
    out: &mut Outbox,
    channel: &mut Channel,
    frame_max: u32,
    place: &Place<'_>,
    incoming: &Incoming<'_>,
    bytes: &Bytes,
    scratch: &mut Scratch,
) {
    scratch.properties.clear();
    let usable = if frame_max == 0 { usize::MAX } else { frame_max as usize };
    // The property block shares its frame with twelve octets of content header.
    let properties_max = usable - FRAME_OVERHEAD - 12;
    let message = read_record(incoming, properties_max, &mut scratch.fields, &mut scratch.properties);
    let head = DeliverHead {
        channel: place.channel,
        consumer_tag: ShortStr::new(place.tag).unwrap_or_default(),
        delivery_tag: channel.unacked.push(place.slot),
        redelivered: place.redelivered,
        exchange: ShortStr::new(message.exchange).unwrap_or_default(),
        routing_key: ShortStr::new(message.routing_key).unwrap_or_default(),
        properties: &scratch.properties,
        body_size: message.body.len() as u64,
    };
    head.encode(out.staged());
    for part in message.body.chunks(body_frame_max(frame_max)) {
        out.staged().extend_from_slice(&body_frame_head(place.channel, part.len() as u32));
        if part.len() <= COPY_BODY_BYTES_MAX {
            out.staged().extend_from_slice(part);
        } else {
            out.push_shared(bytes.slice_ref(part));
        }
        out.staged().push(FRAME_END);
    }
}

fn reader(consumers: &mut crate::consumers::Consumers, id: u32) -> Option<&mut StreamReader> {
    match consumers.get_mut(&id) {
        Some(Consumer { source: Source::Stream(reader), active: true, .. }) => Some(reader),
        _ => None,
    }
}

/// Octets of the record at the front: its length is a zigzag varint that does not count itself.
pub(crate) fn record_len(bytes: &[u8]) -> Option<usize> {
    let mut raw: u64 = 0;
    for (at, octet) in bytes.iter().take(5).enumerate() {
        raw |= u64::from(octet & 0x7f) << (7 * at);
        if octet & 0x80 == 0 {
            // Lengths are not negative, so the sign bit is clear.
            let len = at + 1 + usize::try_from(raw >> 1).ok()?;
            return (raw & 1 == 0 && len <= bytes.len()).then_some(len);
        }
    }
    None
}

/// Offset of the first record at or after that time.
pub(crate) fn first_at(slices: &[BatchSlice], time: i64) -> Option<u64> {
    slices.iter().find_map(|slice| {
        let open = open_batch(0, slice.clone()).ok()?;
        RecordIter::new(&open.records, open.left)
            .map_while(Result::ok)
            .find(|record| open.header.record_timestamp(record.timestamp_delta) >= time)
            .and_then(|record| Some(open.base_offset + u64::try_from(record.offset_delta).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_codec_amqp::{FieldTable, FieldValue};

    #[test]
    fn starting_points() {
        let read = |value: FieldValue| {
            let bytes = FieldTable::new().with("x-stream-offset", value).to_bytes();
            StartAt::read(TableRef::parse(&bytes).unwrap(), 10_000_000, &Resource::queue("/", "s"))
        };
        assert_eq!(StartAt::read(TableRef::EMPTY, 0, &Resource::queue("/", "s")), Ok(StartAt::Next));
        assert_eq!(read("first".into()), Ok(StartAt::First));
        assert_eq!(read("last".into()), Ok(StartAt::Last));
        assert_eq!(read("1h".into()), Ok(StartAt::Time(10_000_000 - 3_600_000)));
        assert_eq!(read("1Y".into()), Ok(StartAt::Time(0)));
        assert_eq!(read(FieldValue::Timestamp(7)), Ok(StartAt::Time(7000)));
        assert_eq!(read(FieldValue::I32(7)), Ok(StartAt::Offset(7)));
        // Longer ago than there was time: the beginning.
        assert_eq!(read("99999999999999999999Y".into()), Ok(StartAt::Time(0)));
        let refused = read("soon".into()).unwrap_err();
        assert_eq!(
            refused.text,
            "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 's' in vhost '/': \
             {invalid_stream_offset_arg,{longstr,<<\"soon\">>}}"
        );
        assert!(read("h".into()).is_err());
        assert!(read((-1i64).into()).is_err());
        assert!(read(FieldValue::Void).is_err());
    }
}
