//! The consumers of a session, and the settles on their way to the shards.

use bowline_model::request::{Outcome, Request, Settle};
use bowline_model::{ConsumerId, ShardId, share};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::broker::Broker;
use crate::group::GroupReader;
use crate::stream::StreamReader;
use crate::unacked::Slot;
use crate::windows::Windows;

/// Somebody deliveries go to.
pub struct Consumer {
    pub channel: u16,
    /// At most 255 octets. Empty for [`Source::Getter`].
    pub tag: Box<[u8]>,
    /// Deliveries are settled as they are made.
    pub no_ack: bool,
    /// What it rejects with requeue comes back after this long, ms, instead of what the queue says.
    pub retry_delay_ms: Option<u64>,
    /// Its own limit of unsettled deliveries; 0: none. The channel may have another.
    pub prefetch: u16,
    pub source: Source,
    /// False once cancelled: it stays until its deliveries are settled.
    pub active: bool,
    /// Deliveries that the client has not settled.
    pub outstanding: u32,
}

/// Where deliveries come from and settles go to.
pub enum Source {
    Queue(ShardId),
    /// What basic.get takes on one shard.
    Getter(ShardId),
    /// Driven by the session itself; settling gives credit and nothing else.
    Stream(Box<StreamReader>),
    /// Driven by the session, but who has what is the shards' business.
    Group(Box<GroupReader>),
}

pub type Consumers = HashMap<u32, Consumer, FixedState>;

/// Settles gathered during one round of input, per data shard, neighbours joined.
pub struct Settles {
    shards: Vec<Vec<Settle>>,
    /// The same of groups on streams.
    shares: Vec<Vec<share::Settle>>,
}

impl Settles {
    pub fn new(data_shards: u16) -> Settles {
        Settles {
            shards: (0..data_shards).map(|_| Vec::new()).collect(),
            shares: (0..data_shards).map(|_| Vec::new()).collect(),
        }
    }

    /// Adds `count` deliveries of one consumer from number `first` on.
    pub fn add(&mut self, shard: ShardId, consumer: u32, first: u64, count: u64, outcome: Outcome) {
        let settles = &mut self.shards[usize::from(shard.0) - 1];
        if let Some(last) = settles.last_mut()
            && last.consumer.0 == consumer
            && last.outcome == outcome
            && last.first + last.count == first
        {
            last.count += count;
            return;
        }
        settles.push(Settle { consumer: ConsumerId(consumer), first, count, outcome });
    }

    /// Adds what became of records that a consumer of a group has acquired.
    pub fn share(&mut self, shard: ShardId, settle: share::Settle) {
        let settles = &mut self.shares[usize::from(shard.0) - 1];
        if let Some(last) = settles.last_mut()
            && (last.consumer, last.partition, last.outcome)
                == (settle.consumer, settle.partition, settle.outcome)
            && last.first + last.count == settle.first
        {
            last.count += settle.count;
            return;
        }
        settles.push(settle);
    }

    /// Hands over what a shard should hear before anything else is asked of it.
    /// A report of what was written rides along.
    pub fn hand_over(&mut self, shard: ShardId, windows: &mut Windows, broker: &mut dyn Broker) {
        let settles = &mut self.shards[usize::from(shard.0) - 1];
        if !settles.is_empty() {
            broker.send(shard, Request::Settle(std::mem::take(settles)));
            windows.report(shard, broker);
        }
        let shares = &mut self.shares[usize::from(shard.0) - 1];
        if !shares.is_empty() {
            broker.send(shard, Request::Share(share::Request::Settle(std::mem::take(shares))));
        }
    }

    pub fn hand_over_all(&mut self, windows: &mut Windows, broker: &mut dyn Broker) {
        for at in 0..self.shards.len() {
            self.hand_over(ShardId(at as u16 + 1), windows, broker);
        }
    }
}

/// Joins slots that come one after the other into ranges, and books each range once.
pub struct SettleRun<'a> {
    pub consumers: &'a mut Consumers,
    pub settles: &'a mut Settles,
    pub outcome: Outcome,
    run: Option<(Slot, u64)>,
    /// A stream consumer got credit back.
    pub stream_credit: bool,
}

impl<'a> SettleRun<'a> {
    pub fn new(consumers: &'a mut Consumers, settles: &'a mut Settles, outcome: Outcome) -> SettleRun<'a> {
        SettleRun { consumers, settles, outcome, run: None, stream_credit: false }
    }

    #[inline]
    pub fn add(&mut self, slot: Slot) {
        match &mut self.run {
            Some((first, count))
                if first.consumer == slot.consumer && first.number + *count == slot.number =>
            {
                *count += 1
            }
            _ => {
                self.book();
                self.run = Some((slot, 1));
            }
        }
    }

    /// Books the last range; tells whether a stream consumer got credit back.
    pub fn finish(mut self) -> bool {
        self.book();
        self.stream_credit
    }

    fn book(&mut self) {
        let Some((first, count)) = self.run.take() else { return };
        let Some(consumer) = self.consumers.get_mut(&first.consumer) else { return };
        consumer.outstanding = consumer.outstanding.saturating_sub(count as u32);
        match &consumer.source {
            Source::Queue(shard) | Source::Getter(shard) => {
                let outcome = match (self.outcome, consumer.retry_delay_ms) {
                    (Outcome::Failed, Some(delay_ms)) => Outcome::FailedFor { delay_ms },
                    (outcome, _) => outcome,
                };
                self.settles.add(*shard, first.consumer, first.number, count, outcome);
            }
            Source::Stream(_) => self.stream_credit = true,
            Source::Group(reader) => {
                // Whatever a group's consumer gives back has failed.
                let outcome = match (self.outcome, consumer.retry_delay_ms) {
                    (Outcome::Returned | Outcome::Failed, Some(delay_ms)) => Outcome::FailedFor { delay_ms },
                    (outcome, _) => outcome,
                };
                reader.settle(first.consumer, first.number, count, outcome, self.settles);
                self.stream_credit = true;
            }
        }
        if !consumer.active && consumer.outstanding == 0 {
            self.consumers.remove(&first.consumer);
        }
    }
}
