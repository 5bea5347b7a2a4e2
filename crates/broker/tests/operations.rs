//! What operators do with queues: look without taking, and move messages on purpose.

use crate::common::*;
use bowline_broker::{DeadLetters, Happened, Reborn, Remains};
use bowline_model::event::{Event, MessageState};
use bowline_model::record::{self, Extras, PUBLISH_PERSISTENT, Publish, SettleReason};
use bowline_model::request::{Outcome, Peek, PeekAt, Provision, RedriveTo, Request, Subscribe};
use bowline_model::settings::QueueSettings;
use bowline_model::{ConsumerId, QueueId, SessionId};

const QUEUE: u32 = 7;

/// A message as a peeker saw it: its body, state, and whether it would be a redelivery.
type Look = (String, MessageState, bool);

fn ask_to_peek(world: &mut World, session: u64, consumer: u32, (from, count): (u64, u64), what: PeekAt) {
    let token = world.token();
    let (queue, consumer) = (QueueId(QUEUE), ConsumerId(consumer));
    let peek = Peek { token, queue, channel: 1, consumer, from, count, what };
    world.handle(session, Request::Peek(peek));
}

/// What a peeker saw, and whether it has come to its end.
fn looks(events: &[(SessionId, Event)]) -> (Vec<Look>, bool) {
    let (mut seen, mut over) = (Vec::new(), false);
    for (_, event) in events {
        let Event::Peeked(peeked) = event else { continue };
        assert!(!over, "nothing comes behind the end");
        over = peeked.ended;
        for message in &peeked.messages {
            let body = body_at(&message.block, message.offset, message.len);
            seen.push((String::from_utf8(body).unwrap(), message.state, message.redelivered));
        }
    }
    (seen, over)
}

fn peek(world: &mut World, range: (u64, u64), what: PeekAt) -> Vec<Look> {
    world.settle_down();
    world.take_events();
    let consumer = 5_000 + world.now as u32 + world.log.len() as u32;
    ask_to_peek(world, 9, consumer, range, what);
    world.settle_down();
    let (seen, over) = looks(&world.take_events());
    assert!(over);
    world.handle(9, Request::CloseSession);
    seen
}

const EVERYTHING: (u64, u64) = (0, u64::MAX);

fn bodies(looks: &[Look]) -> Vec<&str> {
    looks.iter().map(|(body, _, _)| body.as_str()).collect()
}

fn stats(world: &World) -> bowline_broker::QueueStats {
    world.shard.queue_stats().find(|stats| stats.queue == QueueId(QUEUE)).unwrap()
}

