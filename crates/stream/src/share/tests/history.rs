//! Random histories against a naive model.

use super::*;

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
