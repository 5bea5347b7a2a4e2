//! At rest, and at the end: the books must balance.

use super::{Asked, Clients};
use bowline_broker::QueueStats;
use std::collections::BTreeMap;

impl Clients {
    /// Nothing is under way in the shard of the queue: its counts are known, and nobody who could have a message
    /// goes without.
    pub fn check_queue_at_rest(&mut self, stats: &QueueStats) {
        let id = stats.queue.0;
        self.rules.check_at_rest(stats);
        let Some(queue) = self.queues.get_mut(&id) else {
            // A declaration of before a crash may have been carried out unheard.
            return;
        };
        assert!(!queue.dropped, "promise: queue {id} was dropped");
        queue.count(stats.ready);
        let unacked = queue.entries.values().filter(|e| e.held.is_some()).count() as u64;
        assert_eq!(stats.unacked, unacked, "promise: queue {id} counts what is unacknowledged");
        let consumers = self.consumers.iter().filter(|(_, c)| c.active && c.queue == Some(id));
        let mut n = 0;
        for (key, consumer) in consumers {
            n += 1;
            let has_credit = consumer.prefetch == 0 || consumer.held.len() < consumer.prefetch as usize;
            assert!(
                !has_credit || stats.ready == 0,
                "promise: {} messages of queue {id} are ready and {key:?} has credit, and nothing moves",
                stats.ready
            );
        }
        assert_eq!(stats.consumers, n, "promise: queue {id} counts its consumers");
    }

    /// Every request has had its answer.
    pub fn check_nobody_waits(&mut self) {
        // Whoever has gone does not listen, and need not be told.
        self.waiting.retain(|_, w| self.sessions.contains_key(&w.session) || !w.asked.is_carried_out());
        self.check_watches();
        let mut waiting = self.waiting.iter().filter(|(_, w)| !matches!(w.asked, Asked::Watch(_)));
        if let Some((token, waiting)) = waiting.next() {
            panic!(
                "promise: request {token} of session {} is answered: {:?}",
                waiting.session, waiting.asked
            );
        }
    }

    /// Consumers without limit have been given all there is.
    pub fn check_all_delivered(&mut self) {
        for queue in self.queues.values().filter(|q| !q.dropped) {
            let left: Vec<u64> = queue.ready().take(5).collect();
            assert!(
                left.is_empty(),
                "promise: messages {left:?} of queue {} are delivered in the end",
                queue.id
            );
            assert_eq!(
                queue.doubtful,
                Some(0),
                "promise: what queue {} counts is delivered in the end",
                queue.id
            );
        }
    }

    /// Everything was settled before the last restart.
    pub fn check_all_empty(&mut self) {
        let left: BTreeMap<u32, usize> =
            self.queues.values().filter(|q| !q.entries.is_empty()).map(|q| (q.id, q.entries.len())).collect();
        assert!(left.is_empty(), "promise: settled messages do not come back: {left:?}");
    }
}
