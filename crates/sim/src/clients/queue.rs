//! What the clients know of one queue: every message that may be in it, and what was promised of it.
//!
//! The model follows the shard's own order of events: it is told of each request when the shard has handled it, and
//! of each answer as it is given. So it can be exact where the broker is, and it admits doubt only where a crash
//! leaves some: a message whose publish was not answered, or whose settle was not yet durable, *may* be there.

use super::message::Id;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a message is in the queue (or held by a consumer of it).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Sent, not answered.
    Sent,
    /// Answered: it is there.
    There,
    /// A crash has left doubt.
    Perhaps,
}

/// A consumer, of a session.
pub type ConsumerKey = (u64, u32);

#[derive(Clone, Debug)]
pub struct Entry {
    pub publisher: u64,
    /// To be logged. Otherwise it lives in memory, unless memory is short.
    pub logged: bool,
    pub presence: Presence,
    /// The life of the node in which it was published.
    pub life: u32,
    /// Ever.
    pub delivered: bool,
    pub held: Option<ConsumerKey>,
    /// Settled or purged; a crash may yet undo it.
    pub left: bool,
    /// It was purged, perhaps, and a crash may have undone that: others behind it may have been delivered meanwhile.
    pub revived: bool,
}

impl Entry {
    fn is_ready(&self) -> bool {
        self.presence == Presence::There && self.held.is_none() && !self.left
    }

    /// Perhaps ready.
    fn is_doubtful(&self) -> bool {
        self.presence == Presence::Perhaps && !self.left
    }
}

/// A delivery of the round under way, to be put in order with the others of the round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Delivered {
    publisher: u64,
    id: Id,
    first: bool,
}

#[derive(Debug)]
pub struct Queue {
    pub id: u32,
    pub name: String,
    /// Outlives the node.
    pub survives: bool,
    pub auto_delete: bool,
    pub exclusive_to: Option<u64>,
    /// The broker may delete it by itself: its last consumer went, or the connection that owns it.
    pub may_vanish: bool,
    /// Messages gone, no more deliveries. The topology may still know it.
    pub dropped: bool,
    pub entries: BTreeMap<Id, Entry>,
    /// How many of those that are perhaps there, are; `None`: to be found out.
    pub doubtful: Option<u64>,
    /// In each publisher's order, those that came back.
    returned: BTreeSet<(u64, Id)>,
    /// The last one of each publisher that was delivered for the first time.
    first_upto: BTreeMap<u64, Id>,
    round: Vec<Delivered>,
}

impl Queue {
    pub fn new(id: u32, name: String, survives: bool, auto_delete: bool, exclusive_to: Option<u64>) -> Queue {
        Queue {
            id,
            name,
            survives,
            auto_delete,
            exclusive_to,
            may_vanish: false,
            dropped: false,
            entries: BTreeMap::new(),
            doubtful: Some(0),
            returned: BTreeSet::new(),
            first_upto: BTreeMap::new(),
            round: Vec::new(),
        }
    }

    pub fn sent(&mut self, id: Id, publisher: u64, logged: bool, life: u32) {
        if !self.dropped {
            let entry = Entry {
                publisher,
                logged,
                presence: Presence::Sent,
                life,
                delivered: false,
                held: None,
                left: false,
                revived: false,
            };
            self.entries.insert(id, entry);
        }
    }

    pub fn confirmed(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(&id) {
            assert_eq!(entry.presence, Presence::Sent, "message {id} is confirmed once");
            entry.presence = Presence::There;
        }
    }

    /// Refused: it must not turn up.
    pub fn refused(&mut self, id: Id) {
        self.entries.remove(&id);
    }

    /// A delivery of message `id` to `consumer`; `settles`: without acknowledgement.
    pub fn delivered(&mut self, id: Id, consumer: ConsumerKey, redelivered: bool, life: u32, settles: bool) {
        let queue = self.id;
        assert!(!self.dropped, "promise: nothing is delivered from queue {queue} once it is deleted");
        let Some(entry) = self.entries.get_mut(&id) else {
            panic!("promise: message {id} has left queue {queue}, or was never in it, and is not delivered");
        };
        assert!(!entry.left, "promise: message {id} was settled in queue {queue} and is not delivered");
        if let Some(holder) = entry.held {
            panic!("promise: message {id} of queue {queue} goes to {consumer:?} while {holder:?} holds it");
        }
        assert!(
            entry.presence != Presence::Sent,
            "promise: message {id} of queue {queue} is delivered when it is in, and not before"
        );
        assert!(
            redelivered || !entry.delivered,
            "promise: message {id} of queue {queue} was delivered before; redelivered must be set"
        );
        assert!(
            !redelivered || entry.delivered || entry.life < life,
            "promise: message {id} of queue {queue} cannot have been delivered before"
        );
        let first = !entry.delivered && !entry.revived;
        entry.delivered = true;
        self.round.push(Delivered { publisher: entry.publisher, id, first });
        if entry.presence == Presence::Perhaps {
            entry.presence = Presence::There;
            self.doubtful = self.doubtful.map(|n| {
                n.checked_sub(1).unwrap_or_else(|| panic!("message {id} was not counted in queue {queue}"))
            });
        }
        if settles {
            entry.left = true;
        } else {
            entry.held = Some(consumer);
        }
        if self.doubtful == Some(0) {
            self.forget_doubts();
        }
    }

