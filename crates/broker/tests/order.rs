//! Messages that are not simply handed out in order: priorities, delays, what failed and waits, what failed too often,
//! and duplicates. Each also over a restart, from a checkpoint and from the log alone.

use crate::common::*;
use bowline_model::event::Event;
use bowline_model::extras::Window;
use bowline_model::record::{Extras, PUBLISH_PERSISTENT, Publish};
use bowline_model::request::{Outcome, Propose, Provision, QueueSpec, Request, Volatile, Want};
use bowline_model::settings::{Dedup, QueueSettings, Retry, RetryOn};
use bowline_model::{Block, ConsumerId, QueueId, Token};

const A: u64 = 1;
const B: u64 = 2;

fn with(settings: QueueSettings) -> QueueSpec {
    QueueSpec { settings: Box::new(settings), ..queue(7) }
}

fn priorities(max: u8) -> QueueSettings {
    QueueSettings { max_priority: Some(max), default_priority: 1, ..QueueSettings::default() }
}

fn records(messages: &[(&str, Extras)]) -> bytes::Bytes {
    let mut out = Vec::new();
    for (body, extras) in messages {
        let body = [body.as_bytes()];
        let (queues, body) = ([7].into_iter(), body.into_iter());
        Publish::encode_with(&mut out, PUBLISH_PERSISTENT, queues, b"", b"key", b"\0\0", extras, body);
    }
    out.into()
}

fn publish(world: &mut World, messages: &[(&str, Extras)]) -> Token {
    let token = world.token();
    let (records, count) = (records(messages), messages.len() as u32);
    world.handle(A, Request::Propose(Propose { token, records, count, want: Want::Done, checked: false }));
    token
}

fn publish_volatile(world: &mut World, messages: &[(&str, Extras)]) {
    let token = world.token();
    let (records, count) = (records(messages), messages.len() as u32);
    world.handle(A, Request::Volatile(Volatile { token, records, count, checked: false }));
}

fn priority(priority: u8) -> Extras {
    Extras { priority: Some(priority), ..Extras::default() }
}

fn delay(ms: u64) -> Extras {
    Extras { delay_ms: Some(ms), ..Extras::default() }
}

/// What was delivered since the last call, with a star if it may have been before.
fn seen(world: &mut World) -> Vec<String> {
    world.settle_down();
    let seen = deliveries(&world.take_events());
    let star = |s: &Seen| if s.redelivered { "*" } else { "" };
    seen.iter().map(|s| String::from_utf8_lossy(&s.body).into_owned() + star(s)).collect()
}

fn starless(world: &mut World) -> Vec<String> {
    seen(world).into_iter().map(|body| body.trim_end_matches('*').to_owned()).collect()
}

fn ready(world: &World) -> u64 {
    world.shard.stats().ready
}

/// The process dies and starts again, from a checkpoint or from the log alone: both give the same.
fn restart(world: &mut World, from_checkpoint: bool) {
    world.settle_down();
    let live = world.shard.checkpoint();
    let covered = world.log.len();
    if from_checkpoint {
        world.crash(0, Some((&live, covered)));
    } else {
        world.crash(0, None);
    }
    let mut other = World::new();
    other.log = world.log.clone();
    let bytes = world.shard.checkpoint();
    let mut again = bowline_broker::Shard::new(world.options.clone());
    for block in &world.log {
        again.apply(block, Vec::new(), &mut bowline_broker::Effects::default());
    }
    assert!(again.checkpoint() == bytes, "the log alone gives the same");
}

