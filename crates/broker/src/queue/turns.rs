//! Single active consumer: of a queue's consumers one gets messages, the others wait for its place.
//!
//! Who waits is *passive*: a member of the queue that never enters the ring. The active one is the first that came
//! among those of the highest priority; when it goes the next takes over. A newcomer of higher priority takes over
//! when the active one holds nothing any more; until then neither gets anything.

use super::consumers::{Consumer, ConsumerRef, Consumers};
use super::{Queue, Queues};
use std::cmp::Reverse;

impl Queues {
    /// The consumers of `queue` have changed, or its active one has nothing more to settle.
    pub(super) fn take_turns(queue: &mut Queue, consumers: &mut Consumers, dirty: &mut Vec<super::QueueRef>) {
        let members: Vec<ConsumerRef> = queue.ring.members().collect();
        let rank = |consumer: &Consumer| (consumer.priority, Reverse(consumer.arrival));
        let best = members.iter().copied().max_by_key(|at| consumers.get(*at).map(rank));
        let active = queue.ring.chosen.filter(|at| consumers.get(*at).is_some_and(|c| c.active));
        let chosen = match (active, best) {
            _ if !queue.spec.settings.single_active_consumer => None,
            (Some(active), Some(best)) => match (consumers.get(active), consumers.get(best)) {
                (Some(a), Some(b)) if b.priority > a.priority && a.unacked.len() == 0 => Some(best),
                _ => Some(active),
            },
            (_, best) => best,
        };
        queue.ring.chosen = chosen;
        let outranked = |at: ConsumerRef| {
            let (Some(one), Some(best)) = (consumers.get(at), best.and_then(|best| consumers.get(best)))
            else {
                return false;
            };
            best.priority > one.priority
        };
        let waits = chosen.is_some_and(outranked);
        for at in members {
            let Some(consumer) = consumers.get_mut(at) else { continue };
            consumer.passive = chosen.is_some_and(|chosen| chosen != at || waits);
            // One that is in the ring and has become passive is dropped from it when it is met.
            if consumer.may_enter() {
                consumer.in_ring = true;
                queue.ring.enter(at, consumer.priority);
                Queues::mark(dirty, queue);
            }
        }
    }
}
