//! Transactions as bytes.
//!
//! ```text
//! version u8 = 1
//! n ids: n × ( id | producer | last producer: 0 | 1, producer | timeout | state u8 | started | updated | marker's
//!              producer | n partitions: n × (partition | topic | index) | n groups: n × name )
//! n groups: n × ( name | n transactions: n × ( producer | n offsets: n × (topic | partition (signed) | commit as
//!              postcard, with its length) ) )
//! ```
//! Numbers are varints, a producer is two signed ones, texts have a length.

use super::Txns;
use super::coordinator::Txn;
use super::pending::{Pending, PendingTxn};
use crate::checkpoint::{
    Damaged, put_bytes, put_signed, take, take_bytes, take_i32, take_signed, take_str, take_u32,
};
use bowline_model::txn::{Producer, State};
use bowline_model::{PartitionId, varint};

const VERSION: u8 = 1;

const STATES: [State; 6] = [
    State::Empty,
    State::Ongoing,
    State::PrepareCommit,
    State::PrepareAbort,
    State::CompleteCommit,
    State::CompleteAbort,
];

pub fn write(out: &mut Vec<u8>, txns: &Txns, pending: &Pending) {
    out.push(VERSION);
    varint::put(out, txns.durable().count() as u64);
    for (id, txn) in txns.durable() {
        put_bytes(out, id.as_bytes());
        put_producer(out, txn.producer);
        varint::put(out, u64::from(txn.last.is_some()));
        txn.last.into_iter().for_each(|last| put_producer(out, last));
        varint::put(out, u64::from(txn.timeout_ms));
        out.push(STATES.iter().position(|state| *state == txn.state).unwrap_or_default() as u8);
        varint::put(out, txn.started);
        varint::put(out, txn.updated);
        put_producer(out, txn.marker);
        varint::put(out, txn.members.len() as u64);
        for (partition, (topic, index)) in &txn.members {
            varint::put(out, u64::from(partition.0));
            put_bytes(out, topic.as_bytes());
            varint::put(out, u64::from(*index));
        }
        varint::put(out, txn.groups.len() as u64);
        txn.groups.iter().for_each(|group| put_bytes(out, group.as_bytes()));
    }
    varint::put(out, pending.by_group.len() as u64);
    for (group, open) in &pending.by_group {
        put_bytes(out, group.as_bytes());
        varint::put(out, open.len() as u64);
        for (&id, txn) in open {
            put_producer(out, Producer { id, epoch: txn.epoch });
            varint::put(out, txn.offsets.len() as u64);
            for ((topic, partition), commit) in &txn.offsets {
                put_bytes(out, topic.as_bytes());
                put_signed(out, i64::from(*partition));
                put_bytes(out, &postcard::to_stdvec(commit).expect("our plain data always serialises"));
            }
        }
    }
}

pub fn read(mut input: &[u8], txns: &mut Txns, pending: &mut Pending) -> Result<(), Damaged> {
    (*txns, *pending) = (Txns::new(txns.place()), Pending::default());
    let input = &mut input;
    if input.split_off_first() != Some(&VERSION) {
        return Err(Damaged("version of transactions"));
    }
    for _ in 0..take(input)? {
        let id = take_str(input)?;
        let mut txn = Txn::new();
        txn.producer = take_producer(input)?;
        txn.last = match take(input)? {
            0 => None,
            1 => Some(take_producer(input)?),
            _ => return Err(Damaged("last producer")),
        };
        txn.timeout_ms = take_u32(input)?;
        let state = input.split_off_first().and_then(|state| STATES.get(usize::from(*state)));
        txn.state = *state.ok_or(Damaged("state of a transaction"))?;
        (txn.started, txn.updated) = (take(input)?, take(input)?);
        txn.marker = take_producer(input)?;
        for _ in 0..take(input)? {
            let partition = PartitionId(take_u32(input)?);
            txn.members.insert(partition, (take_str(input)?.to_owned(), take_u32(input)?));
        }
        for _ in 0..take(input)? {
            txn.groups.insert(take_str(input)?.to_owned());
        }
        if txn.started > u64::MAX / 2 || txn.updated > u64::MAX / 2 {
            return Err(Damaged("times of a transaction"));
        }
        txns.insert(id, txn);
    }
    for _ in 0..take(input)? {
        let group = take_str(input)?.to_owned();
        for _ in 0..take(input)? {
            let producer = take_producer(input)?;
            let mut txn = PendingTxn { epoch: producer.epoch, ..PendingTxn::default() };
            for _ in 0..take(input)? {
                let key = (take_str(input)?.to_owned(), take_i32(input)?);
                let commit =
                    postcard::from_bytes(take_bytes(input)?).map_err(|_| Damaged("pending offset"))?;
                txn.offsets.insert(key, commit);
            }
            pending.by_group.entry(group.clone()).or_default().insert(producer.id, txn);
        }
    }
    if input.is_empty() { Ok(()) } else { Err(Damaged("bytes after the transactions")) }
}

fn put_producer(out: &mut Vec<u8>, producer: Producer) {
    put_signed(out, producer.id);
    put_signed(out, i64::from(producer.epoch));
}

fn take_producer(input: &mut &[u8]) -> Result<Producer, Damaged> {
    let id = take_signed(input)?;
    let epoch = i16::try_from(take_i32(input)?).map_err(|_| Damaged("producer epoch"))?;
    Ok(Producer { id, epoch })
}