#[test]
fn the_higher_priority_goes_first_and_order_is_kept_within() {
    for volatile in [false, true] {
        let mut world = World::new();
        world.declare(with(priorities(5)));
        let none = Extras::default();
        let messages = [
            ("a1", none),
            ("b0", priority(0)),
            ("c5", priority(5)),
            ("d200", priority(200)),
            ("e3", priority(3)),
            ("f1", priority(1)),
            ("g5", priority(5)),
        ];
        if volatile {
            publish_volatile(&mut world, &messages)
        } else {
            _ = publish(&mut world, &messages)
        };
        world.settle_down();
        assert_eq!(ready(&world), 7);
        world.subscribe(B, 1, 7, 4);
        assert_eq!(seen(&mut world), ["c5", "d200", "g5", "e3"]);
        // What returns goes to its place within its priority.
        world.handle(B, Request::Cancel { token: Token(0), consumer: ConsumerId(1) });
        publish(&mut world, &[("h5", priority(5)), ("i0", priority(0))]);
        world.settle_down();
        world.settle(B, 1, 2, 1, Outcome::Returned);
        world.settle(B, 1, 0, 1, Outcome::Returned);
        world.settle(B, 1, 1, u64::MAX, Outcome::Acked);
        world.subscribe(B, 2, 7, 0);
        assert_eq!(seen(&mut world), ["c5*", "g5*", "h5", "a1", "f1", "b0", "i0"]);
        world.settle(B, 2, 0, u64::MAX, Outcome::Acked);
        world.settle_down();
        assert_eq!((ready(&world), world.shard.stats().unacked), (0, 0));
        assert!(world.shard.live_segments().0.is_empty());
    }
}

#[test]
fn priorities_survive_a_restart() {
    for from_checkpoint in [false, true] {
        let mut world = World::new();
        world.declare(with(priorities(9)));
        for n in 0..50u32 {
            publish(&mut world, &[(&format!("{n}"), priority((n * 7 % 12) as u8))]);
        }
        world.subscribe(B, 1, 7, 10);
        let first = seen(&mut world);
        world.settle(B, 1, 0, 5, Outcome::Acked);
        world.handle(B, Request::Cancel { token: Token(0), consumer: ConsumerId(1) });
        restart(&mut world, from_checkpoint);
        assert_eq!(ready(&world), 45);
        world.subscribe(B, 1, 7, 0);
        let rest = starless(&mut world);
        let mut expected: Vec<u32> = (0..50).collect();
        expected.sort_by_key(|n| (std::cmp::Reverse((n * 7 % 12).min(9)), *n));
        let expected: Vec<String> = expected.iter().map(u32::to_string).collect();
        assert_eq!(first, expected[..10]);
        assert_eq!(rest, expected[5..]);
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        world.settle_down();
        assert!(world.shard.live_segments().0.is_empty());
    }
}

#[test]
fn a_flag_that_is_not_set_is_never_wrong_though_numbers_go_out_of_order() {
    let mut world =
        World::with(bowline_broker::Options { horizon_margin: 2, ..bowline_broker::Options::new(SHARD) });
    world.declare(with(priorities(9)));
    for n in 0..40u8 {
        publish(&mut world, &[(&format!("{n}"), priority(n / 4))]);
    }
    world.subscribe(B, 1, 7, 6);
    let first = seen(&mut world);
    assert_eq!(first.len(), 6);
    world.crash(0, None);
    world.subscribe(B, 1, 7, 0);
    let again = seen(&mut world);
    assert!(first.iter().all(|body| again.contains(&format!("{body}*"))), "{first:?} {again:?}");
}

#[test]
fn a_delayed_message_is_delivered_when_it_is_due() {
    for volatile in [false, true] {
        let mut world = World::new();
        world.declare(queue(7));
        world.subscribe(B, 1, 7, 0);
        publish(&mut world, &[("first", Extras::default())]);
        assert_eq!(seen(&mut world), ["first"]);
        let at = Extras { deliver_at: Some(world.now + 200), ..Extras::default() };
        let past = Extras { deliver_at: Some(world.now), ..Extras::default() };
        let messages = [
            ("in300", delay(300)),
            ("now", Extras::default()),
            ("in100", delay(100)),
            ("at200", at),
            ("past", past),
        ];
        if volatile {
            publish_volatile(&mut world, &messages)
        } else {
            _ = publish(&mut world, &messages)
        };
        assert_eq!(seen(&mut world), ["now", "past"]);
        assert_eq!(ready(&world), 0, "what waits is not ready");
        let due = world.shard.next_deadline().expect("something waits");
        assert_eq!(due, world.now + 100);
        world.tick(99);
        assert_eq!(seen(&mut world), [""; 0]);
        world.tick(1);
        assert_eq!(seen(&mut world), ["in100"]);
        world.tick(1_000);
        assert_eq!(seen(&mut world), ["at200", "in300"]);
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        world.settle_down();
        assert_eq!((ready(&world), world.shard.stats().unacked), (0, 0));
        assert!(world.shard.live_segments().0.is_empty());
    }
}

