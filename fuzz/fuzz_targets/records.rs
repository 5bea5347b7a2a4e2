//! Octets as the payload of a block: the walk over records, and each record's body by its kind. A checksum guards all
//! of this on disk; the reader must not trust it.
#![no_main]

use bowline_fuzz as _;
use bowline_model::record::{self, Append, Kind, Publish};
use bowline_model::{PartitionId, QueueId, consumer_group, group, meta, outbox, request, settings, share, txn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for found in record::iter(data) {
        let Ok(found) = found else { break };
        let _ = record::verify(data, &found);
        assert!(found.offset as usize + found.len as usize <= data.len());
        body(found.kind, found.body);
    }
    // The same without the frame, so that short inputs reach every kind.
    if let [kind, rest @ ..] = data
        && let Some(kind) = Kind::from_u8(*kind)
    {
        body(kind, rest);
    }
});

fn body(kind: Kind, bytes: &[u8]) {
    match kind {
        Kind::Publish => publish(bytes),
        Kind::Append => append(bytes),
        Kind::Settle => settle(bytes),
        Kind::Horizon => {
            if let Some((queue, upto)) = record::take_horizon(bytes) {
                let mut out = Vec::new();
                record::put_horizon(&mut out, queue, upto);
                assert_eq!(record::take_horizon(&out[record::FRAME_BYTES + 1..]), Some((queue, upto)));
            }
        }
        Kind::Cancel => {
            if let Some((queues, handle)) = record::take_cancel(bytes) {
                let mut out = Vec::new();
                record::put_cancel(&mut out, queues.iter().copied(), handle);
                assert_eq!(record::take_cancel(&out[record::FRAME_BYTES + 1..]), Some((queues, handle)));
            }
        }
        Kind::QueueCreate => value::<request::QueueSpec>(bytes),
        Kind::QueueDelete => value::<QueueId>(bytes),
        Kind::PartitionCreate => value::<request::PartitionSpec>(bytes),
        Kind::PartitionDelete => value::<PartitionId>(bytes),
        Kind::PartitionTrim => value::<(PartitionId, u64)>(bytes),
        Kind::OffsetCommit => value::<group::OffsetCommitRecord>(bytes),
        Kind::OffsetDelete => value::<group::OffsetDeleteRecord>(bytes),
        Kind::Meta => value::<meta::Command>(bytes),
        Kind::QueueSettings => value::<(QueueId, settings::QueueSettings)>(bytes),
        Kind::Failures => value::<(QueueId, Vec<(u64, (u32, u32))>)>(bytes),
        Kind::Delays => value::<(QueueId, Vec<(u64, u64)>)>(bytes),
        Kind::Transferred => value::<(QueueId, u64)>(bytes),
        Kind::ShareCreate => value::<share::CreateRecord>(bytes),
        Kind::ShareDelete => value::<share::DeleteRecord>(bytes),
        Kind::ShareSettle => value::<share::SettleRecord>(bytes),
        Kind::ShareHorizon => value::<share::HorizonRecord>(bytes),
        Kind::ShareCounts => value::<share::CountsRecord>(bytes),
        Kind::Outbox => {
            let mut out = Vec::new();
            outbox::parts(bytes).for_each(|part| part.put(&mut out));
            assert!(bytes.starts_with(&out));
        }
        Kind::OutboxDone => value::<u64>(bytes),
        Kind::ConsumerGroup => value::<consumer_group::GroupRecord>(bytes),
        Kind::Txn => value::<txn::TxnRecord>(bytes),
        Kind::TxnAdmit => value::<txn::AdmitRecord>(bytes),
        Kind::TxnOffsets => value::<txn::OffsetsRecord>(bytes),
        Kind::TxnGroups => value::<txn::GroupsRecord>(bytes),
        Kind::NodeStarted | Kind::Truncate | Kind::Noop => {}
    }
}

fn publish(bytes: &[u8]) {
    let Some(found) = Publish::decode(bytes) else { return };
    let queues: Vec<u32> = found.queues().collect();
    let quick: Vec<u32> = record::publish_queues(bytes).expect("as above").collect();
    assert_eq!(queues, quick);
    let mut out = Vec::new();
    let pieces = std::iter::once(found.body);
    Publish::encode_with(
        &mut out,
        found.flags,
        queues.iter().copied(),
        found.exchange,
        found.routing_key,
        found.properties,
        &found.extras,
        pieces,
    );
    let again = Publish::decode(&out[record::FRAME_BYTES + 1..]).expect("our own");
    assert_eq!((again.exchange, again.routing_key), (found.exchange, found.routing_key));
    assert_eq!((again.properties, again.body), (found.properties, found.body));
    assert_eq!(again.extras, found.extras);
    assert!(again.queues().eq(queues));
}

fn append(bytes: &[u8]) {
    let Some(found) = Append::decode(bytes) else { return };
    let mut out = Vec::new();
    found.put(&mut out);
    let again = Append::decode(&out[record::FRAME_BYTES + 1..]).expect("our own");
    assert_eq!((again.partition, again.flags, again.batch), (found.partition, found.flags, found.batch));
    assert_eq!(again.from, found.from);
}

fn settle(bytes: &[u8]) {
    let Some((queue, reason, runs)) = record::take_settle(bytes) else { return };
    let runs: Vec<_> = runs.collect();
    let mut end = 0;
    for &(first, count) in &runs {
        assert!(first >= end);
        end = first + count;
    }
    if runs.iter().all(|run| run.1 > 0) {
        let mut out = Vec::new();
        record::put_settle(&mut out, queue, reason, &runs);
        let (_, _, again) = record::take_settle(&out[record::FRAME_BYTES + 1..]).expect("our own");
        assert!(again.eq(runs));
    }
}

fn value<T: serde::de::DeserializeOwned + serde::Serialize>(bytes: &[u8]) {
    if let Ok(value) = postcard::from_bytes::<T>(bytes) {
        postcard::to_stdvec(&value).expect("what was read can be written");
    }
}
