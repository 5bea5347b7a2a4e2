//! Properties as a client may send them, forged histories and all, on a message that dies twice.
#![no_main]

use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties, Properties};
use bowline_dead_letter::{Letter, Reborn, rewrite};
use bowline_fuzz as _;
use bowline_model::meta::{Command, QueueDeclaration};
use bowline_model::record::{FRAME_BYTES, PUBLISH_DIED, Publish, SettleReason};
use bowline_topology::{Defaults, Topology};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// What two deaths may add to the properties: two tables and six summaries, with names and keys of up to 255 octets,
/// and a copy of the routing keys in each.
const GROWTH_MAX: usize = 8 * 1024;

static TOPOLOGY: LazyLock<Topology> = LazyLock::new(|| {
    let mut topology = Topology::new(2, Defaults::default());
    for name in ["work", "dead"] {
        let declaration = QueueDeclaration {
            vhost: "/".into(),
            name: name.into(),
            durable: true,
            auto_delete: false,
            exclusive: None,
            arguments: Vec::new(),
        };
        topology.apply(1, &Command::QueueDeclare(declaration)).expect("a plain queue");
    }
    topology
});

fuzz_target!(|data: &[u8]| {
    let [how, properties @ ..] = data else { return };
    // Sessions let nothing else in.
    if Properties::parse(properties).is_err() {
        return;
    }
    let reason = SettleReason::ALL[usize::from(how >> 4) % SettleReason::ALL.len()];
    let key = (how & 1 == 1).then_some("dead");
    let flags = if how & 2 == 2 { PUBLISH_DIED } else { 0 };
    let first = die(flags, b"dead", properties, "work", reason, key);
    assert!(first.flags & PUBLISH_DIED != 0);
    let once = last_death(&first.properties);
    assert_eq!(once.0, b"work");
    if flags == 0 {
        assert_eq!(once.1, Some(1), "what a client writes counts for nothing");
    }
    let second = die(first.flags, &first.routing_key, &first.properties, "work", reason, key);
    let twice = last_death(&second.properties);
    assert_eq!(twice.0, b"work");
    if flags == 0 {
        assert_eq!(twice.1, Some(2));
    }
    let copies = properties.len();
    assert!(second.properties.len() <= 3 * copies + GROWTH_MAX, "a history grows with deaths, not by itself");
});

fn die(
    flags: u8,
    routing_key: &[u8],
    properties: &[u8],
    queue: &str,
    reason: SettleReason,
    key: Option<&str>,
) -> Reborn {
    let mut record = Vec::new();
    let (ids, body) = ([1].into_iter(), [b"body".as_slice()].into_iter());
    Publish::encode(&mut record, flags, ids, b"", routing_key, properties, body);
    let publish = Publish::decode(&record[FRAME_BYTES + 1..]).expect("our own");
    let letter = Letter {
        publish: &publish,
        vhost: "/",
        queue,
        reason,
        exchange: "",
        routing_key: key,
        time: 1_700_000_000,
        chance: 7,
    };
    rewrite(&letter, &TOPOLOGY)
}

/// Queue and count of the newest death.
fn last_death(properties: &[u8]) -> (Vec<u8>, Option<i64>) {
    let properties: OwnedProperties = Properties::parse(properties).expect("our own").to_owned();
    let headers: FieldTable = properties.headers.expect("it has a history");
    let Some(FieldValue::Array(deaths)) = headers.get("x-death") else { panic!("it has a history") };
    let Some(FieldValue::Table(death)) = deaths.first() else { panic!("it has died") };
    let queue = match death.get("queue") {
        Some(FieldValue::LongStr(queue)) => queue.clone(),
        _ => Vec::new(),
    };
    let count = match death.get("count") {
        Some(FieldValue::I64(count)) => Some(*count),
        _ => None,
    };
    (queue, count)
}
