//! What a large topology costs: 10,000 policies and queues, 100,000 bindings of a topic exchange.
//!
//!     cargo run -p bowline-topology --example scale
// It measures the core from outside, where clocks are.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use bowline_model::meta::{
    ApplyTo, Binding, Command, Destination, ExchangeKind, ExchangeSpec, PolicySpec, QueueDeclaration, Table,
    Value,
};
use bowline_topology::{Defaults, Targets, Topology};
use std::time::Instant;

const POLICIES: usize = 10_000;
const QUEUES: usize = 10_000;
const BINDINGS: usize = 100_000;
const ROUTES: usize = 100_000;

fn main() {
    policies();
    bindings();
}

fn policies() {
    for (what, pattern) in [("a literal", "^team-{}\\."), ("a class", "^team-{}[.]")] {
        let mut t = Topology::new(1, Defaults::default());
        println!("policies with {what}");
        let put = |i: usize, length: i128| {
            Command::PolicyPut(PolicySpec {
                vhost: "/".to_owned(),
                name: format!("policy-{i}"),
                operator: false,
                pattern: pattern.replace("{}", &i.to_string()),
                apply_to: ApplyTo::Queues,
                priority: (i % 10) as i64,
                definition: vec![("max-length".to_owned(), Value::Int { tag: b'l', value: length })],
            })
        };
        timed("a policy put", POLICIES, |i| apply(&mut t, &put(i, 1000)));
        timed("a queue declared", QUEUES, |i| apply(&mut t, &queue(&format!("team-{i}.work"))));
        timed("a policy of one queue changed", 100, |i| apply(&mut t, &put(i, 2000)));
        println!("  {} MB", resident_mb());
    }
}

fn bindings() {
    let mut t = Topology::new(1, Defaults::default());
    println!("{BINDINGS} bindings of a topic exchange");
    for i in 0..1000 {
        apply(&mut t, &queue(&format!("q{i}")));
    }
    let exchange = ExchangeSpec {
        vhost: "/".to_owned(),
        name: "x".to_owned(),
        kind: ExchangeKind::Topic,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: Table::new(),
    };
    apply(&mut t, &Command::ExchangeDeclare(exchange));
    let bind = |i: usize| Binding {
        vhost: "/".to_owned(),
        source: "x".to_owned(),
        destination: Destination::Queue(format!("q{}", i % 1000)),
        routing_key: match i % 3 {
            0 => format!("region{}.*.event{i}", i % 97),
            1 => format!("region{}.device{i}.#", i % 97),
            _ => format!("*.device{i}.event{}", i % 89),
        },
        arguments: Table::new(),
    };
    timed("a binding made", BINDINGS, |i| apply(&mut t, &Command::Bind(bind(i))));
    println!("  {} MB", resident_mb());
    let mut targets = Targets::default();
    timed("a message routed", ROUTES, |i| {
        targets.clear();
        let key = format!("region{}.device{i}.event{}", i % 97, i % 89);
        t.route("/", "x", key.as_bytes(), &mut Table::new, &mut targets).expect("it is there");
    });
    let mut bytes = 0;
    timed("a checkpoint", 1, |_| bytes = t.checkpoint().len());
    println!("  of {bytes} B");
    timed("a queue with 100 bindings removed", 1000, |i| {
        let id = t.queue("/", &format!("q{i}")).expect("it is there").id;
        apply(&mut t, &Command::QueueRemove { queue: id });
    });
}

fn apply(t: &mut Topology, command: &Command) {
    t.apply(1, command).expect("nothing is refused here");
}

fn queue(name: &str) -> Command {
    Command::QueueDeclare(QueueDeclaration {
        vhost: "/".to_owned(),
        name: name.to_owned(),
        durable: true,
        auto_delete: false,
        exclusive: None,
        arguments: Table::new(),
    })
}

fn timed(what: &str, times: usize, work: impl FnMut(usize)) {
    let began = Instant::now();
    (0..times).for_each(work);
    let took = began.elapsed();
    println!(
        "  {what}: {:.1} µs ({} ms for {times})",
        took.as_secs_f64() * 1e6 / times as f64,
        took.as_millis()
    );
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
}
