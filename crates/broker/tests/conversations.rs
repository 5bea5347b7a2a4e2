//! What sessions ask, and what a shard answers, step by step.

use crate::common::*;
use bowline_broker::{Options, Urgency};
use bowline_model::event::{DropRefused, Event, Failure, MetaEvent, SubscribeError};
use bowline_model::request::{
    DELIVERY_WINDOW_BYTES, Outcome, Provision, QueueSpec, Request, Settle, Subscribe,
};
use bowline_model::{ConsumerId, QueueId, SessionId, Token};

const A: u64 = 1;
const B: u64 = 2;

fn bodies(seen: &[Seen]) -> Vec<String> {
    let text = |s: &Seen| String::from_utf8_lossy(&s.body).into_owned();
    seen.iter().map(|s| if s.redelivered { format!("{}*", text(s)) } else { text(s) }).collect()
}

/// Lets the world come to rest; what was delivered meanwhile.
fn delivered(world: &mut World) -> Vec<Seen> {
    world.settle_down();
    deliveries(&world.take_events())
}

fn has_done(world: &World, token: Token) -> bool {
    world.events.iter().any(|(_, e)| matches!(e, Event::Done { token: t } if *t == token))
}

#[test]
fn confirmed_when_committed_and_delivered_once() {
    let mut world = World::new();
    world.declare(queue(7));
    world.subscribe(B, 1, 7, 0);
    assert_eq!(world.shard.proposal_urgency(), Urgency::Now, "a horizon for the consumer");
    world.settle_down();
    assert_eq!(world.shard.proposal_urgency(), Urgency::Nothing);
    let token = world.publish(A, &[7, 99], &[b"one", b"two"]);
    assert_eq!(world.shard.proposal_urgency(), Urgency::Now);
    assert!(world.seal() && !has_done(&world, token));
    world.commit();
    assert!(has_done(&world, token));
    assert_eq!(bodies(&delivered(&mut world)), ["one", "two"]);
    world.settle(B, 1, 0, 2, Outcome::Acked);
    assert_eq!(world.shard.proposal_urgency(), Urgency::Lazily);
    world.settle_down();
    let stats: Vec<_> = world.shard.queue_stats().collect();
    assert_eq!((stats[0].logged, stats[0].acked, stats[0].ready, stats[0].unacked), (2, 2, 0, 0));
    assert!(world.shard.live_segments().0.is_empty());
}

#[test]
fn what_returns_goes_to_its_place_and_says_so() {
    let mut world = World::new();
    world.declare(queue(7));
    world.publish(A, &[7], &[b"a", b"b", b"c", b"d"]);
    world.subscribe(B, 1, 7, 3);
    assert_eq!(bodies(&delivered(&mut world)), ["a", "b", "c"]);
    world.settle(B, 1, 1, 1, Outcome::Acked);
    // The credit of "b" is used for "d" before anything comes back.
    assert_eq!(bodies(&delivered(&mut world)), ["d"]);
    world.handle(B, Request::Cancel { token: Token(0), consumer: ConsumerId(1) });
    world.subscribe(A, 5, 7, 0);
    world.settle(B, 1, 2, u64::MAX, Outcome::Returned);
    assert_eq!(bodies(&delivered(&mut world)), ["c*", "d*"]);
    world.handle(B, Request::CloseChannel { channel: 1 });
    assert_eq!(bodies(&delivered(&mut world)), ["a*"]);
}

