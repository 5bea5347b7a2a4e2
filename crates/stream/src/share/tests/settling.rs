//! Locks, what comes back, and what the log hears of it.

use super::*;

#[test]
fn a_lock_ends_for_the_record_or_for_the_member() {
    let mut s = Script::new(1);
    s.append(1, 2);
    s.join(1, &[1], Start::First, Some(Lock { ms: 1000, cancels: false }));
    s.join(2, &[1], Start::First, Some(Lock { ms: 1500, cancels: true }));
    s.log();
    s.acquire(1, 1, true);
    s.acquire(2, 1, true);
    s.heard();
    s.settle(1, 1, 0, 1, Outcome::Renewed);
    s.acquire(1, 5, true);
    s.now += 1000;
    s.world.stream.tick(s.now, &mut s.world.out);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 0, 1, true, 1)]))], "back to who waited");
    s.acquire(1, 5, true);
    s.now += 500;
    s.world.stream.tick(s.now, &mut s.world.out);
    let answer = Heard::Acquired(vec![run(1, 1, 1, true, 1)]);
    assert_eq!(s.heard(), [(2, Heard::Cancelled), (1, answer)]);
    assert!(s.world.stream.shares.next_deadline().is_some());
}

#[test]
fn what_is_given_back_may_have_to_wait() {
    let mut s = Script::new(1);
    s.append(1, 3);
    s.join(1, &[1], Start::First, None);
    s.log();
    s.acquire(1, 3, true);
    s.heard();
    s.settle(1, 1, 0, 1, Outcome::ReleasedFor { delay_ms: 700 });
    s.settle(1, 1, 1, 1, Outcome::ReleasedFor { delay_ms: 300 });
    s.acquire(1, 3, true);
    s.now += 299;
    s.world.stream.tick(s.now, &mut s.world.out);
    assert_eq!((s.heard(), s.world.stream.shares.next_deadline()), (vec![], Some(1_300)));
    s.now += 1;
    s.world.stream.tick(s.now, &mut s.world.out);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 1, 1, true, 1)]))]);
    assert_eq!(s.world.stream.shares.next_deadline(), Some(1_700));
    // The wait is not in the log; the count is.
    s.log();
    s.crash(true);
    s.join(2, &[1], Start::First, None);
    s.acquire(2, 3, false);
    let answer = Heard::Acquired(vec![run(1, 0, 2, true, 1), run(1, 2, 1, true, 0)]);
    assert_eq!(s.heard(), [(2, Heard::Joined(Ok(()))), (2, answer)]);
}

#[test]
fn retention_and_deletion() {
    let mut s = Script::new(2);
    s.append(1, 10);
    s.join(1, &[1, 2], Start::First, None);
    s.log();
    s.acquire(1, 4, true);
    s.heard();
    let trim = |s: &mut Script, offset: u64| {
        let mut records = Vec::new();
        record::put_value(&mut records, Kind::PartitionTrim, &(PartitionId(1), offset));
        s.world.write(s.now, records);
    };
    trim(&mut s, 6);
    s.settle(1, 1, 0, 4, Outcome::Released);
    s.acquire(1, 100, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 6, 4, false, 0)]))]);
    s.settle(1, 1, 6, 4, Outcome::Accepted);
    s.log();
    trim(&mut s, 10);
    s.append(1, 1);
    s.acquire(1, 100, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 10, 1, false, 0)]))]);
    s.acquire(1, 100, true);
    let mut records = Vec::new();
    record::put_value(&mut records, Kind::PartitionDelete, &PartitionId(2));
    s.world.write(s.now, records);
    assert_eq!(s.heard(), [(1, Heard::Cancelled)]);
    s.join(2, &[1], Start::Next, None);
    s.acquire(2, 1, true);
    assert_eq!(s.heard(), [(2, Heard::Joined(Ok(()))), (2, Heard::Acquired(vec![run(1, 10, 1, true, 1)]))]);
    let mut records = Vec::new();
    let delete = DeleteRecord { partition: PartitionId(1), group: "g".to_string() };
    record::put_value(&mut records, Kind::ShareDelete, &delete);
    s.world.write(s.now, records);
    assert_eq!(s.heard(), [(2, Heard::Cancelled)]);
    assert!(s.world.stream.shares.is_empty());
    s.join(3, &[2], Start::First, None);
    assert_eq!(s.heard(), [(3, Heard::Joined(Err(JoinError::UnknownPartition)))]);
    s.crash(true);
}

