//! Who of several consumers gets messages, and for how long: single active consumers, and bounds on holding.

use crate::common::*;
use bowline_model::event::{Event, SubscribeError};
use bowline_model::request::{Outcome, Provision, QueueSpec, Request, Subscribe};
use bowline_model::settings::QueueSettings;
use bowline_model::{ConsumerId, QueueId, Token};

const A: u64 = 1;
const B: u64 = 2;

fn with(settings: QueueSettings) -> QueueSpec {
    QueueSpec { settings: Box::new(settings), ..queue(7) }
}

fn single() -> QueueSettings {
    QueueSettings { single_active_consumer: true, ..QueueSettings::default() }
}

fn configure(world: &mut World, settings: QueueSettings) {
    let settings = Box::new(settings);
    world.handle(0, Request::Provision(Provision::Settings { queue: QueueId(7), settings }));
    world.settle_down();
}

fn subscribe(world: &mut World, session: u64, consumer: u32, change: impl FnOnce(&mut Subscribe)) {
    let mut subscribe = Subscribe {
        tag: Box::default(),
        token: Token(0),
        queue: QueueId(7),
        channel: consumer as u16,
        consumer: ConsumerId(consumer),
        prefetch: 0,
        no_ack: false,
        exclusive: false,
        priority: 0,
        timeout_ms: None,
    };
    change(&mut subscribe);
    world.handle(session, Request::Subscribe(subscribe));
}

/// Which consumer got what since the last call.
fn seen(world: &mut World) -> Vec<(u32, String)> {
    world.settle_down();
    let seen = deliveries(&world.take_events());
    let star = |s: &Seen| if s.redelivered { "*" } else { "" };
    seen.iter().map(|s| (s.consumer, String::from_utf8_lossy(&s.body).into_owned() + star(s))).collect()
}

fn one(consumer: u32, body: &str) -> Vec<(u32, String)> {
    vec![(consumer, body.to_owned())]
}

#[test]
fn one_consumer_is_active_and_the_next_in_line_takes_over() {
    let mut world = World::new();
    world.declare(with(single()));
    for consumer in [1, 2, 3] {
        subscribe(&mut world, A, consumer, |s| s.prefetch = 1);
    }
    world.publish(B, &[7], &[b"a", b"b", b"c", b"d"]);
    assert_eq!(seen(&mut world), one(1, "a"), "others get nothing, though the active one is busy");
    world.settle(A, 1, 0, 1, Outcome::Acked);
    assert_eq!(seen(&mut world), one(1, "b"));
    // It goes: what it holds stays with it, and the next is the one that came before the other.
    world.handle(A, Request::Cancel { token: Token(0), consumer: ConsumerId(1) });
    assert_eq!(seen(&mut world), one(2, "c"));
    world.handle(A, Request::CloseChannel { channel: 2 });
    assert_eq!(seen(&mut world), one(3, "c*"));
    world.handle(A, Request::CloseSession);
    assert_eq!(seen(&mut world), []);
    subscribe(&mut world, B, 9, |_| ());
    assert_eq!(seen(&mut world).len(), 3, "b, c and d");
}

#[test]
fn a_newcomer_of_higher_priority_waits_until_nothing_is_held() {
    let mut world = World::new();
    world.declare(with(single()));
    subscribe(&mut world, A, 1, |s| s.prefetch = 2);
    world.publish(B, &[7], &[b"a", b"b", b"c", b"d", b"e"]);
    assert_eq!(seen(&mut world).len(), 2);
    subscribe(&mut world, A, 2, |s| (s.priority, s.prefetch) = (5, 1));
    world.settle(A, 1, 0, 1, Outcome::Acked);
    assert_eq!(seen(&mut world), [], "the old one gets no more, the new one nothing yet");
    world.settle(A, 1, 1, 1, Outcome::Acked);
    assert_eq!(seen(&mut world), one(2, "c"));
    // An equal does not take over, and a lower one comes back only when the higher has gone.
    subscribe(&mut world, A, 3, |s| s.priority = 5);
    world.settle(A, 2, 0, 1, Outcome::Acked);
    assert_eq!(seen(&mut world), one(2, "d"));
    world.handle(A, Request::CloseChannel { channel: 3 });
    world.handle(A, Request::CloseChannel { channel: 2 });
    assert_eq!(seen(&mut world), [(1, "d*".to_owned()), (1, "e".to_owned())]);
}

