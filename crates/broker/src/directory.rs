//! What lies where in a block, by queue: made by one walk over the block, whichever queue asks first, so that a
//! block with messages for a hundred queues is not walked a hundred times when they work off their backlog.

use bowline_model::record::{self, Kind};
use bowline_model::{Block, QueueId};
use hashbrown::HashMap;

/// Offset and length of a message's record in the payload of its block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub offset: u32,
    pub len: u32,
}

/// The messages of one block.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Grouped by queue, in block order within a group.
    entries: Box<[Entry]>,
    /// Queue, and where its group begins. Ascending by queue; the last is a sentinel.
    groups: Box<[(u64, u32)]>,
}

impl Directory {
    /// Walks `block`. Where its records are damaged, the directory ends.
    pub fn new(block: &Block) -> Directory {
        let mut found: Vec<(u32, Entry)> = Vec::new();
        let mut counts: HashMap<u32, u32, foldhash::fast::FixedState> = HashMap::default();
        // Neighbours are often for the same queue.
        let (mut last, mut run) = (0, 0);
        for record in record::iter(&block.payload).map_while(Result::ok).filter(|r| r.kind == Kind::Publish) {
            for queue in record::publish_queues(record.body).into_iter().flatten() {
                if last != queue && run > 0 {
                    *counts.entry(last).or_insert(0) += run;
                    run = 0;
                }
                (last, run) = (queue, run + 1);
                found.push((queue, Entry { offset: record.offset, len: record.len }));
            }
        }
        if run > 0 {
            *counts.entry(last).or_insert(0) += run;
        }
        Directory::grouped(&found, counts)
    }

    /// The messages of `queue`, in block order.
    #[inline]
    pub fn of(&self, queue: QueueId) -> &[Entry] {
        match self.groups.binary_search_by_key(&u64::from(queue.0), |group| group.0) {
            Ok(i) => &self.entries[self.groups[i].1 as usize..self.groups[i + 1].1 as usize],
            Err(_) => &[],
        }
    }

    /// Memory that it takes, bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.entries) + size_of_val(&*self.groups)
    }

    /// Sorts what was found by counting.
    fn grouped(
        found: &[(u32, Entry)],
        mut counts: HashMap<u32, u32, foldhash::fast::FixedState>,
    ) -> Directory {
        let mut groups: Vec<(u64, u32)> = counts.iter().map(|(&queue, &n)| (u64::from(queue), n)).collect();
        groups.sort_unstable();
        let mut at = 0;
        for (queue, start) in &mut groups {
            let n = std::mem::replace(start, at);
            counts.insert(*queue as u32, at);
            at += n;
        }
        groups.push((u64::MAX, at));
        let mut entries = vec![Entry { offset: 0, len: 0 }; found.len()];
        let mut memo: Option<(u32, u32)> = None;
        for &(queue, entry) in found {
            let place = match memo {
                Some((last, place)) if last == queue => place,
                _ => {
                    if let Some((last, place)) = memo {
                        counts.insert(last, place);
                    }
                    counts[&queue]
                }
            };
            entries[place as usize] = entry;
            memo = Some((queue, place + 1));
        }
        Directory { entries: entries.into(), groups: groups.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::record::Publish;
    use bowline_model::{Lsn, ShardId};

    #[test]
    fn every_queue_finds_its_own_in_order() {
        let mut payload = Vec::new();
        let targets: [&[u32]; 7] = [&[5], &[5], &[9, 5], &[1], &[9], &[5, 1, 9], &[1]];
        for (i, queues) in targets.iter().enumerate() {
            let body = [&[i as u8][..]];
            let ids = queues.iter().copied();
            Publish::encode(&mut payload, 0, ids, b"", b"", b"", body.into_iter());
            record::put_horizon(&mut payload, 5, 7);
        }
        let payload = payload.into();
        let block = Block { lsn: Lsn::new(1, 0), shard: ShardId(1), term: 1, index: 1, stamp: 0, payload };
        let directory = Directory::new(&block);
        let bodies = |queue| -> Vec<u8> {
            let entries = directory.of(QueueId(queue)).iter();
            entries
                .map(|entry| {
                    let record = record::at(&block.payload, entry.offset).unwrap();
                    assert_eq!(record.len, entry.len);
                    Publish::decode(record.body).unwrap().body[0]
                })
                .collect()
        };
        assert_eq!((bodies(5), bodies(9), bodies(1)), (vec![0, 1, 2, 5], vec![2, 4, 5], vec![3, 5, 6]));
        assert!(bodies(7).is_empty());
    }
}
