//! Publishes on their way: records gathered per shard, batches awaiting their shards, confirms becoming due.
//!
//! What one round of input published is one *batch*. Its records go to each shard as runs: a logged run is a
//! `Propose`, one that waits for nothing a `Volatile`; where the kind changes a new run begins, so that a shard
//! sees one publisher's messages in their order. All runs of a batch carry its token, and the batch is complete
//! when each was answered. Batches are completed in order, although answers may come out of order: then one
//! `basic.ack` with `multiple` confirms everything up to a sequence number.

use std::collections::VecDeque;

use bowline_model::extras::Extras;
use bowline_model::outbox::Part;
use bowline_model::record::{self, Kind, Publish, put_cancel};
use bowline_model::request::{Propose, Request, Volatile, Want};
use bowline_model::{PartitionId, ShardId};
use bytes::Bytes;

use crate::broker::Broker;
use crate::options::RUN_BYTES_MAX;
use crate::token::Asker;

/// A channel's part in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub channel: u16,
    /// Tells a channel from a later one with the same number.
    pub incarnation: u32,
    /// Publishes of the channel up to this sequence number are in this batch or an earlier one.
    pub upto: u64,
}

/// A batch that all its shards have answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Completed {
    pub number: u64,
    pub marks: Vec<Mark>,
    /// A shard refused its part: the batch's messages are nacked.
    pub failed: bool,
}

/// Message content on its way into records.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    /// Property block, flags included.
    pub properties: &'a [u8],
    /// The body as its frames split it.
    pub pieces: &'a [&'a [u8]],
    /// What queues have to know of it; hardly any message has some.
    pub extras: Option<&'a Extras>,
}

impl Content<'_> {
    /// Appends it as a record for these queues.
    #[inline]
    fn put(&self, out: &mut Vec<u8>, queues: &[u32], flags: u8) {
        let (queues, pieces) = (queues.iter().copied(), self.pieces.iter().copied());
        let Content { exchange, routing_key, properties, extras, .. } = *self;
        match extras {
            None => Publish::encode(out, flags, queues, exchange, routing_key, properties, pieces),
            Some(extras) => {
                Publish::encode_with(out, flags, queues, exchange, routing_key, properties, extras, pieces);
            }
        }
    }
}

struct Run {
    logged: bool,
    /// Its only message, or the transaction that it is part of, may be refused by a queue.
    checked: bool,
    want: Want,
    records: Vec<u8>,
    count: u32,
}

/// What goes to one data shard.
#[derive(Default)]
struct Lane {
    run: Option<Run>,
    /// Size of the last run: a good guess for the next.
    size_hint: usize,
}

struct Batch {
    marks: Vec<Mark>,
    /// Answers still expected.
    waiting: u32,
    bytes: usize,
    failed: bool,
    /// Its large runs, to be used again once the shards are done with them.
    lent: Vec<Lent>,
}

/// Buffers that were runs and will be runs again: fresh memory of this size costs a page fault every 4 KiB.
#[derive(Default)]
struct Spares {
    buffers: Vec<Vec<u8>>,
    /// Octets in `buffers` and in `lent` of all batches.
    bytes: usize,
}

/// Smaller buffers come from the allocator, cheaply.
const SPARE_BYTES_MIN: usize = 32 * 1024;
/// All spares of a session, those still in use by shards included.
const SPARES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A run that a shard has, and the capacity of its buffer.
type Lent = (Bytes, usize);

impl Spares {
    /// An empty buffer with that much room.
    fn take(&mut self, room: usize) -> Vec<u8> {
        if room < SPARE_BYTES_MIN {
            return Vec::with_capacity(room);
        }
        let fitting = self.buffers.iter().position(|buffer| buffer.capacity() >= room);
        // If none is large enough, one that is too small makes room for one that is.
        let Some(spare) = fitting.map(|at| self.buffers.swap_remove(at)).or_else(|| self.buffers.pop())
        else {
            return Vec::with_capacity(room);
        };
        self.bytes = self.bytes.saturating_sub(spare.capacity());
        if spare.capacity() >= room { spare } else { Vec::with_capacity(room) }
    }

