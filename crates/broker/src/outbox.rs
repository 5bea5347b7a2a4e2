//! Transactions that span shards: this shard has committed parts for others ([`bowline_model::outbox`]), hands them
//! over, and keeps them until they have arrived. Durable state; a start hands over again whatever is still there.
//!
//! Each record of a part has a number of its own, so that a queue that gets several of them can tell them apart.

use crate::effects::{Effects, Receipt, Transfer};
use bowline_model::outbox::{self, Part};
use bowline_model::record::{self, Append, Kind, Publish};
use bowline_model::{QueueId, SessionId, ShardId, Token};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tickets of receipts with this bit are the outbox's; those without it belong to the router of dead letters.
const TICKET: u64 = 1 << 63;

/// Other shards are told which names are over after so many entries.
const FORGET_EVERY: u64 = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    shard: ShardId,
    kept: Kept,
    /// Volatile: for whom to answer, and how many parts have not arrived.
    under_way: BTreeMap<u64, UnderWay>,
    /// Volatile: entries that are over since other shards were told.
    over: u64,
}

/// The durable part.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Number of the next record.
    next: u64,
    /// By the number of its first record, each entry's body.
    entries: BTreeMap<u64, Vec<u8>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    parts: usize,
    waits: Option<(SessionId, Token)>,
}

impl Outbox {
    pub fn new(shard: ShardId, kept: Kept) -> Outbox {
        Outbox { shard, kept, under_way: BTreeMap::new(), over: 0 }
    }

    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The name of this outbox among the sources of transfers: no queue gets so high an id.
    fn source(&self) -> QueueId {
        QueueId(u32::MAX - u32::from(self.shard.0))
    }

    /// Durable: an entry is committed. Gives its number.
    pub fn apply(&mut self, body: &[u8], fx: &mut Effects) -> u64 {
        let number = self.kept.next;
        self.kept.next += outbox::parts(body).map(|part| u64::from(part.count)).sum::<u64>().max(1);
        self.kept.entries.insert(number, body.to_vec());
        self.hand_over(number, fx);
        number
    }

    /// Durable: an entry has arrived everywhere.
    pub fn apply_done(&mut self, number: u64, fx: &mut Effects) {
        let Some(body) = self.kept.entries.remove(&number) else { return };
        self.over += 1;
        if self.over.is_multiple_of(FORGET_EVERY) {
            let upto = self.kept.entries.keys().next().copied().unwrap_or(self.kept.next);
            let shards = outbox::parts(&body).map(|part| (part.shard, self.source(), upto));
            fx.over.extend(shards);
        }
    }

    /// A new life begins: whatever is here may not have arrived.
    pub fn begin(&mut self, fx: &mut Effects) {
        self.under_way.clear();
        let numbers: Vec<u64> = self.kept.entries.keys().copied().collect();
        for number in numbers {
            self.hand_over(number, fx);
        }
    }

    fn hand_over(&mut self, number: u64, fx: &mut Effects) {
        let Some(body) = self.kept.entries.get(&number) else { return };
        let receipt = Some(Receipt { shard: self.shard, ticket: TICKET | number });
        let mut name = number;
        let mut parts = 0;
        for Part { shard, count, records } in outbox::parts(body) {
            let records = named(records, self.source(), name);
            fx.transfers.push((shard, Transfer { records, count, logged: true, receipt }));
            name += u64::from(count);
            parts += 1;
        }
        self.under_way.insert(number, UnderWay { parts, waits: None });
    }

    /// Somebody is to be told when entry `number` has arrived.
    pub fn wait(&mut self, number: u64, session: SessionId, token: Token) {
        if let Some(under_way) = self.under_way.get_mut(&number) {
            under_way.waits = Some((session, token));
        }
    }

    /// A part has arrived. `None`: the ticket is not the outbox's. Else whether that was the last part of an entry,
    /// with its OutboxDone record, and who waits.
    pub fn arrived(&mut self, ticket: u64) -> Option<Option<Arrived>> {
        if ticket & TICKET == 0 {
            return None;
        }
        let number = ticket & !TICKET;
        let Some(under_way) = self.under_way.get_mut(&number) else { return Some(None) };
        under_way.parts = under_way.parts.saturating_sub(1);
        if under_way.parts > 0 {
            return Some(None);
        }
        let waits = self.under_way.remove(&number).and_then(|under_way| under_way.waits);
        let mut record = Vec::new();
        record::put_value(&mut record, Kind::OutboxDone, &number);
        Some(Some(Arrived { record, waits }))
    }
}

