//! Who gets which records, and how many.

use super::*;

#[test]
fn who_waits_gets_an_equal_part() {
    let mut s = Script::new(2);
    for session in 1..=3 {
        s.join(session, &[1, 2], Start::Next, None);
        s.log();
        s.acquire(session, 10, true);
    }
    assert_eq!(s.heard(), [1, 2, 3].map(|session| (session, Heard::Joined(Ok(())))));
    s.append(1, 5);
    s.append(2, 1);
    let parts = [(1, run(1, 0, 2, false, 0)), (2, run(1, 2, 2, false, 0)), (3, run(1, 4, 1, false, 0))];
    assert_eq!(s.heard(), parts.map(|(session, run)| (session, Heard::Acquired(vec![run]))));
    // Nobody waits any more, so what comes is for who asks.
    s.acquire(3, 0, false);
    assert_eq!(s.heard(), [(3, Heard::Acquired(vec![]))], "there is something");
    s.acquire(2, 10, true);
    assert_eq!(s.heard(), [(2, Heard::Acquired(vec![run(2, 0, 1, false, 0)]))]);
    s.acquire(1, 1, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![]))]);
    s.acquire(1, 0, true);
    s.acquire(3, 5, true);
    assert_eq!(s.heard(), []);
    s.settle(2, 2, 0, 1, Outcome::Untouched);
    let told = [(1, Heard::Acquired(vec![])), (3, Heard::Acquired(vec![run(2, 0, 1, false, 0)]))];
    assert_eq!(s.heard(), told, "nobody has seen it: it is not flagged");
}

#[test]
fn the_window_is_bounded_by_the_first_unsettled_record() {
    let window = WINDOW_RECORDS as u64;
    let mut s = Script::new(1);
    s.append(1, 3 * WINDOW_RECORDS as u32);
    s.join(1, &[1], Start::First, None);
    s.log();
    let mut got = 0;
    s.heard();
    while got < window {
        s.acquire(1, 100_000, true);
        s.log();
        for (_, heard) in s.heard() {
            let Heard::Acquired(runs) = heard else { panic!("{heard:?}") };
            got += runs.iter().map(|run| run.count).sum::<u64>();
        }
    }
    assert_eq!(got, window);
    s.settle(1, 1, 1, window, Outcome::Accepted);
    s.acquire(1, 10, true);
    s.log();
    assert_eq!(s.heard(), [], "the first is still there");
    s.settle(1, 1, 0, 1, Outcome::Accepted);
    s.log();
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, window, 10, false, 0)]))]);
    s.crash(false);
    s.join(1, &[1], Start::First, None);
    s.acquire(1, 20, true);
    s.log();
    let answer = Heard::Acquired(vec![run(1, window, 20, true, 0)]);
    assert_eq!(s.heard(), [(1, Heard::Joined(Ok(()))), (1, answer)]);
}

#[test]
fn the_rest_of_a_batch_is_to_be_had_beyond_the_window() {
    let mut s = Script::new(2);
    s.append(1, 30);
    s.append(2, 10);
    let policy = Policy { window: 4, ..Policy::default() };
    s.join_kafka(1, &[1, 2], None, policy);
    s.join_kafka(2, &[1], None, policy);
    s.acquire(1, 3, false);
    s.acquire(2, 3, false);
    s.settle(2, 1, 3, 1, Outcome::Untouched);
    s.acquire(2, 1, false);
    s.heard();
    // 3 is the other's.
    s.acquire_rest(1, &[(1, 0, 10), (2, 0, 2), (3, 0, 1)]);
    let answer = vec![run(1, 4, 6, false, 0), run(2, 0, 2, false, 0)];
    assert_eq!(s.heard(), [(1, Heard::Acquired(answer))]);
    s.acquire(2, 9, false);
    assert_eq!(s.heard(), [(2, Heard::Acquired(vec![]))], "the window is more than full");
    s.settle(1, 1, 5, 2, Outcome::Released);
    s.acquire_rest(2, &[(1, 3, 3)]);
    assert_eq!(s.heard(), [(2, Heard::Acquired(vec![run(1, 5, 1, true, 1)]))], "what came back, too");
    s.acquire_rest(2, &[(1, 20, 5)]);
    assert_eq!(s.heard(), [(2, Heard::Acquired(vec![]))], "nothing is passed over");
    s.acquire_rest(3, &[(1, 10, 5)]);
    assert_eq!(s.heard(), [(3, Heard::Acquired(vec![]))], "nobody knows it");
    s.acquire_rest(2, &[(1, 6, u64::MAX)]);
    assert_eq!(s.heard(), [(2, Heard::Acquired(vec![run(1, 6, 1, true, 1), run(1, 10, 20, false, 0)]))]);
}

