//! The dead-letter router: a shard names messages that died; here they are rewritten, and routed by the topology.
//!
//! Where all targets are in the shard itself, the new message and the end of the old one share a block: a crash leaves
//! one of them, never both and never none. Targets in other shards get theirs first ([`Transfer`], under a name by
//! which they know it again); when all have it, the old one ends. A crash in between has it sent again. Topics get
//! theirs as records, in the same way.

use crate::dead_records::{self, Letters, Opened};
use bowline_broker::{DeadLetter, DeadLetters, DeadRecord, Reborn, Receipt, Remains, Shard, Transfer};
use bowline_codec_amqp::Properties;
use bowline_convert::{Parcel, Posted, parcels};
use bowline_dead_letter::{Letter, Redrive, redrive, rewrite};
use bowline_model::record::{self, Publish, SETTLE_REASONS, SettleReason};
use bowline_model::{Millis, QueueId, ShardId};
use bowline_topology::Topology;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// What becomes of one dead letter.
#[derive(Debug)]
pub struct Fate {
    /// Where it died.
    pub queue: QueueId,
    /// For the shard where it died: at once, or when the others have theirs.
    pub reborn: Reborn,
    /// For other shards.
    pub elsewhere: Vec<(ShardId, Transfer)>,
    /// Why nobody gets it, if so.
    pub lost: Option<&'static str>,
}

impl Fate {
    /// The others must have theirs before the old message may end.
    pub fn waits(&self) -> bool {
        matches!(self.reborn.remains, Remains::Log(_)) && self.elsewhere.iter().any(|(_, part)| part.logged)
    }
}

/// Decides for a letter of `dead`, which are of `shard`. `None`: it is to be redriven, and there is no place for it.
pub fn decide(
    topology: &Topology,
    shard: ShardId,
    now: Millis,
    dead: &DeadLetters,
    letter: &DeadLetter,
) -> Option<Fate> {
    let DeadLetter { remains, reason, .. } = *letter;
    let nowhere = Reborn { remains, reason, records: Vec::new(), count: 0, logged: false };
    let mut fate = Fate { queue: dead.queue, reborn: nowhere, elsewhere: Vec::new(), lost: None };
    let found = record::at(&letter.block.payload, letter.offset).ok();
    let Some(publish) = found.and_then(|found| Publish::decode(found.body)) else {
        return dead.redrive.is_none().then_some(fate);
    };
    // Told apart from other dead letters, and the same if it has to be sent again.
    let number = match remains {
        Remains::Log(seq) => seq,
        Remains::Memory(lsn) => lsn.0 ^ u64::from(letter.offset),
        Remains::Nowhere => now,
    };
    let (vhost, chance) = (&*dead.vhost, number);
    let new = match &dead.redrive {
        None => rewrite(
            &Letter {
                publish: &publish,
                vhost,
                queue: &dead.name,
                reason,
                exchange: &dead.exchange,
                routing_key: dead.routing_key.as_deref(),
                time: now / 1000,
                chance,
            },
            topology,
        ),
        Some(to) => redrive(&Redrive { publish: &publish, vhost, queue: dead.queue, to, chance }, topology)?,
    };
    let posted = Posted {
        flags: new.flags,
        exchange: &new.exchange,
        routing_key: &new.routing_key,
        // Just made.
        properties: Properties::parse(&new.properties).unwrap_or(Properties::EMPTY),
        extras: new.extras,
        body: publish.body,
        moved: match remains {
            Remains::Log(seq) => Some((shard, dead.queue, seq)),
            Remains::Memory(_) | Remains::Nowhere => None,
        },
        turn: number,
        time: now,
    };
    let parcels = match parcels(&posted, &new.targets, topology) {
        Ok(parcels) => parcels,
        Err(error) if dead.redrive.is_some() => {
            tracing::error!(queue = dead.name, %error, "a message cannot be written where it is to go");
            return None;
        }
        Err(error) => {
            tracing::error!(queue = dead.name, %error, "a dead letter cannot be written and is dropped");
            Vec::new()
        }
    };
    if parcels.is_empty() {
        let cycle = "it would go round for ever";
        fate.lost = Some(if new.cycle { cycle } else { "its exchange has nowhere to send it" });
    }
    for Parcel { shard: to, records, count, logged } in parcels {
        if to == shard {
            fate.reborn = Reborn { remains, reason, records, count, logged };
        } else {
            fate.elsewhere.push((to, Transfer { records, count, logged, receipt: None }));
        }
    }
    Some(fate)
}

/// What the router of a shard has for another one.
#[derive(Debug)]
pub enum Passage {
    /// For [`Shard::receive`].
    Transfer(Transfer),
    /// For [`Shard::transferred`]: nothing that the queue numbered below comes again.
    Over(QueueId, u64),
}

/// The router of one shard: what waits for other shards, by ticket; and how much each of them may have to forget. All
/// of it dies with the node; what waited then is still in its queue, and dies again.
#[derive(Default)]
pub struct Router {
    next_ticket: u64,
    fates: HashMap<u64, (usize, Fate)>,
    /// By queue and other shard: transfers since that shard was told.
    sent: BTreeMap<(QueueId, ShardId), u32>,
    counts: Counts,
    /// Lost since that was told last, and when that was.
    untold: u64,
    told_at: Millis,
}

/// Dead letters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// By `record::SettleReason`.
    pub by_reason: [u64; SETTLE_REASONS],
    /// Of those, how many nobody got.
    pub lost: u64,
}