#[test]
fn what_is_due_stands_behind_what_came_before() {
    let mut world = World::new();
    world.declare(queue(7));
    publish(&mut world, &[("a", Extras::default()), ("late", delay(50)), ("b", Extras::default())]);
    world.settle_down();
    assert_eq!(ready(&world), 2);
    world.tick(60);
    world.settle_down();
    assert_eq!(ready(&world), 3);
    publish(&mut world, &[("c", Extras::default())]);
    world.subscribe(B, 1, 7, 0);
    assert_eq!(seen(&mut world), ["a", "b", "late", "c"]);
}

#[test]
fn delays_survive_a_restart() {
    for from_checkpoint in [false, true] {
        let mut world = World::new();
        world.declare(queue(7));
        publish(
            &mut world,
            &[
                ("a", Extras::default()),
                ("in900", delay(900)),
                ("in100", delay(100)),
                ("b", Extras::default()),
            ],
        );
        world.settle_down();
        world.tick(10);
        restart(&mut world, from_checkpoint);
        world.subscribe(B, 1, 7, 0);
        assert_eq!(starless(&mut world), ["a", "b"]);
        world.tick(100);
        assert_eq!(starless(&mut world), ["in100"]);
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        restart(&mut world, from_checkpoint);
        world.tick(1_000);
        world.subscribe(B, 1, 7, 0);
        assert_eq!(starless(&mut world), ["in900"]);
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        world.settle_down();
        assert!(world.shard.live_segments().0.is_empty());
    }
}

#[test]
fn purging_and_dropping_take_what_waits() {
    let mut world = World::new();
    world.declare(queue(7));
    publish(&mut world, &[("a", Extras::default()), ("late", delay(50))]);
    publish_volatile(&mut world, &[("later", delay(60)), ("b", Extras::default())]);
    world.settle_down();
    world.handle(A, Request::Purge { token: Token(99), queue: QueueId(7) });
    world.settle_down();
    let purged = world.take_events().into_iter().find_map(|(_, event)| match event {
        Event::Purged { result, .. } => Some(result),
        _ => None,
    });
    assert_eq!(purged, Some(Ok(4)));
    assert_eq!((ready(&world), world.shard.stats().volatile_bytes), (0, 0));
    assert!(world.shard.live_segments().0.is_empty());
    publish_volatile(&mut world, &[("later", delay(60))]);
    publish(&mut world, &[("late", delay(50))]);
    world.settle_down();
    let drop = Provision::DropQueue { queue: QueueId(7), if_unused: false, if_empty: false };
    world.handle(0, Request::Provision(drop));
    world.settle_down();
    assert_eq!(world.shard.stats().volatile_bytes, 0);
    assert!(world.shard.live_segments().0.is_empty());
}

fn counts(world: &mut World) -> Vec<(u32, u32)> {
    world.settle_down();
    let rounds = world.take_events().into_iter().filter_map(|(_, event)| match event {
        Event::Deliver(round) => Some(round),
        _ => None,
    });
    rounds.flat_map(|round| round.items).map(|item| (item.acquired, item.failures)).collect()
}

fn left_by_limit(world: &World) -> u64 {
    let info = world.shard.stats();
    u64::from(info.ready + info.unacked == 0)
}

#[test]
fn failures_are_counted_and_too_many_are_enough() {
    for volatile in [false, true] {
        let mut world = World::new();
        let settings =
            QueueSettings { counts_deliveries: true, delivery_limit: Some(1), ..QueueSettings::default() };
        world.declare(with(settings));
        let messages = [("a", Extras::default())];
        if volatile {
            publish_volatile(&mut world, &messages)
        } else {
            _ = publish(&mut world, &messages)
        };
        world.subscribe(B, 1, 7, 0);
        assert_eq!(counts(&mut world), [(0, 0)]);
        world.settle(B, 1, 0, 1, Outcome::Returned);
        assert_eq!(counts(&mut world), [(1, 0)]);
        world.settle(B, 1, 1, 1, Outcome::Failed);
        assert_eq!(counts(&mut world), [(2, 1)]);
        world.settle(B, 1, 2, 1, Outcome::Returned);
        assert_eq!(counts(&mut world), [(3, 1)]);
        // A lost consumer counts.
        world.handle(B, Request::CloseSession);
        world.settle_down();
        assert_eq!(left_by_limit(&world), 1);
        assert!(world.shard.live_segments().0.is_empty());
        assert_eq!(world.shard.stats().volatile_bytes, 0);
    }
}

