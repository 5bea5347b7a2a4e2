//! Aborted transactions of a partition: whose batches do not count.

/// A transaction whose batches do not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aborted {
    pub producer_id: i64,
    pub first_offset: u64,
    /// Of the marker.
    pub last_offset: u64,
    /// As of the marker: transactions that ended later began here or behind.
    pub last_stable: u64,
}

/// The aborted transactions of some range of offsets, to look batches up in.
#[derive(Clone, Debug, Default)]
pub struct AbortedSet {
    /// By producer and first offset: transactions of one producer follow one another.
    transactions: Vec<Aborted>,
    /// Offsets of their markers, ascending.
    markers: Vec<u64>,
}

impl AbortedSet {
    pub fn new(mut transactions: Vec<Aborted>) -> AbortedSet {
        transactions.sort_unstable_by_key(|aborted| (aborted.producer_id, aborted.first_offset));
        let mut markers: Vec<u64> = transactions.iter().map(|aborted| aborted.last_offset).collect();
        markers.sort_unstable();
        AbortedSet { transactions, markers }
    }

    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// Whether the batch of a transaction of `producer_id` that begins at `offset` is one that does not count.
    pub fn covers(&self, producer_id: i64, offset: u64) -> bool {
        let behind =
            self.transactions.partition_point(|a| (a.producer_id, a.first_offset) <= (producer_id, offset));
        let last = behind.checked_sub(1).and_then(|at| self.transactions.get(at));
        last.is_some_and(|aborted| aborted.producer_id == producer_id && offset < aborted.last_offset)
    }

    /// Whether one of them ends by the marker at `offset`.
    pub fn ends_at(&self, offset: u64) -> bool {
        self.markers.binary_search(&offset).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_looked_up_by_producer_and_offset() {
        let aborted = |producer_id, first_offset, last_offset| Aborted {
            producer_id,
            first_offset,
            last_offset,
            last_stable: 0,
        };
        let set = AbortedSet::new(vec![aborted(8, 2, 9), aborted(7, 30, 33), aborted(7, 4, 8)]);
        let of_7: Vec<u64> = (0..40).filter(|&offset| set.covers(7, offset)).collect();
        assert_eq!(of_7, [4, 5, 6, 7, 30, 31, 32]);
        assert_eq!((0..40).filter(|&offset| set.covers(8, offset)).count(), 7);
        assert!((0..40).all(|offset| !set.covers(6, offset) && !set.covers(9, offset)));
        assert_eq!((0..40).filter(|&offset| set.ends_at(offset)).collect::<Vec<_>>(), [8, 9, 33]);
        assert!(AbortedSet::default().is_empty() && !set.is_empty());
    }
}
