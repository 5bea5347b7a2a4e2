//! What a message looks like that leaves a dead-letter queue, and where it goes.

use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties, Properties};
use bowline_dead_letter::{Letter, REDRIVE_COUNT, Reborn, Redrive, redrive, rewrite};
use bowline_model::QueueId;
use bowline_model::meta::{
    Binding, Command, Destination as To, ExchangeKind, ExchangeSpec, QueueDeclaration,
};
use bowline_model::record::{Extras, PUBLISH_DIED, PUBLISH_PERSISTENT, Publish, SettleReason, iter};
use bowline_model::request::RedriveTo;
use bowline_topology::{Defaults, Topology};

fn topology() -> Topology {
    let mut topology = Topology::new(1, Defaults::default());
    for name in ["work", "dead", "other"] {
        let declaration = QueueDeclaration {
            vhost: "/".into(),
            name: name.into(),
            durable: true,
            auto_delete: false,
            exclusive: None,
            arguments: Vec::new(),
        };
        topology.apply(1, &Command::QueueDeclare(declaration)).unwrap();
    }
    let exchange = ExchangeSpec {
        vhost: "/".into(),
        name: "again".into(),
        kind: ExchangeKind::Direct,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: Vec::new(),
    };
    topology.apply(1, &Command::ExchangeDeclare(exchange)).unwrap();
    for (queue, key) in [("work", "key"), ("other", "copy"), ("dead", "key")] {
        let binding = Binding {
            vhost: "/".into(),
            source: "again".into(),
            destination: To::Queue(queue.into()),
            routing_key: key.into(),
            arguments: Vec::new(),
        };
        topology.apply(1, &Command::Bind(binding)).unwrap();
    }
    topology
}

fn id(topology: &Topology, name: &str) -> QueueId {
    topology.queue("/", name).unwrap().id
}

/// A message as it lies in the log.
fn record(flags: u8, exchange: &[u8], key: &[u8], properties: &[u8], extras: &Extras) -> Vec<u8> {
    let mut record = Vec::new();
    let (queues, body) = ([1].into_iter(), [&b"body"[..]].into_iter());
    Publish::encode_with(&mut record, flags, queues, exchange, key, properties, extras, body);
    record
}

fn published() -> Vec<u8> {
    let copies = FieldValue::Array(vec![FieldValue::LongStr(b"copy".to_vec())]);
    let headers = FieldTable::new().with("CC", copies).with("mine", 1_i64);
    let properties = OwnedProperties {
        headers: Some(headers),
        expiration: Some(b"5".to_vec()),
        message_id: Some(b"m".to_vec()),
        ..OwnedProperties::default()
    };
    let extras = Extras { ttl_ms: Some(5), priority: Some(3), dedup: Some(9), ..Extras::default() };
    record(PUBLISH_PERSISTENT, b"ex", b"key", &properties.to_bytes(), &extras)
}

/// What it is after it died in queue `work`, for the dead-letter queue.
fn die(topology: &Topology, message: &[u8]) -> Vec<u8> {
    let found = iter(message).next().unwrap().unwrap();
    let publish = Publish::decode(found.body).unwrap();
    let letter = Letter {
        publish: &publish,
        vhost: "/",
        queue: "work",
        reason: SettleReason::Rejected,
        exchange: "",
        routing_key: Some("dead"),
        time: 1_700_000_000,
        chance: 1,
    };
    let dead = rewrite(&letter, topology);
    assert_eq!(dead.targets.queues[0].queue, id(topology, "dead"));
    record(dead.flags, &dead.exchange, &dead.routing_key, &dead.properties, &dead.extras)
}

fn send(topology: &Topology, message: &[u8], to: RedriveTo) -> Option<Reborn> {
    let found = iter(message).next().unwrap().unwrap();
    let publish = Publish::decode(found.body).unwrap();
    redrive(
        &Redrive { publish: &publish, vhost: "/", queue: id(topology, "dead"), to: &to, chance: 1 },
        topology,
    )
}

fn targets(topology: &Topology, reborn: &Reborn) -> Vec<String> {
    let queues = reborn.targets.queues.iter();
    let mut names: Vec<String> =
        queues.map(|target| topology.queue_by_id(target.queue).unwrap().declared.name.clone()).collect();
    names.sort();
    names
}

fn headers(properties: &[u8]) -> Vec<(String, FieldValue)> {
    let owned = Properties::parse(properties).unwrap().to_owned();
    let headers = owned.headers.unwrap();
    headers.iter().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.clone())).collect()
}

#[test]
fn it_goes_back_as_it_was_and_begins_anew() {
    let topology = topology();
    let dead = die(&topology, &published());
    let back = send(&topology, &dead, RedriveTo::Source).unwrap();
    assert_eq!(targets(&topology, &back), ["work"]);
    assert_eq!((&back.exchange[..], &back.routing_key[..]), (&b"ex"[..], &b"key"[..]));
    assert_eq!(back.flags & (PUBLISH_DIED | PUBLISH_PERSISTENT), PUBLISH_PERSISTENT);
    assert_eq!(back.extras, Extras { priority: Some(3), ..Extras::default() });
    let expected = vec![("mine".to_string(), FieldValue::I64(1)), (REDRIVE_COUNT.into(), FieldValue::I64(1))];
    assert_eq!(headers(&back.properties), expected);
    let owned = Properties::parse(&back.properties).unwrap().to_owned();
    assert_eq!((owned.expiration, owned.message_id), (None, Some(b"m".to_vec())));

    let again = record(back.flags, &back.exchange, &back.routing_key, &back.properties, &back.extras);
    let again = die(&topology, &again);
    let back = send(&topology, &again, RedriveTo::Source).unwrap();
    assert!(headers(&back.properties).contains(&(REDRIVE_COUNT.into(), FieldValue::I64(2))));
}

#[test]
fn it_goes_elsewhere_and_not_where_it_is() {
    let topology = topology();
    let dead = die(&topology, &published());
    let there = send(&topology, &dead, RedriveTo::Queue("other".into())).unwrap();
    assert_eq!(targets(&topology, &there), ["other"]);
    assert_eq!(there.routing_key, b"key");
    // Both of its keys count; the binding of the queue that it lies in does not.
    let routed = send(&topology, &dead, RedriveTo::Exchange("again".into())).unwrap();
    assert_eq!(targets(&topology, &routed), ["other", "work"]);
    assert_eq!((&routed.exchange[..], &routed.routing_key[..]), (&b"again"[..], &b"key"[..]));
    for nowhere in [
        RedriveTo::Queue("dead".into()),
        RedriveTo::Queue("missing".into()),
        RedriveTo::Exchange("missing".into()),
    ] {
        assert!(send(&topology, &dead, nowhere).is_none());
    }
}

#[test]
fn what_never_died_has_no_source_whatever_a_client_says() {
    let topology = topology();
    let death = FieldTable::new().with("queue", "work").with("reason", "rejected");
    let lie = FieldValue::Array(vec![FieldValue::Table(death)]);
    let headers = FieldTable::new().with("x-death", lie);
    let properties = OwnedProperties { headers: Some(headers), ..OwnedProperties::default() };
    let message = record(PUBLISH_PERSISTENT, b"ex", b"key", &properties.to_bytes(), &Extras::default());
    assert!(send(&topology, &message, RedriveTo::Source).is_none());
    let routed = send(&topology, &message, RedriveTo::Exchange("again".into())).unwrap();
    assert_eq!(targets(&topology, &routed), ["work"]);
}
