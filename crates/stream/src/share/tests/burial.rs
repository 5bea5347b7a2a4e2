//! The dead and their letters.

use super::*;

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
