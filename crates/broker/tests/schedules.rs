//! What waits can be cancelled and replaced by its handle, and messages recur: each also over a restart, from a
//! checkpoint and from the log alone.

use crate::common::*;
use bowline_broker::{Effects, Shard};
use bowline_model::event::{Event, Failure};
use bowline_model::record::{self, Extras, PUBLISH_PERSISTENT, Publish};
use bowline_model::request::{Outcome, Propose, Provision, QueueSpec, Request, Volatile, Want};
use bowline_model::schedule::{Recurrence, Schedule};
use bowline_model::settings::{Overflow, QueueSettings};
use bowline_model::{ConsumerId, QueueId, Token};

const A: u64 = 1;
const B: u64 = 2;

fn publish_to(world: &mut World, queues: &[u32], messages: &[(&str, Extras)]) -> Token {
    let token = world.token();
    let mut out = Vec::new();
    for (body, extras) in messages {
        let (queues, body) = (queues.iter().copied(), [body.as_bytes()]);
        Publish::encode_with(
            &mut out,
            PUBLISH_PERSISTENT,
            queues,
            b"",
            b"key",
            b"\0\0",
            extras,
            body.into_iter(),
        );
    }
    let (records, count) = (out.into(), messages.len() as u32);
    world.handle(A, Request::Propose(Propose { token, records, count, want: Want::Done, checked: false }));
    token
}

fn publish(world: &mut World, messages: &[(&str, Extras)]) -> Token {
    publish_to(world, &[7], messages)
}

fn cancel_in(world: &mut World, queues: &[u32], handle: u128) -> Token {
    let token = world.token();
    let mut out = Vec::new();
    record::put_cancel(&mut out, queues.iter().copied(), handle);
    let (records, count) = (out.into(), 1);
    world.handle(
        A,
        Request::Propose(Propose { token, records, count, want: Want::Cancelled, checked: false }),
    );
    token
}

fn cancel(world: &mut World, handle: u128) -> Token {
    cancel_in(world, &[7], handle)
}

/// Whether the batch was done; it must have been answered.
fn is_done(world: &World, token: Token) -> bool {
    let answers = world.events.iter().filter_map(|(_, event)| match event {
        Event::Done { token: t } if *t == token => Some(true),
        Event::Failed { token: t, reason: Failure::NothingWaits } if *t == token => Some(false),
        _ => None,
    });
    let answers: Vec<bool> = answers.collect();
    assert_eq!(answers.len(), 1, "one answer");
    answers[0]
}

fn cancels(world: &mut World, handle: u128) -> bool {
    let token = cancel(world, handle);
    world.settle_down();
    is_done(world, token)
}

fn named(delay_ms: u64, handle: u128) -> Extras {
    Extras { delay_ms: Some(delay_ms), handle: Some(handle), ..Extras::default() }
}

fn recurring(text: &str, handle: u128) -> Extras {
    let recurrence = Recurrence { schedule: Schedule::parse(text).unwrap(), count: 0, until: 0 };
    Extras { recurrence: Some(recurrence), handle: Some(handle), ..Extras::default() }
}

/// Bodies delivered since the last call.
fn seen(world: &mut World) -> Vec<String> {
    world.settle_down();
    deliveries(&world.take_events()).iter().map(|s| String::from_utf8_lossy(&s.body).into_owned()).collect()
}

fn ready(world: &World) -> u64 {
    world.shard.stats().ready
}

fn restart(world: &mut World, from_checkpoint: bool) {
    world.settle_down();
    let live = world.shard.checkpoint();
    let covered = world.log.len();
    world.crash(0, from_checkpoint.then_some((&live[..], covered)));
    let bytes = world.shard.checkpoint();
    let mut again = Shard::new(world.options.clone());
    for block in &world.log {
        again.apply(block, Vec::new(), &mut Effects::default());
    }
    assert!(again.checkpoint() == bytes, "the log alone gives the same");
}

