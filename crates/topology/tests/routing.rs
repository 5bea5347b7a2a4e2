//! Random topologies against the blackboard model: routing, auto-delete, restarts, replays and checkpoints.

use crate::naive::Naive;
use bowline_model::meta::{
    Binding, Command, Destination, ExchangeKind, ExchangeSpec, QueueDeclaration, Table, TopicSpec, Value,
};
use bowline_model::{SessionId, TopicId};
use bowline_topology::{Defaults, Entry, Targets, Topology};
use proptest::prelude::*;
use std::collections::BTreeSet;

const EXCHANGES: &[&str] = &["direct", "fanout", "topic", "headers", "topic2", "headers2"];
/// Queues and topics share names on purpose.
const NAMES: &[&str] = &["q0", "q1", "q2", "a.b", "both"];
const PATTERNS: &[&str] = &[
    "", "a", "a.b", "*", "#", "a.*", "*.b", "a.#", "#.b", "#.#", "*.#", "#.*", "a.#.b", "#.a.#", "a..b",
    "*.*.*",
];
const KEYS: &[&str] =
    &["", "a", "b", "a.b", "a.a.b", "b.a", "a..b", ".", "a.b.a.b", "#", "a.*", "q0", "both"];

#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    /// By name: ids are the topology's.
    QueueRemove(String),
    NodeStarted,
    /// Go on with a restored copy.
    Restore,
}

fn name(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(names).prop_map(str::to_owned)
}

fn int(tag: u8, value: i128) -> Value {
    Value::Int { tag, value }
}

fn header_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(int(b'I', 1)),
        Just(int(b'l', 1)),
        Just(int(b'I', 2)),
        Just(Value::Str(b"1".to_vec())),
        Just(Value::Bool(true)),
        Just(Value::Void),
    ]
}

fn headers() -> impl Strategy<Value = Table> {
    proptest::collection::vec((name(&["h1", "h2", "x-h"]), header_value()), 0..4)
}

fn binding_arguments() -> impl Strategy<Value = Table> {
    let mode = proptest::option::of(name(&["all", "any", "all-with-x", "any-with-x"]));
    // One criterion a name: which of two would count is not what this is about.
    let criteria = proptest::collection::btree_map(name(&["h1", "h2", "x-h"]), header_value(), 0..3);
    (mode, criteria).prop_map(|(mode, criteria)| {
        let mut table: Table = criteria.into_iter().collect();
        table.extend(mode.map(|mode| ("x-match".to_owned(), Value::Str(mode.into_bytes()))));
        table
    })
}

fn binding() -> impl Strategy<Value = Binding> {
    let destination = prop_oneof![
        3 => name(NAMES).prop_map(Destination::Queue),
        1 => name(EXCHANGES).prop_map(Destination::Exchange),
    ];
    (name(EXCHANGES), destination, name(PATTERNS), binding_arguments()).prop_map(
        |(source, destination, routing_key, arguments)| Binding {
            vhost: "/".to_owned(),
            source,
            destination,
            routing_key,
            arguments,
        },
    )
}

fn exchange() -> impl Strategy<Value = ExchangeSpec> {
    let alternate = proptest::option::weighted(0.3, name(EXCHANGES));
    (name(EXCHANGES), any::<bool>(), proptest::bool::weighted(0.3), alternate).prop_map(
        |(name, durable, auto_delete, alternate)| ExchangeSpec {
            vhost: "/".to_owned(),
            kind: match name.trim_end_matches('2') {
                "direct" => ExchangeKind::Direct,
                "fanout" => ExchangeKind::Fanout,
                "topic" => ExchangeKind::Topic,
                _ => ExchangeKind::Headers,
            },
            name,
            durable,
            auto_delete,
            internal: false,
            arguments: alternate
                .map(|name| ("alternate-exchange".to_owned(), Value::Str(name.into_bytes())))
                .into_iter()
                .collect(),
        },
    )
}