#[test]
fn counts_survive_a_restart() {
    for from_checkpoint in [false, true] {
        let mut world = World::new();
        let settings =
            QueueSettings { counts_deliveries: true, delivery_limit: Some(2), ..QueueSettings::default() };
        world.declare(with(settings));
        publish(&mut world, &[("a", Extras::default()), ("b", Extras::default())]);
        world.subscribe(B, 1, 7, 0);
        world.settle_down();
        world.settle(B, 1, 0, 1, Outcome::Failed);
        world.settle_down();
        world.settle(B, 1, 2, 1, Outcome::Failed);
        world.settle_down();
        restart(&mut world, from_checkpoint);
        world.subscribe(B, 1, 7, 0);
        assert_eq!(counts(&mut world), [(2, 2), (0, 0)]);
        world.settle(B, 1, 0, 2, Outcome::Failed);
        assert_eq!(counts(&mut world), [(1, 1)], "the other has gone");
        world.settle(B, 1, 2, 1, Outcome::Acked);
        world.settle_down();
        assert!(world.shard.live_segments().0.is_empty());
    }
}

fn retry(delays_ms: &[u64], attempts_max: Option<u64>) -> QueueSettings {
    let retry = Retry { on: RetryOn::Failed, delays_ms: delays_ms.into(), backoff: None, attempts_max };
    QueueSettings { retry: Some(retry), ..QueueSettings::default() }
}

#[test]
fn what_failed_waits_before_it_is_tried_again() {
    for volatile in [false, true] {
        let mut world = World::new();
        world.declare(with(retry(&[100, 1_000], Some(4))));
        let messages = [("a", Extras::default()), ("b", Extras::default())];
        if volatile {
            publish_volatile(&mut world, &messages)
        } else {
            _ = publish(&mut world, &messages)
        };
        world.subscribe(B, 1, 7, 0);
        assert_eq!(seen(&mut world), ["a", "b"]);
        world.settle(B, 1, 0, 1, Outcome::Failed);
        assert_eq!(seen(&mut world), [""; 0]);
        assert_eq!(ready(&world), 0);
        world.tick(100);
        assert_eq!(seen(&mut world), ["a*"]);
        world.settle(B, 1, 2, 1, Outcome::Returned);
        assert_eq!(seen(&mut world), ["a*"], "that was no failure");
        world.settle(B, 1, 3, 1, Outcome::FailedFor { delay_ms: 7 });
        world.tick(7);
        assert_eq!(seen(&mut world), ["a*"]);
        world.settle(B, 1, 4, 1, Outcome::Failed);
        world.tick(999);
        assert_eq!(seen(&mut world), [""; 0]);
        world.tick(1);
        assert_eq!(seen(&mut world), ["a*"]);
        world.settle(B, 1, 5, 1, Outcome::Failed);
        world.settle(B, 1, 1, 1, Outcome::Acked);
        world.tick(100_000);
        assert_eq!(seen(&mut world), [""; 0], "four attempts are enough");
        assert_eq!(left_by_limit(&world), 1);
        assert!(world.shard.live_segments().0.is_empty());
    }
}

#[test]
fn what_waits_after_a_failure_waits_over_a_restart() {
    for from_checkpoint in [false, true] {
        let mut world = World::new();
        world.declare(with(retry(&[500], None)));
        publish(&mut world, &[("a", Extras::default()), ("b", Extras::default())]);
        world.subscribe(B, 1, 7, 0);
        world.settle_down();
        world.settle(B, 1, 0, 1, Outcome::Failed);
        restart(&mut world, from_checkpoint);
        world.subscribe(B, 1, 7, 0);
        assert_eq!(seen(&mut world), ["b*"]);
        world.tick(500);
        assert_eq!(seen(&mut world), ["a*"]);
    }
}

