//! Random histories against a naive model, and the corners that chance seldom meets.

use super::WINDOW_RECORDS;
use super::admin::IDLE_MS;
use crate::testing::{Batch, World, appends};
use crate::{Out, Stream};
use bowline_model::event::Event;
use bowline_model::record::{self, Append, Kind, SettleReason};
use bowline_model::share::{
    Acknowledge, AcknowledgeError, AcknowledgedRuns, Acquire, AcquireRest, Acquired, Backoff, ChangeError,
    DeadLetterExchange, DeadLetters, DeleteRecord, Described, Join, JoinError, Listed, Lock, Outcome, Policy,
    Reply, Request, Settle, Start,
};
use bowline_model::txn::{AdmitRecord, Producer, marker};
use bowline_model::{ConsumerId, Millis, PartitionId, SessionId, Token};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Drives members and their log.
struct Script {
    world: World,
    now: Millis,
}

impl Script {
    fn new(partitions: u32) -> Script {
        Script { world: World::with_partitions(partitions), now: 1_000 }
    }

    fn ask(&mut self, session: u64, request: Request) {
        self.world.stream.share(self.now, SessionId(session), request, &mut self.world.out);
    }

    fn append(&mut self, partition: u32, count: u32) {
        self.world.write(self.now, appends(&[(partition, Batch::plain(count))]));
    }

    /// All that waits for the log gets there.
    fn log(&mut self) {
        loop {
            self.world.stream.shares.tell_log(&mut self.world.out);
            if self.world.out.propose.is_empty() {
                return;
            }
            self.world.settle(self.now);
        }
    }

    fn join(&mut self, session: u64, partitions: &[u32], start: Start, lock: Option<Lock>) {
        let partitions = partitions.iter().map(|&id| (PartitionId(id), start)).collect();
        let join = Join {
            token: Token(1),
            consumer: ConsumerId(7),
            channel: 1,
            group: "g".to_string(),
            partitions,
            returns_max: None,
            lock,
            stays: false,
            dead_letters: None,
            policy: Policy::default(),
        };
        self.ask(session, Request::Join(join));
    }

    fn acquire(&mut self, session: u64, max: u32, wait: bool) {
        let acquire = Acquire { token: Token(2), consumer: ConsumerId(7), max, wait };
        self.ask(session, Request::Acquire(acquire));
    }

    fn acquire_rest(&mut self, session: u64, runs: &[(u32, u64, u64)]) {
        let runs = runs.iter().map(|&(partition, first, count)| (PartitionId(partition), first, count));
        let rest = AcquireRest { token: Token(2), consumer: ConsumerId(7), runs: runs.collect() };
        self.ask(session, Request::AcquireRest(rest));
    }

    fn settle(&mut self, session: u64, partition: u32, first: u64, count: u64, outcome: Outcome) {
        let partition = PartitionId(partition);
        let settle = Settle { consumer: ConsumerId(7), partition, first, count, outcome };
        self.ask(session, Request::Settle(vec![settle]));
    }

    /// Answers since the last time.
    fn heard(&mut self) -> Vec<(u64, Heard)> {
        let heard = |(session, event): (SessionId, Event)| {
            let heard = match event {
                Event::Share { token: Token(1), reply: Reply::Joined(result) } => Heard::Joined(result),
                Event::Share { token: Token(2), reply: Reply::Acquired(runs) } => Heard::Acquired(runs),
                Event::Share { token: Token(3), reply: Reply::Acknowledged(results) } => {
                    Heard::Acknowledged(results[0].1)
                }
                Event::Cancelled { token: None, consumer: ConsumerId(7) } => Heard::Cancelled,
                other => panic!("{other:?}"),
            };
            (session.0, heard)
        };
        self.world.replies().into_iter().map(heard).collect()
    }

    /// The process dies and starts again. `checkpoint`: from one of this moment, else from the whole log.
    fn crash(&mut self, checkpoint: bool) {
        let all = self.world.blocks.all.len();
        let bytes = self.world.checkpoint();
        self.world.assert_replays(None, 0);
        self.world.stream = match checkpoint {
            true => self.world.replayed(Some(&bytes), all),
            false => self.world.replayed(None, 0),
        };
        self.world.out = Out::default();
        let mut started = Vec::new();
        record::put(&mut started, Kind::NodeStarted, &[]);
        self.world.write(self.now, started);
        assert!(self.heard().is_empty());
    }
}