#[test]
fn looking_leaves_no_trace() {
    let mut world = World::new();
    world.declare(queue(QUEUE));
    world.publish(1, &[QUEUE], &[b"a", b"b"]);
    world.settle_down();
    world.publish_volatile(1, &[QUEUE], &[b"memory"]);
    world.publish(1, &[QUEUE], &[b"c"]);
    let blocks = world.log.len();
    world.settle_down();
    let before = (stats(&world), world.log.len());
    let seen = peek(&mut world, EVERYTHING, PeekAt::Ready);
    // What is in memory came behind the two, before the last was logged.
    assert_eq!(bodies(&seen), ["a", "b", "memory", "c"]);
    assert!(seen.iter().all(|(_, state, redelivered)| *state == MessageState::Ready && !redelivered));
    assert_eq!((stats(&world), world.log.len()), before, "nothing is logged, not even a horizon");
    assert!(blocks < before.1);

    world.crash(0, None);
    world.subscribe(2, 1, QUEUE, 0);
    world.settle_down();
    let got = deliveries(&world.take_events());
    assert!(got.iter().all(|seen| !seen.redelivered), "nobody has had them");
    assert_eq!(got.iter().map(|seen| &seen.body[..]).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
}

#[test]
fn a_part_is_seen_and_the_states_are_told_apart() {
    let mut world = World::new();
    world.declare(queue(QUEUE));
    world.publish(1, &[QUEUE], &[b"0", b"1", b"2", b"3", b"4"]);
    world.settle_down();
    world.subscribe(2, 1, QUEUE, 3);
    world.settle_down();
    world.settle(2, 1, 1, 1, Outcome::Acked);
    world.settle_down();
    world.handle(2, Request::Cancel { token: bowline_model::Token(0), consumer: ConsumerId(1) });
    world.settle_down();
    // 0, 2 and 3 are out (3 came for the ack of 1), 4 is ready.
    world.settle(2, 1, 2, 1, Outcome::Returned);
    world.extras = Extras { delay_ms: Some(1_000), ..Extras::default() };
    world.publish(1, &[QUEUE], &[b"late"]);
    world.settle_down();
    use MessageState::*;
    let look = |body: &str, state, redelivered| (body.to_owned(), state, redelivered);
    let all = [
        look("0", Unacked, false),
        look("3", Unacked, false),
        look("2", Ready, true),
        look("4", Ready, false),
        look("late", Delayed, false),
    ];
    assert_eq!(peek(&mut world, EVERYTHING, PeekAt::All), all);
    assert_eq!(peek(&mut world, EVERYTHING, PeekAt::Unacked), all[..2]);
    assert_eq!(peek(&mut world, EVERYTHING, PeekAt::Ready), all[2..4]);
    assert_eq!(peek(&mut world, EVERYTHING, PeekAt::Delayed), all[4..]);
    assert_eq!(peek(&mut world, (1, 2), PeekAt::All), all[1..3]);
    assert_eq!(peek(&mut world, (4, 9), PeekAt::All), all[4..]);
    assert_eq!(peek(&mut world, (9, 9), PeekAt::All), []);
    assert_eq!(peek(&mut world, (0, 0), PeekAt::All), []);
}

#[test]
fn priorities_are_seen_in_the_order_of_delivery() {
    let mut world = World::new();
    let mut spec = queue(QUEUE);
    spec.settings.max_priority = Some(9);
    world.declare(spec);
    for (body, priority) in [(b"low", 1), (b"top", 9), (b"mid", 5), (b"ton", 9)] {
        world.extras = Extras { priority: Some(priority), ..Extras::default() };
        world.publish(1, &[QUEUE], &[body]);
        world.settle_down();
    }
    assert_eq!(bodies(&peek(&mut world, EVERYTHING, PeekAt::Ready)), ["top", "ton", "mid", "low"]);
}

#[test]
fn a_backlog_is_read_back_as_the_session_drains_it() {
    let mut options = bowline_broker::Options::new(SHARD);
    (options.cache_bytes, options.readahead_bytes) = (64 * 1024, 64 * 1024);
    let mut world = World::with(options);
    world.declare(queue(QUEUE));
    let body = [b'x'; 4_000];
    for _ in 0..1_000 {
        world.publish(1, &[QUEUE], &[&body]);
        world.settle_down();
    }
    ask_to_peek(&mut world, 9, 1, EVERYTHING, PeekAt::Ready);
    let mut seen = 0;
    for round in 0.. {
        world.settle_down();
        let (more, over) = looks(&world.take_events());
        let bytes: u64 = more.iter().map(|(body, _, _)| body.len() as u64 + 30).sum();
        assert!(bytes <= bowline_model::request::DELIVERY_WINDOW_BYTES + 5_000, "{bytes}");
        seen += more.len();
        if over {
            assert!(round > 0, "it does not fit one window");
            break;
        }
        assert!(!more.is_empty());
        world.handle(9, Request::Drained { bytes });
    }
    assert_eq!(seen, 1_000);
}

#[test]
fn a_peeker_ends_with_its_channel_its_cancel_or_its_queue() {
    let mut world = World::new();
    world.declare(queue(QUEUE));
    let body = [b'x'; 100_000];
    for _ in 0..40 {
        world.publish(1, &[QUEUE], &[&body]);
        world.settle_down();
    }
    let open = |world: &mut World, consumer| {
        ask_to_peek(world, 9, consumer, EVERYTHING, PeekAt::Ready);
        world.settle_down();
        let (seen, over) = looks(&world.take_events());
        assert!(!over);
        seen.len()
    };
    assert!(open(&mut world, 1) > 10);
    let token = world.token();
    world.handle(9, Request::Cancel { token, consumer: ConsumerId(1) });
    world.handle(9, Request::Drained { bytes: 10_000_000 });
    world.settle_down();
    let after = world.take_events();
    assert!(matches!(after[..], [(_, Event::Cancelled { token: Some(_), .. })]), "{after:?}");

    open(&mut world, 2);
    world.handle(9, Request::CloseChannel { channel: 1 });
    world.handle(9, Request::Drained { bytes: 10_000_000 });
    world.settle_down();
    assert!(world.take_events().is_empty());

    open(&mut world, 3);
    world.handle(
        0,
        Request::Provision(Provision::DropQueue { queue: QueueId(QUEUE), if_unused: true, if_empty: false }),
    );
    world.settle_down();
    world.handle(9, Request::Drained { bytes: 10_000_000 });
    world.settle_down();
    assert_eq!(looks(&world.take_events()), (Vec::new(), true), "it does not keep a queue in use");
}

fn redrive(world: &mut World, session: u64, consumer: u32) {
    let subscribe = Subscribe {
        tag: Box::default(),
        token: world.token(),
        queue: QueueId(QUEUE),
        channel: 1,
        consumer: ConsumerId(consumer),
        prefetch: 0,
        no_ack: false,
        exclusive: false,
        priority: 0,
        timeout_ms: None,
    };
    world.handle(session, Request::Redrive(subscribe, RedriveTo::Source));
    world.settle_down();
}

/// Moves what is to be moved to queue `to`, but for what has a body in `stay`.
fn route(world: &mut World, to: u32, stay: &[&[u8]]) -> usize {
    let mut moved = 0;
    for DeadLetters { queue, letters, redrive, .. } in std::mem::take(&mut world.dead) {
        assert_eq!(redrive.as_deref(), Some(&RedriveTo::Source));
        for letter in letters {
            assert_eq!(letter.reason, SettleReason::Redriven);
            let body = body_at(&letter.block, letter.offset, letter.len);
            if stay.contains(&&body[..]) {
                world.shard.unmoved(queue, &letter);
                continue;
            }
            moved += 1;
            let mut records = Vec::new();
            let (ids, pieces) = ([to].into_iter(), [body.as_slice()].into_iter());
            Publish::encode(&mut records, PUBLISH_PERSISTENT, ids, b"", b"", b"\0\0", pieces);
            let logged = matches!(letter.remains, Remains::Log(_));
            let reborn = Reborn { remains: letter.remains, reason: letter.reason, records, count: 1, logged };
            world.shard.reborn(world.now, queue, reborn);
        }
    }
    moved
}

fn content(world: &mut World, id: u32) -> Vec<String> {
    world.settle_down();
    world.take_events();
    let token = world.token();
    let consumer = ConsumerId(9_000 + id);
    let (from, count, what) = (0, u64::MAX, PeekAt::Ready);
    world.handle(
        8,
        Request::Peek(Peek { token, queue: QueueId(id), channel: 1, consumer, from, count, what }),
    );
    world.settle_down();
    let (seen, _) = looks(&world.take_events());
    seen.into_iter().map(|(body, _, _)| body).collect()
}

#[test]
fn acks_move_and_returns_leave() {
    for volatile in [false, true] {
        let mut world = World::new();
        let mut spec = queue(QUEUE);
        spec.settings.counts_deliveries = true;
        spec.settings.delivery_limit = Some(0);
        spec.settings.consumer_timeout_ms = Some(10);
        world.declare(spec);
        world.declare(queue(1));
        let bodies: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
        match volatile {
            true => world.publish_volatile(1, &[QUEUE], &bodies),
            false => world.publish(1, &[QUEUE], &bodies),
        };
        world.settle_down();
        redrive(&mut world, 2, 1);
        assert_eq!(deliveries(&world.take_events()).len(), 5);
        world.settle(2, 1, 1, 2, Outcome::Acked);
        world.settle(2, 1, 0, 1, Outcome::Failed);
        world.settle_down();
        assert_eq!(route(&mut world, 1, &[]), 2);
        assert_eq!(content(&mut world, 1), ["b", "c"]);
        // What came back was delivered again, and is let go with the rest.
        world.tick(1_000);
        assert_eq!(stats(&world).unacked, 3, "it may hold what it does not want");
        world.handle(2, Request::CloseSession);
        assert_eq!(content(&mut world, QUEUE), ["a", "d", "e"], "{volatile}: nothing of it is a failure");
        assert!(world.dead.is_empty());
        assert_eq!(stats(&world).unacked, 0);
    }
}

#[test]
fn what_finds_no_place_is_told_and_stays_until_its_consumer_ends() {
    for end_by_cancel in [false, true] {
        let mut world = World::new();
        world.declare(queue(QUEUE));
        world.declare(queue(1));
        world.publish(1, &[QUEUE], &[b"a", b"lost", b"c"]);
        world.settle_down();
        redrive(&mut world, 2, 1);
        world.take_events();
        world.settle(2, 1, 0, 3, Outcome::Acked);
        world.settle_down();
        assert_eq!(route(&mut world, 1, &[b"lost"]), 2);
        world.settle_down();
        let events = world.take_events();
        let told: Vec<Vec<u8>> = events
            .iter()
            .filter_map(|(session, event)| match event {
                Event::Unmoved { consumer: ConsumerId(1), block, offset } => {
                    assert_eq!(session.0, 2);
                    let found = record::at(&block.payload, *offset).unwrap();
                    Some(Publish::decode(found.body).unwrap().body.to_vec())
                }
                _ => None,
            })
            .collect();
        assert_eq!(told, [b"lost"]);
        assert!(deliveries(&events).is_empty(), "it does not come round and round");
        assert_eq!((stats(&world).ready, stats(&world).unacked), (0, 1));
        assert!(content(&mut world, QUEUE).is_empty());
        let token = world.token();
        world.handle(
            2,
            match end_by_cancel {
                true => Request::Cancel { token, consumer: ConsumerId(1) },
                false => Request::CloseSession,
            },
        );
        assert_eq!(content(&mut world, QUEUE), ["lost"]);
        assert_eq!(content(&mut world, 1), ["a", "c"]);
        world.crash(0, None);
        assert_eq!(content(&mut world, QUEUE), ["lost"]);
        assert_eq!(content(&mut world, 1), ["a", "c"]);
    }
}

/// Whatever of the log is there after a crash: each message is in one of the queues.
#[test]
fn at_any_crash_a_message_is_here_or_there_and_never_both() {
    let names: Vec<String> = (0..20).map(|n| format!("{n:02}")).collect();
    for survive in 0..6 {
        let mut world = World::new();
        world.declare(queue(QUEUE));
        world.declare(queue(1));
        let all: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        world.publish(1, &[QUEUE], &all);
        world.settle_down();
        redrive(&mut world, 2, 1);
        for part in 0..5 {
            world.settle(2, 1, part * 4, 4, Outcome::Acked);
            world.dispatch();
            route(&mut world, 1, &[]);
            world.seal();
        }
        world.crash(survive, None);
        let mut both = content(&mut world, QUEUE);
        assert_eq!(both.len(), 20 - (survive * 4).min(20));
        both.extend(content(&mut world, 1));
        both.sort();
        assert_eq!(both, names, "{survive}");
    }
}

#[test]
fn a_queue_may_go_while_its_messages_move() {
    let mut world = World::new();
    world.declare(queue(QUEUE));
    world.declare(queue(1));
    world.publish_volatile(1, &[QUEUE], &[b"a", b"b", b"c"]);
    world.settle_down();
    redrive(&mut world, 2, 1);
    world.settle(2, 1, 0, 3, Outcome::Acked);
    world.settle_down();
    world.handle(
        0,
        Request::Provision(Provision::DropQueue { queue: QueueId(QUEUE), if_unused: false, if_empty: false }),
    );
    world.settle_down();
    route(&mut world, 1, &[b"b"]);
    world.handle(2, Request::CloseSession);
    assert_eq!(content(&mut world, 1), ["a", "c"]);
    world.subscribe(3, 1, 1, 0);
    world.settle_down();
    world.settle(3, 1, 0, 2, Outcome::Acked);
    world.settle_down();
    assert_eq!(world.shard.stats().volatile_bytes, 0, "memory is given back");
}

/// What a traced queue told: numbers and events.
fn told(world: &mut World) -> Vec<(Option<u64>, Happened)> {
    world.settle_down();
    let told = std::mem::take(&mut world.told);
    assert!(told.iter().all(|told| (told.exchange.as_str(), told.lost) == ("story", 0)));
    told.into_iter().flat_map(|told| told.events).map(|event| (event.number, event.what)).collect()
}

fn traced(set: impl FnOnce(&mut QueueSettings)) -> bowline_model::request::QueueSpec {
    let mut spec = queue(QUEUE);
    spec.settings.trace_exchange = Some("story".into());
    set(&mut spec.settings);
    spec
}

#[test]
fn a_traced_queue_tells_what_happens_to_its_messages() {
    use Happened::*;
    let mut world = World::new();
    world.declare(traced(|settings| settings.max_length = Some(2)));
    world.publish(1, &[QUEUE], &[b"0", b"1", b"2"]);
    assert_eq!(
        told(&mut world),
        [
            (Some(0), Published),
            (Some(1), Published),
            (Some(2), Published),
            (Some(0), Dropped(SettleReason::MaxLength)),
        ]
    );
    world.subscribe(2, 1, QUEUE, 1);
    let delivered = |redelivered| Delivered { tag: Box::default(), redelivered, attempt: None };
    assert_eq!(told(&mut world), [(Some(1), delivered(false))]);
    world.settle(2, 1, 0, 1, Outcome::Failed);
    assert_eq!(told(&mut world), [(Some(1), Returned { failed: true }), (Some(1), delivered(true))]);
    world.settle(2, 1, 1, 1, Outcome::Acked);
    assert_eq!(told(&mut world), [(Some(1), Acked), (Some(2), delivered(false))]);
    world.settle(2, 1, 2, 1, Outcome::Rejected);
    assert_eq!(told(&mut world), [(Some(2), Dropped(SettleReason::Rejected))]);
    world.handle(2, Request::CloseSession);
    world.publish_volatile(1, &[QUEUE], &[b"memory"]);
    world.publish(1, &[QUEUE], &[b"3"]);
    told(&mut world);
    let token = world.token();
    world.handle(3, Request::Purge { token, queue: QueueId(QUEUE) });
    let purged = told(&mut world);
    assert_eq!(purged, [(None, Purged { count: 1 }), (Some(3), Purged { count: 1 })]);
}

#[test]
fn stories_are_bounded_and_an_earlier_life_is_not_told_again() {
    let mut world = World::new();
    world.declare(traced(|_| {}));
    let bodies = [&b"x"[..]; 1_000];
    for _ in 0..30 {
        world.publish(1, &[QUEUE], &bodies);
    }
    while world.seal() | world.commit() {}
    for _ in 0..4 {
        world.settle_down();
        world.tick(1);
    }
    let (events, lost): (usize, u64) =
        world.told.iter().fold((0, 0), |(n, lost), told| (n + told.events.len(), lost + told.lost));
    assert_eq!((events, events as u64 + lost), (16 * 1024, 30_000));
    assert!(world.told.iter().all(|told| told.events.len() <= 4096));
    world.told.clear();
    world.crash(0, None);
    assert!(told(&mut world).is_empty());
}

#[test]
fn a_queue_that_is_not_traced_tells_nothing() {
    let mut world = World::new();
    let mut spec = queue(QUEUE);
    spec.settings.max_length = Some(1);
    world.declare(spec);
    world.publish(1, &[QUEUE], &[b"0", b"1", b"2"]);
    assert!(told(&mut world).is_empty());
}

#[test]
fn turns_and_keys_are_seen_in_the_order_of_delivery() {
    let mut world = World::new();
    let mut spec = queue(QUEUE);
    (spec.settings.fair, spec.settings.keyed) = (true, true);
    world.declare(spec);
    // Body, tenant and key.
    for (body, tenant, key) in [
        (b"a1", 1, None),
        (b"a2", 1, None),
        (b"a3", 1, Some(7)),
        (b"b1", 2, None),
        (b"b2", 2, Some(7)),
        (b"c1", 3, None),
    ] {
        world.extras = Extras { tenant: Some(tenant), key, ..Extras::default() };
        world.publish(1, &[QUEUE], &[body]);
        world.settle_down();
    }
    let ready = peek(&mut world, EVERYTHING, PeekAt::Ready);
    let seen = bodies(&ready);
    assert_eq!(seen, ["a1", "b1", "c1", "a2", "a3", "b2"], "what waits for its key comes last");
    assert_eq!(bodies(&peek(&mut world, (1, 2), PeekAt::Ready)), ["b1", "c1"]);
    world.subscribe(2, 1, QUEUE, 5);
    world.settle_down();
    let got: Vec<String> = deliveries(&world.take_events())
        .into_iter()
        .map(|seen| String::from_utf8(seen.body).unwrap())
        .collect();
    assert_eq!(got, seen[..5]);
    assert_eq!(bodies(&peek(&mut world, EVERYTHING, PeekAt::Ready)), ["b2"]);
}

#[test]
fn a_key_goes_on_when_its_message_has_moved() {
    for volatile in [false, true] {
        let mut world = World::new();
        let mut spec = queue(QUEUE);
        spec.settings.keyed = true;
        world.declare(spec);
        world.declare(queue(1));
        world.extras = Extras { key: Some(7), ..Extras::default() };
        match volatile {
            true => world.publish_volatile(1, &[QUEUE], &[b"a", b"b"]),
            false => world.publish(1, &[QUEUE], &[b"a", b"b"]),
        };
        world.settle_down();
        redrive(&mut world, 2, 1);
        assert_eq!(deliveries(&world.take_events()).len(), 1);
        world.settle(2, 1, 0, 1, Outcome::Acked);
        world.settle_down();
        assert_eq!(route(&mut world, 1, &[]), 1);
        world.settle_down();
        let next = deliveries(&world.take_events());
        assert_eq!(next.iter().map(|seen| &seen.body[..]).collect::<Vec<_>>(), [b"b"], "{volatile}");
        world.handle(2, Request::CloseSession);
        assert_eq!(
            (content(&mut world, QUEUE), content(&mut world, 1)),
            (vec!["b".into()], vec!["a".into()])
        );
    }
}