fn id(id: u128) -> Extras {
    Extras { dedup: Some(id), ..Extras::default() }
}

#[test]
fn duplicates_are_confirmed_and_go_no_further() {
    for from_checkpoint in [false, true] {
        let mut world = World::new();
        let dedup = Some(Dedup { window_ms: 1_000, count_max: 100 });
        world.declare(with(QueueSettings { dedup, ..QueueSettings::default() }));
        world.subscribe(B, 1, 7, 0);
        let token = publish(
            &mut world,
            &[("a", id(1)), ("b", id(2)), ("a again", id(1)), ("c", Extras::default()), ("d", id(3))],
        );
        world.settle_down();
        assert!(world.events.iter().any(|(_, e)| matches!(e, Event::Done { token: t } if *t == token)));
        assert_eq!(seen(&mut world), ["a", "b", "c", "d"]);
        let token = publish(&mut world, &[("b again", id(2))]);
        world.settle_down();
        assert!(world.events.iter().any(|(_, e)| matches!(e, Event::Done { token: t } if *t == token)));
        assert_eq!(seen(&mut world), [""; 0]);
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        restart(&mut world, from_checkpoint);
        world.tick(500);
        publish(&mut world, &[("c again", id(3)), ("e", id(4)), ("e again", id(4))]);
        world.settle_down();
        assert_eq!(ready(&world), 1);
        world.subscribe(B, 1, 7, 0);
        assert_eq!(seen(&mut world), ["e"]);
        world.tick(600);
        publish(&mut world, &[("a anew", id(1))]);
        assert_eq!(seen(&mut world), ["a anew"]);
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        world.settle_down();
        assert!(world.shard.live_segments().0.is_empty());
    }
}

#[test]
fn exchanges_bring_windows_along() {
    for from_checkpoint in [false, true] {
        let mut world = World::new();
        world.declare(queue(7));
        let bounds = |window_ms| Dedup { window_ms, count_max: 10 };
        let via = |scope, n, window_ms| Extras {
            window: Some(Window { scope, bounds: bounds(window_ms) }),
            ..id(n)
        };
        let all = [
            via(1, 5, 1_000),
            via(1, 5, 1_000),
            via(2, 5, 9_000),
            via(2, 5, 9_000),
            Extras::default(),
            id(5),
        ];
        publish(&mut world, &all.map(|extras| ("x", extras)));
        world.settle_down();
        assert_eq!(ready(&world), 4, "each exchange has its own, and who brings none has none");
        restart(&mut world, from_checkpoint);
        world.tick(999);
        publish(&mut world, &[("x", via(1, 5, 1_000)), ("x", via(2, 5, 9_000))]);
        world.settle_down();
        assert_eq!(ready(&world), 4);
        world.tick(1);
        publish(&mut world, &[("x", via(1, 5, 1_000)), ("x", via(2, 5, 9_000))]);
        world.settle_down();
        assert_eq!(ready(&world), 5, "one is over");
    }
}

#[test]
fn ids_are_forgotten_when_the_window_goes() {
    let mut world = World::new();
    let dedup = Some(Dedup { window_ms: 1_000, count_max: 2 });
    world.declare(with(QueueSettings { dedup, ..QueueSettings::default() }));
    for n in [1, 2, 3, 1, 3] {
        publish(&mut world, &[("x", id(n))]);
    }
    world.settle_down();
    assert_eq!(ready(&world), 4, "the first was forgotten for the third, and came again");
    let settings = |dedup| Provision::Settings {
        queue: QueueId(7),
        settings: Box::new(QueueSettings { dedup, ..QueueSettings::default() }),
    };
    world.handle(0, Request::Provision(settings(None)));
    world.settle_down();
    world.handle(0, Request::Provision(settings(dedup)));
    world.settle_down();
    publish(&mut world, &[("x", id(1))]);
    world.settle_down();
    assert_eq!(ready(&world), 5);
}

