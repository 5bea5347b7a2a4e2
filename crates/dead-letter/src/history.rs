//! The header `x-death`: an array of tables, the newest first, one for each queue and reason, with how often. And its
//! first and last entry in headers of their own, for those who do not want to read arrays.

use bowline_codec_amqp::{FieldTable, FieldValue};
use bowline_model::record::SettleReason;

const DEATHS: &[u8] = b"x-death";
/// Where an `x-death` header goes that a client wrote.
pub const PUBLISHED_DEATHS: &str = "x-published-death";
/// The rest of our own: `x-first-death-queue` and so on.
const SUMMARIES: [&[u8]; 6] = [
    b"x-first-death-reason",
    b"x-first-death-queue",
    b"x-first-death-exchange",
    b"x-last-death-reason",
    b"x-last-death-queue",
    b"x-last-death-exchange",
];

/// Octets of routing keys that an entry keeps, beyond the first key: a message with thousands of CC keys would grow by
/// all of them in each queue, and moving it on would cost ever more.
const KEYS_BYTES_MAX: usize = 1024;
/// Queues and reasons that a message can die of; with one more it goes nowhere. A way that long is no way but a loop,
/// or an attack.
const DEATHS_MAX: usize = 256;

/// One death.
#[derive(Clone, Copy, Debug)]
pub struct Death<'a> {
    pub queue: &'a str,
    pub reason: SettleReason,
    /// Seconds since 1970.
    pub time: u64,
    /// Where it had been published, with which keys.
    pub exchange: &'a [u8],
    pub routing_keys: &'a [&'a [u8]],
    /// The time to live that it brought and loses now.
    pub expiration: Option<&'a [u8]>,
}

/// Where a message died last, and where it had been published before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastDeath {
    pub queue: Vec<u8>,
    pub exchange: Vec<u8>,
    pub routing_keys: Vec<Vec<u8>>,
}

/// RabbitMQ's word for it.
pub fn reason_name(reason: SettleReason) -> &'static str {
    match reason {
        SettleReason::Rejected => "rejected",
        SettleReason::Expired => "expired",
        SettleReason::MaxLength => "maxlen",
        SettleReason::DeliveryLimit => "delivery_limit",
        // These do not dead-letter.
        SettleReason::Acked | SettleReason::Purged | SettleReason::Redriven => "unknown",
    }
}

/// The deaths of a message, newest first.
#[derive(Debug, Default)]
pub struct History(Vec<FieldTable>);

impl History {
    /// Reads it out of `headers`, if it is there and the broker's own; and takes all of it out.
    pub fn take(headers: &mut FieldTable, is_own: bool) -> History {
        let mut history = History::default();
        let mut kept = FieldTable::new();
        for (name, value) in headers.iter() {
            match value {
                FieldValue::Array(deaths) if is_own && name == DEATHS => {
                    let tables = deaths.iter().filter_map(|death| match death {
                        FieldValue::Table(table) => Some(table.clone()),
                        _ => None,
                    });
                    history.0.extend(tables);
                }
                _ if name == DEATHS => kept.push(PUBLISHED_DEATHS, value.clone()),
                // What a client wrote under these names only repeats its x-death, or lies.
                _ if SUMMARIES.contains(&name) && !(is_own && name.starts_with(b"x-first")) => {}
                _ => kept.push_bytes(name, value.clone()),
            }
        }
        *headers = kept;
        history
    }

    /// The broker's own history with all that repeats it; nothing of it is left in `headers`.
    pub fn take_all(headers: &mut FieldTable) -> History {
        let history = History::take(headers, true);
        let mut kept = FieldTable::new();
        for (name, value) in headers.iter().filter(|(name, _)| !SUMMARIES.contains(name)) {
            kept.push_bytes(name, value.clone());
        }
        *headers = kept;
        history
    }