/// All parts of an entry are where they belong.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// To be logged some time.
    pub record: Vec<u8>,
    pub waits: Option<(SessionId, Token)>,
}

/// The records under names of `source` from `number` on. A cancel has none: to withdraw twice does no harm.
fn named(records: &[u8], source: QueueId, number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() + records.len() / 8);
    for (record, number) in record::iter(records).zip(number..) {
        // The session made them and the block's checksum was right.
        let Ok(record) = record else { break };
        let from = Some((source.0, number));
        match record.kind {
            Kind::Publish => {
                let Some(publish) = Publish::decode(record.body) else { continue };
                let Publish { flags, exchange, routing_key, properties, extras, body, .. } = publish;
                let extras = record::Extras { from, ..extras };
                let body = [body].into_iter();
                let queues: Vec<u32> = publish.queues().collect();
                let queues = queues.into_iter();
                Publish::encode_with(
                    &mut out,
                    flags,
                    queues,
                    exchange,
                    routing_key,
                    properties,
                    &extras,
                    body,
                );
            }
            Kind::Append => {
                let Some(append) = Append::decode(record.body) else { continue };
                Append { from, ..append }.put(&mut out);
            }
            kind => record::put(&mut out, kind, record.body),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(queue: u32, body: &'static [u8]) -> Vec<u8> {
        let mut record = Vec::new();
        Publish::encode(&mut record, 1, [queue].into_iter(), b"", b"q", b"\0\0", [body].into_iter());
        record
    }

    fn entry() -> Vec<u8> {
        let mut body = Vec::new();
        let two = [publish(7, b"a"), publish(7, b"b")].concat();
        Part { shard: ShardId(2), count: 2, records: &two }.put(&mut body);
        Part { shard: ShardId(4), count: 1, records: &publish(9, b"c") }.put(&mut body);
        body
    }

    fn names(transfer: &Transfer) -> Vec<Option<(u32, u64)>> {
        let records =
            record::iter(&transfer.records).map(|record| Publish::decode(record.unwrap().body).unwrap());
        records.map(|publish| publish.extras.from).collect()
    }

    #[test]
    fn parts_are_handed_over_under_the_same_names_until_all_have_arrived() {
        let mut fx = Effects::default();
        let mut outbox = Outbox::new(ShardId(1), Kept::default());
        assert_eq!(outbox.apply(&entry(), &mut fx), 0);
        assert_eq!(outbox.apply(&entry(), &mut fx), 3);
        let source = outbox.source().0;
        let first =
            |fx: &Effects| fx.transfers.iter().map(|(_, transfer)| names(transfer)).collect::<Vec<_>>();
        let named = |number| Some((source, number));
        let expected = [vec![named(0), named(1)], vec![named(2)], vec![named(3), named(4)], vec![named(5)]];
        assert_eq!(first(&fx), expected);

        // One of the first entry arrives; then the node dies, and begins again with what is durable.
        outbox.wait(0, SessionId(5), Token(6));
        let ticket = fx.transfers[0].1.receipt.unwrap().ticket;
        assert!(matches!(outbox.arrived(ticket), Some(None)));
        assert!(outbox.arrived(3).is_none(), "a ticket of the dead letters' router");
        let kept = postcard::from_bytes(&postcard::to_stdvec(outbox.kept()).unwrap()).unwrap();
        let mut outbox = Outbox::new(ShardId(1), kept);
        let mut fx = Effects::default();
        outbox.begin(&mut fx);
        assert_eq!(first(&fx), expected);

        outbox.wait(0, SessionId(5), Token(7));
        assert!(matches!(outbox.arrived(ticket), Some(None)));
        let Some(Some(arrived)) = outbox.arrived(ticket) else { panic!("both parts have arrived") };
        assert_eq!(arrived.waits, Some((SessionId(5), Token(7))));
        outbox.apply_done(0, &mut fx);
        let mut fx = Effects::default();
        outbox.begin(&mut fx);
        assert_eq!(first(&fx), expected[2..]);
    }
}
