//! What a dead message looks like, and where it goes.

use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties, Properties};
use bowline_dead_letter::{Letter, PUBLISHED_DEATHS, Reborn, rewrite};
use bowline_model::meta::{Binding, Command, Destination, ExchangeKind, ExchangeSpec, QueueDeclaration};
use bowline_model::record::{Extras, Kind, PUBLISH_DIED, PUBLISH_PERSISTENT, Publish, SettleReason, iter};
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
        name: "dlx".into(),
        kind: ExchangeKind::Direct,
        durable: true,
        auto_delete: false,
        internal: true,
        arguments: Vec::new(),
    };
    topology.apply(1, &Command::ExchangeDeclare(exchange)).unwrap();
    for (queue, key) in [("dead", "key"), ("other", "copy"), ("dead", "explicit")] {
        let binding = Binding {
            vhost: "/".into(),
            source: "dlx".into(),
            destination: Destination::Queue(queue.into()),
            routing_key: key.into(),
            arguments: Vec::new(),
        };
        topology.apply(1, &Command::Bind(binding)).unwrap();
    }
    topology
}

struct Message {
    flags: u8,
    key: Vec<u8>,
    properties: OwnedProperties,
}

fn die(message: &Message, queue: &str, reason: SettleReason, exchange: &str, key: Option<&str>) -> Reborn {
    let mut record = Vec::new();
    let extras = Extras { ttl_ms: Some(5), priority: Some(3), ..Extras::default() };
    let properties = message.properties.to_bytes();
    Publish::encode_with(
        &mut record,
        message.flags,
        [1].into_iter(),
        b"ex",
        &message.key,
        &properties,
        &extras,
        [&b"body"[..]].into_iter(),
    );
    let found = iter(&record).next().unwrap().unwrap();
    assert_eq!(found.kind, Kind::Publish);
    let publish = Publish::decode(found.body).unwrap();
    let letter = Letter {
        publish: &publish,
        vhost: "/",
        queue,
        reason,
        exchange,
        routing_key: key,
        time: 1_700_000_000,
        chance: 7,
    };
    rewrite(&letter, &topology())
}

fn message(headers: FieldTable) -> Message {
    let properties = OwnedProperties {
        headers: Some(headers),
        expiration: Some(b"1000".to_vec()),
        content_type: Some(b"text/plain".to_vec()),
        delivery_mode: Some(2),
        ..OwnedProperties::default()
    };
    Message { flags: PUBLISH_PERSISTENT, key: b"key".to_vec(), properties }
}

fn again(reborn: &Reborn) -> Message {
    let properties = Properties::parse(&reborn.properties).unwrap().to_owned();
    Message { flags: reborn.flags, key: reborn.routing_key.clone(), properties }
}

fn headers(reborn: &Reborn) -> FieldTable {
    again(reborn).properties.headers.unwrap()
}

fn deaths(reborn: &Reborn) -> Vec<FieldTable> {
    let headers = headers(reborn);
    let Some(FieldValue::Array(deaths)) = headers.get("x-death") else { panic!("{headers:?}") };
    let tables = deaths.iter().map(|death| match death {
        FieldValue::Table(table) => table.clone(),
        other => panic!("{other:?}"),
    });
    tables.collect()
}

fn text(value: &str) -> Option<FieldValue> {
    Some(FieldValue::from(value))
}

#[test]
fn the_first_death_is_told_in_full() {
    let cc = FieldValue::Array(vec![FieldValue::from("copy")]);
    let reborn = die(
        &message(FieldTable::new().with("mine", 7i64).with("CC", cc.clone())),
        "work",
        SettleReason::Expired,
        "dlx",
        None,
    );
    assert_eq!(reborn.flags, PUBLISH_PERSISTENT | PUBLISH_DIED | 2);
    assert_eq!(reborn.extras, Extras { priority: Some(3), ..Extras::default() });
    assert_eq!(reborn.routing_key, b"key");
    assert_eq!(reborn.targets.queues.len(), 2, "by its key and its copies");
    let properties = again(&reborn).properties;
    assert_eq!((properties.expiration, properties.content_type), (None, Some(b"text/plain".to_vec())));
    let all = headers(&reborn);
    assert_eq!((all.get("mine"), all.get("CC")), (Some(&FieldValue::I64(7)), Some(&cc)));
    for (name, value) in [("reason", "expired"), ("queue", "work"), ("exchange", "ex")] {
        assert_eq!(all.get(&format!("x-first-death-{name}")).cloned(), text(value));
        assert_eq!(all.get(&format!("x-last-death-{name}")).cloned(), text(value));
    }
    let keys = FieldValue::Array(vec![FieldValue::from("key"), FieldValue::from("copy")]);
    let expected = FieldTable::new()
        .with("count", 1i64)
        .with("reason", "expired")
        .with("queue", "work")
        .with("time", FieldValue::Timestamp(1_700_000_000))
        .with("exchange", "ex")
        .with("routing-keys", keys)
        .with("original-expiration", "1000");
    assert_eq!(deaths(&reborn), [expected]);
}

