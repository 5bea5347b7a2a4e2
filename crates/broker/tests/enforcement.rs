//! What queues enforce: lifetimes, lengths, leases, and where the dead go.

use crate::common::*;
use bowline_broker::{DeadLetters, Reborn, Receipt, Remains, Transfer};
use bowline_model::event::{Event, Failure, MetaEvent};
use bowline_model::record::{self, Extras, PUBLISH_PERSISTENT, Publish, SettleReason};
use bowline_model::request::{Outcome, Propose, Provision, QueueSpec, Request, Volatile, Want};
use bowline_model::settings::{Overflow, QueueSettings};
use bowline_model::{QueueId, Token};
use bytes::Bytes;

const A: u64 = 1;
const B: u64 = 2;

fn with(id: u32, set: impl FnOnce(&mut QueueSettings)) -> QueueSpec {
    let mut spec = queue(id);
    set(&mut spec.settings);
    spec
}

fn ttl(ms: u64) -> Extras {
    Extras { ttl_ms: Some(ms), ..Extras::default() }
}

fn message(queues: &[u32], extras: &Extras, body: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let ids = queues.iter().copied();
    Publish::encode_with(&mut out, PUBLISH_PERSISTENT, ids, b"", b"key", b"\0\0", extras, [body].into_iter());
    out.into()
}

fn publish(world: &mut World, queue: u32, extras: &Extras, body: &[u8], volatile: bool) {
    let (token, records, count, checked) = (world.token(), message(&[queue], extras, body), 1, false);
    world.handle(
        A,
        match volatile {
            true => Request::Volatile(Volatile { token, records, count, checked }),
            false => Request::Propose(Propose { token, records, count, want: Want::Done, checked }),
        },
    );
}

/// True if it was taken.
fn try_publish(world: &mut World, queue: u32, body: &[u8], volatile: bool) -> bool {
    let (token, records, count, checked) =
        (world.token(), message(&[queue], &Extras::default(), body), 1, true);
    world.handle(
        A,
        match volatile {
            true => Request::Volatile(Volatile { token, records, count, checked }),
            false => Request::Propose(Propose { token, records, count, want: Want::Done, checked }),
        },
    );
    let refused = |(_, event): &(_, Event)| matches!(event, Event::Failed { reason: Failure::QueueFull, token: t } if *t == token);
    !world.events.iter().any(refused)
}

fn ready(world: &World, queue: u32) -> u64 {
    world.shard.queue_stats().find(|stats| stats.queue == QueueId(queue)).map_or(0, |stats| stats.ready)
}

/// What consumers of `queue` would get now: takes it and gives it back.
fn content(world: &mut World, queue: u32) -> Vec<String> {
    world.settle_down();
    world.take_events();
    let consumer = 1000 + queue + world.log.len() as u32 * 100;
    world.subscribe(9, consumer, queue, 0);
    world.settle_down();
    let seen = deliveries(&world.take_events());
    world.handle(9, Request::CloseSession);
    world.settle_down();
    seen.iter().map(|s| String::from_utf8_lossy(&s.body).into_owned()).collect()
}

/// Lets time pass as the node does: ticks when the shard asks for it.
fn pass(world: &mut World, ms: u64) {
    let end = world.now + ms;
    world.settle_down();
    while let Some(at) = world.shard.next_deadline().filter(|at| *at <= end) {
        let step = at.saturating_sub(world.now);
        world.tick(step);
        world.settle_down();
    }
    world.tick(end - world.now);
    world.settle_down();
}

