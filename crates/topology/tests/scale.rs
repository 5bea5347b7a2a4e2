//! Big topologies must not be slow ones. Times are printed, not asserted: `cargo test --test scale -- --nocapture`.

#![allow(clippy::disallowed_types, reason = "this test looks at the clock")]

use bowline_model::QueueId;
use bowline_model::meta::{Binding, Command, Destination, QueueDeclaration, Table};
use bowline_topology::{Defaults, Targets, Topology};
use std::time::Instant;

const QUEUES: usize = 20_000;
const BINDINGS: usize = 100_000;

fn binding(exchange: &str, queue: usize, key: String) -> Binding {
    Binding {
        vhost: "/".to_owned(),
        source: exchange.to_owned(),
        destination: Destination::Queue(format!("queue-{queue}")),
        routing_key: key,
        arguments: Table::new(),
    }
}

fn timed<T>(what: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let spent = start.elapsed();
    println!("{what}: {spent:?}, {} ns each", spent.as_nanos() / count as u128);
    result
}

fn apply(topology: &mut Topology, command: Command) {
    topology.apply(0, &command).expect("nothing here is refused");
}

#[test]
fn a_hundred_thousand_bindings() {
    let mut t = Topology::new(4, Defaults::default());
    timed("declare", QUEUES, || {
        for n in 0..QUEUES {
            let declaration = QueueDeclaration {
                vhost: "/".to_owned(),
                name: format!("queue-{n}"),
                durable: true,
                auto_delete: false,
                exclusive: None,
                arguments: Table::new(),
            };
            apply(&mut t, Command::QueueDeclare(declaration));
        }
    });
    timed("bind to a topic exchange", BINDINGS, || {
        for n in 0..BINDINGS {
            let key = match n % 4 {
                0 => format!("site.{}.device.{n}", n % 100),
                1 => format!("site.{}.*.{n}", n % 100),
                2 => format!("site.{}.device.{n}.#", n % 100),
                _ => format!("*.{}.device.{n}", n % 100),
            };
            apply(&mut t, Command::Bind(binding("amq.topic", n % QUEUES, key)));
        }
    });
    timed("bind to a direct exchange", BINDINGS, || {
        for n in 0..BINDINGS {
            apply(&mut t, Command::Bind(binding("amq.direct", n % QUEUES, format!("key-{n}"))));
        }
    });
    timed("bind every queue to a fanout", QUEUES, || {
        for n in 0..QUEUES {
            apply(&mut t, Command::Bind(binding("amq.fanout", n, String::new())));
        }
    });
    timed("bind every queue under one key", QUEUES, || {
        for n in 0..QUEUES {
            apply(&mut t, Command::Bind(binding("amq.direct", n, "one".to_owned())));
        }
    });

    let mut out = Targets::default();
    let mut route = |exchange: &str, keys: &[String], expected: usize| {
        timed(&format!("route through '{exchange}'"), keys.len(), || {
            for key in keys {
                out.clear();
                t.route("/", exchange, key.as_bytes(), &mut Table::new, &mut out).expect("it is there");
                assert_eq!(out.queues.len(), expected, "{key}");
            }
        });
    };
    route("", &(0..QUEUES).map(|n| format!("queue-{n}")).collect::<Vec<_>>(), 1);
    route("amq.direct", &(0..BINDINGS).map(|n| format!("key-{n}")).collect::<Vec<_>>(), 1);
    let keys: Vec<String> =
        (0..BINDINGS).step_by(4).map(|n| format!("site.{}.device.{n}", n % 100)).collect();
    route("amq.topic", &keys, 1);
    route("amq.fanout", &[String::new()], QUEUES);

    const HOT: usize = 100_000;
    route("", &vec!["queue-7".to_owned(); HOT], 1);
    route("amq.direct", &vec!["key-7".to_owned(); HOT], 1);
    route("amq.topic", &vec!["site.4.device.4".to_owned(); HOT], 1);

    let bytes = timed("checkpoint", 1, || t.checkpoint());
    println!("checkpoint of {} bytes", bytes.len());
    let restored = timed("restore", 1, || Topology::restore(&bytes, Defaults::default()).expect("our own"));
    assert_eq!(restored.checkpoint(), bytes);

    timed("unbind from the topic exchange", BINDINGS / 4, || {
        for n in (0..BINDINGS).step_by(4) {
            let key = format!("site.{}.device.{n}", n % 100);
            apply(&mut t, Command::Unbind(binding("amq.topic", n % QUEUES, key)));
        }
    });
    // Each takes a dozen bindings along, two of them from lists of 20,000.
    timed("delete", QUEUES, || {
        for n in 0..QUEUES {
            apply(&mut t, Command::QueueRemove { queue: QueueId(1 + n as u32) });
        }
    });
    let empty = Topology::new(4, Defaults::default());
    assert_eq!(t.bindings_from("/", "amq.topic").len(), 0);
    assert_eq!(t.queues("/").len(), empty.queues("/").len());
}
