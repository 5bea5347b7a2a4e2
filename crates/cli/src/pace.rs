//! Not more than so many a second.

use std::time::{Duration, Instant};

/// A schedule of evenly spaced moments; those that were missed are not made up for beyond one second's worth.
#[derive(Debug)]
pub struct Pace {
    interval: Option<Duration>,
    next: Instant,
}

impl Pace {
    /// `rate`: messages a second; `None`: as fast as possible.
    pub fn new(rate: Option<f64>) -> Pace {
        Pace { interval: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)), next: Instant::now() }
    }

    /// How long to wait before the next message; zero when it is due. Taking it moves the schedule on.
    pub fn take(&mut self) -> Duration {
        let Some(interval) = self.interval else { return Duration::ZERO };
        let now = Instant::now();
        self.next = self.next.max(now - Duration::from_secs(1).max(interval));
        let wait = self.next.saturating_duration_since(now);
        self.next += interval;
        wait
    }

    pub fn is_free(&self) -> bool {
        self.interval.is_none()
    }
}

/// Reads a rate from the command line.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("a rate is a positive number of messages a second".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_evenly() {
        let mut pace = Pace::new(Some(10.0));
        assert_eq!(pace.take(), Duration::ZERO);
        let second = pace.take();
        assert!(second > Duration::from_millis(50) && second <= Duration::from_millis(100), "{second:?}");
        assert!(Pace::new(None).is_free());
    }
}