fn is_empty(world: &mut World) -> bool {
    world.settle_down();
    world.shard.live_segments().0.is_empty() && world.shard.stats().ready + world.shard.stats().unacked == 0
}

#[test]
fn what_waits_is_cancelled_by_its_handle_and_by_no_other() {
    for from_checkpoint in [None, Some(false), Some(true)] {
        let mut world = World::new();
        world.declare(queue(7));
        publish(&mut world, &[("a", named(100, 1)), ("b", named(200, 2)), ("c", named(300, 3))]);
        assert!(!cancels(&mut world, 9), "nothing has that name");
        assert!(cancels(&mut world, 2));
        assert!(!cancels(&mut world, 2), "once is enough");
        if let Some(from_checkpoint) = from_checkpoint {
            restart(&mut world, from_checkpoint);
        }
        assert!(cancels(&mut world, 3), "names survive");
        if let Some(from_checkpoint) = from_checkpoint {
            restart(&mut world, from_checkpoint);
        }
        world.subscribe(B, 1, 7, 0);
        world.tick(1_000);
        assert_eq!(seen(&mut world), ["a"]);
        assert_eq!(world.shard.queue_stats().next().unwrap().purged, 2);
        world.settle(B, 1, 0, 1, Outcome::Acked);
        assert!(is_empty(&mut world));
    }
}

#[test]
fn what_is_due_cannot_be_cancelled_and_what_is_cancelled_is_never_delivered() {
    let mut world = World::new();
    world.declare(queue(7));
    world.subscribe(B, 1, 7, 0);
    publish(&mut world, &[("a", named(100, 1)), ("b", named(100, 2))]);
    world.settle_down();
    world.tick(99);
    // The cancelling block is sealed before the time and applied behind it.
    let token = cancel(&mut world, 1);
    assert!(world.seal());
    world.tick(50);
    world.dispatch();
    assert_eq!(deliveries(&world.take_events()).len(), 0, "neither of them before that is known");
    world.commit();
    assert!(is_done(&world, token));
    assert_eq!(seen(&mut world), ["b"]);
    assert!(!cancels(&mut world, 2));
    // One that is sealed at the time itself is too late.
    publish(&mut world, &[("c", named(100, 3))]);
    world.settle_down();
    world.tick(100);
    assert!(!cancels(&mut world, 3));
    assert_eq!(seen(&mut world), ["c"]);
}

#[test]
fn a_cancel_that_the_log_refuses_cancels_nothing() {
    let mut world = World::new();
    world.declare(queue(7));
    publish(&mut world, &[("a", named(100, 1))]);
    world.settle_down();
    cancel(&mut world, 1);
    assert!(world.seal());
    world.tick(200);
    world.dispatch();
    world.abandon(Failure::DiskFull);
    world.subscribe(B, 1, 7, 0);
    assert_eq!(seen(&mut world), ["a"]);
}

#[test]
fn all_queues_of_a_cancel_have_to_have_it() {
    let mut world = World::new();
    world.declare(queue(7));
    world.declare(queue(8));
    publish_to(&mut world, &[7, 8], &[("a", named(100, 1)), ("b", named(100, 2))]);
    world.settle_down();
    let both = cancel_in(&mut world, &[7, 8], 1);
    let more = cancel_in(&mut world, &[7, 9], 2);
    let rest = cancel_in(&mut world, &[8], 2);
    world.settle_down();
    assert!(is_done(&world, both) && !is_done(&world, more) && is_done(&world, rest));
    assert!(is_empty(&mut world));
}

#[test]
fn the_same_block_may_bring_and_take_it() {
    for from_checkpoint in [false, true] {
        let mut world = World::new();
        world.declare(queue(7));
        publish(&mut world, &[("x", Extras::default()), ("a", named(100, 1)), ("y", Extras::default())]);
        let first = cancel(&mut world, 1);
        let second = cancel(&mut world, 1);
        publish(&mut world, &[("b", named(100, 1)), ("z", Extras::default())]);
        world.settle_down();
        assert!(is_done(&world, first) && !is_done(&world, second));
        restart(&mut world, from_checkpoint);
        world.subscribe(B, 1, 7, 0);
        assert_eq!(seen(&mut world), ["x", "y", "z"]);
        world.tick(200);
        assert_eq!(seen(&mut world), ["b"]);
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        assert!(is_empty(&mut world));
    }
}