/// Sends what died on to queue `to`.
fn bury(world: &mut World, to: u32) -> Vec<(String, SettleReason)> {
    let mut buried = Vec::new();
    for DeadLetters { queue, letters, .. } in std::mem::take(&mut world.dead) {
        for letter in letters {
            let body = body_at(&letter.block, letter.offset, letter.len);
            buried.push((String::from_utf8_lossy(&body).into_owned(), letter.reason));
            let mut records = Vec::new();
            let (persistent, key) = (PUBLISH_PERSISTENT, b"dead");
            Publish::encode(
                &mut records,
                persistent,
                [to].into_iter(),
                b"",
                key,
                b"\0\0",
                [body.as_slice()].into_iter(),
            );
            let logged = letter.remains != Remains::Memory(letter.block.lsn);
            let reborn = Reborn { remains: letter.remains, reason: letter.reason, records, count: 1, logged };
            world.shard.reborn(world.now, queue, reborn);
        }
    }
    buried
}

#[test]
fn a_queue_lets_messages_live_so_long() {
    for volatile in [false, true] {
        let mut world = World::new();
        world.declare(with(7, |s| s.message_ttl_ms = Some(100)));
        publish(&mut world, 7, &Extras::default(), b"old", volatile);
        pass(&mut world, 60);
        publish(&mut world, 7, &Extras::default(), b"young", volatile);
        pass(&mut world, 39);
        assert_eq!(ready(&world, 7), 2);
        pass(&mut world, 1);
        assert_eq!(ready(&world, 7), 1, "on time, with nobody there");
        assert_eq!(content(&mut world, 7), ["young"]);
        pass(&mut world, 60);
        assert_eq!(ready(&world, 7), 0);
        assert!(content(&mut world, 7).is_empty());
        assert!(world.shard.live_segments().0.is_empty(), "the log knows");
        assert_eq!(world.shard.next_deadline(), None);
    }
}

#[test]
fn the_shorter_of_two_lives_counts_and_coming_back_does_not_lengthen_it() {
    for volatile in [false, true] {
        let mut world = World::new();
        world.declare(with(7, |s| s.message_ttl_ms = Some(1000)));
        world.subscribe(B, 1, 7, 0);
        world.settle_down();
        publish(&mut world, 7, &ttl(100), b"short", volatile);
        publish(&mut world, 7, &ttl(5000), b"long", volatile);
        world.settle_down();
        assert_eq!(deliveries(&world.take_events()).len(), 2);
        world.handle(B, Request::Cancel { token: Token(0), consumer: bowline_model::ConsumerId(1) });
        pass(&mut world, 99);
        world.settle(B, 1, 0, 2, Outcome::Returned);
        world.settle_down();
        assert_eq!(ready(&world, 7), 2);
        pass(&mut world, 1);
        assert_eq!(ready(&world, 7), 1);
        pass(&mut world, 899);
        assert_eq!(content(&mut world, 7), ["long"]);
        pass(&mut world, 1);
        assert_eq!(ready(&world, 7), 0);
    }
}

#[test]
fn what_expired_behind_another_is_not_delivered() {
    for volatile in [false, true] {
        let mut world = World::new();
        world.declare(queue(7));
        publish(&mut world, 7, &Extras::default(), b"one", volatile);
        publish(&mut world, 7, &ttl(10), b"two", volatile);
        publish(&mut world, 7, &Extras::default(), b"three", volatile);
        pass(&mut world, 10);
        assert_eq!(content(&mut world, 7), ["one", "three"]);
        assert_eq!(ready(&world, 7), 2);
    }
}

#[test]
fn a_life_of_nothing_is_enough_for_who_waits() {
    for volatile in [false, true] {
        for of_queue in [false, true] {
            let mut world = World::new();
            world.declare(with(7, |s| s.message_ttl_ms = of_queue.then_some(0)));
            let extras = if of_queue { Extras::default() } else { ttl(0) };
            publish(&mut world, 7, &extras, b"nobody", volatile);
            world.settle_down();
            assert_eq!(ready(&world, 7), 0);
            world.subscribe(B, 1, 7, 1);
            world.settle_down();
            publish(&mut world, 7, &extras, b"somebody", volatile);
            publish(&mut world, 7, &extras, b"no credit", volatile);
            world.now += 5;
            world.settle_down();
            let seen = deliveries(&world.take_events());
            assert_eq!(seen.iter().map(|s| s.body.as_slice()).collect::<Vec<_>>(), [b"somebody"]);
            assert_eq!(ready(&world, 7), 0);
        }
    }
}

