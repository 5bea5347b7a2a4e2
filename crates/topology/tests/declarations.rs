//! What is refused, and in which words: clients and their test suites match on them.

use bowline_model::meta::{
    Binding, Command, Destination, ExchangeKind, ExchangeSpec, QueueDeclaration, Reason, Table, TopicSpec,
    Value,
};
use bowline_model::request::PartitionSpec;
use bowline_model::{PartitionId, QueueId, SessionId, ShardId, TopicId};
use bowline_topology::{Applied, Check, Defaults, RestoreError, Topology, arguments, config};

/// A change to a declaration, and what is said about it.
type Changed<T> = (fn(&mut T), &'static str);
/// Arguments of a queue, and how they are refused.
type Bad<'a> = (&'a [(&'a str, Value)], Reason, &'a str);

const V: &str = "/";

fn new() -> Topology {
    Topology::new(2, Defaults::default())
}

fn int(value: i128) -> Value {
    Value::Int { tag: b'I', value }
}

fn text(value: &str) -> Value {
    Value::Str(value.as_bytes().to_vec())
}

fn table(arguments: &[(&str, Value)]) -> Table {
    arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn exchange(name: &str, kind: ExchangeKind) -> ExchangeSpec {
    ExchangeSpec {
        vhost: V.to_owned(),
        name: name.to_owned(),
        kind,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: Table::new(),
    }
}

fn queue(name: &str, arguments: &[(&str, Value)]) -> QueueDeclaration {
    QueueDeclaration {
        vhost: V.to_owned(),
        name: name.to_owned(),
        durable: true,
        auto_delete: false,
        exclusive: None,
        arguments: table(arguments),
    }
}

fn topic(name: &str, partitions: u32) -> TopicSpec {
    let mut id = [0; 16];
    id[..name.len().min(16)].copy_from_slice(&name.as_bytes()[..name.len().min(16)]);
    TopicSpec {
        vhost: V.to_owned(),
        name: name.to_owned(),
        id: TopicId(id),
        partitions,
        configs: Vec::new(),
        arguments: Table::new(),
    }
}

fn bind(source: &str, destination: Destination, key: &str, arguments: &[(&str, Value)]) -> Command {
    Command::Bind(Binding {
        vhost: V.to_owned(),
        source: source.to_owned(),
        destination,
        routing_key: key.to_owned(),
        arguments: table(arguments),
    })
}

fn to_queue(name: &str) -> Destination {
    Destination::Queue(name.to_owned())
}

fn done(topology: &mut Topology, command: Command) -> Applied {
    topology.apply(1, &command).unwrap_or_else(|refused| panic!("{command:?}: {refused:?}"))
}

/// `apply` and `check` refuse alike and the text is as expected.
fn refused(topology: &mut Topology, command: Command, reason: Reason, expected: &str) {
    let rejection = topology.apply(1, &command).expect_err(expected);
    assert_eq!((rejection.reason, rejection.text.as_str()), (reason, expected));
    assert_eq!(topology.check(&command, SessionId(1)), Check::Refuse(rejection));
}

fn declare(declaration: QueueDeclaration) -> Command {
    Command::QueueDeclare(declaration)
}

#[test]
fn predeclared_exchanges_are_there_and_stay() {
    let mut t = new();
    for name in
        ["", "amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match", "amq.rabbitmq.trace"]
    {
        assert!(t.exchange(V, name).is_some_and(|x| x.system), "{name}");
    }
    let delete =
        |name: &str| Command::ExchangeDelete { vhost: V.to_owned(), name: name.to_owned(), if_unused: false };
    refused(
        &mut t,
        delete("amq.direct"),
        Reason::Forbidden,
        "deletion of system exchange 'amq.direct' in vhost '/' not allowed",
    );
    refused(&mut t, delete(""), Reason::Forbidden, "operation not permitted on the default exchange");
    assert_eq!(done(&mut t, delete("nobody")), Applied::Unchanged);
    // Declaring one as it is is no change.
    let same = Command::ExchangeDeclare(exchange("amq.topic", ExchangeKind::Topic));
    assert_eq!(done(&mut t, same), Applied::Unchanged);
    refused(
        &mut t,
        Command::ExchangeDeclare(exchange("amq.z", ExchangeKind::Topic)),
        Reason::Forbidden,
        "exchange name 'amq.z' contains reserved prefix 'amq.*'",
    );
    refused(
        &mut t,
        Command::ExchangeDeclare(exchange("", ExchangeKind::Direct)),
        Reason::Forbidden,
        "operation not permitted on the default exchange",
    );
    assert_eq!(arguments::exchange_kind("q").unwrap_err().text, "unknown exchange type 'q'");
}

#[test]
fn an_exchange_declared_again_must_be_the_same() {
    let mut t = new();
    assert_eq!(done(&mut t, Command::ExchangeDeclare(exchange("x", ExchangeKind::Fanout))), Applied::Changed);
    assert_eq!(
        done(&mut t, Command::ExchangeDeclare(exchange("x", ExchangeKind::Fanout))),
        Applied::Unchanged
    );
    let changes: [Changed<ExchangeSpec>; 5] = [
        (
            |x| x.kind = ExchangeKind::Direct,
            "'type' for exchange 'x' in vhost '/': received 'direct' but current is 'fanout'",
        ),
        (
            |x| x.durable = false,
            "'durable' for exchange 'x' in vhost '/': received 'false' but current is 'true'",
        ),
        (
            |x| x.auto_delete = true,
            "'auto_delete' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            |x| x.internal = true,
            "'internal' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            |x| x.arguments = vec![("alternate-exchange".to_owned(), Value::Str(b"ae".to_vec()))],
            "'alternate-exchange' for exchange 'x' in vhost '/': received the value 'ae' of type 'longstr' but current is none",
        ),
    ];
    for (change, expected) in changes {
        let mut spec = exchange("x", ExchangeKind::Fanout);
        change(&mut spec);
        let expected = format!("inequivalent arg {expected}");
        refused(&mut t, Command::ExchangeDeclare(spec), Reason::Inequivalent, &expected);
    }
    let mut spec = exchange("y", ExchangeKind::Fanout);
    spec.arguments = table(&[("alternate-exchange", int(1))]);
    refused(
        &mut t,
        Command::ExchangeDeclare(spec),
        Reason::InvalidArgument,
        "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'y' in vhost '/'",
    );
}

#[test]
fn a_queue_declared_again_must_be_the_same() {
    let mut t = new();
    let Applied::NewQueue(spec) = done(&mut t, declare(queue("q", &[("x-queue-version", int(2))]))) else {
        panic!("a new queue");
    };
    assert_eq!((spec.queue, spec.name.as_str(), spec.durable), (QueueId(1), "q", true));
    // Integers of another width are the same value; unknown arguments do not count.
    let wide = Value::Int { tag: b'l', value: 2 };
    let again = declare(queue("q", &[("x-queue-version", wide), ("x-mine", int(1))]));
    let existing = Applied::ExistingQueue { queue: QueueId(1), shard: ShardId(2), name: "q".to_owned() };
    assert_eq!(done(&mut t, again.clone()), existing);
    assert_eq!(t.check(&again, SessionId(1)), Check::Done(existing));

    let prefix = "inequivalent arg ";
    let mut check = |declaration: QueueDeclaration, expected: &str| {
        refused(&mut t, declare(declaration), Reason::Inequivalent, &format!("{prefix}{expected}"));
    };
    let mut other = queue("q", &[("x-queue-version", int(2))]);
    other.durable = false;
    check(other, "'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'");
    let mut other = queue("q", &[("x-queue-version", int(2))]);
    other.auto_delete = true;
    check(other, "'auto_delete' for queue 'q' in vhost '/': received 'true' but current is 'false'");
    check(
        queue("q", &[]),
        "'x-queue-version' for queue 'q' in vhost '/': received none but current is the value '2' of type 'signedint'",
    );
    check(
        queue("q", &[("x-queue-version", int(1))]),
        "'x-queue-version' for queue 'q' in vhost '/': received '1' but current is '2'",
    );
    check(
        queue("q", &[("x-queue-version", int(2)), ("x-message-ttl", int(60000))]),
        "'x-message-ttl' for queue 'q' in vhost '/': received the value '60000' of type 'signedint' but current is none",
    );
    check(
        queue("q", &[("x-queue-version", int(2)), ("x-queue-type", text("quorum"))]),
        "'x-queue-type' for queue 'q' in vhost '/': received 'quorum' but current is 'classic'",
    );
    let classic = declare(queue("q", &[("x-queue-version", int(2)), ("x-queue-type", text("classic"))]));
    assert!(matches!(done(&mut t, classic), Applied::ExistingQueue { .. }));
}

#[test]
fn exclusive_queues_belong_to_one_connection() {
    let mut t = new();
    let mut mine = queue("q", &[]);
    mine.exclusive = Some(SessionId(1));
    let Applied::NewQueue(spec) = done(&mut t, declare(mine.clone())) else { panic!("a new queue") };
    assert!(spec.exclusive && !spec.durable, "exclusive queues are not durable");
    assert!(matches!(done(&mut t, declare(mine.clone())), Applied::ExistingQueue { .. }));
    let locked = "cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally declared \
                  on another connection or the exclusive property value does not match that of the original \
                  declaration.";
    let mut other = mine.clone();
    other.exclusive = Some(SessionId(2));
    refused(&mut t, declare(other), Reason::Locked, locked);
    refused(&mut t, declare(queue("q", &[])), Reason::Locked, locked);
    // Binding it is the owner's business, which `apply` cannot know.
    let bind = bind("amq.fanout", to_queue("q"), "", &[]);
    assert_eq!(t.check(&bind, SessionId(1)), Check::Log);
    assert!(matches!(t.check(&bind, SessionId(2)), Check::Refuse(r) if r.text == locked));
    assert_eq!(t.queue_for(V, "q", SessionId(2)).unwrap_err().text, locked);
    assert_eq!(t.queue_for(V, "p", SessionId(2)).unwrap_err().text, "no queue 'p' in vhost '/'");

    assert_eq!(t.exclusive_queues_of(SessionId(1)), [QueueId(1)]);
    assert_eq!(t.node_started(), [QueueId(1)]);
    assert!(t.exclusive_queues_of(SessionId(1)).is_empty() && t.queue(V, "q").is_none());
}

#[test]
fn bad_queue_arguments_are_refused_as_rabbitmq_does() {
    let mut t = new();
    let cases: &[Bad<'_>] = &[
        (
            &[("x-queue-type", text("foo"))],
            Reason::InvalidArgument,
            "invalid arg 'x-queue-type' for queue 'q' in vhost '/': \"unsupported queue type 'foo'\"",
        ),
        (
            &[("x-queue-type", int(1))],
            Reason::InvalidArgument,
            "invalid arg 'x-queue-type' for queue 'q' in vhost '/': {unacceptable_type,signedint}",
        ),
        (
            &[("x-message-ttl", text("1"))],
            Reason::InvalidArgument,
            "invalid arg 'x-message-ttl' for queue 'q' in vhost '/': \"expected integer, got longstr\"",
        ),
        (
            &[("x-message-ttl", int(-1))],
            Reason::InvalidArgument,
            "invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_negative,-1}",
        ),
        (
            &[("x-expires", int(0))],
            Reason::InvalidArgument,
            "invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0}",
        ),
        (
            &[("x-max-priority", int(256))],
            Reason::InvalidArgument,
            "invalid arg 'x-max-priority' for queue 'q' in vhost '/': {max_value_exceeded,256}",
        ),
        (
            &[("x-dead-letter-routing-key", text("k"))],
            Reason::InvalidArgument,
            "invalid arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': routing_key_but_no_dlx_defined",
        ),
        (
            &[("x-dead-letter-exchange", int(5)), ("x-message-ttl", int(-1))],
            Reason::InvalidArgument,
            "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'",
        ),
        (
            &[("x-overflow", text("x"))],
            Reason::InvalidArgument,
            "invalid arg 'x-overflow' for queue 'q' in vhost '/': invalid_overflow",
        ),
        (
            &[("x-queue-version", int(3))],
            Reason::InvalidArgument,
            "invalid arg 'x-queue-version' for queue 'q' in vhost '/': \"unsupported queue version '3'\"",
        ),
        (
            &[("x-delivery-limit", int(3))],
            Reason::InvalidArgument,
            "invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of queue type rabbit_classic_queue",
        ),
        (
            &[("x-queue-type", text("quorum")), ("x-queue-mode", text("lazy"))],
            Reason::InvalidArgument,
            "invalid arg 'x-queue-mode' for queue 'q' in vhost '/' of queue type rabbit_quorum_queue",
        ),
        (
            &[("x-order-key", text("k"))],
            Reason::InvalidArgument,
            "invalid arg 'x-order-key' for queue 'q' in vhost '/': \"expected routing-key, user, app-id, correlation-id, message-id or header:NAME\"",
        ),
        (
            &[("x-retry-delays", Value::Array(vec![int(5), text("x")]))],
            Reason::InvalidArgument,
            "invalid arg 'x-retry-delays' for queue 'q' in vhost '/': \"expected integer, got longstr\"",
        ),
        (
            &[("x-retry-factor", int(0))],
            Reason::InvalidArgument,
            "invalid arg 'x-retry-factor' for queue 'q' in vhost '/': \"expected a factor of 1 to 1000\"",
        ),
        (
            &[("x-deduplication", Value::Table(table(&[("windw", int(5))])))],
            Reason::InvalidArgument,
            "invalid arg 'x-deduplication' for queue 'q' in vhost '/': \"unknown key 'windw'\"",
        ),
        (
            &[("x-deduplication", Value::Table(table(&[("count", int(0))])))],
            Reason::InvalidArgument,
            "invalid arg 'x-deduplication' for queue 'q' in vhost '/': \"expected a count of 1 to 100000000, got 0\"",
        ),
    ];
    for (arguments, reason, expected) in cases {
        refused(&mut t, declare(queue("q", arguments)), *reason, expected);
    }
    // What asks for what happens anyway, and what nobody knows, is fine.
    let fine = [
        ("x-single-active-consumer", Value::Bool(false)),
        ("x-overflow", text("drop-head")),
        ("x-queue-mode", text("lazy")),
        ("x-queue-leader-locator", text("balanced")),
        ("x-whatever", Value::Void),
    ];
    assert!(matches!(done(&mut t, declare(queue("q", &fine))), Applied::NewQueue(_)));
    let quorum = || queue("qq", &[("x-queue-type", text("quorum")), ("x-delivery-limit", int(-1))]);
    let properties: [Changed<QueueDeclaration>; 3] = [
        (|q| q.auto_delete = true, "auto-delete"),
        (|q| q.exclusive = Some(SessionId(1)), "exclusive-owner"),
        (|q| q.durable = false, "non-durable"),
    ];
    for (change, property) in properties {
        let mut declaration = quorum();
        change(&mut declaration);
        let expected = format!("invalid property '{property}' for queue 'qq' in vhost '/'");
        refused(&mut t, declare(declaration), Reason::InvalidArgument, &expected);
    }
    assert!(matches!(done(&mut t, declare(quorum())), Applied::NewQueue(_)));
    let long = "n".repeat(256);
    refused(&mut t, declare(queue(&long, &[])), Reason::InvalidName, "queue name is longer than 255 octets");
}

#[test]
fn bindings_need_both_ends_and_a_pattern_that_can_match() {
    let mut t = new();
    done(&mut t, declare(queue("q", &[])));
    refused(&mut t, bind("x", to_queue("q"), "", &[]), Reason::NotFound, "no exchange 'x' in vhost '/'");
    refused(&mut t, bind("amq.topic", to_queue("p"), "", &[]), Reason::NotFound, "no queue 'p' in vhost '/'");
    refused(
        &mut t,
        bind("amq.topic", Destination::Exchange("y".to_owned()), "", &[]),
        Reason::NotFound,
        "no exchange 'y' in vhost '/'",
    );
    let default = "operation not permitted on the default exchange";
    refused(&mut t, bind("", to_queue("q"), "", &[]), Reason::Forbidden, default);
    refused(
        &mut t,
        bind("amq.direct", to_queue("amq.rabbitmq.reply-to.g2"), "", &[]),
        Reason::Forbidden,
        "cannot bind or unbind to a volatile (direct reply-to) queue",
    );
    refused(
        &mut t,
        bind("amq.topic", to_queue("q"), "#.a.#.#", &[]),
        Reason::InvalidArgument,
        "Topic binding key '#.a.#.#' uses 3 '#' wildcards, at most 2 are allowed",
    );
    refused(
        &mut t,
        bind("amq.headers", to_queue("q"), "", &[("x-match", text("most"))]),
        Reason::InvalidArgument,
        "Invalid x-match field value <<\"most\">>; expected all, any, all-with-x, or any-with-x",
    );
    refused(
        &mut t,
        bind("amq.headers", to_queue("q"), "", &[("x-match", int(1))]),
        Reason::InvalidArgument,
        "Invalid x-match field type signedint (value 1); expected longstr",
    );
    assert_eq!(done(&mut t, bind("amq.topic", to_queue("q"), "a.#", &[])), Applied::Changed);
    assert_eq!(done(&mut t, bind("amq.topic", to_queue("q"), "a.#", &[])), Applied::Unchanged);
    done(&mut t, Command::ExchangeDeclare(exchange("x", ExchangeKind::Direct)));
    done(&mut t, bind("x", to_queue("q"), "k", &[]));
    let delete = |if_unused| Command::ExchangeDelete { vhost: V.to_owned(), name: "x".to_owned(), if_unused };
    refused(&mut t, delete(true), Reason::InUse, "exchange 'x' in vhost '/' in use");
    assert_eq!(done(&mut t, delete(false)), Applied::Changed);
    let mut elsewhere = queue("q", &[]);
    elsewhere.vhost = "v".to_owned();
    refused(&mut t, declare(elsewhere), Reason::NotFound, "vhost 'v' not found");
}

#[test]
fn topics_follow_kafkas_rules() {
    let mut t = new();
    let create = |spec: TopicSpec| Command::TopicCreate(spec);
    let Applied::NewTopic { partitions, .. } = done(&mut t, create(topic("a.b", 3))) else {
        panic!("a topic")
    };
    let seen: Vec<(u32, u32)> = partitions.iter().map(|p| (p.partition.0, p.index)).collect();
    assert_eq!(seen, [(1, 0), (2, 1), (3, 2)]);
    assert_eq!(partitions[0].config.retention_ms, Some(604_800_000));

    refused(&mut t, create(topic("a.b", 1)), Reason::AlreadyExists, "Topic 'a.b' already exists.");
    refused(
        &mut t,
        create(topic("a_b", 1)),
        Reason::InvalidName,
        "Topic 'a_b' collides with existing topic: a.b",
    );
    refused(
        &mut t,
        create(topic("a b", 1)),
        Reason::InvalidName,
        "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
    );
    refused(
        &mut t,
        create(topic("..", 1)),
        Reason::InvalidName,
        "Topic name is invalid: '..' is not allowed",
    );
    refused(
        &mut t,
        create(topic("c", 0)),
        Reason::InvalidPartitions,
        "Number of partitions was set to an invalid non-positive value.",
    );
    refused(
        &mut t,
        create(topic("c", 10_001)),
        Reason::InvalidPartitions,
        "A topic has at most 10000 partitions.",
    );

    let grow = |total| Command::PartitionsAdd { vhost: V.to_owned(), name: "a.b".to_owned(), total };
    refused(&mut t, grow(3), Reason::InvalidPartitions, "Topic already has 3 partition(s).");
    refused(
        &mut t,
        grow(2),
        Reason::InvalidPartitions,
        "The topic a.b currently has 3 partition(s); 2 would not be an increase.",
    );
    let Applied::PartitionsAdded { added, .. } = done(&mut t, grow(5)) else { panic!("partitions") };
    assert_eq!(added.iter().map(|p| (p.partition.0, p.index)).collect::<Vec<_>>(), [(4, 3), (5, 4)]);
    assert_eq!(t.topic_of(PartitionId(5)).map(|topic| topic.name.as_str()), Some("a.b"));

    let configure = |name: &str, value: &str| Command::TopicConfigure {
        vhost: V.to_owned(),
        name: "a.b".to_owned(),
        configs: vec![(name.to_owned(), value.to_owned())],
    };
    let Applied::TopicConfigured { partitions, .. } = done(&mut t, configure("retention.ms", "-1")) else {
        panic!("configured");
    };
    assert!(partitions.len() == 5 && partitions.iter().all(|p| p.config.retention_ms.is_none()));
    assert_eq!(done(&mut t, configure("retention.ms", "-1")), Applied::Unchanged);
    let policy = |t: &mut Topology, value: &str| {
        let Applied::TopicConfigured { partitions, .. } = done(t, configure("cleanup.policy", value)) else {
            panic!("configured");
        };
        let config = partitions[0].config.clone();
        (config.compaction.is_some(), config.retention_ms.is_some())
    };
    assert_eq!(policy(&mut t, "compact"), (true, false), "nothing goes by age");
    assert_eq!(policy(&mut t, "compact,delete"), (true, true));
    assert_eq!(policy(&mut t, ""), (false, false), "everything is kept");
    assert_eq!(policy(&mut t, "delete"), (false, true));
    let again = done(&mut t, configure("cleanup.policy", "delete, delete"));
    assert_eq!(again, Applied::Unchanged, "no element comes twice");
    let compacts_only = |policy: &str| {
        let configs = [("cleanup.policy".to_owned(), policy.to_owned())];
        config::parsed(&configs, &Defaults::default()).compacts_only
    };
    assert_eq!(["compact", "compact,delete", "delete", ""].map(compacts_only), [true, false, false, false]);
    for (name, value, expected) in [
        ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
        ("retention.ms", "x", "Invalid value x for configuration retention.ms: Not a number of type LONG"),
        (
            "max.message.bytes",
            "3000000000",
            "Invalid value 3000000000 for configuration max.message.bytes: Not a number of type INT",
        ),
        (
            "cleanup.policy",
            "forget",
            "Invalid value forget for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        ("nonsense", "1", "Unknown topic config name: nonsense"),
    ] {
        refused(&mut t, configure(name, value), Reason::InvalidConfig, expected);
    }
    let delete = || Command::TopicDelete { vhost: V.to_owned(), name: "a.b".to_owned() };
    let Applied::TopicRemoved { partitions, .. } = done(&mut t, delete()) else { panic!("removed") };
    assert_eq!(partitions, [1, 2, 3, 4, 5].map(PartitionId));
    refused(&mut t, delete(), Reason::NotFound, "This server does not host this topic-partition.");
    // Ids are never given twice, and the name that collided is free.
    let Applied::NewTopic { partitions, .. } = done(&mut t, create(topic("a_b", 1))) else {
        panic!("a topic")
    };
    assert_eq!(partitions[0].partition, PartitionId(6));
    assert_eq!(done(&mut t, Command::ProducerId), Applied::ProducerId(1));
    assert_eq!(done(&mut t, Command::ProducerId), Applied::ProducerId(2));
}

#[test]
fn a_stream_is_a_topic_under_a_queues_name() {
    let mut t = new();
    let stream = |arguments: &[(&str, Value)]| {
        let mut spec = topic("s", 1);
        spec.arguments = table(arguments);
        spec.configs =
            arguments::validate_stream(V, "s", true, false, false, &spec.arguments).expect("valid");
        Command::TopicCreate(spec)
    };
    let aged = [("x-queue-type", text("stream")), ("x-max-age", text("7D"))];
    let Applied::NewTopic { id, partitions } = done(&mut t, stream(&aged)) else { panic!("a topic") };
    assert_eq!(partitions[0].config.retention_ms, Some(7 * 86_400_000));
    assert_eq!(
        done(&mut t, stream(&aged)),
        Applied::ExistingTopic { id, partitions: vec![partitions[0].partition] }
    );
    refused(
        &mut t,
        stream(&[("x-queue-type", text("stream"))]),
        Reason::Inequivalent,
        "inequivalent arg 'x-max-age' for queue 's' in vhost '/': received none but current is the value '7D' of type 'longstr'",
    );
    refused(
        &mut t,
        declare(queue("s", &[("x-max-age", text("7D"))])),
        Reason::Inequivalent,
        "inequivalent arg 'x-queue-type' for queue 's' in vhost '/': received 'classic' but current is 'stream'",
    );
    done(&mut t, declare(queue("q", &[])));
    let mut over_queue = topic("q", 1);
    over_queue.arguments = table(&[("x-queue-type", text("stream"))]);
    refused(
        &mut t,
        Command::TopicCreate(over_queue),
        Reason::Inequivalent,
        "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'stream' but current is 'classic'",
    );
    let invalid = |arguments: &[(&str, Value)], durable, auto_delete| {
        arguments::validate_stream(V, "s", durable, false, auto_delete, &table(arguments)).unwrap_err().text
    };
    assert_eq!(invalid(&[], false, false), "invalid property 'non-durable' for queue 's' in vhost '/'");
    assert_eq!(invalid(&[], true, true), "invalid property 'auto-delete' for queue 's' in vhost '/'");
    assert_eq!(
        invalid(&[("x-max-age", text("7W"))], true, false),
        "invalid arg 'x-max-age' for queue 's' in vhost '/': invalid_max_age"
    );
    // Without bounds of its own a stream is kept for ever, whatever the node's default for topics is.
    let configs = arguments::validate_stream(V, "s", true, false, false, &Table::new()).expect("valid");
    let parsed = config::parsed(&configs, &Defaults::default());
    assert_eq!((parsed.partition.retention_ms, parsed.partition.retention_bytes), (None, None));
}

#[test]
fn settings_are_sorted_described_and_valid_by_default() {
    let names: Vec<&str> = config::ENTRIES.iter().map(|entry| entry.name).collect();
    assert!(names.is_sorted(), "looked up by binary search");
    let defaults: Vec<(String, String)> = config::effective_of(&[], &Defaults::default())
        .into_iter()
        .map(|setting| (setting.name.to_owned(), setting.value))
        .collect();
    config::validate(&defaults).expect("defaults pass their own checks");
    let own = [("retention.ms".to_owned(), "5".to_owned())];
    let settings = config::effective_of(&own, &Defaults::default());
    let retention = settings.iter().find(|setting| setting.name == "retention.ms").expect("listed");
    assert!(retention.explicit && retention.value == "5" && retention.default == "604800000");
}

#[test]
fn every_shard_is_told_its_own() {
    let mut t = new();
    done(&mut t, Command::TopicCreate(topic("t", 5)));
    done(&mut t, declare(queue("q6", &[])));
    done(&mut t, declare(queue("q7", &[])));
    let (queues, partitions) = t.specs(ShardId(1));
    assert_eq!(queues.iter().map(|q| q.queue.0).collect::<Vec<_>>(), [6]);
    let numbers = |specs: &[PartitionSpec]| specs.iter().map(|p| p.partition.0).collect::<Vec<_>>();
    assert_eq!(numbers(&partitions), [2, 4]);
    assert_eq!(numbers(&t.specs(ShardId(2)).1), [1, 3, 5]);
}

#[test]
fn damaged_checkpoints_are_refused() {
    let mut t = new();
    done(&mut t, declare(queue("q", &[])));
    done(&mut t, bind("amq.topic", to_queue("q"), "a", &[]));
    let good = t.checkpoint();
    let restore = |bytes: &[u8]| Topology::restore(bytes, Defaults::default()).map(|_| ());
    assert_eq!(restore(&good), Ok(()));
    assert_eq!(restore(&[]), Err(RestoreError::Damaged));
    assert_eq!(restore(&[9, 0, 0, 0]), Err(RestoreError::Version(9)));
    for cut in 0..good.len() {
        assert_eq!(restore(&good[..cut]), Err(RestoreError::Damaged), "cut at {cut}");
    }
    for at in 0..good.len() {
        // No promise on what is found out, only that nothing falls over.
        let mut bad = good.clone();
        bad[at] ^= 0x15;
        let _ = restore(&bad);
    }
}
