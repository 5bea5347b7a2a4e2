//! Members and their log, driven by scripts.

mod administration;
mod burial;
mod dealing;
mod history;
mod order;
mod settling;

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