#[test]
fn a_crash_forgets_one_failure_at_most() {
    for limit in 1..4 {
        let mut world = World::new();
        let settings = QueueSettings { delivery_limit: Some(limit), ..QueueSettings::default() };
        world.declare(with(settings));
        publish(&mut world, &[("a", Extras::default())]);
        world.settle_down();
        let mut delivered = 0;
        for crashes in 0..20 {
            world.subscribe(B, 1, 7, 0);
            world.dispatch();
            while world.seal() | world.commit() {}
            world.dispatch();
            // As often as it can fail before anything more gets into the log.
            let mut n = 0;
            loop {
                let got = deliveries(&world.take_events()).len() as u64;
                if got == 0 {
                    break;
                }
                delivered += got;
                world.settle(B, 1, n, 1, Outcome::Failed);
                n += 1;
                world.dispatch();
            }
            assert!(n <= 1, "not handed out again before the log knows");
            if crashes % 2 == 0 {
                world.settle_down();
                delivered += deliveries(&world.take_events()).len() as u64;
            }
            world.crash(0, None);
            if ready(&world) == 0 {
                break;
            }
            assert!(delivered <= limit + 1 + crashes + 1, "{delivered} after {crashes} crashes");
        }
        world.settle_down();
        assert_eq!(ready(&world), 0);
    }
}

#[test]
fn the_first_in_line_expires_and_dies_like_any_other() {
    let mut world = World::new();
    let settings = QueueSettings {
        message_ttl_ms: Some(100),
        max_length: Some(3),
        dead_letter_exchange: Some(String::new()),
        ..priorities(5)
    };
    world.declare(with(settings));
    publish(
        &mut world,
        &[("a1", priority(1)), ("b5", priority(5)), ("c3", priority(3)), ("d0", priority(0))],
    );
    world.settle_down();
    assert_eq!(ready(&world), 3, "one is too many");
    world.tick(101);
    world.settle_down();
    assert_eq!(ready(&world), 0);
    let dead: Vec<_> =
        std::mem::take(&mut world.dead).into_iter().flat_map(|letters| letters.letters).collect();
    let body = |letter: &bowline_broker::DeadLetter| body_at(&letter.block, letter.offset, letter.len);
    assert_eq!(dead.iter().map(body).collect::<Vec<_>>(), [b"b5", b"c3", b"a1", b"d0"]);
}

#[test]
fn too_many_failures_are_dead_letters() {
    let mut world = World::new();
    let settings = QueueSettings {
        delivery_limit: Some(0),
        dead_letter_exchange: Some(String::new()),
        ..QueueSettings::default()
    };
    world.declare(with(settings));
    publish(&mut world, &[("a", Extras::default())]);
    world.subscribe(B, 1, 7, 0);
    world.settle_down();
    world.settle(B, 1, 0, 1, Outcome::Failed);
    world.settle_down();
    let reasons = world.dead.iter().flat_map(|letters| &letters.letters).map(|letter| letter.reason);
    assert_eq!(reasons.collect::<Vec<_>>(), [bowline_model::record::SettleReason::DeliveryLimit]);
}

#[test]
fn what_the_log_refuses_is_reported_again() {
    let mut world = World::new();
    let settings = QueueSettings { counts_deliveries: true, ..retry(&[500], None) };
    world.declare(with(settings));
    publish(&mut world, &[("a", Extras::default())]);
    world.subscribe(B, 1, 7, 0);
    world.settle_down();
    world.settle(B, 1, 0, 1, Outcome::Failed);
    assert!(world.seal());
    world.abandon(bowline_model::event::Failure::DiskFull);
    restart(&mut world, false);
    world.subscribe(B, 1, 7, 0);
    assert_eq!(counts(&mut world), []);
    world.tick(500);
    assert_eq!(counts(&mut world), [(1, 1)]);
}

