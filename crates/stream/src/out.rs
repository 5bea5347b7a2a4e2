//! What leaves the state machines, and how blocks come in.

use crate::share::{Dead, KeysWanted, ShareWaiter};
use crate::txn::{Send, TxnWaiter};
use bowline_model::event::Event;
use bowline_model::{BlockRef, Lsn, PartitionId, SessionId, Token, group};

/// What the shard has to do. Functions append; the shard takes what is there and clears it.
#[derive(Debug, Default)]
pub struct Out {
    pub replies: Vec<(SessionId, Event)>,
    pub propose: Vec<Proposal>,
    /// For other shards.
    pub sends: Vec<Send>,
    /// Records of share groups that are dying: each is answered by [`crate::Shares::buried`].
    pub dead: Vec<Dead>,
    /// Keys of records that share groups have to know: each is answered by [`crate::Shares::keys_known`].
    pub keys: Vec<KeysWanted>,
}

/// Records to log.
#[derive(Debug)]
pub struct Proposal {
    /// Framed as [`bowline_model::record`] says.
    pub records: Vec<u8>,
    pub count: u32,
    /// To be given to `Stream::applied` after the block that holds the records was applied, or to `Stream::refused`.
    pub waiter: Option<Waiter>,
    /// A client waits; otherwise it may ride in whatever block comes next.
    pub urgent: bool,
}

impl Proposal {
    pub(crate) fn new(urgent: bool) -> Proposal {
        Proposal { records: Vec::new(), count: 0, waiter: None, urgent }
    }
}

/// An answer that is due when a proposal has been applied. Opaque to the shard.
#[derive(Debug)]
pub enum Waiter {
    Trim {
        session: SessionId,
        token: Token,
        partition: PartitionId,
    },
    /// The reply is known already, as the checks were made when the request came.
    Group {
        session: SessionId,
        token: Token,
        reply: group::Reply,
    },
    Share(Box<ShareWaiter>),
    Txn(Box<TxnWaiter>),
}

/// Committed blocks that are in memory.
pub trait BlockLookup {
    /// The block that begins at `lsn`, if it is resident.
    fn block(&mut self, lsn: Lsn) -> Option<BlockRef>;

    /// Reading the block was tried and failed: it is answered as a storage error rather than asked for again.
    fn unreadable(&self, lsn: Lsn) -> bool {
        let _ = lsn;
        false
    }
}

/// A wish for a run of the log: all blocks that begin in `lsn .. lsn + max_bytes`, entire. A block always begins
/// at `lsn`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    pub lsn: Lsn,
    /// ≥ 1; at most [`crate::partition::READ_BYTES_MAX`].
    pub max_bytes: u32,
}