#[test]
fn round_robin_goes_by_message_and_priority_comes_first() {
    let mut world = World::new();
    world.declare(queue(7));
    for (consumer, priority) in [(1, 0), (2, 0), (3, 9)] {
        let subscribe = Subscribe {
            tag: Box::default(),
            timeout_ms: None,
            token: Token(0),
            queue: QueueId(7),
            channel: 1,
            consumer: ConsumerId(consumer),
            prefetch: if priority > 0 { 2 } else { 0 },
            no_ack: false,
            exclusive: false,
            priority,
        };
        world.handle(A, Request::Subscribe(subscribe));
    }
    world.settle_down();
    let eight: [&[u8]; 8] = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"];
    world.publish(B, &[7], &eight);
    let seen = delivered(&mut world);
    let order: Vec<u32> = seen.iter().map(|s| s.consumer).collect();
    assert_eq!(order, [3, 3, 1, 2, 1, 2, 1, 2]);
    assert_eq!(seen.iter().map(|s| s.number).collect::<Vec<_>>(), [0, 1, 0, 0, 1, 1, 2, 2]);
}

#[test]
fn exclusive_consumers_are_alone() {
    let mut world = World::new();
    world.declare(queue(7));
    let subscribe = |world: &mut World, session, consumer, queue, exclusive| {
        let subscribe = Subscribe {
            tag: Box::default(),
            token: Token(0),
            queue: QueueId(queue),
            channel: 1,
            consumer: ConsumerId(consumer),
            prefetch: 0,
            no_ack: false,
            exclusive,
            priority: 0,
            timeout_ms: None,
        };
        world.handle(session, Request::Subscribe(subscribe));
        match world.take_events().pop() {
            Some((_, Event::Subscribed { result, .. })) => result,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(subscribe(&mut world, A, 1, 8, false), Err(SubscribeError::NoSuchQueue));
    assert_eq!(subscribe(&mut world, A, 1, 7, true), Ok(()));
    assert_eq!(subscribe(&mut world, B, 1, 7, false), Err(SubscribeError::Exclusive));
    world.handle(A, Request::CloseSession);
    assert_eq!(subscribe(&mut world, B, 2, 7, false), Ok(()));
    assert_eq!(subscribe(&mut world, 3, 1, 7, true), Err(SubscribeError::Exclusive));
}

#[test]
fn gets_wait_for_the_horizon_and_say_what_is_left() {
    let mut world = World::new();
    world.declare(queue(7));
    world.publish(A, &[7], &[b"a", b"b"]);
    world.settle_down();
    world.take_events();
    let first = world.get(B, 7, 100);
    world.dispatch();
    assert!(world.events.is_empty(), "not before a horizon is durable");
    let (second, third) = (world.get(B, 7, 100), world.get(B, 7, 100));
    world.settle_down();
    let got: Vec<_> = world
        .take_events()
        .into_iter()
        .map(|(_, event)| match event {
            Event::Got { token, result: Ok(got) } => {
                (token, got.map(|g| (body_at(&g.block, g.delivery.offset, g.delivery.len), g.remaining)))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(got, [(first, Some((b"a".to_vec(), 1))), (second, Some((b"b".to_vec(), 0))), (third, None)]);
    world.settle(B, 100, 1, 1, Outcome::Rejected);
    world.handle(B, Request::CloseChannel { channel: 1 });
    world.settle_down();
    let stats: Vec<_> = world.shard.queue_stats().collect();
    assert_eq!((stats[0].ready, stats[0].rejected), (1, 1));
}

#[test]
fn after_a_crash_what_may_have_been_seen_is_flagged_and_the_rest_is_not() {
    let mut world = World::new();
    world.declare(queue(7));
    world.declare(QueueSpec { durable: false, ..queue(8) });
    world.publish(A, &[7, 8], &[b"a", b"b"]);
    world.subscribe(B, 1, 7, 1);
    assert_eq!(bodies(&delivered(&mut world)), ["a"]);
    world.settle(B, 1, 0, 1, Outcome::Acked);
    world.crash(0, None);
    // The settle was in no block; "b" lay under the horizon, though nobody saw it.
    world.publish(A, &[7], &[b"c"]);
    world.subscribe(B, 1, 7, 0);
    assert_eq!(bodies(&delivered(&mut world)), ["a*", "b*", "c"]);
    assert_eq!(world.shard.stats().queues, 1, "what is not durable is gone");
}

#[test]
fn volatile_messages_keep_their_order_among_logged_ones() {
    let mut world = World::new();
    world.declare(queue(7));
    let first = world.publish_volatile(A, &[7], &[b"v0", b"v1"]);
    assert!(has_done(&world, first), "nothing to wait for");
    world.publish(A, &[7], &[b"d0"]);
    let behind = world.publish_volatile(A, &[7], &[b"v2"]);
    world.publish(A, &[7], &[b"d1"]);
    let other = world.publish_volatile(B, &[7], &[b"w"]);
    assert!(!has_done(&world, behind) && has_done(&world, other));
    // The publisher leaves; what it has published is published.
    world.handle(A, Request::CloseSession);
    world.subscribe(B, 1, 7, 0);
    assert_eq!(bodies(&delivered(&mut world)), ["v0", "v1", "w", "d0", "v2", "d1"]);
    world.settle(B, 1, 0, u64::MAX, Outcome::Returned);
    assert_eq!(bodies(&delivered(&mut world)), ["v0*", "v1*", "w*", "d0*", "v2*", "d1*"]);
    world.settle(B, 1, 6, u64::MAX, Outcome::Acked);
    world.settle_down();
    assert_eq!(world.shard.stats().volatile_bytes, 0);
}

#[test]
fn without_memory_volatile_messages_are_logged_once() {
    let mut world = World::with(Options { volatile_bytes: 100, ..Options::new(SHARD) });
    world.declare(queue(7));
    let tokens = [b"0", b"1", b"2", b"3"].map(|body| world.publish_volatile(A, &[7], &[body]));
    for token in tokens {
        assert!(has_done(&world, token), "answered at once");
    }
    world.subscribe(B, 1, 7, 0);
    assert_eq!(bodies(&delivered(&mut world)), ["0", "1", "2", "3"]);
    assert!(world.shard.stats().volatile_bytes <= 100);
}

#[test]
fn a_session_that_does_not_drain_gets_no_more_and_starves_nobody() {
    let mut world = World::new();
    world.declare(queue(7));
    world.declare(queue(8));
    let large = vec![b'x'; DELIVERY_WINDOW_BYTES as usize / 4];
    for _ in 0..3 {
        world.publish(A, &[7], &[&large, &large, &large]);
        world.publish(A, &[8], &[&large, &large, &large]);
    }
    world.settle_down();
    world.subscribe(B, 1, 7, 0);
    world.subscribe(B, 2, 8, 0);
    let mut got = [0, 0];
    let mut rounds = Vec::new();
    for _ in 0..10 {
        let seen = delivered(&mut world);
        seen.iter().for_each(|s| got[s.consumer as usize - 1] += 1);
        rounds.push(seen.iter().map(|s| s.consumer).collect::<Vec<_>>());
        assert!(seen.len() <= 3, "the window is four of them less the overhead");
        let bytes = DELIVERY_WINDOW_BYTES;
        world.handle(B, Request::Drained { bytes });
    }
    assert_eq!(got, [9, 9], "{rounds:?}");
    assert_eq!(rounds[..2], [vec![1, 1, 1], vec![2, 2, 2]], "turns");
    // One that is larger than the window goes alone.
    let huge = vec![b'x'; DELIVERY_WINDOW_BYTES as usize * 2];
    world.publish(A, &[7], &[&huge, b"small"]);
    assert_eq!(delivered(&mut world).len(), 1);
    world.handle(B, Request::Drained { bytes: huge.len() as u64 + 100 });
    assert_eq!(bodies(&delivered(&mut world)), ["small"]);
}

#[test]
fn a_backlog_is_read_back_in_order_and_a_failing_disk_only_delays_it() {
    let options = Options { cache_bytes: 1, readahead_bytes: 1 << 20, ..Options::new(SHARD) };
    let mut world = World::with(options);
    world.declare(queue(7));
    for i in 0..50u32 {
        world.publish(A, &[7, 9], &[&i.to_le_bytes(), b"filler"]);
        world.publish(A, &[9], &[b"not for us"]);
        world.seal();
        world.commit();
    }
    world.subscribe(B, 1, 7, 0);
    while world.seal() {}
    while world.commit() {}
    world.dispatch();
    assert_eq!(world.reads.len(), 1);
    world.answer_read(true);
    assert!(delivered(&mut world).is_empty(), "it is not asked for again at once");
    world.tick(1);
    let at = world.shard.next_deadline().expect("a retry");
    world.tick(at - world.now);
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.extend(delivered(&mut world));
    }
    assert_eq!(seen.len(), 100);
    for (i, pair) in seen.chunks(2).enumerate() {
        assert_eq!((&pair[0].body[..], &pair[1].body[..]), (&(i as u32).to_le_bytes()[..], &b"filler"[..]));
    }
}

#[test]
fn purge_takes_what_is_ready_and_tells_when_it_is_durable() {
    let mut world = World::new();
    world.declare(queue(7));
    world.publish(A, &[7], &[b"a", b"b", b"c"]);
    world.publish_volatile(B, &[7], &[b"v"]);
    world.subscribe(B, 1, 7, 2);
    assert_eq!(bodies(&delivered(&mut world)), ["v", "a"]);
    world.handle(A, Request::Purge { token: Token(77), queue: QueueId(7) });
    world.take_events();
    world.publish(A, &[7], &[b"d"]);
    world.settle_down();
    let purged = world.take_events().into_iter().find_map(|(_, e)| match e {
        Event::Purged { token: Token(77), result } => Some(result),
        _ => None,
    });
    assert_eq!(purged, Some(Ok(2)));
    world.settle(B, 1, 0, 2, Outcome::Returned);
    assert_eq!(bodies(&delivered(&mut world)), ["v*", "a*"]);
    world.crash(0, None);
    world.subscribe(B, 1, 7, 0);
    assert_eq!(bodies(&delivered(&mut world)), ["a*", "d*"]);
}

#[test]
fn dropping_a_queue_checks_tells_its_consumers_and_frees_everything() {
    let mut world = World::new();
    world.declare(QueueSpec { auto_delete: true, ..queue(7) });
    assert!(matches!(world.meta.pop(), Some(MetaEvent::QueueReady { queue: QueueId(7), .. })));
    world.publish(A, &[7], &[b"a", b"b"]);
    world.publish_volatile(B, &[7], &[b"v"]);
    world.subscribe(B, 1, 7, 2);
    delivered(&mut world);
    let drop = |world: &mut World, if_unused, if_empty| {
        let queue = QueueId(7);
        world.handle(0, Request::Provision(Provision::DropQueue { queue, if_unused, if_empty }));
        world.settle_down();
        match world.meta.pop() {
            Some(MetaEvent::QueueDropped { result, .. }) => result,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(drop(&mut world, true, false), Err(DropRefused::InUse));
    assert_eq!(drop(&mut world, false, true), Err(DropRefused::NotEmpty));
    assert_eq!(drop(&mut world, false, false), Ok(1));
    let cancelled =
        |(_, e): &(SessionId, Event)| matches!(e, Event::Cancelled { token: None, consumer: ConsumerId(1) });
    assert_eq!(world.take_events().iter().filter(|e| cancelled(e)).count(), 1);
    assert!(world.shard.live_segments().0.is_empty());
    // Settling what is gone is no error, and frees what was in memory.
    world.settle(B, 1, 0, u64::MAX, Outcome::Returned);
    assert_eq!(world.shard.stats().volatile_bytes, 0);
    assert_eq!(drop(&mut world, false, false), Ok(0));
    world.declare(QueueSpec { auto_delete: true, ..queue(8) });
    world.subscribe(B, 3, 8, 0);
    world.meta.clear();
    world.handle(B, Request::CloseSession);
    assert!(matches!(world.meta[..], [MetaEvent::AutoDelete { queue: QueueId(8) }]));
}

#[test]
fn reconcile_follows_the_topology() {
    let mut world = World::new();
    world.declare(queue(7));
    world.declare(queue(8));
    let queues = vec![queue(8), queue(9)];
    world.handle(0, Request::Provision(Provision::Reconcile { queues, partitions: Vec::new() }));
    world.settle_down();
    let mut ids: Vec<u32> = world.shard.queue_stats().map(|q| q.queue.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [8, 9]);
}

#[test]
fn an_abandoned_block_is_told_and_its_settles_go_into_another() {
    let mut world = World::new();
    world.declare(queue(7));
    world.publish(A, &[7], &[b"a", b"b"]);
    world.subscribe(B, 1, 7, 1);
    assert_eq!(bodies(&delivered(&mut world)), ["a"]);
    world.settle(B, 1, 0, 1, Outcome::Acked);
    let lost = world.publish(A, &[7], &[b"never"]);
    let held = world.publish_volatile(A, &[7], &[b"v"]);
    world.handle(A, Request::Purge { token: Token(77), queue: QueueId(7) });
    world.take_events();
    world.seal();
    world.abandon(Failure::DiskFull);
    assert!(has_done(&world, held));
    let failed: Vec<Token> = world
        .take_events()
        .into_iter()
        .filter_map(|(_, e)| if let Event::Failed { token, .. } = e { Some(token) } else { None })
        .collect();
    assert_eq!(failed, [lost, Token(77)]);
    assert_eq!(world.shard.proposal_urgency(), Urgency::Lazily);
    assert_eq!(bodies(&delivered(&mut world)), ["v"]);
    world.crash(0, None);
    let stats: Vec<_> = world.shard.queue_stats().collect();
    assert_eq!((stats[0].acked, stats[0].purged, stats[0].ready), (1, 1, 0));
}

#[test]
fn settles_of_unknown_deliveries_are_ignored() {
    let mut world = World::new();
    world.declare(queue(7));
    world.subscribe(B, 1, 7, 0);
    let strange = [(1, 5, 9), (2, 0, 1), (1, u64::MAX, u64::MAX)].map(|(c, first, count)| Settle {
        consumer: ConsumerId(c),
        first,
        count,
        outcome: Outcome::Acked,
    });
    world.handle(B, Request::Settle(strange.to_vec()));
    world.handle(99, Request::Settle(strange.to_vec()));
    world.handle(99, Request::Drained { bytes: u64::MAX });
    world.handle(99, Request::CloseChannel { channel: 1 });
    world.handle(99, Request::CloseSession);
    world.publish(A, &[7], &[b"a"]);
    assert_eq!(bodies(&delivered(&mut world)), ["a"]);
    world.settle(B, 1, 0, 1, Outcome::Acked);
    world.settle(B, 1, 0, 1, Outcome::Returned);
    assert!(delivered(&mut world).is_empty());
}

#[test]
fn blocks_keep_to_their_size_and_batches_stay_whole() {
    let mut world = World::new();
    world.declare(queue(7));
    let body = vec![b'x'; 200 * 1024];
    for _ in 0..5 {
        world.publish(A, &[7], &[&body, &body]);
    }
    let mut blocks = 0;
    while world.seal() {
        blocks += 1;
    }
    assert_eq!(blocks, 5);
    assert!(world.in_flight.iter().all(|(b, w)| b.payload.len() < 500 * 1024 && w.len() == 1));
}

#[test]
fn a_large_block_is_resolved_in_parts_and_settled_in_any_order() {
    let mut world = World::new();
    world.declare(queue(7));
    world.declare(queue(8));
    let numbers: Vec<[u8; 4]> = (0..10_000u32).map(u32::to_le_bytes).collect();
    let all: Vec<&[u8]> = numbers.iter().map(|n| &n[..]).collect();
    for pair in all.chunks(2) {
        world.publish(A, &[7], &pair[..1]);
        world.publish(A, &[8, 7], &pair[1..]);
    }
    world.subscribe(B, 1, 7, 700);
    world.settle_down();
    assert!(world.log.iter().any(|b| b.payload.len() > 200_000), "all in one block");
    let mut next = 0u32;
    let mut settled = 0u64;
    while next < 10_000 {
        let seen = delivered(&mut world);
        assert!(!seen.is_empty());
        for one in &seen {
            assert_eq!((&one.body[..], one.number), (&next.to_le_bytes()[..], u64::from(next)));
            next += 1;
        }
        // Every third stays; the rest is settled from the back.
        for number in (settled..u64::from(next)).rev().filter(|n| n % 3 != 0) {
            world.settle(B, 1, number, 1, Outcome::Acked);
        }
        if u64::from(next) - settled < 10 {
            world.settle(B, 1, 0, u64::MAX, Outcome::Acked);
        }
        settled = u64::from(next);
    }
    world.crash(0, None);
    let before = world.shard.checkpoint();
    world.crash(0, Some((&before, world.log.len())));
    world.subscribe(A, 1, 7, 0);
    let seen = delivered(&mut world);
    let left: u64 = world.shard.queue_stats().filter(|q| q.queue.0 == 7).map(|q| q.logged - q.acked).sum();
    assert_eq!(seen.len() as u64, left);
    assert!(left > 0 && seen.iter().all(|s| s.redelivered));
    assert!(seen.windows(2).all(|w| w[0].body.iter().rev().lt(w[1].body.iter().rev())));
    world.subscribe(A, 2, 8, 0);
    assert_eq!(delivered(&mut world).len(), 5_000);
}

#[test]
fn messages_before_their_queue_are_nobodys() {
    let mut world = World::new();
    world.publish(A, &[7], &[b"early"]);
    world.handle(0, Request::Provision(Provision::Queue(queue(7))));
    world.publish(A, &[7], &[b"a", b"b"]);
    assert!(world.seal() && !world.seal(), "all in one block");
    world.commit();
    world.crash(0, None);
    world.subscribe(B, 1, 7, 0);
    assert_eq!(bodies(&delivered(&mut world)), ["a", "b"]);
}

#[test]
fn the_horizon_moves_along_wherever_the_queue_is() {
    let mut world = World::new();
    world.declare(queue(7));
    let many: Vec<&[u8]> = vec![b"x"; 30_000];
    let consume = |world: &mut World, session: u64| {
        let mut seen = Vec::new();
        loop {
            let round = delivered(world);
            let Some(last) = round.last() else { return seen };
            world.settle(session, 1, 0, last.number + 1, Outcome::Acked);
            seen.extend(round);
        }
    };
    world.publish(A, &[7], &[b"first"]);
    world.publish(A, &[7], &many);
    world.subscribe(B, 1, 7, 5_000);
    assert_eq!(consume(&mut world, B).len(), 30_001);
    // Far above what any record has reserved, and never delivered.
    world.handle(B, Request::CloseSession);
    world.publish(A, &[7], &many);
    world.publish(A, &[7], &many);
    world.settle_down();
    world.handle(A, Request::Purge { token: Token(77), queue: QueueId(7) });
    world.publish(A, &[7], &many);
    world.settle_down();
    world.crash(0, None);
    world.subscribe(B, 1, 7, 5_000);
    let seen = consume(&mut world, B);
    assert_eq!(seen.len(), 30_000);
    assert!(seen.iter().all(|s| !s.redelivered), "nobody can have seen them");
    assert_eq!(world.shard.stats().ready, 0);
}

#[test]
fn a_queue_dropped_before_it_is_there_does_not_come_back() {
    let mut world = World::new();
    world.handle(0, Request::Provision(Provision::Queue(queue(7))));
    let drop = Provision::DropQueue { queue: QueueId(7), if_unused: false, if_empty: false };
    world.handle(0, Request::Provision(drop));
    world.settle_down();
    assert_eq!(world.shard.stats().queues, 0);
    assert!(matches!(
        world.meta[..],
        [MetaEvent::QueueReady { .. }, MetaEvent::QueueDropped { result: Ok(0), .. }]
    ));
}

#[test]
fn a_log_that_stops_is_not_asked_again() {
    let mut world = World::new();
    world.declare(queue(7));
    world.publish(A, &[7], &[b"a", b"b"]);
    world.subscribe(B, 1, 7, 1);
    delivered(&mut world);
    world.settle(B, 1, 0, 1, Outcome::Acked);
    world.publish(A, &[7], &[b"c"]);
    assert!(world.seal() && world.abandon(Failure::Stopping));
    world.dispatch();
    assert_eq!(world.shard.proposal_urgency(), Urgency::Nothing);
}

#[test]
fn more_settles_than_a_block_takes_go_into_the_next() {
    let mut world = World::new();
    world.declare(queue(7));
    let many: Vec<&[u8]> = vec![b"x"; 600_000];
    for part in many.chunks(10_000) {
        world.publish(A, &[7], part);
    }
    world.subscribe(B, 1, 7, 0);
    while !delivered(&mut world).is_empty() {
        world.handle(B, Request::Drained { bytes: u64::MAX });
    }
    // Every other one: as many runs as messages.
    for number in (0..600_000).step_by(2) {
        world.settle(B, 1, number, 1, Outcome::Acked);
    }
    assert_eq!(world.shard.proposal_urgency(), Urgency::Now, "that many do not wait");
    let before = world.log.len();
    world.settle_down();
    assert!(world.log.len() > before + 1);
    assert!(world.log[before..].iter().all(|b| b.payload.len() < 700 * 1024));
    assert_eq!(world.shard.queue_stats().next().map(|q| (q.acked, q.unacked)), Some((300_000, 300_000)));
}

#[test]
fn what_the_topology_wants_is_tried_until_it_is_in() {
    let mut world = World::new();
    world.handle(0, Request::Provision(Provision::Queue(queue(7))));
    world.seal();
    world.abandon(Failure::DiskFull);
    assert_eq!(world.shard.proposal_urgency(), Urgency::Lazily);
    world.settle_down();
    assert!(matches!(world.meta[..], [MetaEvent::QueueReady { queue: QueueId(7), .. }]));
    world.meta.clear();

    let drop = Provision::DropQueue { queue: QueueId(7), if_unused: false, if_empty: false };
    world.handle(0, Request::Provision(drop));
    world.seal();
    world.abandon(Failure::DiskFull);
    assert!(world.meta.is_empty());
    world.settle_down();
    assert!(matches!(world.meta[..], [MetaEvent::QueueDropped { result: Ok(0), .. }]));
    assert_eq!(world.shard.queue_stats().count(), 0);
}

#[test]
fn a_volatile_batch_that_was_confirmed_and_logged_outlives_a_refused_block() {
    let mut world = World::with(Options { volatile_bytes: 100, ..Options::new(SHARD) });
    world.declare(queue(7));
    for body in [b"0", b"1", b"2", b"3"] {
        world.publish_volatile(A, &[7], &[body]);
    }
    world.seal();
    world.publish_volatile(A, &[7], &[b"4"]);
    world.abandon(Failure::DiskFull);
    world.subscribe(B, 1, 7, 0);
    assert_eq!(bodies(&delivered(&mut world)), ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_refused_batch_does_not_let_transient_messages_overtake_those_under_way() {
    let mut world = World::new();
    world.declare(queue(7));
    world.subscribe(B, 1, 7, 0);
    world.settle_down();
    world.publish(A, &[7], &[b"1"]);
    world.seal();
    world.publish(A, &[7], &[b"refused"]);
    world.publish_volatile(A, &[7], &[b"2"]);
    world.publish(A, &[7], &[b"refused"]);
    world.seal();
    world.abandon(Failure::DiskFull);
    world.dispatch();
    assert_eq!(bodies(&deliveries(&world.take_events())), [""; 0]);
    assert_eq!(bodies(&delivered(&mut world)), ["1", "2"]);
}
