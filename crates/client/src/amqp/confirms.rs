//! Publisher confirms: which publishes of a channel are still unanswered.

/// Unanswered publishes of one channel, each with a value of the caller's, in a ring of fixed capacity.
///
/// Numbers start at 1 with the first publish after confirm.select. Confirms may come in any order and may cover
/// several numbers at once.
#[derive(Clone, Debug)]
pub struct Confirms<T> {
    ring: Vec<Option<T>>,
    /// Number of the oldest unanswered publish; equals `next` when there is none.
    oldest: u64,
    /// Number that the next publish gets.
    next: u64,
    outstanding: usize,
}

/// A confirm for something that was never published, or was confirmed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("confirm for publish {tag}, but the unanswered ones are among {oldest}..{next}")]
pub struct ConfirmError {
    pub tag: u64,
    pub oldest: u64,
    pub next: u64,
}

impl<T: Copy> Confirms<T> {
    /// `capacity`: at most so many numbers between the oldest unanswered publish and the newest.
    pub fn new(capacity: usize) -> Confirms<T> {
        Confirms { ring: vec![None; capacity.max(1).next_power_of_two()], oldest: 1, next: 1, outstanding: 0 }
    }

    /// Publishes that were not answered yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether the ring has no room for another publish.
    pub fn is_full(&self) -> bool {
        (self.next - self.oldest) as usize == self.ring.len()
    }

    /// Notes a publish and returns its number.
    ///
    /// # Panics
    /// When the ring is full.
    pub fn published(&mut self, value: T) -> u64 {
        assert!(!self.is_full(), "the caller keeps to the window");
        let tag = self.next;
        let slot = self.slot(tag);
        self.ring[slot] = Some(value);
        self.next += 1;
        self.outstanding += 1;
        tag
    }

    /// Hands the publishes that a confirm covers to `each`, in order. `multiple` with tag 0 means all (1.8.3.13
    /// of the reference, in analogy to the consumer's ack).
    pub fn settle(
        &mut self,
        tag: u64,
        multiple: bool,
        mut each: impl FnMut(u64, T),
    ) -> Result<(), ConfirmError> {
        let last = if multiple && tag == 0 { self.next - 1 } else { tag };
        let first = if multiple { self.oldest } else { tag };
        if last >= self.next || first < self.oldest || (multiple && last + 1 < self.oldest) {
            return Err(ConfirmError { tag, oldest: self.oldest, next: self.next });
        }
        for number in first..=last {
            let slot = self.slot(number);
            match self.ring[slot].take() {
                Some(value) => {
                    self.outstanding -= 1;
                    each(number, value);
                }
                None if multiple => {}
                None => return Err(ConfirmError { tag, oldest: self.oldest, next: self.next }),
            }
        }
        while self.oldest < self.next && self.ring[self.slot(self.oldest)].is_none() {
            self.oldest += 1;
        }
        Ok(())
    }

    /// What was never answered, oldest first: for the end of a connection.
    pub fn unanswered(&self) -> impl Iterator<Item = T> + '_ {
        (self.oldest..self.next).filter_map(|tag| self.ring[self.slot(tag)])
    }

    fn slot(&self, tag: u64) -> usize {
        tag as usize & (self.ring.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(confirms: &mut Confirms<u32>, tag: u64, multiple: bool) -> Vec<u32> {
        let mut seen = Vec::new();
        confirms.settle(tag, multiple, |_, value| seen.push(value)).unwrap();
        seen
    }

    #[test]
    fn out_of_order_and_multiple() {
        let mut confirms = Confirms::new(8);
        for value in 1..=6 {
            confirms.published(value);
        }
        assert_eq!(settled(&mut confirms, 3, false), [3]);
        assert_eq!(settled(&mut confirms, 4, true), [1, 2, 4]);
        assert_eq!(confirms.outstanding(), 2);
        assert_eq!(confirms.unanswered().collect::<Vec<_>>(), [5, 6]);
        assert_eq!(settled(&mut confirms, 0, true), [5, 6]);
        assert_eq!(confirms.outstanding(), 0);
        assert_eq!(confirms.published(7), 7);
    }

    #[test]
    fn a_hole_keeps_the_window_closed() {
        let mut confirms = Confirms::new(4);
        for value in 0..4 {
            confirms.published(value);
        }
        settled(&mut confirms, 3, false);
        assert!(confirms.is_full());
        settled(&mut confirms, 1, false);
        assert!(!confirms.is_full());
    }

    #[test]
    fn lies_are_noticed() {
        let mut confirms = Confirms::new(4);
        confirms.published(1);
        assert!(confirms.settle(2, false, |_, _| {}).is_err());
        assert!(confirms.settle(2, true, |_, _| {}).is_err());
        settled(&mut confirms, 1, false);
        assert!(confirms.settle(1, false, |_, _| {}).is_err());
        assert!(confirms.settle(0, true, |_, _| {}).is_ok(), "all of nothing");
    }
}