#[test]
fn a_second_message_with_a_handle_replaces_the_first() {
    for from_checkpoint in [false, true] {
        let mut world = World::new();
        world.declare(queue(7));
        publish(&mut world, &[("first", named(100, 1))]);
        world.settle_down();
        publish(&mut world, &[("second", named(500, 1))]);
        world.settle_down();
        assert!(cancels(&mut world, 1));
        publish(&mut world, &[("third", named(100, 1)), ("fourth", named(300, 1))]);
        restart(&mut world, from_checkpoint);
        world.subscribe(B, 1, 7, 0);
        world.tick(200);
        assert_eq!(seen(&mut world), [""; 0]);
        world.tick(200);
        assert_eq!(seen(&mut world), ["fourth"]);
        // What has been delivered is not replaced.
        publish(&mut world, &[("fifth", named(100, 1))]);
        world.settle_down();
        world.settle(B, 1, 0, 1, Outcome::Returned);
        assert_eq!(seen(&mut world), ["fourth"]);
        world.tick(100);
        assert_eq!(seen(&mut world), ["fifth"]);
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        assert!(is_empty(&mut world));
    }
}

#[test]
fn waiting_again_after_a_failure_is_not_waiting_under_a_handle() {
    let mut world = World::new();
    world.declare(queue(7));
    publish(&mut world, &[("a", named(100, 1))]);
    world.subscribe(B, 1, 7, 0);
    world.settle_down();
    world.tick(100);
    assert_eq!(seen(&mut world), ["a"]);
    world.settle(B, 1, 0, 1, Outcome::FailedFor { delay_ms: 1_000 });
    world.settle_down();
    assert!(!cancels(&mut world, 1));
    world.tick(1_000);
    assert_eq!(seen(&mut world), ["a"]);
}

#[test]
fn purging_takes_names_along_and_leaves_schedules() {
    let mut world = World::new();
    world.declare(queue(7));
    publish(
        &mut world,
        &[("a", named(100, 1)), ("tick", recurring("every 1s", 2)), ("b", Extras::default())],
    );
    world.settle_down();
    assert_eq!(ready(&world), 1, "a template is not ready");
    world.handle(A, Request::Purge { token: Token(99), queue: QueueId(7) });
    world.settle_down();
    let purged = world.take_events().into_iter().find_map(|(_, event)| match event {
        Event::Purged { result, .. } => Some(result),
        _ => None,
    });
    assert_eq!(purged, Some(Ok(2)));
    assert!(!cancels(&mut world, 1));
    world.subscribe(B, 1, 7, 0);
    world.tick(1_000);
    assert_eq!(seen(&mut world), ["tick"]);
    world.settle(B, 1, 0, 1, Outcome::Acked);
    assert!(cancels(&mut world, 2));
    assert!(is_empty(&mut world));
}

#[test]
fn lengths_and_bytes_do_not_count_what_was_cancelled() {
    for from_checkpoint in [None, Some(false), Some(true)] {
        let mut world = World::new();
        let settings = QueueSettings {
            max_length_bytes: Some(10),
            overflow: Overflow::RejectPublish,
            ..QueueSettings::default()
        };
        world.declare(QueueSpec { settings: Box::new(settings), ..queue(7) });
        publish(&mut world, &[("12345678", named(100, 1)), ("123456789", recurring("every 1d", 2))]);
        world.settle_down();
        assert!(cancels(&mut world, 1));
        if let Some(from_checkpoint) = from_checkpoint {
            restart(&mut world, from_checkpoint);
        }
        let token = world.token();
        let mut out = Vec::new();
        let body = [&b"0123456789"[..]];
        Publish::encode(&mut out, PUBLISH_PERSISTENT, [7].into_iter(), b"", b"", b"\0\0", body.into_iter());
        let propose = Propose { token, records: out.into(), count: 1, want: Want::Done, checked: true };
        world.handle(A, Request::Propose(propose));
        world.settle_down();
        assert!(world.events.iter().any(|(_, e)| matches!(e, Event::Done { token: t } if *t == token)));
    }
}

