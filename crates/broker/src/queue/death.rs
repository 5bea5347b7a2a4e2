//! Messages die: they leave their queue without having been processed. Where the queue has a dead-letter exchange
//! they are *dying* until the router has said what becomes of them; then the new message and the settle of the old
//! one go into one block.

use super::dispatch::Source;
use super::enforce::NOWHERE;
use super::housekeeping::Listed;
use super::settle::leave;
use super::volatile::{self, VolatileStore};
use super::window::MessageRef;
use super::{Queue, Queues};
use crate::cache::Cache;
use crate::effects::{DeadLetter, DeadLetters, Happened, Reborn, Remains, Transfer};
use crate::proposal::{Proposals, Provisioned};
use bowline_model::record::{self, Kind, Publish, SettleReason};
use bowline_model::settings::Overflow;
use bowline_model::{Block, BlockRef, Lsn, Millis, QueueId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first in line, of which perhaps only the number is known.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub message: MessageRef,
    pub source: Source,
    /// Where it lies is known, too.
    pub is_resolved: bool,
}

impl Head {
    pub fn of(queue: &Queue) -> Option<Head> {
        if let Some(lanes) = queue.special.as_deref().and_then(|special| special.lanes.as_ref()) {
            let (level, spot, message) = lanes.peek()?;
            let is_resolved = message.lsn != NOWHERE;
            return Some(Head { message, source: Source::Lane(level, spot), is_resolved });
        }
        if let Some(&message) = queue.returned.peek() {
            return Some(Head { message, source: Source::Returned, is_resolved: true });
        }
        let fresh = queue.fresh.next_seq(&queue.index);
        if let Some(&message) = queue.volatile.front()
            && fresh.is_none_or(|seq| message.seq <= seq)
        {
            return Some(Head { message, source: Source::Volatile, is_resolved: true });
        }
        let message = MessageRef { seq: fresh?, lsn: NOWHERE, offset: 0, len: 0 };
        Some(Head { message, source: Source::Fresh, is_resolved: false })
    }
}

/// A message that is in nobody's hands any more is not to be processed.
#[cold]
pub(super) fn die(
    queue: &mut Queue,
    message: MessageRef,
    reason: SettleReason,
    volatile: &mut VolatileStore,
    housekeeping: &mut Listed,
) {
    if let Some(special) = &mut queue.special
        && message.lsn.is_volatile()
    {
        special.counts_in_memory.remove(&(message.lsn.0, message.offset));
    }
    let is_buried = queue.spec.settings.dead_letter_exchange.is_some();
    let what = match reason {
        _ if is_buried => Happened::DeadLettered(reason),
        SettleReason::Expired => Happened::Expired,
        _ => Happened::Dropped(reason),
    };
    queue.tell(&message, volatile, what);
    if is_buried && let Some(special) = &mut queue.special {
        special.dying.push_back((message, reason));
        queue.pass_on(&message, volatile);
    } else {
        leave(queue, message, reason, volatile, housekeeping);
    }
}

/// Body bytes of a message, for queues that count them; else 0.
pub(super) fn body_bytes(queue: &Queue, message: &MessageRef, volatile: &VolatileStore) -> u64 {
    let Some(special) = queue.special.as_deref() else { return 0 };
    if queue.spec.settings.max_length_bytes.is_none() {
        0
    } else if message.lsn.is_volatile() {
        volatile.block(message.lsn).map_or(0, |block| {
            let record = record::at(&block.payload, message.offset).ok();
            record.and_then(|r| Publish::decode(r.body)).map_or(0, |publish| publish.body.len() as u64)
        })
    } else {
        special.kept.sizes.get(message.seq)
    }
}

#[inline]
pub(super) fn block_of<'a>(volatile: &'a VolatileStore, cache: &'a Cache, lsn: Lsn) -> Option<&'a BlockRef> {
    if lsn.is_volatile() { volatile.block(lsn) } else { cache.get(lsn) }
}