#[test]
fn lifetimes_survive_restarts() {
    for checkpointed in [false, true] {
        let mut world = World::new();
        world.declare(with(7, |s| s.message_ttl_ms = Some(100)));
        world.declare(queue(8));
        publish(&mut world, 7, &Extras::default(), b"a", false);
        publish(&mut world, 8, &ttl(120), b"b", false);
        pass(&mut world, 50);
        publish(&mut world, 7, &Extras::default(), b"c", false);
        pass(&mut world, 0);
        let bytes = world.shard.checkpoint();
        let covered = world.log.len();
        world.crash(0, checkpointed.then_some((bytes.as_slice(), covered)));
        world.now += 49;
        world.settle_down();
        assert_eq!((ready(&world, 7), ready(&world, 8)), (2, 1));
        pass(&mut world, 1);
        assert_eq!((ready(&world, 7), ready(&world, 8)), (1, 1));
        pass(&mut world, 20);
        assert_eq!((ready(&world, 7), ready(&world, 8)), (1, 0));
        assert_eq!(content(&mut world, 7), ["c"]);
        let again = world.shard.checkpoint();
        let restored = bowline_broker::Shard::restore(world.options.clone(), &again).unwrap();
        assert_eq!(restored.checkpoint(), again);
    }
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    for volatile in [false, true] {
        let mut world = World::new();
        world.declare(with(7, |s| s.max_length = Some(2)));
        world.declare(with(8, |s| s.max_length_bytes = Some(6)));
        for body in [b"aaa", b"bbb", b"ccc", b"ddd"] {
            publish(&mut world, 7, &Extras::default(), body, volatile);
            publish(&mut world, 8, &Extras::default(), body, volatile);
        }
        world.settle_down();
        assert_eq!((ready(&world, 7), ready(&world, 8)), (2, 2));
        if !volatile {
            world.crash(0, None);
            world.settle_down();
            assert_eq!((ready(&world, 7), ready(&world, 8)), (2, 2));
        }
        // Taking and giving back does not lose count.
        assert_eq!(content(&mut world, 7), ["ccc", "ddd"]);
        assert_eq!(content(&mut world, 8), ["ccc", "ddd"]);
        publish(&mut world, 8, &Extras::default(), b"eeeee", volatile);
        publish(&mut world, 7, &Extras::default(), b"", volatile);
        assert_eq!(content(&mut world, 8), ["eeeee"]);
        assert_eq!(content(&mut world, 7), ["ddd", ""]);
        publish(&mut world, 8, &Extras::default(), b"ffffffffff", volatile);
        assert!(content(&mut world, 8).is_empty(), "larger than the queue");
    }
}