#[test]
fn a_template_makes_a_copy_at_each_of_its_times() {
    for from_checkpoint in [None, Some(false), Some(true)] {
        let mut world = World::new();
        world.declare(queue(7));
        publish(&mut world, &[("tick", recurring("every 1s", 1)), ("plain", Extras::default())]);
        world.subscribe(B, 1, 7, 0);
        assert_eq!(seen(&mut world), ["plain"]);
        for _ in 0..3 {
            world.tick(999);
            assert_eq!(seen(&mut world), [""; 0]);
            world.tick(1);
            assert_eq!(seen(&mut world), ["tick"]);
        }
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        if let Some(from_checkpoint) = from_checkpoint {
            restart(&mut world, from_checkpoint);
            world.subscribe(B, 1, 7, 0);
        }
        assert_eq!(seen(&mut world), [""; 0]);
        // What was missed comes once, and the rhythm is kept.
        world.tick(3_300);
        assert_eq!(seen(&mut world), ["tick"]);
        world.tick(699);
        assert_eq!(seen(&mut world), [""; 0]);
        world.tick(1);
        assert_eq!(seen(&mut world), ["tick"]);
        assert!(cancels(&mut world, 1));
        world.tick(10_000);
        assert_eq!(seen(&mut world), [""; 0]);
        world.handle(B, Request::CloseSession);
        world.subscribe(3, 1, 7, 0);
        assert_eq!(seen(&mut world), ["tick", "tick"], "copies are messages like any other");
        world.settle(3, 1, 0, u64::MAX, Outcome::Acked);
        assert!(is_empty(&mut world));
    }
}

#[test]
fn a_copy_is_in_the_log_once_whenever_the_process_dies() {
    for survive in [0, 1] {
        let mut world = World::new();
        world.declare(queue(7));
        publish(&mut world, &[("tick", recurring("every 1s", 1))]);
        world.settle_down();
        world.tick(1_000);
        world.dispatch();
        assert!(world.seal(), "the copy is on its way");
        world.dispatch();
        assert!(!world.seal(), "and no other");
        world.crash(survive, None);
        world.settle_down();
        assert_eq!(ready(&world), 1);
        restart(&mut world, false);
        world.settle_down();
        assert_eq!(ready(&world), 1);
        world.tick(1_000);
        world.settle_down();
        assert_eq!(ready(&world), 2);
    }
}

#[test]
fn a_copy_that_the_log_refuses_comes_later() {
    let mut world = World::new();
    world.declare(queue(7));
    publish(&mut world, &[("tick", recurring("every 1s", 1))]);
    world.settle_down();
    world.tick(1_000);
    world.dispatch();
    assert!(world.seal());
    world.abandon(Failure::DiskFull);
    world.settle_down();
    assert_eq!(ready(&world), 1);
    // Cancelled while the copy is on its way: it is the log that says which was first.
    world.tick(1_000);
    world.dispatch();
    assert!(world.seal());
    world.abandon(Failure::DiskFull);
    assert!(cancels(&mut world, 1));
    let before = ready(&world);
    world.tick(5_000);
    world.settle_down();
    assert_eq!(ready(&world), before);
    restart(&mut world, false);
    assert_eq!(ready(&world), before);
}