/// `cargo test -p bowline-broker --test order -- --ignored --nocapture` tells what it takes.
#[test]
#[ignore = "takes a while"]
fn a_million_can_wait_and_a_million_have_priorities() {
    const COUNT: u32 = 1_000_000;
    for settings in [QueueSettings::default(), priorities(9)] {
        let mut world = World::new();
        let has_priorities = settings.max_priority.is_some();
        world.declare(with(settings));
        let before = resident();
        for n in 0..COUNT / 1_000 {
            let extras = |i: u32| match has_priorities {
                true => priority(((n * 1_000 + i).wrapping_mul(2_654_435_761) >> 16) as u8 % 10),
                false => delay(1_000 + u64::from((n * 1_000 + i).wrapping_mul(2_654_435_761) >> 16)),
            };
            let batch: Vec<(&str, Extras)> = (0..1_000).map(|i| ("", extras(i))).collect();
            publish(&mut world, &batch);
            world.settle_down();
            world.take_events();
        }
        // The world keeps the log in memory.
        let log: usize = world.log.iter().map(|block| block.payload.len()).sum();
        println!("{} MiB beside a log of {} MiB", (resident() - before) >> 20, log >> 20);
        world.tick(1_000_000);
        world.settle_down();
        // What is due gets ready some thousands at a time.
        for _ in 0..COUNT / 1_000 {
            world.tick(0);
            world.settle_down();
        }
        assert_eq!(ready(&world), u64::from(COUNT));
        world.subscribe(B, 1, 7, 1_000);
        let mut got = 0;
        while got < COUNT as usize {
            world.settle_down();
            let round = deliveries(&world.take_events());
            assert!(!round.is_empty());
            got += round.len();
            world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
            world.handle(B, Request::Drained { bytes: 1 << 20 });
        }
        println!("delivered");
    }
}

#[test]
#[ignore = "takes a while"]
fn ten_million_ids() {
    const COUNT: u64 = 10_000_000;
    let mut world = World::new();
    let dedup = Some(Dedup { window_ms: 86_400_000, count_max: COUNT });
    world.declare(with(QueueSettings { dedup, ..QueueSettings::default() }));
    world.subscribe(B, 1, 7, 0);
    let before = resident();
    for round in 0..COUNT / 10_000 {
        let hash = |n: u64| u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let ids: Vec<(&str, Extras)> = (0..10_000).map(|n| ("", id(hash(round * 10_000 + n)))).collect();
        publish(&mut world, &ids);
        world.tick(1);
        world.settle_down();
        world.take_events();
        world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        world.handle(B, Request::Drained { bytes: 1 << 30 });
        // The world would keep the log in memory.
        for block in world.log.iter_mut().rev().take_while(|block| !block.payload.is_empty()) {
            let Block { lsn, shard, term, index, stamp, .. } = **block;
            *block = Block { lsn, shard, term, index, stamp, payload: bytes::Bytes::new() }.into();
        }
    }
    let bytes = resident() - before;
    println!(
        "{} bytes an id, a checkpoint of {} MiB",
        bytes as u64 / COUNT,
        world.shard.checkpoint().len() >> 20
    );
    // An id takes 25; the rest is the block cache, and what the allocator keeps.
    assert!(bytes as u64 / COUNT <= 50);
}

/// Bytes of memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[test]
fn a_queue_of_usual_messages_stays_plain_and_one_unusual_finds_its_place() {
    let mut world = World::new();
    world.declare(with(QueueSettings { default_priority: 4, ..priorities(31) }));
    publish(&mut world, &[("a", Extras::default()), ("b", priority(4)), ("c", Extras::default())]);
    publish_volatile(&mut world, &[("v", Extras::default())]);
    world.subscribe(B, 1, 7, 1);
    assert_eq!(seen(&mut world), ["a"]);
    publish(&mut world, &[("low", priority(3)), ("high", priority(9))]);
    world.settle_down();
    world.settle(B, 1, 0, 1, Outcome::Returned);
    assert_eq!(seen(&mut world), ["high"]);
    world.subscribe(B, 2, 7, 0);
    assert_eq!(seen(&mut world), ["a*", "b", "c", "v", "low"]);
    world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
    world.settle(B, 2, 0, u64::MAX, Outcome::Acked);
    publish(&mut world, &[("d", Extras::default()), ("e", Extras::default())]);
    assert_eq!(starless(&mut world).len(), 2);
    world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
    world.settle(B, 2, 0, u64::MAX, Outcome::Acked);
    world.settle_down();
    assert!(world.shard.live_segments().0.is_empty());
}
