//! The open proposal: records that gather until the log can take a block, and who waits for them.
//!
//! A batch of a session goes into one block as a whole. When the open block is full, it is set aside and another
//! is begun; [`Proposals::seal`] gives them out in order.

use crate::effects::Receipt;
use crate::queue::{QueueRef, Runs};
use bowline_model::block::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_SOFT_MAX};
use bowline_model::event::AppendResult;
use bowline_model::meta::Destination;
use bowline_model::{AlignedBuf, PartitionId, QueueId, SessionId, Token};
use bytes::Bytes;
use std::collections::VecDeque;

/// What the open proposal wants of the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Urgency {
    /// There is nothing to seal.
    Nothing,
    /// Only settles and horizons: seal with the next block, or at the latest after [`LAZY_MS`].
    Lazily,
    /// Somebody waits: seal as soon as the log can take a block.
    Now,
}

/// How long housekeeping (settles, horizons) may wait for a block to ride on, milliseconds.
pub const LAZY_MS: u64 = 5;

/// The payload of a block that fills one page of memory, header and all.
const USUAL_BYTES_MIN: usize = BLOCK_ALIGN - BLOCK_HEADER_BYTES;

/// A finished block's payload on its way to the log.
#[derive(Debug)]
pub struct Proposal {
    /// The records, behind room for the block header.
    pub buf: AlignedBuf,
    pub n_records: u32,
    /// To be given back to [`crate::Shard::apply`] with the committed block, or to [`crate::Shard::abandon`].
    pub waiters: Vec<Waiter>,
}

/// Somebody who waits for a part of a block; opaque to the caller.
#[derive(Debug)]
pub struct Waiter {
    /// Its turn comes when this many records of the block have been applied.
    pub(crate) after: u32,
    pub(crate) what: Waits,
}

#[derive(Debug)]
pub(crate) enum Waits {
    Done {
        session: SessionId,
        token: Token,
        /// Which of the session's logged batches it is.
        batch: u64,
        /// It is over when this entry of the outbox has arrived. Filled while the block is applied.
        outbox: Option<u64>,
    },
    Appended {
        session: SessionId,
        token: Token,
        batch: u64,
        /// Filled while the block is applied.
        results: Vec<AppendResult>,
    },
    Cancelled {
        session: SessionId,
        token: Token,
        batch: u64,
        /// So far all of its records found what they were to cancel.
        all: bool,
    },
    /// A volatile batch beyond the memory budget: answered already, so a block that the log refuses must not take it
    /// along.
    Overflow {
        session: SessionId,
        batch: u64,
        records: Bytes,
        count: u32,
    },
    Purged {
        session: SessionId,
        token: Token,
        queue: QueueRef,
        messages: u64,
        runs: Runs,
    },
    Provision(Box<Provisioning>),
    Stream(bowline_stream::Waiter),
    /// What the shard itself put into the block, should it have to be put into another.
    Housekeeping(Box<Housekept>),
}

/// A record that makes the shard follow the topology. The topology has logged its part and does not ask again: if the
/// log refuses the block, the record goes into a later one.
#[derive(Debug)]
pub(crate) struct Provisioning {
    /// Framed, and how many there are.
    pub records: Vec<u8>,
    pub count: u32,
    pub answer: Provisioned,
}

/// What to tell the meta shard when the record has been applied.
#[derive(Debug)]
pub(crate) enum Provisioned {
    QueueReady(QueueId),
    QueueDropped {
        queue: QueueId,
        /// Filled when the record is applied.
        messages: u64,
    },
    PartitionReady(PartitionId),
    PartitionDropped(PartitionId),
    /// Everything before it is applied: the history may be copied.
    CopyHistory {
        history: QueueId,
        to: Destination,
        ticket: u64,
    },
    /// Another shard waits for it.
    Received(Receipt),
    /// The same, of a transaction's step.
    Told(Receipt),
    /// It waits for nothing.
    Reconciled,
}

/// Messages that came back, each with when it is due if it has to wait.
pub(crate) type Reported = Vec<(u64, Option<bowline_model::Millis>)>;

/// Settles and horizons in one block.
#[derive(Debug, Default)]
pub(crate) struct Housekept {
    pub settles: Vec<(QueueRef, bowline_model::record::SettleReason, Runs)>,
    pub horizons: Vec<QueueRef>,
    pub reported: Vec<(QueueRef, Reported)>,
    /// Records about those.
    pub reports: u32,
}

#[derive(Debug)]
pub(crate) struct Proposals {
    /// Set aside because they are full, oldest first.
    full: VecDeque<Open>,
    open: Open,
    /// What the last sealed block's payload took: a guess at how large the next one will be.
    usual_bytes: usize,
}