#[test]
fn the_same_death_is_counted_and_others_come_before() {
    let one = die(&message(FieldTable::new()), "work", SettleReason::Rejected, "dlx", Some("explicit"));
    assert_eq!((one.routing_key.as_slice(), one.targets.queues.len()), (&b"explicit"[..], 1));
    let two = die(&again(&one), "dead", SettleReason::Expired, "", Some("work"));
    let three = die(&again(&two), "work", SettleReason::Rejected, "dlx", Some("explicit"));
    let said: Vec<_> =
        deaths(&three).iter().map(|d| (d.get("queue").cloned(), d.get("count").cloned())).collect();
    let count = |n| Some(FieldValue::I64(n));
    assert_eq!(said, [(text("work"), count(2)), (text("dead"), count(1))]);
    let all = headers(&three);
    assert_eq!(all.get("x-first-death-queue").cloned(), text("work"));
    assert_eq!(all.get("x-last-death-queue").cloned(), text("work"));
    assert_eq!(headers(&two).get("x-last-death-queue").cloned(), text("dead"));
    assert_eq!(headers(&two).iter().filter(|(name, _)| name.starts_with(b"x-last-death")).count(), 3);
}

#[test]
fn copies_go_with_an_explicit_key() {
    let cc = FieldValue::Array(vec![FieldValue::from("copy")]);
    let reborn = die(
        &message(FieldTable::new().with("CC", cc)),
        "work",
        SettleReason::MaxLength,
        "dlx",
        Some("explicit"),
    );
    assert_eq!(reborn.targets.queues.len(), 1);
    assert!(headers(&reborn).get("CC").is_none());
}

#[test]
fn what_would_go_round_without_anybody_is_dropped() {
    let expired = die(&message(FieldTable::new()), "work", SettleReason::Expired, "", Some("work"));
    assert!(expired.cycle && expired.targets.is_empty());
    let rejected = die(&message(FieldTable::new()), "work", SettleReason::Rejected, "", Some("work"));
    assert!(!rejected.cycle && rejected.targets.queues.len() == 1);
    // work rejects, dead expires back into work, where it expires: the round from there on had no rejection.
    let dead = die(&again(&rejected), "work", SettleReason::Expired, "", Some("dead"));
    assert!(!dead.cycle);
    let back = die(&again(&dead), "dead", SettleReason::Expired, "", Some("work"));
    assert!(back.cycle);
}

#[test]
fn a_clients_history_is_not_believed_and_not_lost() {
    let forged = FieldValue::Array(vec![FieldValue::Table(
        FieldTable::new().with("count", 99i64).with("reason", "expired").with("queue", "dead"),
    )]);
    let fields = FieldTable::new().with("x-death", forged.clone()).with("x-first-death-queue", "nowhere");
    let reborn = die(&message(fields), "work", SettleReason::Expired, "dlx", Some("explicit"));
    assert!(!reborn.cycle);
    assert_eq!(deaths(&reborn).len(), 1);
    let all = headers(&reborn);
    assert_eq!(all.get(PUBLISHED_DEATHS), Some(&forged));
    assert_eq!(all.get("x-first-death-queue").cloned(), text("work"));
}

#[test]
fn no_exchange_and_no_route_lead_nowhere() {
    for (exchange, key) in [("missing", None), ("dlx", Some("unbound")), ("", Some("missing"))] {
        let reborn = die(&message(FieldTable::new()), "work", SettleReason::Rejected, exchange, key);
        assert!(reborn.targets.is_empty() && !reborn.cycle);
    }
}

#[test]
fn thousands_of_keys_are_routed_and_not_all_remembered() {
    let keys = (0..10_000).map(|key| FieldValue::from(format!("key-{key}").as_str())).collect();
    let copies = FieldTable::new().with("CC", FieldValue::Array(keys));
    let reborn = die(&message(copies), "work", SettleReason::Rejected, "dlx", None);
    assert_eq!(reborn.targets.queues.len(), 1);
    let first = deaths(&reborn).remove(0);
    let Some(FieldValue::Array(kept)) = first.get("routing-keys") else { panic!("{first:?}") };
    assert!(kept.len() > 100 && kept.len() < 300, "{}", kept.len());
    assert_eq!(kept[0], FieldValue::from("key"));
}

#[test]
fn a_way_without_end_ends() {
    let mut at = message(FieldTable::new());
    for hop in 0.. {
        let reborn = die(&at, &format!("queue-{hop}"), SettleReason::Expired, "", Some("dead"));
        if reborn.targets.is_empty() {
            assert!(reborn.cycle && hop == 256, "{hop}");
            break;
        }
        at = again(&reborn);
    }
}
