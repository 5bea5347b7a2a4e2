//! What queues enforce, under attack: lifetimes, retries, delays, duplicate detection, priorities, order by key,
//! lengths; and transactions.
//!
//! Each [`Kind`] has two *lanes*: a queue, where what it enforces shows, and for some a queue for what dies in it. The
//! broker has several data shards ([`SHARDS`]); queues are declared in such an order that one lane of each kind has
//! both queues in one shard and the other in two. What dies on the first lane is taken out while the attacks go on, on
//! the second only when they are over: so there it lies in the queue just once, or the broker has doubled it.

pub mod judge;
pub mod produce;
pub mod take;

use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use bowline_client::Result;
use bowline_client::amqp::codec::{FieldTable, FieldValue};
use bowline_client::amqp::{Connection, Queue};

use crate::world::World;

/// Data shards of the broker.
pub const SHARDS: u32 = 3;
/// Messages live so long in queues that bound it, ms.
pub const TTL_MS: u64 = 300;
/// A message that was rejected waits so long at least, ms; and is given up after so many failures.
pub const RETRY_MS: [i64; 2] = [100, 200];
pub const ATTEMPTS: i64 = 3;
/// Messages in queues that bound it.
const LENGTH_MAX: i64 = 40;
/// No run takes longer.
const WINDOW_MS: i64 = 3_600_000;
pub const PRIORITY_MAX: u8 = 5;
/// The header that messages are kept in order by, and how many values it has.
pub const KEY: &str = "key";
const KEYS: u64 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Ttl,
    Retry,
    Delay,
    Dedup,
    Priority,
    Keyed,
    Tx,
    RejectPublish,
    DropHead,
}

pub const KINDS: [Kind; 9] = [
    Kind::Ttl,
    Kind::Retry,
    Kind::Delay,
    Kind::Dedup,
    Kind::Priority,
    Kind::Keyed,
    Kind::Tx,
    Kind::RejectPublish,
    Kind::DropHead,
];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ttl => "ttl",
            Kind::Retry => "retry",
            Kind::Delay => "delay",
            Kind::Dedup => "dedup",
            Kind::Priority => "priority",
            Kind::Keyed => "keyed",
            Kind::Tx => "tx",
            Kind::RejectPublish => "reject-publish",
            Kind::DropHead => "drop-head",
        }
    }

    /// Why messages die here, as `x-death` has it; `None`: they do not.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Kind::Ttl => Some("expired"),
            Kind::Retry => Some("delivery_limit"),
            Kind::DropHead => Some("maxlen"),
            _ => None,
        }
    }

    /// Whether it has a second queue: for the dead, or for what a transaction makes of a message.
    fn has_second(self) -> bool {
        self.reason().is_some() || self == Kind::Tx
    }

    fn arguments(self, second: &str) -> FieldTable {
        let dead = |table: FieldTable| {
            table.with("x-dead-letter-exchange", "").with("x-dead-letter-routing-key", second)
        };
        let table = FieldTable::new();
        match self {
            Kind::Ttl => dead(table.with("x-message-ttl", TTL_MS as i64)),
            Kind::Retry => {
                let delays = RETRY_MS.iter().map(|ms| FieldValue::I64(*ms)).collect();
                dead(
                    table
                        .with("x-retry-delays", FieldValue::Array(delays))
                        .with("x-retry-attempts", ATTEMPTS),
                )
            }
            Kind::Dedup => table.with("x-deduplication", FieldTable::new().with("window", WINDOW_MS)),
            Kind::Priority => table.with("x-max-priority", i64::from(PRIORITY_MAX)),
            Kind::Keyed => table.with("x-order-key", format!("header:{KEY}").as_str()),
            Kind::RejectPublish => {
                table.with("x-max-length", LENGTH_MAX).with("x-overflow", "reject-publish")
            }
            Kind::DropHead => dead(table.with("x-max-length", LENGTH_MAX)),
            Kind::Delay | Kind::Tx => table,
        }
    }

    /// How long message `sequence` is to be held back, ms.
    pub fn delay_ms(self, sequence: u64) -> Option<u64> {
        (self == Kind::Delay).then_some(20 + sequence * 37 % 900)
    }

    /// What message `sequence` is kept in order by.
    pub fn key(self, sequence: u64) -> Option<u64> {
        (self == Kind::Keyed).then_some(sequence % 17 % KEYS)
    }

    pub fn priority(self, sequence: u64) -> Option<u8> {
        (self == Kind::Priority).then_some((sequence * 7 % (u64::from(PRIORITY_MAX) + 1)) as u8)
    }
}