    /// What it died of last.
    pub fn last(&self) -> Option<LastDeath> {
        let table = self.0.first()?;
        let routing_keys = match table.get("routing-keys") {
            Some(FieldValue::Array(keys)) => keys.iter().filter_map(bytes).map(<[u8]>::to_vec).collect(),
            _ => Vec::new(),
        };
        Some(LastDeath {
            queue: text(table, "queue")?.to_vec(),
            exchange: text(table, "exchange").unwrap_or_default().to_vec(),
            routing_keys,
        })
    }

    /// Adds a death: to those for the same reason in the same queue, if there are any.
    pub fn add(&mut self, death: &Death<'_>) {
        let reason = reason_name(death.reason);
        let same = |table: &FieldTable| {
            text(table, "queue") == Some(death.queue.as_bytes())
                && text(table, "reason") == Some(reason.as_bytes())
        };
        let entry = match self.0.iter().position(same) {
            Some(i) => counted(&self.0.remove(i)),
            None => first(death, reason),
        };
        self.0.insert(0, entry);
    }

    /// Whether it has died too often to be sent on.
    pub fn is_full(&self) -> bool {
        self.0.len() > DEATHS_MAX
    }

    /// Whether sending it to `queue` again would go round for ever: it has been there, and since then nobody has
    /// rejected it.
    pub fn is_cycle(&self, queue: &str) -> bool {
        let Some(last) = self.0.iter().position(|death| text(death, "queue") == Some(queue.as_bytes()))
        else {
            return false;
        };
        self.0[..=last].iter().all(|death| text(death, "reason") != Some(b"rejected"))
    }

    /// Writes it back. `death` is the one just added.
    pub fn put(&self, headers: &mut FieldTable, death: &Death<'_>) {
        let reason = reason_name(death.reason);
        if headers.get("x-first-death-reason").is_none() {
            headers.push("x-first-death-reason", reason);
            headers.push("x-first-death-queue", death.queue);
            headers.push_bytes(b"x-first-death-exchange", FieldValue::LongStr(death.exchange.to_vec()));
        }
        headers.push("x-last-death-reason", reason);
        headers.push("x-last-death-queue", death.queue);
        headers.push_bytes(b"x-last-death-exchange", FieldValue::LongStr(death.exchange.to_vec()));
        let deaths = self.0.iter().cloned().map(FieldValue::Table).collect();
        headers.push_bytes(DEATHS, FieldValue::Array(deaths));
    }
}

fn first(death: &Death<'_>, reason: &str) -> FieldTable {
    let mut room = KEYS_BYTES_MAX + death.routing_keys.first().map_or(0, |key| key.len());
    let fitting = death.routing_keys.iter().take_while(|key| {
        let fits = key.len() <= room;
        room = room.saturating_sub(key.len().max(1));
        fits
    });
    let keys = fitting.map(|key| FieldValue::LongStr(key.to_vec())).collect();
    let mut table = FieldTable::new().with("count", 1i64).with("reason", reason).with("queue", death.queue);
    table.push_bytes(b"time", FieldValue::Timestamp(death.time));
    table.push_bytes(b"exchange", FieldValue::LongStr(death.exchange.to_vec()));
    table.push_bytes(b"routing-keys", FieldValue::Array(keys));
    if let Some(expiration) = death.expiration {
        table.push_bytes(b"original-expiration", FieldValue::LongStr(expiration.to_vec()));
    }
    table
}

/// The same, once more.
fn counted(table: &FieldTable) -> FieldTable {
    let mut counted = FieldTable::new();
    for (name, value) in table.iter() {
        let value = match value {
            FieldValue::I64(count) if name == b"count" => FieldValue::I64(count.saturating_add(1)),
            other => other.clone(),
        };
        counted.push_bytes(name, value);
    }
    counted
}

fn text<'a>(table: &'a FieldTable, name: &str) -> Option<&'a [u8]> {
    table.get(name).and_then(bytes)
}

fn bytes(value: &FieldValue) -> Option<&[u8]> {
    match value {
        FieldValue::LongStr(bytes) => Some(bytes),
        _ => None,
    }
}