#[test]
fn a_member_may_join_again_with_other_partitions() {
    let mut s = Script::new(2);
    s.append(1, 2);
    s.append(2, 2);
    s.join_kafka(1, &[1], None, Policy::default());
    s.acquire(1, 10, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 0, 2, false, 0)]))]);
    s.join_kafka(1, &[2], None, Policy::default());
    s.append(1, 1);
    s.acquire(1, 10, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(2, 0, 2, false, 0)]))], "no more of the first");
    s.acknowledge(1, &[(0, 1, Outcome::Accepted)]);
    s.log();
    assert_eq!(s.heard(), [(1, Heard::Acknowledged(Ok(())))], "what it holds of it stays with it");
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::PartitionDelete, &PartitionId(1));
    s.world.write(s.now, records);
    assert_eq!(s.heard(), [(1, Heard::Cancelled)], "it is told");
    s.append(2, 1);
    s.acquire(1, 10, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(2, 2, 1, false, 0)]))], "and goes on");
}

#[test]
fn a_member_whose_turn_it_was_elsewhere_goes_on_with_fewer_partitions() {
    let mut s = Script::new(4);
    for gone in [false, true] {
        s.join_kafka(1, &[1, 2, 3, 4], None, Policy::default());
        for _ in 0..3 {
            s.acquire(1, 1, false);
        }
        s.heard();
        if gone {
            for id in [2, 3, 4] {
                let mut records = Vec::new();
                record::put_value(&mut records, Kind::PartitionDelete, &PartitionId(id));
                s.world.write(s.now, records);
            }
            s.heard();
        } else {
            s.join_kafka(1, &[1], None, Policy::default());
        }
        s.append(1, 1);
        s.acquire(1, 1, false);
        let offset = u64::from(gone);
        assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, offset, 1, false, 0)]))]);
    }
}

#[test]
fn what_is_new_may_go_first() {
    let mut s = Script::new(1);
    s.append(1, 3);
    s.join_kafka(1, &[1], None, Policy { fresh_first: true, window: 3, ..Policy::default() });
    s.acquire(1, 1, false);
    s.settle(1, 1, 0, 1, Outcome::Released);
    s.heard();
    s.acquire(1, 2, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 1, 2, false, 0)]))]);
    s.append(1, 3);
    s.acquire(1, 5, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 0, 1, true, 1)]))], "the window is full");
}

#[test]
fn what_is_not_committed_is_handed_out_to_who_does_not_mind() {
    let producer = Producer { id: 7, epoch: 0 };
    let mut s = Script::new(1);
    s.append(1, 1);
    let admit =
        AdmitRecord { producer, partitions: vec![PartitionId(1)], groups: Vec::new(), from_zero: false };
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::TxnAdmit, &admit);
    let mut batch = Batch::from(7, 0, 0, 2).bytes();
    batch[22] |= 0x10;
    Append::encode(&mut records, 1, 0, &batch);
    s.world.write(s.now, records);
    let committed = Policy { committed: true, ..Policy::default() };
    s.join_kafka(1, &[1], None, committed);
    s.acquire(1, 10, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 0, 1, false, 0)]))], "up to the open transaction");
    // While somebody minds, it holds for all.
    s.join_kafka(2, &[1], None, Policy::default());
    s.acquire(2, 10, false);
    assert_eq!(s.heard(), [(2, Heard::Acquired(vec![]))]);
    s.world.stream.close_session(s.now, SessionId(1), &mut s.world.out);
    s.acquire(2, 10, false);
    let all = vec![run(1, 0, 1, true, 1), run(1, 1, 2, false, 0)];
    assert_eq!(s.heard(), [(2, Heard::Acquired(all))]);
    // What came back of it is not for who minds either.
    s.settle(2, 1, 0, 3, Outcome::Released);
    s.join_kafka(1, &[1], None, committed);
    s.acquire(1, 10, true);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 0, 1, true, 2)]))]);
    s.acquire(1, 10, true);
    assert_eq!(s.heard(), []);
    let mut records = Vec::new();
    Append::encode(&mut records, 1, 0, &marker(producer, true, 5));
    s.world.write(s.now, records);
    let rest = vec![run(1, 1, 2, true, 1), run(1, 3, 1, false, 0)];
    assert_eq!(s.heard(), [(1, Heard::Acquired(rest))], "with the marker, which takes an offset");
}