fn queue() -> impl Strategy<Value = QueueDeclaration> {
    (name(NAMES), any::<bool>(), proptest::option::weighted(0.2, 1u64..3)).prop_map(
        |(name, durable, exclusive)| QueueDeclaration {
            vhost: "/".to_owned(),
            name,
            durable,
            auto_delete: false,
            exclusive: exclusive.map(SessionId),
            arguments: Table::new(),
        },
    )
}

fn topic() -> impl Strategy<Value = TopicSpec> {
    (name(NAMES), 1u32..4, any::<[u8; 16]>()).prop_map(|(name, partitions, id)| TopicSpec {
        vhost: "/".to_owned(),
        name,
        id: TopicId(id),
        partitions,
        configs: vec![("retention.ms".to_owned(), "1000".to_owned())],
        arguments: Table::new(),
    })
}

fn step() -> impl Strategy<Value = Step> {
    let vhost = || "/".to_owned();
    prop_oneof![
        4 => exchange().prop_map(|spec| Step::Command(Command::ExchangeDeclare(spec))),
        1 => (name(EXCHANGES), any::<bool>()).prop_map(move |(name, if_unused)| {
            Step::Command(Command::ExchangeDelete { vhost: vhost(), name, if_unused })
        }),
        12 => binding().prop_map(|b| Step::Command(Command::Bind(b))),
        2 => binding().prop_map(|b| Step::Command(Command::Unbind(b))),
        4 => queue().prop_map(|d| Step::Command(Command::QueueDeclare(d))),
        1 => name(NAMES).prop_map(Step::QueueRemove),
        2 => topic().prop_map(|spec| Step::Command(Command::TopicCreate(spec))),
        1 => name(NAMES).prop_map(move |name| Step::Command(Command::TopicDelete { vhost: vhost(), name })),
        1 => Just(Step::NodeStarted),
        1 => Just(Step::Restore),
    ]
}

/// Unbinding at random seldom hits: this unbinds what is there.
fn unbind_one(topology: &Topology, at: usize) -> Option<Command> {
    let all: Vec<Binding> = EXCHANGES.iter().flat_map(|x| topology.bindings_from("/", x)).collect();
    (!all.is_empty()).then(|| Command::Unbind(all[at % all.len()].clone()))
}

fn routed(topology: &Topology, exchange: &str, key: &str, headers: &Table) -> Option<BTreeSet<String>> {
    let mut out = Targets::default();
    let mut calls = 0;
    let mut fetch = || {
        calls += 1;
        headers.clone()
    };
    topology.route("/", exchange, key.as_bytes(), &mut fetch, &mut out).ok()?;
    assert!(calls <= 1, "headers are decoded at most once");
    assert!(calls == 0 || out.needs_headers);
    let queues = out.queues.iter().map(|target| {
        let queue = topology.queue_by_id(target.queue).expect("routed to a living queue");
        assert_eq!((target.shard, target.durable), (queue.shard, queue.declared.durable));
        queue.declared.name.clone()
    });
    let topics = out.topics.iter().map(|target| {
        let topic = topology.topic_by_id(&target.id).expect("routed to a living topic");
        assert_eq!(target.partitions, topic.partitions);
        topic.name.clone()
    });
    let names: Vec<String> = queues.chain(topics).collect();
    let set: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(names.len(), set.len(), "each target at most once");
    Some(set)
}

