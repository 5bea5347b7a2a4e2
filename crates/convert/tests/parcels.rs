//! What the broker publishes itself: which shard gets which records.

use bowline_codec_amqp::{FieldTable, OwnedProperties, Properties};
use bowline_convert::{Parcel, Posted, parcels};
use bowline_model::meta::{Command, QueueDeclaration, Table, TopicSpec, Value};
use bowline_model::record::{Append, Extras, Kind, PUBLISH_PERSISTENT, Publish, iter};
use bowline_model::{QueueId, ShardId, TopicId};
use bowline_topology::{Defaults, Targets, Topology};

/// Two data shards: queues and partitions go round them in the order of their declaration.
fn topology() -> Topology {
    let mut topology = Topology::new(2, Defaults::default());
    let mut declare = |name: &str, durable, arguments: Table| {
        let declaration = QueueDeclaration {
            vhost: "/".into(),
            name: name.into(),
            durable,
            auto_delete: false,
            exclusive: None,
            arguments,
        };
        topology.apply(1, &Command::QueueDeclare(declaration)).unwrap();
    };
    declare("a", true, Vec::new());
    declare("b", true, Vec::new());
    declare("c", false, Vec::new());
    declare("once", true, vec![("x-deduplication".to_owned(), Value::Bool(true))]);
    for (at, name) in ["s", "t"].into_iter().enumerate() {
        let (vhost, name) = ("/".into(), name.into());
        let (id, partitions) = (TopicId([at as u8; 16]), 1);
        let spec = TopicSpec { vhost, name, id, partitions, configs: Vec::new(), arguments: Vec::new() };
        topology.apply(1, &Command::TopicCreate(spec)).unwrap();
    }
    topology
}

fn properties() -> Vec<u8> {
    let headers = FieldTable::new().with("colour", "red");
    OwnedProperties { headers: Some(headers), message_id: Some(b"m".to_vec()), ..Default::default() }
        .to_bytes()
}

fn send(names: &[&str], flags: u8, moved: Option<(ShardId, QueueId, u64)>) -> Vec<Parcel> {
    let topology = topology();
    let mut targets = Targets::default();
    for name in names {
        topology.route("/", "", name.as_bytes(), &mut Table::new, &mut targets).unwrap();
    }
    let properties = properties();
    let posted = Posted {
        flags,
        exchange: b"ex",
        routing_key: b"key",
        properties: Properties::parse(&properties).unwrap(),
        extras: Extras { priority: Some(3), ..Extras::default() },
        body: b"body",
        moved,
        turn: 0,
        time: 1_700_000_000_000,
    };
    parcels(&posted, &targets, &topology).unwrap()
}

/// Publishes as (queues, extras), appends as (partition, from).
type Publishes = Vec<(Vec<u32>, Extras)>;
type Appends = Vec<(u32, Option<(u32, u64)>)>;

fn content(parcel: &Parcel) -> (Publishes, Appends) {
    let (mut publishes, mut appends) = (Vec::new(), Vec::new());
    for found in iter(&parcel.records).map(Result::unwrap) {
        if found.kind == Kind::Append {
            let append = Append::decode(found.body).unwrap();
            appends.push((append.partition, append.from));
            continue;
        }
        let publish = Publish::decode(found.body).unwrap();
        assert_eq!(
            (publish.exchange, publish.routing_key, publish.body),
            (&b"ex"[..], &b"key"[..], &b"body"[..])
        );
        assert_eq!(publish.properties, properties());
        publishes.push((publish.queues().collect(), publish.extras));
    }
    assert_eq!(parcel.count as usize, publishes.len() + appends.len());
    (publishes, appends)
}

#[test]
fn each_shard_gets_its_own() {
    let all = send(&["a", "b", "c", "s"], PUBLISH_PERSISTENT, None);
    assert_eq!(all.iter().map(|parcel| parcel.shard.0).collect::<Vec<_>>(), [1, 2]);
    assert!(all.iter().all(|parcel| parcel.logged));
    let mut queues: Vec<u32> = Vec::new();
    let mut partitions = 0;
    for parcel in &all {
        let (publishes, appends) = content(parcel);
        assert_eq!(publishes.len(), 1, "one record for all queues of a shard");
        assert_eq!(publishes[0].1, Extras { priority: Some(3), ..Extras::default() });
        assert!(publishes[0].0.iter().all(|id| ShardId::of(*id, 2) == parcel.shard));
        assert!(appends.iter().all(|(id, _)| ShardId::of(*id, 2) == parcel.shard));
        queues.extend(&publishes[0].0);
        partitions += appends.len();
    }
    assert_eq!((queues.len(), partitions), (3, 1));
}

#[test]
fn the_log_gets_what_is_to_last() {
    let logged = |names: &[&str], flags| send(names, flags, None).iter().all(|parcel| parcel.logged);
    assert!(logged(&["a"], PUBLISH_PERSISTENT));
    assert!(!logged(&["a"], 0), "transient");
    assert!(!logged(&["c"], PUBLISH_PERSISTENT), "a queue that does not last");
    assert!(logged(&["s"], 0), "a stream keeps everything");
    assert!(send(&[], PUBLISH_PERSISTENT, None).is_empty());
}

#[test]
fn other_shards_can_tell_a_second_arrival() {
    for own in [ShardId(1), ShardId(2)] {
        let moved = Some((own, QueueId(9), 5));
        for parcel in send(&["a", "b", "s", "t"], PUBLISH_PERSISTENT, moved) {
            let (publishes, appends) = content(&parcel);
            let name = (parcel.shard != own).then_some((9, 5));
            assert!(publishes.iter().all(|(_, extras)| extras.from == name));
            assert!(appends.iter().all(|(_, from)| *from == name));
            assert_eq!(publishes.len() + appends.len(), 2);
        }
        // In memory nothing is remembered.
        assert!(send(&["a", "b"], 0, moved).iter().all(|parcel| content(parcel).0[0].1.from.is_none()));
    }
}

#[test]
fn a_message_that_moves_on_is_no_duplicate() {
    let all = send(&["once"], PUBLISH_PERSISTENT, None);
    assert_eq!(content(&all[0]).0[0].1.dedup, None);
}