#[test]
fn a_newcomer_that_leaves_early_lets_the_active_one_go_on() {
    let mut world = World::new();
    world.declare(with(single()));
    subscribe(&mut world, A, 1, |s| s.prefetch = 2);
    world.publish(B, &[7], &[b"a", b"b", b"c"]);
    assert_eq!(seen(&mut world).len(), 2);
    subscribe(&mut world, A, 2, |s| s.priority = 5);
    world.settle(A, 1, 0, 1, Outcome::Acked);
    assert_eq!(seen(&mut world), []);
    world.handle(A, Request::CloseChannel { channel: 2 });
    assert_eq!(seen(&mut world), one(1, "c"));
}

#[test]
fn nobody_is_exclusive_where_one_is_active() {
    let mut world = World::new();
    world.declare(with(single()));
    subscribe(&mut world, A, 1, |s| s.exclusive = true);
    let refused = world
        .take_events()
        .into_iter()
        .any(|(_, event)| matches!(event, Event::Subscribed { result: Err(SubscribeError::Exclusive), .. }));
    assert!(refused);
}

#[test]
fn being_single_can_begin_and_end() {
    let mut world = World::new();
    world.declare(queue(7));
    subscribe(&mut world, A, 1, |s| s.prefetch = 1);
    subscribe(&mut world, A, 2, |s| s.prefetch = 1);
    configure(&mut world, single());
    world.publish(B, &[7], &[b"a", b"b"]);
    assert_eq!(seen(&mut world), one(1, "a"));
    configure(&mut world, QueueSettings::default());
    assert_eq!(seen(&mut world), one(2, "b"));
}

fn is_cancelled(world: &World, id: u32) -> bool {
    world
        .events
        .iter()
        .any(|(_, event)| matches!(event, Event::Cancelled { token: None, consumer } if consumer.0 == id))
}

#[test]
fn who_holds_a_message_too_long_is_cancelled_and_others_get_it() {
    let mut world = World::new();
    world.declare(with(QueueSettings { consumer_timeout_ms: Some(1_600), ..QueueSettings::default() }));
    subscribe(&mut world, A, 1, |s| s.prefetch = 2);
    world.publish(B, &[7], &[b"a", b"b"]);
    assert_eq!(seen(&mut world).len(), 2);
    subscribe(&mut world, B, 5, |s| s.timeout_ms = Some(100_000));
    // Each is settled in time, though together they take longer.
    for number in 0..2 {
        world.tick(700);
        world.settle(A, 1, number, 1, Outcome::Acked);
        world.publish(B, &[7], &[b"x"]);
        world.settle_down();
    }
    world.tick(500);
    assert!(!is_cancelled(&world, 1));
    world.take_events();
    world.publish(B, &[7], &[b"y"]);
    world.settle_down();
    world.take_events();
    world.tick(2_000);
    assert!(is_cancelled(&world, 1));
    assert!(!is_cancelled(&world, 5), "it has a bound of its own");
    let returned = seen(&mut world);
    assert!(
        !returned.is_empty() && returned.iter().all(|(consumer, body)| *consumer == 5 && body.ends_with('*'))
    );
    // What comes too late is not heard any more.
    world.settle(A, 1, 0, u64::MAX, Outcome::Acked);
    world.settle(B, 5, 0, u64::MAX, Outcome::Acked);
    world.settle_down();
    let stats = world.shard.stats();
    assert_eq!((stats.ready, stats.unacked, stats.consumers), (0, 0, 1));
}

#[test]
fn a_bound_can_begin_and_end() {
    let mut world = World::new();
    world.declare(queue(7));
    subscribe(&mut world, A, 1, |_| ());
    world.publish(B, &[7], &[b"a"]);
    assert_eq!(seen(&mut world), one(1, "a"));
    configure(&mut world, QueueSettings { consumer_timeout_ms: Some(50), ..QueueSettings::default() });
    configure(&mut world, QueueSettings::default());
    world.tick(1_000);
    assert!(!is_cancelled(&world, 1));
    configure(&mut world, QueueSettings { consumer_timeout_ms: Some(50), ..QueueSettings::default() });
    world.tick(60);
    assert!(is_cancelled(&world, 1));
}
