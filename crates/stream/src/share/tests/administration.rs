//! Groups as administrators see them, idle ones, and checkpoints.

use super::*;

#[test]
fn groups_are_listed_described_reset_and_deleted() {
    let mut s = Script::new(2);
    s.append(1, 10);
    s.join_kafka(1, &[1, 2], None, Policy::default());
    s.acquire(1, 5, false);
    s.settle(1, 1, 1, 3, Outcome::Accepted);
    s.log();
    let token = Token(4);
    let group = || "g".to_string();
    let listed = |has_members| Reply::Listed(vec![Listed { group: group(), has_members }]);
    assert_eq!(s.asked(Request::List { token }), listed(true));
    let describe = || Request::Describe { token, group: group(), partitions: Some(vec![PartitionId(1)]) };
    let at = |start, lag| Reply::Described(vec![(PartitionId(1), Described { start, lag })]);
    assert_eq!(s.asked(describe()), at(0, 7));
    let reset = |partition, start| Request::Reset {
        token,
        group: group(),
        partitions: vec![(PartitionId(partition), start)],
    };
    let delete = |partitions| Request::Delete { token, group: group(), partitions };
    for refused in [reset(1, Start::First), delete(None)] {
        assert_eq!(s.asked(refused), Reply::Changed(Err(ChangeError::HasMembers)));
    }
    s.world.stream.close_session(s.now, SessionId(1), &mut s.world.out);
    s.log();
    assert_eq!(s.asked(Request::List { token }), listed(false));
    assert_eq!(s.asked(reset(1, Start::Offset(6))), Reply::Changed(Ok(())));
    assert_eq!(s.asked(describe()), at(6, 4));
    assert_eq!(s.asked(reset(9, Start::First)), Reply::Changed(Err(ChangeError::UnknownPartition)));
    s.world.assert_replays(None, 0);
    assert_eq!(s.asked(delete(Some(vec![PartitionId(1)]))), Reply::Changed(Ok(())));
    assert_eq!(s.asked(describe()), Reply::Described(vec![]));
    assert_eq!(s.asked(delete(None)), Reply::Changed(Ok(())));
    assert_eq!(s.asked(delete(None)), Reply::Changed(Err(ChangeError::UnknownGroup)));
    assert_eq!(s.asked(Request::List { token }), Reply::Listed(vec![]));
}

#[test]
fn idle_groups_are_forgotten() {
    let mut s = Script::new(1);
    s.join_kafka(1, &[1], None, Policy::default());
    let pass = |s: &mut Script, ms: u64| {
        s.now += ms;
        s.world.stream.tick(s.now, &mut s.world.out);
        s.log();
    };
    pass(&mut s, 1);
    pass(&mut s, IDLE_MS * 2);
    assert_eq!(s.world.stream.shares.len(), 1, "somebody is there");
    s.world.stream.close_session(s.now, SessionId(1), &mut s.world.out);
    pass(&mut s, IDLE_MS);
    pass(&mut s, IDLE_MS - 1);
    assert_eq!(s.world.stream.shares.len(), 1);
    pass(&mut s, 600_000);
    assert_eq!(s.world.stream.shares.len(), 0);
}

#[test]
fn a_checkpoint_is_read_back_or_refused() {
    let mut s = Script::new(2);
    s.append(1, 20);
    s.join(1, &[1, 2], Start::First, None);
    s.log();
    s.acquire(1, 10, true);
    s.settle(1, 1, 2, 3, Outcome::Accepted);
    s.settle(1, 1, 7, 1, Outcome::Rejected);
    s.settle(1, 1, 9, 1, Outcome::Released);
    s.log();
    let mut bytes = Vec::new();
    s.world.stream.shares.checkpoint(&mut bytes);
    let mut restored = crate::share::Shares::default();
    restored.restore(&bytes).unwrap();
    let mut again = Vec::new();
    restored.checkpoint(&mut again);
    assert_eq!(again, bytes);
    for cut in 0..bytes.len() {
        assert!(restored.restore(&bytes[..cut]).is_err(), "{cut}");
    }
    // What older versions wrote has no section for share groups.
    let mut old = Vec::new();
    crate::checkpoint::section(&mut old, |out| s.world.stream.partitions.checkpoint(out));
    crate::checkpoint::section(&mut old, |out| s.world.stream.groups.checkpoint(out));
    let mut stream = Stream::new(crate::Options::default());
    stream.restore(&old, 2).unwrap();
    assert!(stream.shares.is_empty());
}

#[test]
fn a_consumer_may_be_ended_by_another_session() {
    let mut s = Script::new(1);
    s.append(1, 2);
    s.join_kafka(1, &[1], None, Policy::default());
    s.acquire(1, 4, false);
    s.heard();
    s.acquire(1, 4, true);
    s.ask(2, Request::End { session: SessionId(1), consumer: ConsumerId(7) });
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![]))], "it is not left waiting");
    s.acquire(1, 4, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![]))], "nor if it has not heard of it yet");
    s.join_kafka(2, &[1], None, Policy::default());
    s.acquire(2, 4, false);
    assert_eq!(s.heard(), [(2, Heard::Acquired(vec![run(1, 0, 2, true, 1)]))]);
}
