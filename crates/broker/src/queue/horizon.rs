//! The dispatch horizon: what makes `redelivered = false` an honest promise at no cost per delivery.
//!
//! A fresh message is handed out only if a durable Horizon record covers its number. So after a crash the messages
//! above the last horizon were certainly never delivered; those below it may have been, and are *suspect*: they are
//! delivered with the flag. Horizons are reserved thousands ahead. A queue that does not outlive the process needs
//! none.

/// The price of a large margin is flags on messages that nobody has seen, after a crash.
const MARGIN_MAX: u64 = 4 * 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Horizon {
    /// Durable: messages below may have been handed out.
    reserved: u64,
    /// Durable: messages below may have been handed out in an earlier life of the process.
    suspect: u64,
    /// What the Horizon record that is under way reserves; 0 if none is.
    proposed: u64,
    /// The message that the next Horizon record has to cover, and `margin` behind it.
    wanted: u64,
    margin: u64,
    /// `reserved` when dispatch last ran into it.
    hit: u64,
}

impl Horizon {
    /// `margin`: how far ahead to reserve, at first.
    pub fn new(reserved: u64, suspect: u64, margin: u64) -> Horizon {
        Horizon { reserved, suspect, proposed: 0, wanted: 0, margin, hit: reserved }
    }

    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    pub fn suspect(&self) -> u64 {
        self.suspect
    }

    /// Whether message `seq` may be handed out for the first time.
    #[inline]
    pub fn covers(&self, seq: u64) -> bool {
        seq < self.reserved
    }

    /// Whether message `seq` may have been delivered by an earlier life.
    #[inline]
    pub fn is_suspect(&self, seq: u64) -> bool {
        seq < self.suspect
    }

    /// Message `next` is the next to be handed out: true if it is time to reserve more.
    #[inline]
    pub fn want(&mut self, next: u64) -> bool {
        let short = self.reserved.max(self.proposed) < next + self.margin.div_ceil(2);
        if short {
            self.wanted = self.wanted.max(next);
        }
        short
    }

    /// Dispatch has to wait for a reservation. If it ran into one of its own, it reserves more the next time.
    pub fn ran_out(&mut self) {
        if self.hit != self.reserved {
            self.hit = self.reserved;
            self.margin = (self.margin * 2).min(MARGIN_MAX);
        }
    }

    /// What to reserve now.
    pub fn propose(&mut self) -> u64 {
        self.proposed = self.wanted + self.margin;
        self.proposed
    }

    /// The record under way will not be committed.
    pub fn abandon(&mut self) {
        self.proposed = 0;
    }

    pub fn apply(&mut self, upto: u64) {
        self.reserved = self.reserved.max(upto);
        if self.proposed <= self.reserved {
            self.proposed = 0;
        }
    }

    /// The node started: whatever was handed out before was below the horizon, and existed.
    pub fn node_started(&mut self, next_seq: u64) {
        let reserved = self.reserved.min(next_seq);
        *self = Horizon::new(reserved, reserved, self.margin);
    }
}