#[test]
fn schedules_end_by_count_and_by_time() {
    for from_checkpoint in [false, true] {
        let mut world = World::new();
        world.declare(queue(7));
        let schedule = Schedule::parse("every 1s").unwrap();
        let with = |count, until, handle| Extras {
            recurrence: Some(Recurrence { schedule, count, until }),
            handle: Some(handle),
            ..Extras::default()
        };
        let until = world.now + 3_500;
        let over = world.now;
        publish(
            &mut world,
            &[("twice", with(2, 0, 1)), ("thrice", with(0, until, 2)), ("never", with(0, over, 3))],
        );
        world.settle_down();
        world.subscribe(B, 1, 7, 0);
        let mut all = Vec::new();
        for round in 0..6 {
            world.tick(1_000);
            all.extend(seen(&mut world));
            if round == 0 {
                world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
                restart(&mut world, from_checkpoint);
                world.subscribe(B, 1, 7, 0);
            }
        }
        assert_eq!(all, ["twice", "thrice", "twice", "thrice", "thrice"]);
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        assert!(is_empty(&mut world), "templates that are done are gone");
        for handle in 1..=3 {
            assert!(!cancels(&mut world, handle));
        }
    }
}

#[test]
fn a_schedule_is_replaced_by_its_handle() {
    let mut world = World::new();
    world.declare(queue(7));
    publish(&mut world, &[("old", recurring("every 1s", 1))]);
    world.settle_down();
    publish(&mut world, &[("new", recurring("every 3s", 1))]);
    world.settle_down();
    world.subscribe(B, 1, 7, 0);
    world.tick(2_000);
    assert_eq!(seen(&mut world), [""; 0]);
    world.tick(1_000);
    assert_eq!(seen(&mut world), ["new"]);
    // By a single one, too.
    publish(&mut world, &[("last", named(10, 1))]);
    world.settle_down();
    world.tick(10_000);
    assert_eq!(seen(&mut world), ["last"]);
    world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
    assert!(is_empty(&mut world));
}

#[test]
fn a_queue_with_a_schedule_is_not_empty() {
    let mut world = World::new();
    world.declare(queue(7));
    publish(&mut world, &[("tick", recurring("every 1s", 1))]);
    world.settle_down();
    let drop =
        |if_empty| Request::Provision(Provision::DropQueue { queue: QueueId(7), if_unused: false, if_empty });
    world.handle(0, drop(true));
    world.settle_down();
    assert_eq!(world.shard.stats().queues, 1);
    world.handle(0, drop(false));
    world.settle_down();
    assert_eq!(world.shard.stats().queues, 0);
    assert!(is_empty(&mut world));
    world.tick(1_000);
    world.settle_down();
}

#[test]
fn copies_have_the_life_that_their_template_gives_them() {
    let mut world = World::new();
    let settings = QueueSettings {
        max_priority: Some(9),
        message_ttl_ms: Some(500),
        dedup: Some(bowline_model::settings::Dedup { window_ms: 1 << 40, count_max: 100 }),
        ..QueueSettings::default()
    };
    world.declare(QueueSpec { settings: Box::new(settings), ..queue(7) });
    let template = Extras { priority: Some(9), dedup: Some(5), ..recurring("every 1s", 1) };
    publish(&mut world, &[("tick", template)]);
    world.settle_down();
    world.tick(950);
    publish(&mut world, &[("low", Extras::default())]);
    world.settle_down();
    world.tick(50);
    world.settle_down();
    assert_eq!(ready(&world), 2, "a template does not expire");
    world.subscribe(B, 1, 7, 1);
    assert_eq!(seen(&mut world), ["tick"]);
    world.tick(700);
    world.settle(B, 1, 0, 1, Outcome::Acked);
    assert_eq!(seen(&mut world), [""; 0], "the other has expired");
    world.handle(B, Request::CloseSession);
    world.tick(300);
    world.settle_down();
    assert_eq!(ready(&world), 1, "no duplicate");
    world.tick(600);
    world.settle_down();
    assert_eq!(ready(&world), 0, "copies expire");
}