#[derive(Debug, PartialEq)]
enum Heard {
    Joined(Result<(), JoinError>),
    Acquired(Vec<Acquired>),
    Acknowledged(Result<(), AcknowledgeError>),
    Cancelled,
}

fn run(partition: u32, first: u64, count: u64, redelivered: bool, returns: u32) -> Acquired {
    Acquired { partition: PartitionId(partition), first, count, redelivered, returns }
}

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

impl Script {
    /// As a Kafka share session joins.
    fn join_kafka(&mut self, session: u64, partitions: &[u32], returns_max: Option<u64>, policy: Policy) {
        let partitions = partitions.iter().map(|&id| (PartitionId(id), Start::First)).collect();
        let join = Join {
            token: Token(1),
            consumer: ConsumerId(7),
            channel: 1,
            group: "g".to_string(),
            partitions,
            returns_max,
            lock: Some(Lock { ms: 30_000, cancels: false }),
            stays: true,
            dead_letters: None,
            policy,
        };
        self.ask(session, Request::Join(join));
        self.log();
        assert_eq!(self.heard(), [(session, Heard::Joined(Ok(())))]);
    }

    fn acknowledge(&mut self, session: u64, runs: &[(u64, u64, Outcome)]) {
        let partitions = vec![(PartitionId(1), runs.to_vec())];
        self.acknowledge_for(session, session, partitions);
    }

    /// What a consumer of the session `of` holds is settled by another.
    fn acknowledge_for(&mut self, by: u64, of: u64, partitions: Vec<(PartitionId, AcknowledgedRuns)>) {
        let (session, consumer) = (SessionId(of), ConsumerId(7));
        let acknowledge = Acknowledge { token: Token(3), session, consumer, partitions };
        self.ask(by, Request::Acknowledge(acknowledge));
    }

    fn asked(&mut self, request: Request) -> Reply {
        self.ask(1, request);
        self.log();
        let Some((_, Event::Share { reply, .. })) = self.world.replies().pop() else { panic!("no answer") };
        reply
    }
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

impl Script {
    /// What is dying: offset, deliveries, reason, and whether it is copied. Nothing becomes of it.
    fn dying(&mut self) -> Vec<(u64, u32, SettleReason, bool)> {
        let dead = std::mem::take(&mut self.world.out.dead);
        dead.into_iter().map(|dead| (dead.offset, dead.deliveries, dead.reason, dead.is_copied)).collect()
    }

    /// Each that is dying gets a letter: a record of partition 2.
    fn bury(&mut self) -> usize {
        let dead = std::mem::take(&mut self.world.out.dead);
        let buried = dead.len();
        for dead in dead {
            let letter = appends(&[(2, Batch::plain(1))]);
            self.world.stream.shares.buried(dead, letter, 1, &mut self.world.out);
        }
        buried
    }

    fn letters(&self) -> u64 {
        self.world.stream.partitions.high_watermark(PartitionId(2)).unwrap()
    }
}

#[test]
fn the_dead_end_with_their_letters() {
    let policy = Policy { dead_letters: DeadLetters::Pointers, ..Policy::default() };
    let mut s = Script::new(2);
    s.append(1, 6);
    s.join_kafka(1, &[1], Some(0), policy);
    s.acquire(1, 4, false);
    s.heard();
    // A crash before there are letters: nothing has happened.
    s.acknowledge(1, &[(0, 1, Outcome::Rejected), (1, 1, Outcome::Released)]);
    s.log();
    assert_eq!(s.heard(), [], "they are not in the log yet");
    let dying = [(0, 1, SettleReason::Rejected, false), (1, 1, SettleReason::DeliveryLimit, false)];
    assert_eq!(s.dying(), dying);
    s.crash(false);
    s.join_kafka(1, &[1], Some(0), policy);
    s.acquire(1, 4, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 0, 4, true, 0)]))]);

    s.acknowledge(1, &[(0, 1, Outcome::Rejected), (1, 1, Outcome::Accepted), (2, 1, Outcome::Released)]);
    s.log();
    assert_eq!((s.heard(), s.bury()), (vec![], 2));
    s.log();
    assert_eq!((s.heard(), s.letters()), (vec![(1, Heard::Acknowledged(Ok(())))], 2));
    s.crash(true);
    s.join_kafka(1, &[1], Some(0), policy);
    s.acquire(1, 10, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 3, 3, true, 0)]))]);
    assert_eq!(s.letters(), 2, "once each");
    // Locks end and sessions close without anybody who waits for an answer.
    s.world.stream.close_session(s.now, SessionId(1), &mut s.world.out);
    assert_eq!(s.bury(), 3);
    s.log();
    let described = s.asked(Request::Describe { token: Token(4), group: "g".into(), partitions: None });
    assert_eq!(described, Reply::Described(vec![(PartitionId(1), Described { start: 6, lag: 0 })]));
    assert_eq!(s.letters(), 5);
}