/// Facts about one message. Times are ms since the epoch.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// It left here not before.
    pub sent_ms: u64,
    pub confirmed: bool,
    pub refused: bool,
    /// Published in one transaction with others of the same number; from 1.
    pub group: u32,
    /// Times it was sent.
    pub sends: u16,
    /// Which of them arrived first; and whether another did, too.
    pub copy: Option<u16>,
    pub doubled: bool,
    /// Acknowledgements sent.
    pub acked: u32,
    /// When it was rejected last, and in which life of the broker.
    pub failed: Option<(u64, u64)>,
    /// Deliveries from the second queue, and those of them that were not flagged redelivered.
    pub dead: u32,
    pub dead_first: u32,
}

/// A queue with a rule, and what is known of its messages.
#[derive(Debug)]
pub struct Lane {
    pub kind: Kind,
    pub queue: String,
    /// For the dead; for [`Kind::Tx`], what a transaction makes of each message.
    pub second: Option<String>,
    /// The second queue is emptied during the attacks.
    pub is_live: bool,
    items: Mutex<Vec<Item>>,
}

impl Lane {
    pub fn items(&self) -> MutexGuard<'_, Vec<Item>> {
        self.items.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes what is known of a message. False if nobody sent such a one.
    pub fn update(&self, sequence: u64, change: impl FnOnce(&mut Item)) -> bool {
        let mut items = self.items();
        let item = usize::try_from(sequence).ok().and_then(|index| items.get_mut(index));
        item.map(change).is_some()
    }
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// All lanes, two of a kind.
pub fn lanes(name: &str) -> Vec<Lane> {
    let lane = |kind: Kind, is_live: bool| {
        let queue = format!("{name}-{}-{}", kind.name(), if is_live { "live" } else { "kept" });
        let second = kind.has_second().then(|| format!("{queue}-second"));
        Lane { kind, queue, second, is_live, items: Mutex::default() }
    };
    KINDS.into_iter().flat_map(|kind| [lane(kind, true), lane(kind, false)]).collect()
}

pub fn lanes_of(world: &World, kind: Kind) -> Vec<(usize, &Lane)> {
    world.lanes.iter().enumerate().filter(|(_, lane)| lane.kind == kind).collect()
}

/// Declares all queues. Ids are given in this order, and a queue's shard is its id modulo their number.
pub fn set_up(world: &World) -> Result<()> {
    let mut connection = Connection::open(&world.amqp_options("set-up"))?;
    let channel = connection.open_channel()?;
    let mut declare = |name: &str, arguments: FieldTable| {
        let queue = Queue { name, durable: true, arguments, ..Queue::default() };
        connection.declare_queue(channel, &queue).map(drop)
    };
    let first = |lane: &Lane| lane.kind.arguments(lane.second.as_deref().unwrap_or_default());
    // A queue and its second one, one after the other: in different shards.
    for lane in world.lanes.iter().filter(|lane| lane.is_live) {
        declare(&lane.queue, first(lane))?;
        if let Some(second) = &lane.second {
            declare(second, FieldTable::new())?;
        }
    }
    // A multiple of the shards apart: in one shard.
    let kept: Vec<&Lane> = world.lanes.iter().filter(|lane| !lane.is_live && lane.second.is_some()).collect();
    for shift in kept.chunks(SHARDS as usize) {
        for lane in shift {
            declare(&lane.queue, first(lane))?;
        }
        for fill in shift.len()..SHARDS as usize {
            declare(&format!("{}-fill-{fill}", shift[0].queue), FieldTable::new())?;
        }
        for lane in shift {
            declare(lane.second.as_deref().unwrap_or_default(), FieldTable::new())?;
        }
    }
    for lane in world.lanes.iter().filter(|lane| !lane.is_live && lane.second.is_none()) {
        declare(&lane.queue, first(lane))?;
    }
    connection.close()
}

/// Names of all queues.
pub fn queues(world: &World) -> Vec<String> {
    world.lanes.iter().flat_map(|lane| [Some(lane.queue.clone()), lane.second.clone()]).flatten().collect()
}