    /// Makes a run ready to be handed over, and keeps a hold of it if its memory is worth it.
    fn lend(&mut self, records: Vec<u8>, lent: &mut Vec<Lent>) -> Bytes {
        let capacity = records.capacity();
        let records = Bytes::from(records);
        if capacity >= SPARE_BYTES_MIN && self.bytes + capacity <= SPARES_BYTES_MAX {
            self.bytes += capacity;
            lent.push((records.clone(), capacity));
        }
        records
    }

    /// A shard has answered. If it still holds the run, the memory is let go.
    fn give_back(&mut self, (records, capacity): Lent) {
        match records.try_into_mut() {
            Ok(mut buffer) => {
                buffer.clear();
                self.buffers.push(Vec::from(buffer));
            }
            Err(_) => self.bytes = self.bytes.saturating_sub(capacity),
        }
    }
}

pub struct Publisher {
    lanes: Vec<Lane>,
    /// The batch being gathered; its number is `next`.
    open: Batch,
    next: u64,
    /// Batches below `next`, oldest first.
    in_flight: VecDeque<Batch>,
    unanswered_bytes: usize,
    spares: Spares,
    /// What is published goes to each shard as one logged run, whatever its size: a transaction is being committed.
    is_atomic: bool,
}

impl Batch {
    fn new() -> Batch {
        Batch { marks: Vec::new(), waiting: 0, bytes: 0, failed: false, lent: Vec::new() }
    }
}

impl Publisher {
    pub fn new(data_shards: u16) -> Publisher {
        Publisher {
            lanes: (0..data_shards).map(|_| Lane::default()).collect(),
            open: Batch::new(),
            next: 1,
            in_flight: VecDeque::new(),
            unanswered_bytes: 0,
            spares: Spares::default(),
            is_atomic: false,
        }
    }

    /// From here to [`Publisher::end_atomic`], all that is published to one shard goes into one block of the log.
    /// The caller has closed the batch before, closes it afterwards, and bounds what it publishes.
    pub fn begin_atomic(&mut self) {
        debug_assert!(self.open.marks.is_empty() && self.open.waiting == 0);
        self.is_atomic = true;
    }

    pub fn is_atomic(&self) -> bool {
        self.is_atomic
    }

    /// Octets of the largest run that the transaction being gathered will have.
    pub fn largest_run(&self) -> usize {
        let runs = || self.lanes.iter().filter_map(|lane| lane.run.as_ref());
        let sizes = runs().map(|run| run.records.len());
        match self.is_one() {
            true => sizes.sum(),
            false => sizes.max().unwrap_or(0),
        }
    }

    /// The transaction being gathered goes to one shard, with an outbox for the others. Not so one of which a queue may
    /// refuse a part: each shard judges its own.
    fn is_one(&self) -> bool {
        self.is_atomic && self.lanes.iter().filter_map(|lane| lane.run.as_ref()).all(|run| !run.checked)
    }

