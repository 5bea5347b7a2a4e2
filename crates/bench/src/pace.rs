//! When is the next message due? Either whenever there is room, or at fixed times, whatever the broker does: then a
//! late message counts as late (no coordinated omission).

/// The schedule of one producer.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start_ns: u64,
    /// Zero: as fast as possible.
    interval_ns: f64,
}

impl Pace {
    /// `rate`: messages a second of all `producers` together, who take turns.
    pub fn new(rate: Option<f64>, producers: usize, producer: usize, start_ns: u64) -> Pace {
        let Some(rate) = rate else { return Pace { start_ns, interval_ns: 0.0 } };
        let interval_ns = 1e9 * producers as f64 / rate;
        let offset = interval_ns * producer as f64 / producers as f64;
        Pace { start_ns: start_ns + offset as u64, interval_ns }
    }

    pub fn is_open_loop(&self) -> bool {
        self.interval_ns > 0.0
    }

    /// How many messages are due by `now_ns`.
    pub fn due(&self, now_ns: u64) -> u64 {
        if !self.is_open_loop() {
            return u64::MAX;
        }
        match now_ns.checked_sub(self.start_ns) {
            Some(elapsed) => (elapsed as f64 / self.interval_ns) as u64 + 1,
            None => 0,
        }
    }

    /// When message number `index` (from 0) is due; for a producer without a schedule that is `now_ns`.
    pub fn due_at(&self, index: u64, now_ns: u64) -> u64 {
        if self.is_open_loop() { self.start_ns + (index as f64 * self.interval_ns) as u64 } else { now_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_take_turns() {
        let second = Pace::new(Some(1000.0), 2, 1, 0);
        assert_eq!((second.due_at(0, 9), second.due_at(1, 9)), (1_000_000, 3_000_000));
        assert_eq!((second.due(999_999), second.due(1_000_000), second.due(3_000_000)), (0, 1, 2));
        let free = Pace::new(None, 1, 0, 0);
        assert_eq!((free.due(5), free.due_at(7, 5)), (u64::MAX, 5));
    }
}