#[test]
fn unacked_messages_do_not_count_and_a_waiting_consumer_comes_first() {
    let mut world = World::new();
    world.declare(with(7, |s| s.max_length = Some(1)));
    world.subscribe(B, 1, 7, 2);
    world.settle_down();
    for body in [b"a", b"b", b"c", b"d"] {
        publish(&mut world, 7, &Extras::default(), body, false);
    }
    world.settle_down();
    let seen = deliveries(&world.take_events());
    assert_eq!(seen.iter().map(|s| s.body.as_slice()).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(ready(&world, 7), 1);
    world.settle(B, 1, 0, 1, Outcome::Acked);
    world.settle_down();
    assert_eq!(deliveries(&world.take_events())[0].body, b"d");
}

#[test]
fn a_full_queue_refuses_if_it_is_to() {
    for volatile in [false, true] {
        let mut world = World::new();
        world.declare(with(7, |s| {
            s.max_length = Some(2);
            s.overflow = Overflow::RejectPublish;
        }));
        world.declare(with(8, |s| {
            s.max_length_bytes = Some(5);
            s.overflow = Overflow::RejectPublishDlx;
            s.dead_letter_exchange = Some(String::new());
        }));
        world.declare(queue(9));
        let taken: Vec<bool> =
            [b"a", b"b", b"c"].iter().map(|b| try_publish(&mut world, 7, *b, volatile)).collect();
        assert_eq!(taken, [true, true, false], "also before the log has them");
        world.settle_down();
        assert!(!try_publish(&mut world, 7, b"d", volatile));
        world.handle(A, Request::Purge { token: Token(0), queue: QueueId(7) });
        world.settle_down();
        assert!(try_publish(&mut world, 7, b"e", volatile));
        assert!(try_publish(&mut world, 8, b"12345", volatile));
        world.settle_down();
        assert!(!try_publish(&mut world, 8, b"6", volatile));
        assert_eq!(bury(&mut world, 9), [("6".to_owned(), SettleReason::MaxLength)]);
        assert_eq!(content(&mut world, 7), ["e"]);
        assert_eq!(content(&mut world, 8), ["12345"]);
        assert_eq!(content(&mut world, 9), ["6"]);
    }
}

#[test]
fn a_queue_nobody_uses_goes() {
    let mut world = World::new();
    world.declare(with(7, |s| s.expires_ms = Some(100)));
    let gone = |world: &mut World| {
        let gone = world.meta.iter().any(|e| matches!(e, MetaEvent::Expired { queue: QueueId(7) }));
        world.meta.clear();
        gone
    };
    pass(&mut world, 99);
    assert!(!gone(&mut world));
    world.handle(0, Request::Provision(Provision::Touched { queue: QueueId(7) }));
    pass(&mut world, 99);
    world.get(A, 7, 1);
    pass(&mut world, 99);
    world.subscribe(B, 1, 7, 0);
    pass(&mut world, 500);
    world.handle(B, Request::CloseSession);
    pass(&mut world, 99);
    assert!(!gone(&mut world));
    pass(&mut world, 1);
    assert!(gone(&mut world));
    pass(&mut world, 99);
    assert!(!gone(&mut world), "asked once");
    world.crash(0, None);
    pass(&mut world, 99);
    assert!(!gone(&mut world));
    pass(&mut world, 1);
    assert!(gone(&mut world));
}

#[test]
fn settings_apply_to_what_is_there() {
    let mut world = World::new();
    world.declare(queue(7));
    world.publish(A, &[7], &[b"a", b"b", b"c"]);
    world.settle_down();
    let set = |world: &mut World, settings: QueueSettings| {
        let settings = Box::new(settings);
        world.handle(0, Request::Provision(Provision::Settings { queue: QueueId(7), settings }));
        world.settle_down();
    };
    set(&mut world, QueueSettings { max_length: Some(2), ..QueueSettings::default() });
    assert_eq!(content(&mut world, 7), ["b", "c"]);
    set(&mut world, QueueSettings { message_ttl_ms: Some(100), ..QueueSettings::default() });
    pass(&mut world, 99);
    assert_eq!(ready(&world, 7), 2);
    world.crash(0, None);
    world.settle_down();
    pass(&mut world, 1);
    assert_eq!(ready(&world, 7), 0);
    set(&mut world, QueueSettings::default());
    world.publish(A, &[7], &[b"d"]);
    pass(&mut world, 1000);
    assert_eq!(content(&mut world, 7), ["d"]);
}

#[test]
fn many_that_expire_at_once_do_not_stall_others() {
    let mut world = World::new();
    world.declare(with(7, |s| s.message_ttl_ms = Some(10)));
    let many: Vec<&[u8]> = vec![b"x"; 10_000];
    world.publish(A, &[7], &many);
    world.settle_down();
    world.tick(10);
    world.dispatch();
    let left = ready(&world, 7);
    assert!((1..10_000).contains(&left), "{left}");
    assert_eq!(world.shard.next_deadline(), Some(world.now), "and goes on at once");
    pass(&mut world, 0);
    assert_eq!(ready(&world, 7), 0);
}

#[test]
fn the_dead_go_where_the_queue_says() {
    for volatile in [false, true] {
        let mut world = World::new();
        world.declare(with(7, |s| {
            s.dead_letter_exchange = Some(String::new());
            s.max_length = Some(3);
            s.message_ttl_ms = Some(100);
        }));
        world.declare(queue(9));
        for body in [b"a", b"b", b"c", b"d"] {
            publish(&mut world, 7, &Extras::default(), body, volatile);
        }
        world.settle_down();
        assert_eq!(bury(&mut world, 9), [("a".to_owned(), SettleReason::MaxLength)]);
        world.subscribe(B, 1, 7, 1);
        world.settle_down();
        world.handle(B, Request::Cancel { token: Token(0), consumer: bowline_model::ConsumerId(1) });
        world.settle(B, 1, 0, 1, Outcome::Rejected);
        world.settle_down();
        assert_eq!(bury(&mut world, 9), [("b".to_owned(), SettleReason::Rejected)]);
        pass(&mut world, 100);
        let expired: Vec<_> = bury(&mut world, 9).into_iter().map(|(body, _)| body).collect();
        assert_eq!(expired, ["c", "d"]);
        assert_eq!(content(&mut world, 9), ["a", "b", "c", "d"]);
        assert_eq!(ready(&world, 7), 0);
        // Neither purged nor deleted messages are dead.
        publish(&mut world, 7, &Extras::default(), b"e", volatile);
        world.settle_down();
        world.handle(A, Request::Purge { token: Token(0), queue: QueueId(7) });
        publish(&mut world, 7, &Extras::default(), b"f", volatile);
        world.settle_down();
        let (if_unused, if_empty) = (false, false);
        let drop = Provision::DropQueue { queue: QueueId(7), if_unused, if_empty };
        world.handle(0, Request::Provision(drop));
        world.settle_down();
        assert!(world.dead.is_empty());
        assert_eq!(world.shard.stats().volatile_bytes > 0, volatile);
    }
}

/// The process dies at any block boundary while messages go over: each is in one of the two queues, and in one only.
#[test]
fn at_any_crash_a_message_is_dead_or_alive_and_never_both() {
    let run = |crash_at: usize, checkpoint_at: usize| {
        let mut world = World::new();
        world.declare(with(7, |s| {
            s.dead_letter_exchange = Some(String::new());
            s.message_ttl_ms = Some(100);
            s.max_length = Some(15);
        }));
        world.declare(queue(9));
        let mut saved = None;
        let mut steps = 0;
        let mut crash = |world: &mut World| {
            steps += 1;
            if steps == checkpoint_at {
                saved = Some((world.shard.checkpoint(), world.log.len()));
            }
            if steps == crash_at {
                let survive = crash_at % 2;
                world.crash(survive, saved.as_ref().map(|(bytes, n)| (bytes.as_slice(), *n)));
                return true;
            }
            false
        };
        let bodies: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
        let all: Vec<&[u8]> = bodies.iter().map(|b| b.as_bytes()).collect();
        world.publish(A, &[7], &all);
        world.settle_down();
        world.subscribe(B, 1, 7, 5);
        let mut crashed = false;
        for step in 0..60 {
            world.dispatch();
            bury(&mut world, 9);
            if step == 3 && !crashed {
                world.settle(B, 1, 0, 2, Outcome::Rejected);
            }
            if step == 5 && !crashed {
                world.settle(B, 1, 2, 1, Outcome::Acked);
                world.handle(B, Request::CloseSession);
            }
            world.seal();
            crashed |= crash(&mut world);
            world.commit();
            world.answer_read(false);
            crashed |= crash(&mut world);
            world.tick(8);
        }
        for _ in 0..10 {
            pass(&mut world, 100);
            bury(&mut world, 9);
        }
        world.settle_down();
        let mut dead = content(&mut world, 9);
        let n = dead.len();
        dead.sort();
        dead.dedup();
        assert_eq!(dead.len(), n, "twice: crash at {crash_at}");
        assert_eq!(ready(&world, 7), 0);
        // All but the one that was acknowledged; and that, too, if the acknowledgement was lost.
        assert!((19..=20).contains(&n), "{n} after a crash at {crash_at}");
        crashed
    };
    for crash_at in 1..120 {
        for checkpoint_at in [0, crash_at / 2, crash_at] {
            assert!(run(crash_at, checkpoint_at));
        }
    }
}

#[test]
fn a_refused_block_does_not_lose_the_dead() {
    let mut world = World::new();
    world.declare(with(7, |s| {
        s.dead_letter_exchange = Some(String::new());
        s.message_ttl_ms = Some(10);
    }));
    world.declare(queue(9));
    publish(&mut world, 7, &Extras::default(), b"a", false);
    pass(&mut world, 10);
    bury(&mut world, 9);
    while world.seal() {}
    assert!(world.abandon(Failure::DiskFull));
    assert_eq!(content(&mut world, 9), ["a"]);
    assert_eq!(ready(&world, 7), 0);
    let settles = |block: &bowline_model::BlockRef| {
        let kinds: Vec<_> = record::iter(&block.payload).map(|r| r.unwrap().kind).collect();
        kinds.contains(&record::Kind::Settle) && kinds.contains(&record::Kind::Publish)
    };
    assert!(world.log.iter().any(settles), "both in one block");
}

/// Another shard that does not know whether its message arrived sends it again.
#[test]
fn what_was_moved_here_twice_is_here_once() {
    for checkpointed in [false, true] {
        let mut world = World::new();
        world.declare(queue(9));
        let send = |world: &mut World, numbers: &[u64]| {
            let mut records = Vec::new();
            for number in numbers {
                let extras = Extras { from: Some((77, *number)), ..Extras::default() };
                records.extend_from_slice(&message(&[9], &extras, format!("m{number}").as_bytes()));
            }
            let receipt = Some(Receipt { shard: bowline_model::ShardId(2), ticket: 5 });
            let count = numbers.len() as u32;
            world.shard.receive(world.now, Transfer { records, count, logged: true, receipt });
            world.settle_down();
        };
        send(&mut world, &[3, 4, 3, 5]);
        assert_eq!(ready(&world, 9), 3);
        let (bytes, covered) = (world.shard.checkpoint(), world.log.len());
        world.crash(0, checkpointed.then_some((bytes.as_slice(), covered)));
        send(&mut world, &[4, 5, 6, 3]);
        assert_eq!(content(&mut world, 9), ["m3", "m4", "m5", "m6"]);
        world.publish(A, &[9], &[b"other"]);
        send(&mut world, &[6]);
        world.crash(0, checkpointed.then_some((bytes.as_slice(), covered)));
        assert_eq!(content(&mut world, 9), ["m3", "m4", "m5", "m6", "other"]);
        let before = world.shard.checkpoint().len();
        world.shard.transferred(QueueId(77), 100);
        world.settle_down();
        assert!(world.shard.checkpoint().len() < before, "forgotten");
    }
}

/// A transient message may have to wait behind a logged one of its session that is older: its life begins when it
/// came, not with that.
#[test]
fn a_message_that_waits_behind_another_lives_from_when_it_came() {
    let mut world = World::new();
    world.declare(queue(7));
    world.declare(queue(8));
    publish(&mut world, 8, &Extras::default(), b"logged", false);
    assert!(world.seal());
    world.now += 50;
    publish(&mut world, 7, &ttl(100), b"held", true);
    world.now += 40;
    assert!(world.commit());
    pass(&mut world, 59);
    assert_eq!(ready(&world, 7), 1, "99 ms old");
    pass(&mut world, 1);
    assert_eq!(ready(&world, 7), 0);
}