impl Queues {
    /// Whether the queues take all messages of a batch. If not, those that dead-letter what they refuse do.
    pub(super) fn admits(&mut self, now: Millis, records: &Bytes, fx: &mut crate::Effects) -> bool {
        // By queue: how many messages of the batch, and their bytes.
        let mut taken: BTreeMap<QueueId, (u64, u64)> = BTreeMap::new();
        let mut full = false;
        for found in record::iter(records).map_while(Result::ok) {
            let Some(publish) =
                Some(found.body).filter(|_| found.kind == Kind::Publish).and_then(Publish::decode)
            else {
                continue;
            };
            let bytes = publish.body.len() as u64;
            for id in publish.queues().map(QueueId) {
                let Some(queue) = self.find_queue(id) else { continue };
                let of_queue = taken.entry(id).or_default();
                if !queue.refuses(of_queue.0, of_queue.1.saturating_add(bytes)) {
                    *of_queue = (of_queue.0 + 1, of_queue.1.saturating_add(bytes));
                    continue;
                }
                full = true;
                let settings = &queue.spec.settings;
                if settings.overflow == Overflow::RejectPublishDlx && settings.dead_letter_exchange.is_some()
                {
                    let payload = records.clone();
                    let (lsn, shard) = (NOWHERE, bowline_model::ShardId::META);
                    let block = Arc::new(Block { lsn, shard, term: 0, index: 0, stamp: now, payload });
                    let (reason, offset, len) = (SettleReason::MaxLength, found.offset, found.len);
                    let remains = Remains::Nowhere;
                    let letter = DeadLetter { remains, block, offset, len, reason, ticket: None };
                    fx.dead.push(DeadLetters::of(&queue.spec, vec![letter]));
                }
            }
        }
        if !full {
            for (id, (messages, _)) in taken {
                if let Some(special) = self.find_queue(id).and_then(|queue| queue.special.as_deref_mut()) {
                    special.arriving += messages;
                }
            }
        }
        !full
    }

    /// The log has refused blocks: nothing is known of what is under way.
    pub(crate) fn recount_arriving(&mut self) {
        for queue in self.slots.iter_mut().flatten() {
            if let Some(special) = &mut queue.special {
                special.arriving = 0;
            }
        }
    }

    /// Messages moved here from a queue of another shard. They get in sooner or later; `receipt` comes back when they
    /// are safe.
    pub(crate) fn receive(&mut self, now: Millis, transfer: Transfer, proposals: &mut Proposals) {
        let Transfer { records, count, logged, receipt } = transfer;
        let cost = volatile::cost_of(records.len(), count);
        if !logged && receipt.is_none() && self.volatile.has_room(cost) {
            self.enqueue_volatile(now, records.into(), cost);
        } else {
            proposals.insist(records, count, receipt.map_or(Provisioned::Reconciled, Provisioned::Received));
        }
    }

    /// The router says what becomes of a dead letter.
    pub(crate) fn reborn(&mut self, now: Millis, from: QueueId, reborn: Reborn, proposals: &mut Proposals) {
        let Reborn { remains, reason, mut records, mut count, logged } = reborn;
        let cost = volatile::cost_of(records.len(), count);
        let in_memory = count > 0 && !logged && self.volatile.has_room(cost);
        if in_memory {
            self.enqueue_volatile(now, std::mem::take(&mut records).into(), cost);
            count = 0;
        }
        match remains {
            Remains::Memory(lsn) => self.volatile.release(lsn),
            Remains::Log(seq) if count > 0 => {
                record::put_settle(&mut records, from.0, reason, &[(seq, 1)]);
                count += 1;
            }
            Remains::Log(seq) => {
                let found = self.find(from);
                if let Some(queue) = found.and_then(|at| self.slots[at.slot as usize].as_deref_mut()) {
                    self.housekeeping.settle(queue, reason, seq);
                }
            }
            Remains::Nowhere => {}
        }
        if count > 0 {
            proposals.insist(records, count, Provisioned::Reconciled);
        }
    }
}
