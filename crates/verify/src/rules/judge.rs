//! The verdict on queues with rules: each confirmed message was consumed or is dead, once.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Item, KINDS, Kind, Lane};
use crate::world::World;

#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    pub rule: &'static str,
    pub published: u64,
    pub confirmed: u64,
    /// The broker said no, or the client took them back.
    pub refused: u64,
    /// No word: the connection ended first.
    pub in_doubt: u64,
    pub consumed: u64,
    /// Arrived in the second queue: the dead, or what transactions made of a message.
    pub second: u64,
    /// Consumed and dead: allowed where a crash may have taken the last word of one of them.
    pub both: u64,
    /// Confirmed, and neither consumed nor dead.
    pub lost: u64,
    /// More than once in a queue for the dead.
    pub dead_twice: u64,
    /// Two messages that are the same to the queue were both delivered.
    pub doubled: u64,
    /// Transactions of which a part is there.
    pub torn: u64,
    /// Taken back, and seen all the same.
    pub undead: u64,
    /// Acknowledged in a transaction, without what that transaction published.
    pub half_done: u64,
}

impl Verdict {
    pub fn kept(&self) -> bool {
        self.lost + self.dead_twice + self.doubled + self.torn + self.undead + self.half_done == 0
    }
}

/// One verdict a kind; none if no such queue was there.
pub fn all(world: &World) -> Vec<Verdict> {
    if world.lanes.is_empty() {
        return Vec::new();
    }
    KINDS.into_iter().map(|kind| of(world, kind)).collect()
}

fn of(world: &World, kind: Kind) -> Verdict {
    let mut verdict = Verdict { rule: kind.name(), ..Verdict::default() };
    for lane in world.lanes.iter().filter(|lane| lane.kind == kind) {
        let mut groups: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        let items = lane.items();
        for (sequence, item) in items.iter().enumerate() {
            add(&mut verdict, lane, item);
            if is_lost(kind, item) {
                world.note(format!("lost: message {sequence} of {}: {item:?}", lane.queue));
            }
            if item.group > 0 {
                let group = groups.entry(item.group).or_default();
                group.0 += 1;
                group.1 += u32::from(item.dead > 0);
            }
        }
        verdict.torn += groups.values().filter(|(all, there)| *there > 0 && there < all).count() as u64;
    }
    verdict
}

fn is_lost(kind: Kind, item: &Item) -> bool {
    let arrived = if kind == Kind::Tx { item.dead > 0 } else { item.acked > 0 || item.dead > 0 };
    item.confirmed && !arrived
}

fn add(verdict: &mut Verdict, lane: &Lane, item: &Item) {
    let one = u64::from;
    let is_tx = lane.kind == Kind::Tx;
    verdict.published += 1;
    verdict.confirmed += one(item.confirmed);
    verdict.refused += one(item.refused && !item.confirmed);
    verdict.in_doubt += one(!item.confirmed && !item.refused);
    verdict.consumed += one(item.acked > 0);
    verdict.second += one(item.dead > 0);
    verdict.both += one(!is_tx && item.acked > 0 && item.dead > 0);
    verdict.lost += one(is_lost(lane.kind, item));
    let copies = if lane.is_live { item.dead_first } else { item.dead };
    verdict.dead_twice += one(!is_tx && copies > 1);
    verdict.doubled += one(item.doubled);
    verdict.undead += one(is_tx && item.refused && (item.acked > 0 || item.dead > 0));
    verdict.half_done += one(is_tx && item.acked > 0 && item.dead == 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::lanes;

    /// What an item comes to on the lane of that kind whose dead are kept.
    fn judge(kind: Kind, item: Item) -> Verdict {
        let lanes = lanes("test");
        let lane = lanes.iter().find(|lane| lane.kind == kind && !lane.is_live).unwrap();
        let mut verdict = Verdict::default();
        add(&mut verdict, lane, &item);
        verdict
    }

    #[test]
    fn consumed_or_dead_is_enough() {
        let confirmed = Item { confirmed: true, ..Item::default() };
        for item in [
            Item { acked: 1, ..confirmed.clone() },
            Item { acked: 3, ..confirmed.clone() },
            Item { dead: 1, dead_first: 1, ..confirmed.clone() },
            Item { dead: 1, acked: 1, ..confirmed.clone() },
            Item::default(),
            Item { refused: true, ..Item::default() },
        ] {
            assert!(judge(Kind::Ttl, item.clone()).kept(), "{item:?}");
        }
        assert!(judge(Kind::Tx, Item { acked: 1, dead: 2, ..confirmed }).kept());
    }

    #[test]
    fn each_sin_is_found() {
        let confirmed = Item { confirmed: true, ..Item::default() };
        let of = |kind, item| {
            let verdict = judge(kind, item);
            assert!(!verdict.kept());
            verdict
        };
        assert_eq!(of(Kind::Delay, confirmed.clone()).lost, 1);
        assert_eq!(of(Kind::Ttl, Item { dead: 2, ..confirmed.clone() }).dead_twice, 1);
        assert_eq!(of(Kind::Dedup, Item { acked: 2, doubled: true, ..confirmed.clone() }).doubled, 1);
        assert_eq!(of(Kind::Tx, Item { acked: 1, ..confirmed.clone() }).half_done, 1);
        assert_eq!(of(Kind::Tx, Item { refused: true, dead: 1, ..Item::default() }).undead, 1);
    }
}