/// The same command to both; refusals change nothing.
fn run(topology: &mut Topology, naive: &mut Naive, now: u64, command: &Command) {
    let before = topology.checkpoint();
    let check = topology.check(command, SessionId(1));
    let applied = topology.apply(now, command);
    match &applied {
        Ok(done) => {
            naive.follow(command);
            assert!(
                topology.checkpoint() != before || !done.changes_topology(),
                "what says it changed did: {command:?}"
            );
        }
        Err(_) => assert_eq!(topology.checkpoint(), before, "a refusal changes nothing: {command:?}"),
    }
    match check {
        bowline_topology::Check::Log => assert!(applied.is_ok()),
        bowline_topology::Check::Done(done) => assert_eq!(Ok(done), applied),
        // It may also refuse for the session's sake.
        bowline_topology::Check::Refuse(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn routes_like_the_model(
        steps in proptest::collection::vec((step(), any::<usize>()), 1..60),
        headers in proptest::collection::vec(headers(), 3),
    ) {
        let mut topology = Topology::new(3, Defaults::default());
        let mut naive = Naive::default();
        let mut log = Vec::new();
        for (now, (step, chance)) in steps.iter().enumerate() {
            let now = now as u64;
            match step {
                Step::Command(command) => {
                    log.push((now, command.clone()));
                    run(&mut topology, &mut naive, now, command);
                }
                Step::QueueRemove(name) => {
                    if let Some(Entry::Queue(queue)) = topology.entry("/", name) {
                        let command = Command::QueueRemove { queue: queue.id };
                        log.push((now, command.clone()));
                        topology.apply(now, &command).expect("removing a queue is never refused");
                        naive.delete_queue(name);
                    }
                }
                Step::NodeStarted => {
                    topology.node_started();
                    naive.node_started();
                    log.clear();
                }
                Step::Restore => {
                    let bytes = topology.checkpoint();
                    topology = Topology::restore(&bytes, Defaults::default()).expect("our own checkpoint");
                    prop_assert_eq!(topology.checkpoint(), bytes);
                }
            }
            if chance % 5 == 0 && let Some(command) = unbind_one(&topology, chance / 5) {
                log.push((now, command.clone()));
                run(&mut topology, &mut naive, now, &command);
            }
        }
        for exchange in EXCHANGES.iter().chain(&[""]) {
            for key in KEYS {
                for headers in &headers {
                    prop_assert_eq!(
                        routed(&topology, exchange, key, headers),
                        naive.route(exchange, key, headers),
                        "exchange {} key {} headers {:?}", exchange, key, headers
                    );
                }
            }
        }
        prop_assert_eq!(topology.queues("/").len(), naive.queues.len());
        for session in [SessionId(1), SessionId(2)] {
            let owned = naive.queues.iter().filter(|q| q.exclusive == Some(session)).count();
            prop_assert_eq!(topology.exclusive_queues_of(session).len(), owned);
        }
        // The same again gives the same bytes, whatever the seeds of the hash tables are.
        if !steps.iter().any(|(step, _)| matches!(step, Step::NodeStarted)) {
            let mut replayed = Topology::new(3, Defaults::default());
            for (now, command) in &log {
                let _ = replayed.apply(*now, command);
            }
            prop_assert_eq!(replayed.checkpoint(), topology.checkpoint());
        }
    }
}

/// Patterns that make a backtracking matcher explode: 128 words, many overlapping `#`.
#[test]
fn hostile_patterns_cost_no_more_than_their_nodes() {
    let mut topology = Topology::new(1, Defaults::default());
    for n in 0..200 {
        let name = format!("q{n}");
        let declaration = QueueDeclaration {
            vhost: "/".to_owned(),
            name: name.clone(),
            durable: true,
            auto_delete: false,
            exclusive: None,
            arguments: Table::new(),
        };
        topology.apply(0, &Command::QueueDeclare(declaration)).expect("a plain queue");
        let routing_key = format!("#{}.#", ".a".repeat(n % 100 + 1));
        let binding = Binding {
            vhost: "/".to_owned(),
            source: "amq.topic".to_owned(),
            destination: Destination::Queue(name),
            routing_key,
            arguments: Table::new(),
        };
        topology.apply(0, &Command::Bind(binding)).expect("two hashes are allowed");
    }
    let key = ["a"; 128].join(".");
    let mut out = Targets::default();
    topology.route("/", "amq.topic", key.as_bytes(), &mut Table::new, &mut out).expect("it is there");
    assert_eq!(out.queues.len(), 200);
}
