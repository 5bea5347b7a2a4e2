//! `x-recent-history`: the queue behind the exchange, which nobody sees.

use bowline_model::SessionId;
use bowline_model::meta::{
    Binding, Command, Destination, ExchangeKind, ExchangeSpec, QueueDeclaration, Table, Value, VhostSpec,
};
use bowline_topology::{Applied, Defaults, Targets, Topology};

fn new() -> Topology {
    Topology::new(2, Defaults::default())
}

fn exchange(name: &str, durable: bool, arguments: Table) -> Command {
    Command::ExchangeDeclare(ExchangeSpec {
        vhost: "/".to_owned(),
        name: name.to_owned(),
        kind: ExchangeKind::RecentHistory,
        durable,
        auto_delete: false,
        internal: false,
        arguments,
    })
}

fn length(n: i128) -> Table {
    vec![("x-recent-history-length".to_owned(), Value::Int { tag: b'I', value: n })]
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

fn bind(source: &str, destination: Destination) -> Command {
    Command::Bind(Binding {
        vhost: "/".to_owned(),
        source: source.to_owned(),
        destination,
        routing_key: "any".to_owned(),
        arguments: Table::new(),
    })
}

fn restarted(t: &Topology) -> Topology {
    let restored = Topology::restore(&t.checkpoint(), Defaults::default()).unwrap();
    assert_eq!(restored.checkpoint(), t.checkpoint());
    restored
}

fn route(t: &Topology, exchange: &str) -> Targets {
    let mut targets = Targets::default();
    t.route("/", exchange, b"k", &mut || Table::new(), &mut targets).unwrap();
    targets
}

#[test]
fn the_exchange_has_a_bounded_queue_that_nobody_sees() {
    let mut t = new();
    let Applied::NewHistory(spec) = t.apply(1, &exchange("x", true, length(3))).unwrap() else {
        panic!("a history is provisioned");
    };
    assert_eq!((spec.settings.max_length, spec.durable), (Some(3), true));
    assert!(t.queues("/").is_empty() && t.entry("/", "").is_none());
    let default = t.apply(1, &exchange("y", false, Table::new())).unwrap();
    assert!(matches!(&default, Applied::NewHistory(s) if s.settings.max_length == Some(20) && !s.durable));

    let mut t = restarted(&t);
    // What is remembered only is unroutable.
    let targets = route(&t, "x");
    assert!(targets.is_empty());
    assert_eq!(targets.history[0].queue, spec.queue);
    t.apply(1, &queue("q")).unwrap();
    let bound = t.apply(1, &bind("x", Destination::Queue("q".to_owned()))).unwrap();
    assert!(matches!(bound, Applied::BoundToHistory { history, .. } if history == spec.queue), "{bound:?}");
    assert_eq!(route(&t, "x").queues.len(), 1);
    // The same again is no new binding.
    let again = t.apply(1, &bind("x", Destination::Queue("q".to_owned()))).unwrap();
    assert_eq!(again, Applied::Unchanged);
    // By way of another exchange it is remembered, too, and once.
    t.apply(1, &bind("amq.fanout", Destination::Exchange("x".to_owned()))).unwrap();
    assert_eq!(route(&t, "amq.fanout").history.len(), 1);

    // A restart takes away what is not durable.
    t.node_started();
    let t = restarted(&t);
    assert!(t.exchange("/", "y").is_none() && t.exchange("/", "x").is_some());
    assert_eq!(t.queue_by_id(spec.queue).unwrap().declared.name, "");
}

#[test]
fn the_history_goes_with_its_exchange() {
    let mut t = new();
    let mut ids = Vec::new();
    for name in ["x", "y"] {
        let Applied::NewHistory(spec) = t.apply(1, &exchange(name, true, Table::new())).unwrap() else {
            panic!("a history is provisioned");
        };
        ids.push(spec.queue);
    }
    let delete = |name: &str| Command::ExchangeDelete {
        vhost: "/".to_owned(),
        name: name.to_owned(),
        if_unused: false,
    };
    t.apply(1, &delete("x")).unwrap();
    assert_eq!(t.take_histories_gone(), [ids[0]]);
    assert!(t.queue_by_id(ids[0]).is_none());
    restarted(&t);
    t.apply(1, &delete("y")).unwrap();
    assert_eq!(t.take_histories_gone(), [ids[1]]);

    let v = "v".to_owned();
    t.apply(1, &Command::VhostPut(VhostSpec { name: v.clone(), ..VhostSpec::default() })).unwrap();
    let Command::ExchangeDeclare(spec) = exchange("x", true, Table::new()) else { unreachable!() };
    t.apply(1, &Command::ExchangeDeclare(ExchangeSpec { vhost: v.clone(), ..spec })).unwrap();
    let gone = t.apply(1, &Command::VhostDelete { name: v }).unwrap();
    assert!(matches!(&gone, Applied::VhostRemoved { queues, .. } if queues.len() == 1), "{gone:?}");
}

#[test]
fn the_length_is_a_positive_number_within_bounds() {
    let t = new();
    let bad =
        [Value::Int { tag: b'I', value: 0 }, Value::Int { tag: b'l', value: 10_001 }, Value::Bool(true)];
    for value in bad {
        let arguments = vec![("x-recent-history-length".to_owned(), value)];
        let check = t.check(&exchange("x", true, arguments), SessionId(1));
        assert!(matches!(check, bowline_topology::Check::Refuse(_)), "{check:?}");
    }
    assert_eq!(t.check(&exchange("x", true, length(10_000)), SessionId(1)), bowline_topology::Check::Log);
}
