//! Pacing for those who reconnect: exponential back-off with a ceiling.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);

/// Delays that double from 10 ms up to a ceiling.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    ceiling: Duration,
}

impl Backoff {
    pub fn new(ceiling: Duration) -> Backoff {
        Backoff { next: FIRST.min(ceiling), ceiling }
    }

    /// How long to wait before the next attempt.
    pub fn step(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.ceiling);
        delay
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.next = FIRST.min(self.ceiling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_ceiling() {
        let mut backoff = Backoff::new(Duration::from_millis(50));
        let steps: Vec<u128> = (0..5).map(|_| backoff.step().as_millis()).collect();
        assert_eq!(steps, [10, 20, 40, 50, 50]);
        backoff.reset();
        assert_eq!(backoff.step().as_millis(), 10);
    }
}