#[test]
fn a_letter_that_the_log_refuses_is_made_again() {
    let policy = Policy { dead_letters: DeadLetters::Copies, ..Policy::default() };
    let mut s = Script::new(2);
    s.append(1, 2);
    s.join_kafka(1, &[1], None, policy);
    s.acquire(1, 2, false);
    s.heard();
    s.acknowledge(1, &[(0, 1, Outcome::Rejected)]);
    s.log();
    assert_eq!(s.bury(), 1);
    for proposal in std::mem::take(&mut s.world.out.propose) {
        s.world.stream.refused(proposal.waiter.unwrap(), true, &mut s.world.out);
    }
    assert_eq!(s.heard(), [(1, Heard::Acknowledged(Err(AcknowledgeError::Storage)))]);
    s.acquire(1, 2, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![]))], "it is not handed out while it is dying");
    assert_eq!(s.bury(), 1);
    s.log();
    assert_eq!(s.letters(), 1);
    s.crash(false);
    s.join_kafka(1, &[1], None, policy);
    s.acquire(1, 2, false);
    assert_eq!(s.heard(), [(1, Heard::Acquired(vec![run(1, 1, 1, true, 0)]))]);
}

#[test]
fn a_consumers_own_exchange_goes_before_the_groups_topic() {
    let to = DeadLetterExchange { vhost: "/".into(), exchange: "dead".into(), routing_key: None };
    let mut s = Script::new(2);
    s.append(1, 2);
    let join = |session: u64, dead_letters, policy| {
        let join = Join {
            token: Token(1),
            consumer: ConsumerId(7),
            channel: 1,
            group: "g".to_string(),
            partitions: vec![(PartitionId(1), Start::First)],
            returns_max: None,
            lock: None,
            stays: false,
            dead_letters,
            policy,
        };
        (session, Request::Join(join))
    };
    for (session, request) in [
        join(1, Some(std::sync::Arc::new(to.clone())), Policy::default()),
        join(2, None, Policy { dead_letters: DeadLetters::Pointers, ..Policy::default() }),
    ] {
        s.ask(session, request);
        s.log();
        s.acquire(session, 1, false);
    }
    s.heard();
    s.settle(1, 1, 0, 1, Outcome::Rejected);
    s.settle(2, 1, 1, 1, Outcome::Rejected);
    let dead = std::mem::take(&mut s.world.out.dead);
    let fates: Vec<_> = dead.iter().map(|dead| (dead.exchange.as_deref(), dead.is_copied)).collect();
    assert_eq!(fates, [(Some(&to), true), (None, false)]);
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

/// What a random history does next.
#[derive(Clone, Debug)]
enum Step {
    Append {
        partition: u32,
        count: u32,
    },
    Join {
        session: u64,
    },
    Close {
        session: u64,
    },
    Leave {
        session: u64,
    },
    Acquire {
        session: u64,
        max: u32,
        wait: bool,
    },
    AcquireRest {
        session: u64,
        partition: u32,
        first: u64,
    },
    /// Of what the session holds: which, how many, and what becomes of it.
    Settle {
        session: u64,
        at: usize,
        count: u64,
        outcome: Outcome,
    },
    Pass {
        ms: u64,
    },
    Log,
    Trim {
        partition: u32,
        of: u64,
    },
    Crash {
        checkpoint: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let session = 1..=3u64;
    let outcome = prop_oneof![
        6 => Just(Outcome::Accepted),
        3 => Just(Outcome::Released),
        2 => (0..900u64).prop_map(|delay_ms| Outcome::ReleasedFor { delay_ms }),
        1 => Just(Outcome::Rejected),
        1 => Just(Outcome::Untouched),
        1 => Just(Outcome::Renewed),
    ];
    prop_oneof![
        4 => (1..=2u32, 1..6u32).prop_map(|(partition, count)| Step::Append { partition, count }),
        4 => session.clone().prop_map(|session| Step::Join { session }),
        1 => session.clone().prop_map(|session| Step::Close { session }),
        1 => session.clone().prop_map(|session| Step::Leave { session }),
        8 => (session.clone(), 0..5u32, any::<bool>())
            .prop_map(|(session, max, wait)| Step::Acquire { session, max, wait }),
        2 => (session.clone(), 1..=2u32, 0..40u64)
            .prop_map(|(session, partition, first)| Step::AcquireRest { session, partition, first }),
        8 => (session, any::<prop::sample::Index>(), 1..4u64, outcome)
            .prop_map(|(session, at, count, outcome)| {
                Step::Settle { session, at: at.index(1000), count, outcome }
            }),
        2 => (0..600u64).prop_map(|ms| Step::Pass { ms }),
        5 => Just(Step::Log),
        1 => (1..=2u32, 0..40u64).prop_map(|(partition, of)| Step::Trim { partition, of }),
        1 => any::<bool>().prop_map(|checkpoint| Step::Crash { checkpoint }),
    ]
}

type Offset = (u32, u64);

/// What an honest group may and must do, told from the outside.
#[derive(Default)]
struct Model {
    ends: BTreeMap<u32, u64>,
    starts: BTreeMap<u32, u64>,
    /// Who holds what.
    held: BTreeMap<Offset, u64>,
    members: BTreeSet<u64>,
    /// Settled in this life, and for good.
    settled: BTreeSet<Offset>,
    durable: BTreeSet<Offset>,
    /// How often it was handed out and not given back untouched.
    delivered: BTreeMap<Offset, u32>,
    /// How often it came back: in this life, or as the log knows.
    returns: BTreeMap<Offset, u32>,
    returns_durable: BTreeMap<Offset, u32>,
    /// What may not be handed out before a time.
    waits: BTreeMap<Offset, Millis>,
    now: Millis,
    crashed: bool,
}

impl Model {
    fn back(&mut self, offset: Offset) {
        *self.returns.entry(offset).or_default() += 1;
    }

    fn acquired(&mut self, session: u64, runs: &[Acquired]) {
        for acquired in runs {
            for offset in acquired.first..acquired.first + acquired.count {
                let offset = (acquired.partition.0, offset);
                assert!(offset.1 < self.ends[&offset.0], "it exists");
                assert!(offset.1 >= self.starts[&offset.0], "it is there");
                assert!(!self.settled.contains(&offset), "{offset:?} was settled");
                let holder = self.held.insert(offset, session);
                assert_eq!(holder, None, "{offset:?} is in other hands");
                assert!(self.waits.remove(&offset).is_none_or(|due| due <= self.now), "{offset:?} waits");
                let returns = self.returns.get(&offset).copied().unwrap_or(0);
                assert_eq!(acquired.returns, returns, "{offset:?}");
                assert!(acquired.redelivered || returns == 0);
                let delivered = self.delivered.entry(offset).or_default();
                if *delivered > 0 {
                    assert!(acquired.redelivered, "{offset:?} was delivered before");
                } else if !self.crashed {
                    assert!(!acquired.redelivered, "{offset:?} was never delivered");
                }
                *delivered += 1;
            }
        }
    }

    fn drop_held(&mut self, session: u64) {
        let held: Vec<Offset> =
            self.held.iter().filter(|(_, by)| **by == session).map(|(at, _)| *at).collect();
        for offset in held {
            self.held.remove(&offset);
            self.back(offset);
        }
        self.members.remove(&session);
    }
}

fn history(steps: &[Step]) {
    let mut s = Script::new(2);
    let mut m = Model::default();
    m.ends.extend([(1, 0), (2, 0)]);
    m.starts.extend([(1, 0), (2, 0)]);
    // The group is there from the beginning.
    s.join(9, &[1, 2], Start::First, None);
    s.log();
    s.heard();
    for step in steps {
        match step.clone() {
            Step::Append { partition, count } => {
                s.append(partition, count);
                *m.ends.get_mut(&partition).unwrap() += u64::from(count);
            }
            Step::Join { session } => {
                if m.members.insert(session) {
                    s.join(session, &[1, 2], Start::First, None);
                    assert_eq!(s.heard(), [(session, Heard::Joined(Ok(())))]);
                }
            }
            Step::Close { session } => {
                m.drop_held(session);
                s.world.stream.close_session(s.now, SessionId(session), &mut s.world.out);
            }
            Step::Leave { session } => {
                // What it holds stays with it; it is not heard of again before its session ends.
                s.ask(session, Request::Leave { consumer: ConsumerId(7) });
                m.drop_held(session);
                s.world.stream.close_session(s.now, SessionId(session), &mut s.world.out);
            }
            Step::Acquire { session, max, wait } => s.acquire(session, max, wait),
            Step::AcquireRest { session, partition, first } => {
                s.acquire_rest(session, &[(partition, first, 5)]);
            }
            Step::Settle { session, at, count, outcome } => {
                let held: Vec<Offset> =
                    m.held.iter().filter(|(_, by)| **by == session).map(|(at, _)| *at).collect();
                if held.is_empty() || !m.members.contains(&session) {
                    continue;
                }
                let (partition, first) = held[at % held.len()];
                for offset in (first..first + count).map(|offset| (partition, offset)) {
                    if m.held.get(&offset) != Some(&session) || outcome == Outcome::Renewed {
                        continue;
                    }
                    m.held.remove(&offset);
                    match outcome {
                        Outcome::Accepted | Outcome::Rejected => drop(m.settled.insert(offset)),
                        Outcome::Released => m.back(offset),
                        Outcome::ReleasedFor { delay_ms } => {
                            m.back(offset);
                            m.waits.insert(offset, s.now + delay_ms);
                        }
                        Outcome::Untouched => *m.delivered.get_mut(&offset).unwrap() -= 1,
                        Outcome::Renewed => {}
                    }
                }
                s.settle(session, partition, first, count, outcome);
            }
            Step::Pass { ms } => {
                s.now += ms;
                s.world.stream.tick(s.now, &mut s.world.out);
            }
            Step::Log => {
                s.log();
                m.durable.clone_from(&m.settled);
                m.returns_durable.clone_from(&m.returns);
            }
            Step::Trim { partition, of } => {
                let offset = of.min(m.ends[&partition]).max(m.starts[&partition]);
                m.starts.insert(partition, offset);
                let mut records = Vec::new();
                record::put_value(&mut records, Kind::PartitionTrim, &(PartitionId(partition), offset));
                s.world.write(s.now, records);
                m.held.retain(|at, _| at.0 != partition || at.1 >= offset);
            }
            Step::Crash { checkpoint } => {
                s.heard();
                s.crash(checkpoint);
                m.settled.clone_from(&m.durable);
                m.returns.clone_from(&m.returns_durable);
                m.held.clear();
                m.waits.clear();
                m.members.clear();
                m.crashed = true;
            }
        }
        m.now = s.now;
        for (session, heard) in s.heard() {
            let Heard::Acquired(runs) = heard else { panic!("{heard:?}") };
            m.acquired(session, &runs);
        }
    }
    // Whoever was there goes, and one takes all that is left.
    s.now += 1_000;
    s.world.stream.tick(s.now, &mut s.world.out);
    for session in 1..=3 {
        m.drop_held(session);
        s.world.stream.close_session(s.now, SessionId(session), &mut s.world.out);
    }
    s.heard();
    s.join(4, &[1, 2], Start::Next, None);
    s.log();
    let mut left = BTreeSet::new();
    s.heard();
    loop {
        s.acquire(4, 1_000_000, false);
        s.log();
        let (_, heard) = s.heard().pop().expect("an answer");
        let Heard::Acquired(runs) = heard else { panic!("{heard:?}") };
        if runs.is_empty() {
            break;
        }
        for run in &runs {
            left.extend((run.first..run.first + run.count).map(|offset| (run.partition.0, offset)));
        }
    }
    let all = [1, 2].into_iter().flat_map(|p| (m.starts[&p]..m.ends[&p]).map(move |offset| (p, offset)));
    let expected: BTreeSet<Offset> = all.filter(|offset| !m.settled.contains(offset)).collect();
    assert_eq!(left, expected, "nothing is lost, nothing settled comes again");
    s.world.assert_replays(None, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_history_is_one_of_a_queue(steps in prop::collection::vec(step(), 1..120)) {
        history(&steps);
    }
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
    let mut restored = super::Shares::default();
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
