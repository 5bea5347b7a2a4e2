//! Order by key.

use super::*;

impl Script {
    /// Tells the keys that are asked for: record n has key n mod 3, and none if that is 0.
    fn look_up_keys(&mut self) -> usize {
        let asked = std::mem::take(&mut self.world.out.keys);
        for wanted in &asked {
            let stream = &mut self.world.stream;
            let upto = wanted.from + 7;
            let keys: Vec<(u64, u64)> = (wanted.from..upto)
                .filter(|offset| offset % 3 > 0)
                .map(|offset| (offset, offset % 3))
                .collect();
            let (partitions, out) = (&stream.partitions, &mut self.world.out);
            stream.shares.keys_known(self.now, wanted, upto, &keys, partitions, out);
        }
        asked.len()
    }

    /// Acquires as much as there is, offset by offset.
    fn take_all(&mut self, session: u64) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            self.acquire(session, 100, false);
            loop {
                self.log();
                if self.look_up_keys() == 0 {
                    break;
                }
            }
            let heard = self.heard();
            let [(_, Heard::Acquired(runs))] = &heard[..] else { panic!("{heard:?}") };
            if runs.is_empty() {
                return all;
            }
            all.extend(runs.iter().flat_map(|run| run.first..run.first + run.count));
        }
    }
}

#[test]
fn of_a_key_one_is_out_at_a_time_and_in_order() {
    let policy = Policy { by_key: true, ..Policy::default() };
    let mut s = Script::new(1);
    s.append(1, 12);
    s.join_kafka(1, &[1], Some(1), policy);
    s.join_kafka(2, &[1], Some(1), policy);
    // 0, 3 and 6 have no key.
    assert_eq!(s.take_all(1), [0, 1, 2, 3, 6, 9]);
    assert_eq!(s.take_all(2), Vec::<u64>::new(), "the rest stands behind");
    s.acquire_rest(2, &[(1, 0, 12)]);
    assert_eq!(s.heard(), [(2, Heard::Acquired(vec![]))], "and is no rest of a batch");
    s.settle(1, 1, 1, 1, Outcome::Accepted);
    assert_eq!(s.take_all(2), [4]);
    // What comes back stays the first of its key, until it has come back too often.
    s.settle(2, 1, 4, 1, Outcome::Released);
    assert_eq!(s.take_all(1), [4]);
    s.settle(1, 1, 4, 1, Outcome::Released);
    assert_eq!(s.take_all(1), [7]);
    s.settle(1, 1, 2, 1, Outcome::Rejected);
    assert_eq!(s.take_all(2), [5]);
    s.append(1, 3);
    assert_eq!(s.take_all(1), [12]);
    // A crash, and each key begins with the first that is not settled.
    s.log();
    s.crash(true);
    s.join_kafka(1, &[1], None, policy);
    assert_eq!(s.take_all(1), [0, 3, 5, 6, 7, 9, 12]);
    // Without order, those behind come forward.
    s.join_kafka(1, &[1], None, Policy::default());
    assert_eq!(s.take_all(1), [8, 10, 11, 13, 14]);
}

#[test]
fn keys_outlive_what_retention_takes() {
    let policy = Policy { by_key: true, ..Policy::default() };
    let mut s = Script::new(1);
    s.append(1, 12);
    s.join_kafka(1, &[1], None, policy);
    assert_eq!(s.take_all(1), [0, 1, 2, 3, 6, 9]);
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::PartitionTrim, &(PartitionId(1), 6u64));
    s.world.write(s.now, records);
    assert_eq!(s.take_all(1), [7, 8], "those in front of them are gone");
    s.settle(1, 1, 6, 3, Outcome::Accepted);
    assert_eq!(s.take_all(1), [10, 11]);
}

proptest! {
    /// Whatever members do, no two records of a key are out, and each key is settled in order.
    #[test]
    fn keys_stay_in_order(steps in proptest::collection::vec((0..6u8, 1..=3u64, any::<prop::sample::Index>()), 1..80)) {
        let policy = Policy { by_key: true, ..Policy::default() };
        let mut s = Script::new(1);
        let mut held: BTreeMap<u64, u64> = BTreeMap::new();
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        let mut all = 0;
        for session in 1..=3 {
            s.join_kafka(session, &[1], None, policy);
        }
        for (what, session, at) in steps {
            let mine: Vec<u64> = held.iter().filter(|(_, by)| **by == session).map(|(offset, _)| *offset).collect();
            match what {
                0 => {
                    s.append(1, 5);
                    all += 5;
                }
                1 | 2 => {
                    for offset in s.take_all(session) {
                        let key = offset % 3;
                        prop_assert!(key == 0 || held.keys().all(|other| other % 3 != key), "two of a key");
                        prop_assert!(key == 0 || last.get(&key).is_none_or(|last| *last < offset), "out of order");
                        prop_assert!(held.insert(offset, session).is_none());
                    }
                }
                3 | 4 if !mine.is_empty() => {
                    let offset = mine[at.index(mine.len())];
                    held.remove(&offset);
                    let outcome = if what == 3 { Outcome::Accepted } else { Outcome::Released };
                    s.settle(session, 1, offset, 1, outcome);
                    if what == 3 {
                        last.insert(offset % 3, offset);
                    }
                }
                5 => {
                    s.log();
                    s.crash(at.index(2) == 0);
                    held.clear();
                    for session in 1..=3 {
                        s.join_kafka(session, &[1], None, policy);
                    }
                }
                _ => {}
            }
        }
        // In the end everybody's turn comes.
        for session in 1..=3 {
            s.world.stream.close_session(s.now, SessionId(session), &mut s.world.out);
        }
        s.join_kafka(1, &[1], None, policy);
        loop {
            let taken = s.take_all(1);
            if taken.is_empty() {
                break;
            }
            taken.into_iter().for_each(|offset| s.settle(1, 1, offset, 1, Outcome::Accepted));
            s.log();
        }
        let reply = s.asked(Request::Describe { token: Token(4), group: "g".into(), partitions: None });
        prop_assert_eq!(reply, Reply::Described(vec![(PartitionId(1), Described { start: all, lag: 0 })]));
    }
}