    /// Leaves all to the first shard that gets a part.
    fn make_one(&mut self) {
        let mut runs = self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.run.is_some());
        let Some((_, Lane { run: Some(home), .. })) = runs.next() else { return };
        let mut outbox = Vec::new();
        for (lane, Lane { run, .. }) in runs {
            let Some(run) = run.take() else { continue };
            let part = Part { shard: ShardId(lane as u16 + 1), count: run.count, records: &run.records };
            part.put(&mut outbox);
        }
        if !outbox.is_empty() {
            record::put(&mut home.records, Kind::Outbox, &outbox);
            home.count += 1;
        }
    }

    pub fn end_atomic(&mut self) {
        self.is_atomic = false;
    }

    /// Forgets what was published since [`Publisher::begin_atomic`].
    pub fn discard_atomic(&mut self) {
        self.is_atomic = false;
        self.lanes.iter_mut().for_each(|lane| lane.run = None);
        self.open = Batch::new();
    }

    /// Number of the batch being gathered. A publish that was added at number n is answered once
    /// [`Publisher::completed_upto`] has reached n.
    #[inline]
    pub fn open_number(&self) -> u64 {
        self.next
    }

    /// All batches up to this number are complete.
    pub fn completed_upto(&self) -> u64 {
        self.next - 1 - self.in_flight.len() as u64
    }

    /// Everything handed over was answered.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.open.marks.is_empty() && self.open.waiting == 0
    }

    /// Octets of records that were handed over and not answered.
    pub fn unanswered_bytes(&self) -> usize {
        self.unanswered_bytes
    }

    /// Notes that a channel takes part in the open batch. Once per channel and batch.
    pub fn mark(&mut self, channel: u16, incarnation: u32) {
        self.open.marks.push(Mark { channel, incarnation, upto: 0 });
    }

    /// Adds a message for `queues` of one shard.
    #[inline]
    pub fn publish(
        &mut self,
        broker: &mut dyn Broker,
        shard: ShardId,
        queues: &[u32],
        logged: bool,
        flags: u8,
        content: &Content<'_>,
    ) {
        let run = self.run(broker, shard, logged);
        content.put(&mut run.records, queues, flags);
        run.count += 1;
        self.hand_over_full(broker, shard);
    }

    /// Adds a message for one queue that may refuse it. The open batch is this message's alone, or a transaction's:
    /// then what goes to the shard is refused as a whole.
    pub fn publish_checked(
        &mut self,
        broker: &mut dyn Broker,
        shard: ShardId,
        queue: u32,
        logged: bool,
        flags: u8,
        content: &Content<'_>,
    ) {
        if self.is_atomic {
            let run = self.run(broker, shard, logged);
            content.put(&mut run.records, &[queue], flags);
            (run.count, run.checked) = (run.count + 1, true);
            return;
        }
        self.hand_over(broker, shard);
        let mut records = Vec::new();
        content.put(&mut records, &[queue], flags);
        let run = Run { logged, checked: true, want: Want::Done, records, count: 1 };
        self.hand_over_run(broker, shard, run);
    }

    /// What waits under `handle` in queues of one shard is not to. The open batch fails if there is nothing, unless
    /// it is a transaction.
    pub fn cancel(&mut self, broker: &mut dyn Broker, shard: ShardId, queues: &[u32], handle: u128) {
        if self.is_atomic {
            let run = self.run(broker, shard, true);
            put_cancel(&mut run.records, queues.iter().copied(), handle);
            run.count += 1;
            return;
        }
        self.hand_over(broker, shard);
        let mut records = Vec::new();
        put_cancel(&mut records, queues.iter().copied(), handle);
        let run = Run { logged: true, checked: false, want: Want::Cancelled, records, count: 1 };
        self.hand_over_run(broker, shard, run);
    }

    /// The open batch is nacked, whatever shards say.
    pub fn fail(&mut self) {
        self.open.failed |= !self.is_atomic;
    }

    /// A buffer for a record that is gathered outside a run: see [`Publisher::publish_gathered`].
    pub fn buffer(&mut self, room: usize) -> Vec<u8> {
        self.spares.take(room)
    }

    /// Adds a finished Publish record of one shard as a run of its own.
    pub fn publish_gathered(
        &mut self,
        broker: &mut dyn Broker,
        shard: ShardId,
        logged: bool,
        record: Vec<u8>,
    ) {
        // What was published before goes before.
        self.hand_over(broker, shard);
        self.hand_over_run(
            broker,
            shard,
            Run { logged, checked: false, want: Want::Done, records: record, count: 1 },
        );
    }

    /// Lets spare memory go.
    pub fn shrink(&mut self) {
        for buffer in self.spares.buffers.drain(..) {
            self.spares.bytes = self.spares.bytes.saturating_sub(buffer.capacity());
        }
    }

    pub fn has_spares(&self) -> bool {
        !self.spares.buffers.is_empty()
    }

    /// Adds a record batch for a partition.
    pub fn append(
        &mut self,
        broker: &mut dyn Broker,
        shard: ShardId,
        partition: PartitionId,
        flags: u8,
        batch: &[u8],
    ) {
        let run = self.run(broker, shard, true);
        bowline_model::record::Append::encode(&mut run.records, partition.0, flags, batch);
        run.count += 1;
        self.hand_over_full(broker, shard);
    }

    /// Ends the open batch: hands its runs over. `upto` tells the last sequence number of a mark's channel.
    pub fn close_batch(&mut self, broker: &mut dyn Broker, upto: impl Fn(&Mark) -> u64) {
        if self.is_one() {
            self.make_one();
        }
        for lane in 0..self.lanes.len() {
            self.hand_over(broker, ShardId(lane as u16 + 1));
        }
        if self.open.marks.is_empty() && self.open.waiting == 0 {
            return;
        }
        let mut batch = std::mem::replace(&mut self.open, Batch::new());
        for mark in &mut batch.marks {
            mark.upto = upto(mark);
        }
        self.next += 1;
        self.in_flight.push_back(batch);
    }

    /// A shard answered one run of a batch.
    pub fn answered(&mut self, number: u64, failed: bool) {
        let oldest = self.next - self.in_flight.len() as u64;
        let Some(batch) = number.checked_sub(oldest).and_then(|at| self.in_flight.get_mut(at as usize))
        else {
            debug_assert!(false, "answer for batch {number}, oldest is {oldest}");
            return;
        };
        debug_assert!(batch.waiting > 0);
        batch.waiting -= 1;
        batch.failed |= failed;
    }

    /// Takes the oldest batch if it is complete.
    pub fn next_completed(&mut self) -> Option<Completed> {
        if self.in_flight.front()?.waiting > 0 {
            return None;
        }
        let number = self.completed_upto() + 1;
        let batch = self.in_flight.pop_front()?;
        self.unanswered_bytes -= batch.bytes;
        for lent in batch.lent {
            self.spares.give_back(lent);
        }
        Some(Completed { number, marks: batch.marks, failed: batch.failed })
    }

    fn run(&mut self, broker: &mut dyn Broker, shard: ShardId, logged: bool) -> &mut Run {
        let logged = logged || self.is_atomic;
        let lane = usize::from(shard.0) - 1;
        if self.lanes[lane].run.as_ref().is_some_and(|run| run.logged != logged) {
            self.hand_over(broker, shard);
        }
        let lane = &mut self.lanes[lane];
        let (spares, hint) = (&mut self.spares, lane.size_hint);
        let empty = || Run { logged, checked: false, want: Want::Done, records: spares.take(hint), count: 0 };
        lane.run.get_or_insert_with(empty)
    }

    #[inline]
    fn hand_over_full(&mut self, broker: &mut dyn Broker, shard: ShardId) {
        let run = self.lanes[usize::from(shard.0) - 1].run.as_ref();
        if run.is_some_and(|run| run.records.len() >= RUN_BYTES_MAX) && !self.is_atomic {
            self.hand_over(broker, shard);
        }
    }

    fn hand_over(&mut self, broker: &mut dyn Broker, shard: ShardId) {
        let lane = &mut self.lanes[usize::from(shard.0) - 1];
        let Some(run) = lane.run.take() else { return };
        // Half again, so that a slightly larger run does not move while it grows.
        lane.size_hint = (run.records.len() + run.records.len() / 2).min(RUN_BYTES_MAX);
        self.hand_over_run(broker, shard, run);
    }

    fn hand_over_run(&mut self, broker: &mut dyn Broker, shard: ShardId, run: Run) {
        let token = Asker::Batch(self.next).token();
        let Run { logged, checked, want, mut records, count } = run;
        self.open.waiting += 1;
        self.open.bytes += records.len();
        self.unanswered_bytes += records.len();
        let request = if logged {
            let records = self.spares.lend(records, &mut self.open.lent);
            Request::Propose(Propose { token, records, count, want, checked })
        } else {
            // The shard keeps these octets as they are while the messages live, so they should not keep much more.
            if records.capacity() > records.len() + records.len() / 4 {
                records.shrink_to_fit();
            }
            Request::Volatile(Volatile { token, records: Bytes::from(records), count, checked })
        };
        broker.send(shard, request);
    }
}