#[derive(Debug, Default)]
struct Open {
    buf: Option<AlignedBuf>,
    n_records: u32,
    waiters: Vec<Waiter>,
    urgent: bool,
}

impl Proposals {
    pub fn new() -> Proposals {
        Proposals { full: VecDeque::new(), open: Open::default(), usual_bytes: USUAL_BYTES_MIN }
    }

    /// Adds `count` framed records that belong together. `waits` hears when they have been applied.
    pub fn append(&mut self, records: &[u8], count: u32, urgent: bool, waits: Option<Waits>) {
        let len = self.open.buf.as_ref().map_or(0, AlignedBuf::payload_len);
        if len > 0 && len + records.len() > BLOCK_PAYLOAD_SOFT_MAX {
            let full = std::mem::take(&mut self.open);
            self.usual_bytes = BLOCK_PAYLOAD_SOFT_MAX;
            self.full.push_back(full);
        }
        let capacity = self.usual_bytes.max(records.len());
        let open = &mut self.open;
        open.buf
            .get_or_insert_with(|| AlignedBuf::with_payload_capacity(capacity))
            .extend_from_slice(records);
        open.n_records += count;
        open.urgent |= urgent;
        if let Some(what) = waits {
            open.waiters.push(Waiter { after: open.n_records, what });
        }
    }

    /// Sabotage: the first record of a batch goes into a block of its own. Returns the rest.
    #[cfg(feature = "sabotage")]
    pub fn split(&mut self, records: Bytes) -> Bytes {
        let Ok(first) = bowline_model::record::at(&records, 0) else { return records };
        self.append(&records[..first.len as usize], 1, true, None);
        let open = std::mem::take(&mut self.open);
        self.full.push_back(open);
        records.slice(first.len as usize..)
    }

    /// Batches of a refused block that must get in all the same: they are the next.
    pub fn put_back(&mut self, batches: Vec<Waits>) {
        let mut block = Open::default();
        for what in batches {
            let Waits::Overflow { records, count, .. } = &what else { continue };
            let buf = block.buf.get_or_insert_with(|| AlignedBuf::with_payload_capacity(records.len()));
            buf.extend_from_slice(records);
            block.n_records += count;
            block.waiters.push(Waiter { after: block.n_records, what });
        }
        if block.buf.is_some() {
            self.full.push_front(block);
        }
    }

    /// Adds a record that the topology wants.
    pub fn provision(&mut self, record: Vec<u8>, answer: Provisioned) {
        self.insist(record, 1, answer);
    }

    /// Adds records that belong together and must get in, sooner or later.
    pub fn insist(&mut self, records: Vec<u8>, count: u32, answer: Provisioned) {
        let provisioning = Provisioning { records: records.clone(), count, answer };
        self.append(&records, count, true, Some(Waits::Provision(Box::new(provisioning))));
    }

    /// The same, for one that the log has refused.
    pub fn provision_again(&mut self, provisioning: Box<Provisioning>) {
        self.append(
            &provisioning.records.clone(),
            provisioning.count,
            false,
            Some(Waits::Provision(provisioning)),
        );
    }

    pub fn urgency(&self) -> Urgency {
        if !self.full.is_empty() || self.open.urgent {
            Urgency::Now
        } else if self.open.buf.is_some() {
            Urgency::Lazily
        } else {
            Urgency::Nothing
        }
    }

    /// Takes the oldest block, with `housekeeping` (framed records) at its end.
    pub fn seal(&mut self, housekeeping: &[u8], count: u32, kept: Option<Housekept>) -> Option<Proposal> {
        let mut open = self.full.pop_front().unwrap_or_else(|| std::mem::take(&mut self.open));
        if open.buf.is_none() && housekeeping.is_empty() {
            return None;
        }
        let mut buf =
            open.buf.take().unwrap_or_else(|| AlignedBuf::with_payload_capacity(housekeeping.len()));
        if !housekeeping.is_empty() {
            buf.extend_from_slice(housekeeping);
        }
        open.n_records += count;
        if let Some(kept) = kept {
            open.waiters.push(Waiter { after: open.n_records, what: Waits::Housekeeping(Box::new(kept)) });
        }
        // Half of the difference each time, so that one lone message between bursts does not cost the next
        // burst a dozen reallocations.
        self.usual_bytes = (self.usual_bytes + buf.payload_len() * 5 / 4) / 2;
        self.usual_bytes = self.usual_bytes.clamp(USUAL_BYTES_MIN, BLOCK_PAYLOAD_SOFT_MAX);
        // The block stays in the cache for a while.
        buf.shrink();
        Some(Proposal { buf, n_records: open.n_records, waiters: open.waiters })
    }
}
