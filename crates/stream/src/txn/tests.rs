//! One shard: what clients of a coordinator rely on.

use crate::testing::World;
use bowline_model::event::Event;
use bowline_model::group::{self, Member as GroupMember, PartitionCommit};
use bowline_model::record::{self, Append};
use bowline_model::txn::{Error, Member, OffsetsCommit, Producer, Reply, Request, State};
use bowline_model::{PartitionId, SessionId, Token};

const A: SessionId = SessionId(10);
const B: SessionId = SessionId(20);

struct Bench {
    world: World,
    now: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench { world: World::with_partitions(2), now: 1_000 }
    }

    fn ask(&mut self, session: SessionId, request: Request) -> Reply {
        let Bench { world, now } = self;
        world.stream.txn(*now, session, Token(1), request, &mut world.out);
        self.settle()
    }

    fn settle(&mut self) -> Reply {
        while !self.world.out.propose.is_empty() {
            self.world.settle(self.now);
        }
        assert!(self.world.out.sends.is_empty(), "there is one shard");
        match self.world.replies().pop() {
            Some((_, Event::Txn { reply, .. })) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn init(&mut self, known: Option<Producer>, fresh: Option<i64>) -> Reply {
        self.ask(A, Request::Init { id: "x".into(), timeout_ms: 60_000, known, fresh })
    }

    fn producer(&mut self) -> Producer {
        match self.init(None, Some(7)) {
            Reply::Producer(Ok(producer)) => producer,
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, session: SessionId, producer: Producer, implicit: bool) -> Reply {
        let members = vec![Member { partition: PartitionId(1), topic: "t".into(), index: 0 }];
        let id = "x".into();
        self.ask(session, Request::Add { id, producer, members, group: Some("g".into()), implicit })
    }

    fn end(&mut self, session: SessionId, producer: Producer, commit: bool, bumps: bool) -> Reply {
        self.ask(session, Request::End { id: "x".into(), producer, commit, bumps, fresh: None })
    }

    fn append(
        &mut self,
        producer: Producer,
        sequence: i32,
    ) -> Result<u64, bowline_model::event::AppendError> {
        let mut batch = crate::testing::Batch::from(producer.id, producer.epoch, sequence, 1).bytes();
        batch[22] |= 0x10;
        let mut records = Vec::new();
        Append::encode(&mut records, 1, 0, &batch);
        let results = self.world.write(self.now, records);
        crate::testing::base(&results[0])
    }

    fn commit_offset(&mut self, session: SessionId, producer: Producer, offset: i64) -> Event {
        let one = PartitionCommit { partition: 0, offset, leader_epoch: -1, metadata: None };
        let member =
            GroupMember { group: "g".into(), member_id: String::new(), generation: -1, instance_id: None };
        let commit =
            OffsetsCommit { member, producer, topics: vec![("t".into(), vec![one])], implicit: false };
        self.world.stream.commit_in_txn(session, Token(2), commit, &mut self.world.out);
        self.world.settle(self.now);
        self.world.replies().pop().expect("an answer").1
    }

    /// Outside of any transaction.
    fn commit_by_itself(&mut self, offset: i64) {
        let one = PartitionCommit { partition: 0, offset, leader_epoch: -1, metadata: None };
        let member =
            GroupMember { group: "g".into(), member_id: String::new(), generation: -1, instance_id: None };
        let topics = vec![("t".into(), vec![one])];
        let commit = group::Commit { member, topics, knows_epochs: true };
        self.world.stream.group(self.now, A, Token(4), group::Request::Commit(commit), &mut self.world.out);
        self.world.settle(self.now);
        match self.world.replies().pop() {
            Some((_, Event::Group { reply: group::Reply::Commit(Ok(_)), .. })) => {}
            other => panic!("{other:?}"),
        }
    }

    fn offset(&mut self, require_stable: bool) -> (i64, bool) {
        let topics = Some(vec![("t".into(), vec![0])]);
        let request =
            group::Request::FetchOffsets { group: "g".into(), topics, member: None, require_stable };
        self.world.stream.group(self.now, A, Token(3), request, &mut self.world.out);
        match self.world.replies().pop() {
            Some((_, Event::Group { reply: group::Reply::FetchOffsets(Ok(found)), .. })) => {
                (found[0].1[0].offset, found[0].1[0].unstable)
            }
            other => panic!("{other:?}"),
        }
    }

    fn forget(&mut self, request: group::Request) -> Result<(), group::Error> {
        self.world.stream.group(self.now, A, Token(3), request, &mut self.world.out);
        self.world.settle(self.now);
        match self.world.replies().pop() {
            Some((_, Event::Group { reply: group::Reply::OffsetDelete(result), .. })) => result.map(drop),
            Some((_, Event::Group { reply: group::Reply::Delete(result), .. })) => result,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self) -> State {
        match self.ask(A, Request::Describe { id: "x".into() }) {
            Reply::Described(Some(found)) => found.state,
            other => panic!("{other:?}"),
        }
    }
}

fn ok(reply: &Reply) -> Producer {
    match reply {
        Reply::Producer(Ok(producer)) => *producer,
        other => panic!("{other:?}"),
    }
}

fn error(reply: &Reply) -> Error {
    match reply {
        Reply::Producer(Err(error)) | Reply::Added(Err(error)) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transaction_counts_when_it_is_committed() {
    let mut bench = Bench::new();
    assert!(matches!(bench.init(None, None), Reply::NeedsId));
    let producer = bench.producer();
    assert_eq!(producer, Producer { id: 7, epoch: 0 });
    assert!(bench.append(producer, 0).is_err(), "the partition has not joined");
    assert!(matches!(bench.add(A, producer, false), Reply::Added(Ok(()))));
    assert_eq!(bench.append(producer, 0), Ok(0));
    bench.commit_offset(A, producer, 5);
    let partition = PartitionId(1);
    assert_eq!(bench.world.stream.partitions.last_stable(partition), Some(0));
    assert_eq!((bench.offset(false), bench.offset(true)), ((-1, false), (-1, true)));
    assert_eq!(bench.state(), State::Ongoing);
    assert_eq!(ok(&bench.end(A, producer, true, false)), producer);
    assert_eq!(bench.world.stream.partitions.last_stable(partition), Some(2), "behind the marker");
    assert_eq!((bench.offset(true), bench.state()), ((5, false), State::CompleteCommit));
    // Asked again it says the same; the other decision comes too late.
    assert_eq!(ok(&bench.end(A, producer, true, false)), producer);
    assert_eq!(error(&bench.end(A, producer, false, false)), Error::InvalidTxnState);
    assert!(bench.append(producer, 1).is_err(), "that transaction is over");
    bench.world.assert_replays(None, 0);
    let checkpoint = bench.world.checkpoint();
    bench.world.assert_replays(Some(&checkpoint), bench.world.blocks.all.len());
}

/// As when an administrator moves a group while a transaction has offsets for it.
#[test]
fn the_last_word_about_an_offset_holds() {
    let mut bench = Bench::new();
    let producer = bench.producer();
    bench.add(A, producer, false);
    bench.commit_offset(A, producer, 5);
    bench.commit_by_itself(77);
    assert_eq!(bench.offset(true), (77, false), "whatever becomes of the transaction");
    bench.end(A, producer, true, false);
    assert_eq!(bench.offset(true), (77, false));
    // The other way round.
    bench.add(A, producer, false);
    bench.commit_by_itself(78);
    bench.commit_offset(A, producer, 6);
    assert_eq!(bench.offset(true), (78, true));
    bench.end(A, producer, true, false);
    assert_eq!(bench.offset(true), (6, false));
    bench.world.assert_replays(None, 0);
}

#[test]
fn offsets_that_wait_are_deleted_with_the_others() {
    let topics = || vec![("t".to_owned(), vec![0])];
    let mut bench = Bench::new();
    let producer = bench.producer();
    let begin = |bench: &mut Bench| {
        bench.add(A, producer, false);
        bench.commit_offset(A, producer, 5);
        assert!(bench.offset(true).1);
    };
    // The group is there for nothing else.
    begin(&mut bench);
    assert_eq!(bench.forget(group::Request::OffsetDelete { group: "g".into(), topics: topics() }), Ok(()));
    assert_eq!(bench.offset(true), (-1, false));
    bench.end(A, producer, true, false);
    assert_eq!(bench.offset(true), (-1, false));
    let gone = bench.forget(group::Request::OffsetDelete { group: "g".into(), topics: topics() });
    assert_eq!(gone, Err(group::Error::GroupIdNotFound));
    begin(&mut bench);
    assert_eq!(bench.forget(group::Request::Delete { group: "g".into() }), Ok(()));
    bench.end(A, producer, true, false);
    assert_eq!(bench.offset(true), (-1, false));
    // It has others; what comes behind the deletion counts again.
    bench.commit_by_itself(77);
    begin(&mut bench);
    assert_eq!(bench.forget(group::Request::OffsetDelete { group: "g".into(), topics: topics() }), Ok(()));
    assert_eq!(bench.offset(true), (-1, false));
    bench.commit_offset(A, producer, 6);
    bench.end(A, producer, true, false);
    assert_eq!(bench.offset(true), (6, false));
    // A topic that is gone must not leave something to a later one of its name.
    begin(&mut bench);
    bench.world.stream.topic_deleted("t", &mut bench.world.out);
    bench.world.settle(bench.now);
    bench.end(A, producer, true, false);
    assert_eq!(bench.offset(true), (-1, false));
    bench.world.assert_replays(None, 0);
}

#[test]
fn an_offset_that_is_about_to_be_committed_anew_does_not_expire() {
    let mut bench = Bench::new();
    let producer = bench.producer();
    bench.commit_by_itself(77);
    bench.world.stream.tick(bench.now, &mut bench.world.out);
    bench.now += 2 * crate::group::Options::default().offsets_retention_ms;
    bench.world.stream.group(bench.now, A, Token(3), group::Request::List, &mut bench.world.out);
    bench.add(A, producer, false);
    bench.commit_offset(A, producer, 5);
    let Bench { world, now } = &mut bench;
    world.stream.groups.tick(*now, &world.stream.pending, &mut world.out);
    assert!(world.out.propose.is_empty());
    world.stream.groups.tick(*now + 3_600_000, &crate::txn::Pending::default(), &mut world.out);
    assert_eq!(world.out.propose.len(), 1, "nothing else has kept it");
}

#[test]
fn what_was_aborted_leaves_nothing() {
    let mut bench = Bench::new();
    let producer = bench.producer();
    bench.add(A, producer, false);
    bench.append(producer, 0).unwrap();
    bench.commit_offset(A, producer, 5);
    bench.end(A, producer, false, false);
    assert_eq!((bench.offset(true), bench.state()), ((-1, false), State::CompleteAbort));
    let checkpoint = bench.world.checkpoint();
    bench.world.assert_replays(Some(&checkpoint), bench.world.blocks.all.len());
}

#[test]
fn who_takes_an_id_over_fences_and_aborts() {
    let mut bench = Bench::new();
    let old = bench.producer();
    bench.add(A, old, false);
    bench.append(old, 0).unwrap();
    let new = ok(&bench.init(None, None));
    assert!(new.id == old.id && new.epoch > old.epoch);
    assert_eq!(bench.world.stream.partitions.last_stable(PartitionId(1)), Some(2));
    assert_eq!(error(&bench.add(A, old, false)), Error::ProducerFenced);
    assert_eq!(error(&bench.end(A, old, true, false)), Error::ProducerFenced);
    assert_eq!(error(&bench.init(Some(old), None)), Error::ProducerFenced);
    assert!(bench.append(old, 1).is_err());
    // One that says who it is raises its own epoch, once, however often it asks.
    let next = ok(&bench.init(Some(new), None));
    assert_eq!(next.epoch, new.epoch + 1);
    assert_eq!(ok(&bench.init(Some(new), None)), next);
}

#[test]
fn each_end_raises_the_epoch_of_those_who_want_it() {
    let mut bench = Bench::new();
    let first = bench.producer();
    bench.add(A, first, true);
    assert!(bench.append(first, 3).is_err(), "its sequences begin at 0");
    bench.append(first, 0).unwrap();
    let second = ok(&bench.end(A, first, true, true));
    assert_eq!(second, Producer { epoch: first.epoch + 1, ..first });
    assert_eq!(ok(&bench.end(A, first, true, true)), second, "it did not hear");
    assert_eq!(error(&bench.end(A, first, false, true)), Error::InvalidTxnState);
    assert_eq!(error(&bench.end(A, second, true, true)), Error::InvalidTxnState, "nothing is open");
    assert!(bench.append(first, 1).is_err());
    let third = ok(&bench.end(A, second, false, true));
    assert_eq!(third.epoch, second.epoch + 1, "an abort may be asked for at any time");
    bench.add(A, third, true);
    bench.append(third, 0).unwrap();
}

#[test]
fn a_producer_is_heard_on_its_newest_connection_only() {
    let mut bench = Bench::new();
    let producer = bench.producer();
    bench.add(A, producer, false);
    bench.commit_offset(A, producer, 5);
    bench.end(B, producer, true, false);
    // What the older one still brings belongs to the past, and must touch nothing.
    assert!(matches!(bench.add(A, producer, false), Reply::Outdated));
    bench.add(B, producer, false);
    bench.commit_offset(B, producer, 9);
    assert!(matches!(bench.end(A, producer, true, false), Reply::Outdated));
    assert!(matches!(bench.commit_offset(A, producer, 5), Event::Outdated { .. }));
    assert_eq!(bench.state(), State::Ongoing);
    bench.end(B, producer, true, false);
    assert_eq!(bench.offset(true), (9, false));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let mut bench = Bench::new();
    let producer = bench.producer();
    bench.add(A, producer, false);
    bench.append(producer, 0).unwrap();
    bench.now += 60_000;
    let Bench { world, now } = &mut bench;
    world.stream.tick(*now, &mut world.out);
    world.settle(*now);
    assert_eq!(bench.state(), State::CompleteAbort);
    assert_eq!(bench.world.stream.partitions.last_stable(PartitionId(1)), Some(2));
    assert_eq!(error(&bench.end(A, producer, true, false)), Error::ProducerFenced);
    // It may go on under its new epoch (KIP-588).
    let next = ok(&bench.init(Some(producer), None));
    assert_eq!(next.epoch, producer.epoch + 1);
}

/// As in Kafka: the end of a transaction is no end of what is told of it; a new owner of the id is.
#[test]
fn when_a_transaction_began_is_told_until_the_id_has_a_new_owner() {
    let mut bench = Bench::new();
    let started = |bench: &mut Bench| match bench.ask(A, Request::Describe { id: "x".into() }) {
        Reply::Described(Some(found)) => found.started,
        other => panic!("{other:?}"),
    };
    let mut producer = bench.producer();
    assert_eq!(started(&mut bench), None);
    bench.now = 5_000;
    bench.add(A, producer, true);
    bench.now = 6_000;
    bench.add(A, producer, true);
    assert_eq!(started(&mut bench), Some(5_000));
    producer = ok(&bench.end(A, producer, true, true));
    assert_eq!(started(&mut bench), Some(5_000));
    // An abort of nothing begins and ends now.
    bench.now = 7_000;
    bench.end(A, producer, false, true);
    assert_eq!(started(&mut bench), Some(7_000));
    bench.producer();
    assert_eq!(started(&mut bench), None);
}

#[test]
fn ids_are_bounded_in_what_they_may_ask_for() {
    let mut bench = Bench::new();
    for timeout_ms in [0, -1, 15 * 60 * 1000 + 1] {
        let request = Request::Init { id: "x".into(), timeout_ms, known: None, fresh: None };
        assert_eq!(error(&bench.ask(A, request)), Error::InvalidTransactionTimeout);
    }
    let stranger = Producer { id: 99, epoch: 0 };
    assert_eq!(error(&bench.add(A, stranger, false)), Error::InvalidProducerIdMapping);
    bench.producer();
    assert_eq!(error(&bench.add(A, stranger, false)), Error::InvalidProducerIdMapping);
    // Unused for a week, it is forgotten.
    bench.now += super::ID_EXPIRY_MS + 1;
    let Bench { world, now } = &mut bench;
    world.stream.tick(*now, &mut world.out);
    world.settle(*now);
    assert!(matches!(bench.ask(A, Request::Describe { id: "x".into() }), Reply::Described(None)));
}

#[test]
fn an_epoch_that_cannot_be_raised_ends_the_producer_id() {
    let mut bench = Bench::new();
    let mut records = Vec::new();
    let producer = Producer { id: 7, epoch: i16::MAX - 1 };
    let change = bowline_model::txn::Change::Init { producer, last: None, timeout_ms: 60_000 };
    let record = bowline_model::txn::TxnRecord { id: "x".into(), change };
    record::put_value(&mut records, record::Kind::Txn, &record);
    bench.world.write(1, records);
    bench.add(A, producer, true);
    bench.append(producer, 0).unwrap();
    assert!(matches!(bench.end(A, producer, true, true), Reply::NeedsId));
    let request = Request::End { id: "x".into(), producer, commit: true, bumps: true, fresh: Some(8) };
    let next = ok(&bench.ask(A, request));
    assert_eq!(next, Producer { id: 8, epoch: 0 });
    bench.add(A, next, true);
    bench.append(next, 0).unwrap();
    assert!(matches!(bench.init(None, None), Reply::Producer(Ok(_))));
}