    /// A round of deliveries is over: order is checked. Within a round consumers may be served in any order.
    pub fn round_over(&mut self) {
        let mut round = std::mem::take(&mut self.round);
        round.sort_unstable();
        for Delivered { publisher, id, first } in &round {
            self.returned.remove(&(*publisher, *id));
            if let Some((_, earlier)) = self.returned.range((*publisher, 0)..(*publisher, *id)).next() {
                panic!(
                    "promise: message {earlier} came back to its place in queue {}, before {id} which was delivered",
                    self.id
                );
            }
            if *first {
                let upto = self.first_upto.entry(*publisher).or_insert(0);
                assert!(
                    *upto <= *id,
                    "promise: publisher {publisher} sent {id} before {upto}, which queue {} delivered first",
                    self.id
                );
                *upto = *id;
            }
        }
        round.clear();
        self.round = round;
    }

    /// What `consumer` held is acknowledged or rejected.
    pub fn settled(&mut self, id: Id, consumer: ConsumerKey) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.held == Some(consumer)
        {
            entry.held = None;
            entry.left = true;
        }
    }

    pub fn came_back(&mut self, id: Id, consumer: ConsumerKey) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.held == Some(consumer)
        {
            entry.held = None;
            self.returned.insert((entry.publisher, id));
        }
    }

    /// Everything ready leaves. `overflows`: messages for memory may have been logged, and may be under way still.
    /// Returns what has left, and how many messages were ready, if that is certain.
    pub fn purged(&mut self, overflows: bool) -> (Vec<Id>, Option<u64>) {
        let mut gone = Vec::new();
        let mut certain = self.doubtful;
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| !entry.left) {
            match entry.presence {
                Presence::There if entry.is_ready() => {
                    if overflows && !entry.logged && !entry.delivered {
                        entry.presence = Presence::Perhaps;
                        entry.revived = true;
                        certain = None;
                    } else {
                        entry.left = true;
                        gone.push(*id);
                    }
                }
                Presence::Perhaps if overflows && !entry.logged => {
                    entry.revived = true;
                    certain = None;
                }
                Presence::Perhaps => {
                    entry.left = true;
                    gone.push(*id);
                }
                _ => {}
            }
        }
        let there = gone.iter().filter(|id| self.entries[id].presence == Presence::There).count() as u64;
        let known = certain.map(|n| n + there);
        self.doubtful = if certain.is_some() { Some(0) } else { None };
        self.returned.clear();
        (gone, known)
    }

    /// What left by now is gone for good: the log knows.
    pub fn departed(&mut self) {
        self.entries.retain(|_, entry| !entry.left);
    }

    /// Messages of these ids are gone for good.
    pub fn departed_ids(&mut self, ids: &[Id]) {
        for id in ids {
            self.entries.remove(id);
        }
    }

    /// The messages are gone with the queue.
    pub fn drop_messages(&mut self) {
        self.dropped = true;
        self.entries.clear();
        self.returned.clear();
        self.doubtful = Some(0);
    }

    /// The node is gone. `memory_is_lost`: no message for memory was logged.
    pub fn crashed(&mut self, memory_is_lost: bool) {
        self.round.clear();
        self.returned.clear();
        if !self.survives {
            self.drop_messages();
            return;
        }
        self.entries.retain(|_, entry| entry.logged || !memory_is_lost);
        for (id, entry) in &mut self.entries {
            entry.held = None;
            if entry.presence == Presence::Sent || entry.left || !entry.logged {
                entry.presence = Presence::Perhaps;
                entry.revived |= entry.left;
                entry.left = false;
            }
            if entry.presence == Presence::There && entry.delivered {
                self.returned.insert((entry.publisher, *id));
            }
        }
        self.doubtful = None;
    }

    /// The broker says that `ready` messages are ready, and nothing is under way.
    pub fn count(&mut self, ready: u64) {
        let there = self.entries.values().filter(|e| e.is_ready()).count() as u64;
        let perhaps = self.entries.values().filter(|e| e.is_doubtful()).count() as u64;
        let queue = self.id;
        assert!(
            ready >= there,
            "promise: queue {queue} has {there} confirmed messages, and the broker counts {ready} (of {perhaps} more \
             that may be there)"
        );
        assert!(
            ready <= there + perhaps,
            "promise: queue {queue} has at most {there} + {perhaps} messages, and the broker counts {ready}"
        );
        let doubtful = ready - there;
        assert!(
            self.doubtful.is_none_or(|n| n == doubtful),
            "promise: queue {queue} counts {ready} messages ready where {there} + {:?} are",
            self.doubtful
        );
        self.doubtful = Some(doubtful);
        if doubtful == perhaps {
            for entry in self.entries.values_mut().filter(|e| e.is_doubtful()) {
                entry.presence = Presence::There;
            }
            self.doubtful = Some(0);
        } else if doubtful == 0 {
            self.forget_doubts();
        }
    }

    /// Those that are certainly ready.
    pub fn ready(&self) -> impl Iterator<Item = Id> + '_ {
        self.entries.iter().filter(|(_, e)| e.is_ready()).map(|(id, _)| *id)
    }

    /// None of those that were perhaps there is.
    fn forget_doubts(&mut self) {
        self.entries.retain(|_, entry| !entry.is_doubtful());
    }
}
