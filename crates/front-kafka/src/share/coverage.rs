//! Which of the records that were acquired are in the batches that were fetched.

use bowline_model::event::BatchSlice;
use bowline_model::share::Acquired;

/// Where a batch says how many offsets it spans: last_offset_delta, big-endian.
const LAST_OFFSET_DELTA: usize = 23;

/// What of one partition's acquired records may be handed to the client.
#[derive(Debug, Default, PartialEq)]
pub struct Coverage {
    /// In the batches.
    pub found: Vec<Acquired>,
    /// Offsets without records, between batches: first and count.
    pub gaps: Vec<(u64, u64)>,
    /// Behind what was fetched: first and count.
    pub left: Vec<(u64, u64)>,
}

/// The first offset behind the batch.
pub fn batch_end(slice: &BatchSlice) -> u64 {
    let at = slice.offset as usize + LAST_OFFSET_DELTA;
    let bytes = slice.block.payload.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
    let delta = bytes.map_or(0, |bytes| i32::from_be_bytes(*bytes));
    slice.base_offset + delta.max(0) as u64 + 1
}

/// Drops batches that hold none of the acquired records. Both ascend.
pub fn needed(acquired: &[Acquired], batches: &mut Vec<BatchSlice>) {
    batches.retain(|batch| {
        let end = batch_end(batch);
        let at = acquired.partition_point(|run| run.first + run.count <= batch.base_offset);
        acquired.get(at).is_some_and(|run| run.first < end)
    });
}

/// Offsets of the last batch, if some of them were not acquired: first and count. Both ascend.
pub fn rest(acquired: &[Acquired], batches: &[BatchSlice]) -> Option<(u64, u64)> {
    let last = batches.last()?;
    let (first, end) = (last.base_offset, batch_end(last));
    let within = |run: &Acquired| (run.first + run.count).min(end).saturating_sub(run.first.max(first));
    let known: u64 = acquired.iter().rev().take_while(|run| run.first + run.count > first).map(within).sum();
    (known < end - first).then_some((first, end - first))
}

/// The same offsets in spans that ascend and do not touch.
pub fn joined(mut spans: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    spans.retain(|(first, end)| first < end);
    spans.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(spans.len());
    for (first, end) in spans {
        match joined.last_mut() {
            Some((_, last)) if first <= *last => *last = end.max(*last),
            _ => joined.push((first, end)),
        }
    }
    joined
}

/// `ranges`: first offset and end of each batch, ascending. `spans`: first offset and end of what was read without a
/// break; what lies in one and in no batch has no record. What is found is told in runs that end with the batch with
/// which they reach `batch_size` records.
pub fn cover(
    acquired: &[Acquired],
    ranges: &[(u64, u64)],
    spans: &[(u64, u64)],
    batch_size: u64,
) -> Coverage {
    let mut coverage = Coverage::default();
    for run in acquired {
        let (mut at, end) = (run.first, run.first + run.count);
        while at < end {
            let next = ranges.get(ranges.partition_point(|(_, upto)| *upto <= at));
            let (upto, found) = match next {
                Some((first, upto)) if *first <= at => (end.min(*upto), true),
                Some((first, _)) => (end.min(*first), false),
                None => (end, false),
            };
            if found {
                let begins = next.is_some_and(|(first, _)| *first == at);
                let size = if begins { batch_size } else { u64::MAX };
                push(&mut coverage.found, Acquired { first: at, count: upto - at, ..*run }, size);
                at = upto;
                continue;
            }
            // Some of it may have been read, and the rest not.
            let span = spans.get(spans.partition_point(|(_, upto)| *upto <= at));
            let (upto, empty) = match span {
                Some((first, read)) if *first <= at => (upto.min(*read), true),
                Some((first, _)) => (upto.min(*first), false),
                None => (upto, false),
            };
            let into = if empty { &mut coverage.gaps } else { &mut coverage.left };
            into.push((at, upto - at));
            at = upto;
        }
    }
    coverage
}

/// `size`: a run that has so many records is not prolonged.
fn push(found: &mut Vec<Acquired>, run: Acquired, size: u64) {
    match found.last_mut() {
        Some(last)
            if last.first + last.count == run.first && last.returns == run.returns && last.count < size =>
        {
            last.count += run.count;
        }
        _ => found.push(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::PartitionId;

    fn run(first: u64, count: u64) -> Acquired {
        Acquired { partition: PartitionId(1), first, count, redelivered: false, returns: 0 }
    }

    #[test]
    fn found_gaps_and_left() {
        let acquired = [run(2, 5), run(10, 10), run(30, 5)];
        let coverage = cover(&acquired, &[(0, 4), (6, 12), (15, 18)], &[(2, 19)], u64::MAX);
        assert_eq!(coverage.found, [run(2, 2), run(6, 1), run(10, 2), run(15, 3)]);
        assert_eq!(coverage.gaps, [(4, 2), (12, 3), (18, 1)]);
        assert_eq!(coverage.left, [(19, 1), (30, 5)]);
    }

    #[test]
    fn spans_join() {
        assert_eq!(joined(vec![(5, 5), (8, 10), (0, 4), (3, 6)]), [(0, 6), (8, 10)]);
    }

    #[test]
    fn runs_join_over_batches() {
        let found = |size| cover(&[run(0, 10)], &[(0, 3), (3, 5), (5, 10)], &[(0, 10)], size).found;
        assert_eq!(found(u64::MAX), [run(0, 10)]);
        assert_eq!(found(4), [run(0, 5), run(5, 5)], "a batch is not divided");
        assert_eq!(found(1), [run(0, 3), run(3, 2), run(5, 5)]);
        let parts = cover(&[run(0, 4), run(4, 6)], &[(0, 5), (5, 10)], &[(0, 10)], 1).found;
        assert_eq!(parts, [run(0, 5), run(5, 5)], "nor is one that was acquired in parts");
        assert_eq!(cover(&[run(0, 2)], &[], &[], 1).left, [(0, 2)]);
    }
}