/// Dead letters that nobody gets are told at most so often.
const TELL_EVERY_MS: u64 = 10_000;

/// So many transfers from one queue to one shard, and the shard is told which of them are over.
const FORGET_EVERY: u32 = 256;

impl Router {
    /// Routes what died in `shard`, which is number `id`. Returns what goes to other shards, in order.
    pub fn bury(
        &mut self,
        topology: &Topology,
        (id, shard): (ShardId, &mut Shard),
        now: Millis,
        dead: &[DeadLetters],
    ) -> Vec<(ShardId, Passage)> {
        let mut out = Vec::new();
        let letters = dead.iter().flat_map(|dead| dead.letters.iter().map(move |letter| (dead, letter)));
        for (dead, letter) in letters {
            let Some(mut fate) = decide(topology, id, now, dead, letter) else {
                shard.unmoved(dead.queue, letter);
                continue;
            };
            if dead.redrive.is_none() {
                let name = topology.queue_by_id(fate.queue).map_or("", |queue| &queue.declared.name);
                self.count(fate.reborn.reason, fate.lost, name, now);
            }
            let waits = fate.waits();
            let elsewhere = std::mem::take(&mut fate.elsewhere);
            let (queue, parts) = (fate.queue, elsewhere.len());
            let receipt = match waits {
                true => Some(Receipt { shard: id, ticket: self.put(fate, parts) }),
                false => {
                    shard.reborn(now, queue, fate.reborn);
                    None
                }
            };
            for (to, transfer) in elsewhere {
                out.push((to, Passage::Transfer(Transfer { receipt, ..transfer })));
                if receipt.is_some()
                    && self.is_time_to_tell(queue, to)
                    && let Some(upto) = shard.settled_below(queue)
                {
                    out.push((to, Passage::Over(queue, upto)));
                }
            }
        }
        out
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Makes letters of records that share groups have given up in `shard`, which is number `id`.
    pub fn bury_records(
        &mut self,
        topology: &Topology,
        (id, shard): (ShardId, &mut Shard),
        now: Millis,
        dead: Vec<DeadRecord>,
    ) {
        let mut opened = Opened::default();
        for record in dead {
            let Letters { records, count, lost } =
                dead_records::letters(topology, id, now, &record, &mut opened);
            self.count(record.dead.reason, lost, &record.dead.group, now);
            shard.buried(record.dead, records, count);
        }
    }

    /// `place`: the queue or group in which it died.
    fn count(&mut self, reason: SettleReason, lost: Option<&'static str>, place: &str, now: Millis) {
        self.counts.by_reason[reason as usize] += 1;
        let Some(why) = lost else { return };
        self.counts.lost += 1;
        self.untold += 1;
        if now >= self.told_at.saturating_add(TELL_EVERY_MS) {
            tracing::warn!(lost = self.untold, place, why, "dead letters are dropped; this is the latest");
            (self.told_at, self.untold) = (now, 0);
        }
    }

    /// Another shard has its part; if it was the last, the dead letter ends in `shard`.
    pub fn received(&mut self, ticket: u64, now: Millis, shard: &mut Shard) {
        let Some((left, _)) = self.fates.get_mut(&ticket) else { return };
        *left -= 1;
        if *left == 0
            && let Some((_, fate)) = self.fates.remove(&ticket)
        {
            shard.reborn(now, fate.queue, fate.reborn);
        }
    }

    /// A fate that waits for `parts` elsewhere: its ticket.
    fn put(&mut self, fate: Fate, parts: usize) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.fates.insert(ticket, (parts, fate));
        ticket
    }

    /// Something goes from `queue` to `shard`: true if that is to be told what is over.
    fn is_time_to_tell(&mut self, queue: QueueId, shard: ShardId) -> bool {
        let sent = self.sent.entry((queue, shard)).or_default();
        *sent += 1;
        if *sent < FORGET_EVERY {
            return false;
        }
        *sent = 0;
        true
    }

    /// The queue is gone: whoever got something from it may forget that. (Not so those who got it before the node
    /// started: they keep a few dozen bytes.)
    pub fn gone(&mut self, queue: QueueId) -> Vec<(ShardId, Passage)> {
        let theirs = self.sent.range((queue, ShardId(0))..=(queue, ShardId(u16::MAX)));
        let shards: Vec<ShardId> = theirs.map(|((_, shard), _)| *shard).collect();
        for shard in &shards {
            self.sent.remove(&(queue, *shard));
        }
        shards.into_iter().map(|shard| (shard, Passage::Over(queue, u64::MAX))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_hear_now_and_then_what_is_over_and_all_of_it_when_the_queue_is_gone() {
        let mut router = Router::default();
        let (queue, other) = (QueueId(4), QueueId(5));
        let told = (0..600).filter(|_| router.is_time_to_tell(queue, ShardId(2))).count();
        assert_eq!(told, 2);
        assert!(!router.is_time_to_tell(queue, ShardId(3)) && !router.is_time_to_tell(other, ShardId(3)));
        let passages = router.gone(queue);
        let told: Vec<ShardId> = passages.iter().map(|(shard, _)| *shard).collect();
        assert_eq!(told, [ShardId(2), ShardId(3)]);
        assert!(passages.iter().all(|(_, passage)| matches!(passage, Passage::Over(QueueId(4), u64::MAX))));
        assert!(router.gone(queue).is_empty());
    }
}
