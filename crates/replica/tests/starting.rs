//! What a data shard does between its start and the record of it.

use bowline_broker::{Effects, Options, Reborn, Shard};
use bowline_model::record::{self, Extras, Kind, PUBLISH_PERSISTENT, Publish, SettleReason};
use bowline_model::request::QueueSpec;
use bowline_model::settings::QueueSettings;
use bowline_model::{Block, BlockRef, Lsn, Millis, QueueId, ShardId};
use bowline_raft::{Entry, Replication, Slot};
use bowline_replica::data::DataShard;
use bowline_storage::AppendError;
use std::sync::Arc;

const SHARD: ShardId = ShardId(1);

/// A log that keeps what it is given.
struct Kept {
    last: Slot,
    blocks: Vec<BlockRef>,
}

impl Replication for Kept {
    fn propose(&mut self, entry: Entry) -> Result<Slot, AppendError> {
        self.last.index += 1;
        self.blocks.push(block(self.last.index, entry.stamp, entry.buf.payload().to_vec()));
        Ok(self.last)
    }

    fn read_barrier(&self) -> u64 {
        self.last.index
    }

    fn last(&self) -> Slot {
        self.last
    }

    fn compacted(&mut self, _: u64) {}

    fn position(&self) -> Lsn {
        Lsn(self.last.index * 4096)
    }
}

fn block(index: u64, stamp: Millis, payload: Vec<u8>) -> BlockRef {
    Arc::new(Block { lsn: Lsn(index * 4096), shard: SHARD, term: 1, index, stamp, payload: payload.into() })
}

/// Messages that expired while the node was down die once: not as soon as the shard is there, and again when its
/// record has put the queue's lanes in order.
#[test]
fn what_expired_meanwhile_dies_once() {
    let settings = QueueSettings {
        message_ttl_ms: Some(100),
        max_priority: Some(5),
        dead_letter_exchange: Some("dead".into()),
        ..QueueSettings::default()
    };
    let spec = QueueSpec {
        queue: QueueId(1),
        vhost: "/".into(),
        name: "work".into(),
        durable: true,
        auto_delete: false,
        exclusive: false,
        arguments: Vec::new(),
        settings: Box::new(settings),
    };
    let mut before = Vec::new();
    record::put_value(&mut before, Kind::QueueCreate, &spec);
    let extras = Extras { priority: Some(3), ..Extras::default() };
    let (ids, body) = ([1].into_iter(), [b"body".as_slice()].into_iter());
    Publish::encode_with(&mut before, PUBLISH_PERSISTENT, ids, b"", b"work", b"\0\0", &extras, body);
    let mut shard = Shard::new(Options::new(SHARD));
    let mut fx = Effects::default();
    shard.apply(&block(1, 1_000, before), Vec::new(), &mut fx);

    let now = 60_000;
    let log = Kept { last: Slot { term: 1, index: 1 }, blocks: Vec::new() };
    let mut data = DataShard::new(shard, log);
    data.begin(now).unwrap();
    let mut letters = 0;
    for _ in 0..5 {
        data.advance(now, &mut fx);
        for dead in std::mem::take(&mut fx.dead) {
            for letter in dead.letters {
                assert_eq!(letter.reason, SettleReason::Expired);
                letters += 1;
                let (remains, reason) = (letter.remains, letter.reason);
                let reborn = Reborn { remains, reason, records: Vec::new(), count: 0, logged: false };
                data.shard.reborn(now, dead.queue, reborn);
            }
        }
        if !data.replication.blocks.is_empty() {
            let committed = data.replication.blocks.remove(0);
            data.committed(&committed, &mut fx);
        }
    }
    assert_eq!(letters, 1);
}