#[test]
fn what_the_log_refuses_is_told_again() {
    let mut s = Script::new(1);
    s.append(1, 3);
    s.join(1, &[1], Start::First, None);
    let waiter = s.world.out.propose.pop().unwrap().waiter.unwrap();
    s.world.stream.refused(waiter, true, &mut s.world.out);
    assert_eq!(s.heard(), [(1, Heard::Joined(Err(JoinError::Storage)))]);
    s.join(1, &[1], Start::First, None);
    s.log();
    s.acquire(1, 3, true);
    s.settle(1, 1, 0, 2, Outcome::Accepted);
    s.settle(1, 1, 2, 1, Outcome::Released);
    s.world.stream.shares.tell_log(&mut s.world.out);
    for proposal in std::mem::take(&mut s.world.out.propose) {
        s.world.stream.refused(proposal.waiter.unwrap(), true, &mut s.world.out);
    }
    assert!(s.world.stream.shares.is_unlogged());
    s.log();
    s.heard();
    s.crash(false);
    s.join(1, &[1], Start::First, None);
    s.acquire(1, 3, false);
    let answer = Heard::Acquired(vec![run(1, 2, 1, true, 1)]);
    assert_eq!(s.heard(), [(1, Heard::Joined(Ok(()))), (1, answer)]);
}

#[test]
fn acknowledgements_are_all_or_nothing_and_wait_for_the_log() {
    let mut s = Script::new(1);
    s.append(1, 10);
    s.join_kafka(1, &[1], None, Policy::default());
    s.acquire(1, 4, false);
    s.heard();
    s.acknowledge(1, &[(0, 2, Outcome::Accepted), (3, 2, Outcome::Accepted)]);
    let refused = Err(AcknowledgeError::NotHeld);
    assert_eq!(s.heard(), [(1, Heard::Acknowledged(refused))], "record 4 is not in its hands");
    s.acknowledge(1, &[(0, u64::MAX, Outcome::Accepted)]);
    assert_eq!(s.heard(), [(1, Heard::Acknowledged(refused))]);
    s.acknowledge(1, &[(0, 2, Outcome::Accepted), (2, 1, Outcome::Released), (3, 1, Outcome::Renewed)]);
    assert_eq!(s.heard(), [], "not before the log has it");
    s.log();
    assert_eq!(s.heard(), [(1, Heard::Acknowledged(Ok(())))]);
    s.acknowledge(1, &[(3, 1, Outcome::Renewed)]);
    assert_eq!(s.heard(), [(1, Heard::Acknowledged(Ok(())))], "there is nothing to log");
    s.acknowledge(2, &[(3, 1, Outcome::Accepted)]);
    assert_eq!(s.heard(), [(2, Heard::Acknowledged(Err(AcknowledgeError::UnknownPartition)))]);
    // Unless it speaks for who has it.
    s.acknowledge_for(2, 1, vec![(PartitionId(1), vec![(3, 1, Outcome::Renewed)])]);
    assert_eq!(s.heard(), [(2, Heard::Acknowledged(Ok(())))]);
    s.crash(false);
    s.join_kafka(1, &[1], None, Policy::default());
    s.acquire(1, 2, false);
    let answer = Heard::Acquired(vec![run(1, 2, 1, true, 1), run(1, 3, 1, true, 0)]);
    assert_eq!(s.heard(), [(1, answer)], "nothing accepted comes back, all else does");
}

#[test]
fn what_comes_back_waits_longer_each_time() {
    let mut s = Script::new(1);
    s.append(1, 1);
    let backoff = Some(Backoff { first_ms: 1_000, max_ms: 3_000 });
    s.join_kafka(1, &[1], Some(3), Policy { backoff, ..Policy::default() });
    for (returns, wait) in [(0, 1_000), (1, 2_000), (2, 3_000)] {
        s.acquire(1, 1, true);
        assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 0, 1, returns > 0, returns)]))]);
        s.settle(1, 1, 0, 1, Outcome::Released);
        s.acquire(1, 1, true);
        s.now += wait - 1;
        s.world.stream.tick(s.now, &mut s.world.out);
        assert_eq!(s.heard(), [], "{returns}");
        s.now += 1;
        s.acquire(1, 0, true);
        s.world.stream.tick(s.now, &mut s.world.out);
        assert_eq!(s.heard(), [(1, Heard::Acquired(vec![]))], "{returns}");
    }
    s.acquire(1, 1, true);
    s.heard();
    s.settle(1, 1, 0, 1, Outcome::Released);
    s.log();
    let described = s.asked(Request::Describe { token: Token(4), group: "g".into(), partitions: None });
    assert_eq!(
        described,
        Reply::Described(vec![(PartitionId(1), Described { start: 1, lag: 0 })]),
        "archived"
    );
}