#[test]
fn what_waits_does_not_age() {
    for (volatile, own) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = World::new();
        let message_ttl_ms = (!own).then_some(100);
        let settings = QueueSettings { message_ttl_ms, ..QueueSettings::default() };
        world.declare(QueueSpec { settings: Box::new(settings), ..queue(7) });
        let extras = Extras { delay_ms: Some(1_000), ttl_ms: own.then_some(100), ..Extras::default() };
        if volatile {
            let token = world.token();
            let mut out = Vec::new();
            Publish::encode_with(
                &mut out,
                0,
                [7].into_iter(),
                b"",
                b"",
                b"\0\0",
                &extras,
                [&b"v"[..]].into_iter(),
            );
            world.handle(
                A,
                Request::Volatile(Volatile { token, records: out.into(), count: 1, checked: false }),
            );
        } else {
            publish(&mut world, &[("a", extras)]);
        }
        world.settle_down();
        world.tick(1_000);
        world.settle_down();
        assert_eq!(ready(&world), 1);
        world.tick(101);
        world.settle_down();
        assert_eq!(ready(&world), 0);
        assert!(is_empty(&mut world));
    }
}

#[test]
fn templates_are_found_when_their_blocks_are_no_longer_at_hand() {
    let mut options = bowline_broker::Options::new(SHARD);
    (options.cache_bytes, options.readahead_bytes) = (1, 1);
    let mut world = World::with(options);
    world.declare(queue(7));
    for i in 0..5 {
        publish(&mut world, &[(["a", "b", "c", "d", "e"][i], recurring("every 1s", i as u128))]);
        world.settle_down();
    }
    for _ in 0..50 {
        publish(&mut world, &[("other", Extras::default())]);
        world.settle_down();
    }
    world.subscribe(B, 1, 7, 0);
    assert_eq!(seen(&mut world).len(), 50);
    world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
    for _ in 0..3 {
        world.tick(1_000);
        assert_eq!(seen(&mut world), ["a", "b", "c", "d", "e"]);
    }
    // What they lie in may have moved, too.
    world.recycle();
    let files =
        world.log.iter().map(|block| block.lsn.file()).filter(|file| *file < world.sealed_below()).collect();
    let moved = world.copy(&files, 1 << 20, || false);
    assert!(world.relocated(&moved) > 0);
    world.tick(1_000);
    assert_eq!(seen(&mut world), ["a", "b", "c", "d", "e"]);
    world.handle(B, Request::Cancel { token: Token(0), consumer: ConsumerId(1) });
}

#[test]
fn cancelling_lets_the_key_go() {
    for from_checkpoint in [None, Some(false), Some(true)] {
        let mut world = World::new();
        let settings = QueueSettings { keyed: true, fair: true, ..QueueSettings::default() };
        world.declare(QueueSpec { settings: Box::new(settings), ..queue(7) });
        let of = |key, extras: Extras| Extras { key: Some(key), tenant: Some(key % 2), ..extras };
        publish(
            &mut world,
            &[
                ("holds", of(1, named(500, 1))),
                ("behind", of(1, named(400, 2))),
                ("last", of(1, Extras::default())),
                ("other", of(2, Extras::default())),
                ("tick", of(1, recurring("every 1s", 3))),
            ],
        );
        world.settle_down();
        if let Some(from_checkpoint) = from_checkpoint {
            restart(&mut world, from_checkpoint);
        }
        world.subscribe(B, 1, 7, 0);
        assert_eq!(seen(&mut world), ["other"]);
        assert!(cancels(&mut world, 2), "what stands behind another");
        world.events.clear();
        assert!(cancels(&mut world, 1), "what holds the key");
        assert_eq!(seen(&mut world), ["last"]);
        world.tick(1_000);
        assert_eq!(seen(&mut world), [""; 0], "the copy stands behind the last");
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        assert_eq!(seen(&mut world), ["tick"]);
        assert!(cancels(&mut world, 3));
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        assert!(is_empty(&mut world));
    }
}
