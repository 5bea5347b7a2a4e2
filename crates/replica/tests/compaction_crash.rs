//! Compaction on a fake disk that loses power at any moment: between collecting keys, rewriting each piece, finishing
//! its cold file, telling the shard, relocations and any number of checkpoints. Whatever happened, a reader finds of
//! every key the latest record, and every record that it finds is the one that was appended at that offset; one who
//! reads what is committed, by the list of aborted transactions as Kafka's clients do, finds the latest that was
//! committed.

use crate::machine::{A, ID, Machine, Random};
use bowline_broker::{Compacted, Moved};
use bowline_codec_kafka::records::{
    Batch, BatchBuilder, Compression, ControlRecord, RecordIter, verify_batch,
};
use bowline_model::event::{Event, SLICE_ABORTED};
use bowline_model::record::{self, Append, Kind};
use bowline_model::request::{Compaction, Fetch, FetchPartition, PartitionConfig, PartitionSpec, Request};
use bowline_model::txn::{AdmitRecord, Producer, marker};
use bowline_model::{PartitionId, Token, TopicId};
use bowline_replica::compact::{Counts, Job};
use bowline_replica::relocate;
use bowline_storage::{ColdWriter, FakeDisk};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The second is there to lie between, and is not compacted.
const PARTITION: PartitionId = PartitionId(3);
const OTHER: PartitionId = PartitionId(4);
const DELETE_RETENTION_MS: u64 = 400;

/// Key and value.
type Row = (u8, Option<Vec<u8>>);

/// What was appended.
#[derive(Default)]
struct Model {
    /// By offset; `None`: a marker.
    rows: Vec<Option<Row>>,
    /// Offsets of records that do not count.
    aborted: BTreeSet<u64>,
    /// Two transactional producers: the next sequence, and what of the open transaction is where.
    producers: [(i32, Option<Vec<u64>>); 2],
}

impl Model {
    fn next(&self) -> u64 {
        self.rows.len() as u64
    }

    fn last_stable(&self) -> u64 {
        let open = self.producers.iter().filter_map(|(_, open)| open.as_ref()?.first().copied());
        open.min().unwrap_or(self.next())
    }

    /// What the table holds for readers of what is committed.
    fn table(&self) -> BTreeMap<u8, Vec<u8>> {
        let shown = (0..self.last_stable()).filter(|offset| !self.aborted.contains(offset));
        table(shown.map(|offset| self.rows[offset as usize].clone()))
    }
}

/// The latest value of each key.
fn table(rows: impl Iterator<Item = Option<Row>>) -> BTreeMap<u8, Vec<u8>> {
    let latest: BTreeMap<u8, Option<Vec<u8>>> = rows.flatten().collect();
    latest.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

struct Node {
    machine: Machine,
    job: Option<Job>,
    copied: Option<(ColdWriter, Moved, Option<Vec<Compacted>>)>,
    finished: Option<(Moved, Option<Vec<Compacted>>)>,
    removed: Counts,
    /// Cold files that were made in this life.
    fresh: Vec<u32>,
}

impl Node {
    fn open(disk: &FakeDisk, life: u64) -> Node {
        let compaction = Compaction {
            min_lag_ms: 0,
            max_lag_ms: i64::MAX as u64,
            delete_retention_ms: DELETE_RETENTION_MS,
            dirty_ppm: 0,
        };
        let spec = |partition, compaction| PartitionSpec {
            partition,
            topic: TopicId([7; 16]),
            topic_name: "t".into(),
            index: 0,
            config: PartitionConfig { compaction, ..PartitionConfig::default() },
        };
        let partitions = vec![spec(PARTITION, Some(Box::new(compaction))), spec(OTHER, None)];
        let machine = Machine::open(disk, life, vec![], partitions);
        let (job, copied, finished) = (None, None, None);
        Node { machine, job, copied, finished, removed: Counts::default(), fresh: Vec::new() }
    }

    /// Some batches in one block, of either partition, in transactions or not.
    fn append(&mut self, random: &mut Random, model: &mut Model, compression: Compression) {
        let mut records = Vec::new();
        for _ in 0..1 + random.below(3) {
            let builder = BatchBuilder::new(self.machine.now as i64).compression(compression);
            let batch = self.fill(builder, random, model);
            Append::encode(&mut records, PARTITION.0, 0, &batch);
            self.transact(random, model, compression, &mut records);
            if random.below(2) == 0 {
                let mut builder = BatchBuilder::new(0);
                builder.append(Some(b"same"), Some(&[0; 2_000]), &[], 0).unwrap();
                Append::encode(&mut records, OTHER.0, 0, &builder.build().unwrap());
            }
        }
        self.machine.propose(records);
    }

    fn fill(&self, mut builder: BatchBuilder, random: &mut Random, model: &mut Model) -> Bytes {
        for _ in 0..1 + random.below(6) {
            let key = random.below(24) as u8;
            let value = vec![model.rows.len() as u8; 1 + random.below(300) as usize];
            let value = (random.below(5) > 0).then_some(value);
            builder.append(Some(&[key]), value.as_deref(), &[], self.machine.now as i64).unwrap();
            model.rows.push(Some((key, value)));
        }
        builder.build().unwrap()
    }

    /// Perhaps the next step of a transaction.
    fn transact(
        &self,
        random: &mut Random,
        model: &mut Model,
        compression: Compression,
        records: &mut Vec<u8>,
    ) {
        let n = random.below(2) as usize;
        let producer = Producer { id: 1_000 + n as i64, epoch: 0 };
        match (&model.producers[n].1, random.below(4)) {
            (_, 0) => {}
            (Some(_), 1 | 2) => self.end(n, random.below(2) == 0, model, records),
            (open, _) => {
                if open.is_none() {
                    let (partitions, groups) = (vec![PARTITION], Vec::new());
                    let admit = AdmitRecord { producer, partitions, groups, from_zero: false };
                    record::put_value(records, Kind::TxnAdmit, &admit);
                }
                let (from, sequence) = (model.next(), model.producers[n].0);
                let builder =
                    BatchBuilder::new(self.machine.now as i64).compression(compression).transactional();
                let batch = self.fill(builder.producer(producer.id, 0, sequence), random, model);
                Append::encode(records, PARTITION.0, 0, &batch);
                let written = from..model.next();
                model.producers[n].0 += (written.end - from) as i32;
                model.producers[n].1.get_or_insert_default().extend(written);
            }
        }
    }

    fn end(&self, n: usize, commit: bool, model: &mut Model, records: &mut Vec<u8>) {
        let Some(written) = model.producers[n].1.take() else { return };
        let batch = marker(Producer { id: 1_000 + n as i64, epoch: 0 }, commit, self.machine.now);
        Append::encode(records, PARTITION.0, 0, &batch);
        model.rows.push(None);
        if !commit {
            model.aborted.extend(written);
        }
    }

    /// The next step of a compaction, or now and then of a relocation. False: there is nothing to do.
    fn rewrite(&mut self, random: &mut Random) -> bool {
        if let Some((moved, done)) = self.finished.take() {
            match done {
                Some(done) => {
                    assert!(self.machine.shard.compacted(&moved, &done).is_empty(), "nothing has moved")
                }
                None => drop(self.machine.shard.relocated(&moved)),
            }
        } else if let Some((writer, moved, done)) = self.copied.take() {
            self.fresh.push(writer.finish().unwrap());
            self.finished = Some((moved, done));
        } else if random.below(5) == 0 {
            self.relocate(random);
        } else if let Some(mut job) = self.job.take() {
            let (mut relocation, ends) = self.machine.shard.shard.plan_rewriting(&job.wanted(), 3_000);
            if relocation.is_empty() {
                let done = job.rewritten(&ends);
                assert!(self.machine.shard.compacted(&relocation.finish(), &done).is_empty());
            } else {
                let mut writer = self.machine.log.new_cold_file(None).unwrap();
                job.rewrite(&self.machine.log, &mut relocation, &mut writer, &mut |_| true).unwrap();
                let done = job.rewritten(&ends);
                self.copied = Some((writer, relocation.finish(), Some(done)));
            }
            self.removed.add(&job.counts);
            job.counts = Default::default();
            let left = job.partitions().next().is_some();
            self.job = left.then_some(job);
        } else {
            let due = self.machine.shard.shard.compaction_due(self.machine.now);
            if due.is_empty() {
                return false;
            }
            let offsets_max = 20 + random.below(200);
            let plans = self.machine.shard.shard.plan_compaction(&[PARTITION], self.machine.now, offsets_max);
            let mut job = Job::new(ID, plans, 0, self.machine.now);
            job.scan(&self.machine.log, &mut |_| true).unwrap();
            self.job = Some(job);
        }
        true
    }

    fn relocate(&mut self, random: &mut Random) {
        let files = self.machine.some_files(random);
        let mut relocation = self.machine.shard.shard.plan_relocation(&files);
        if !relocation.is_empty() {
            let mut writer = self.machine.log.new_cold_file(None).unwrap();
            relocate::copy(&self.machine.log, &mut relocation, &mut writer, |_| true).unwrap();
            self.copied = Some((writer, relocation.finish(), None));
        }
    }

    /// What a reader finds from `offset` on. `committed`: as Kafka's clients do it who want nothing else.
    fn read(&mut self, offset: u64, model: &Model, committed: bool) -> Vec<(u64, Option<Row>)> {
        let (mut at, mut found) = (offset, Vec::new());
        let end = if committed { model.last_stable() } else { model.next() };
        while at < end {
            self.machine.events.clear();
            let wanted = FetchPartition { partition: PARTITION, offset: at, max_bytes: 1_000 };
            self.machine.send(
                A,
                Request::Fetch(Fetch {
                    token: Token(3),
                    partitions: vec![wanted],
                    max_bytes: 1_000,
                    committed,
                }),
            );
            let [Event::Fetched { partitions, .. }] = &self.machine.events[..] else {
                panic!("{:?}", self.machine.events)
            };
            let fetched = partitions[0].result.as_ref().unwrap();
            assert_eq!((fetched.last_stable, fetched.high_watermark), (model.last_stable(), model.next()));
            assert!(!fetched.batches.is_empty(), "nobody waits below what there is to read");
            let (mut aborted, mut passed_over) = (VecDeque::from(fetched.aborted.clone()), BTreeSet::new());
            for slice in &fetched.batches {
                let from = slice.offset as usize;
                let bytes = slice.block.payload.slice(from..from + slice.len as usize);
                let header = verify_batch(&bytes).unwrap();
                let body = Batch { header, bytes }.records(1 << 20).unwrap();
                let last = slice.base_offset + header.last_offset_delta as u64;
                while let Some((producer, _)) = aborted.pop_front_if(|(_, first)| *first <= last) {
                    passed_over.insert(producer);
                }
                let passed = header.is_transactional() && passed_over.contains(&header.producer_id);
                let passed = passed && !header.is_control();
                assert_eq!(passed, slice.flags & SLICE_ABORTED != 0, "{committed} {header:?}");
                for record in RecordIter::new(&body, header.records_count).filter(|_| !passed) {
                    let record = record.unwrap();
                    let offset = slice.base_offset + record.offset_delta as u64;
                    let is_marker = header.is_control();
                    if is_marker && ControlRecord::of(&record) == Some(ControlRecord::Abort) {
                        passed_over.remove(&header.producer_id);
                    }
                    if offset >= at && !(is_marker && committed) {
                        let row = || (record.key.unwrap()[0], record.value.map(Into::into));
                        found.push((offset, (!is_marker).then(row)));
                    }
                }
                at = last + 1;
            }
        }
        found
    }

    fn check(&mut self, model: &Model, random: &mut Random) {
        for committed in [false, true] {
            let found = self.read(0, model, committed);
            assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
            for (offset, row) in &found {
                assert_eq!(row, &model.rows[*offset as usize], "as it was appended");
            }
            if committed {
                assert!(found.iter().all(|(offset, _)| !model.aborted.contains(offset)));
                assert_eq!(table(found.iter().map(|(_, row)| row.clone())), model.table());
            }
            // From anywhere on the same is found.
            let from = random.below(1 + model.next());
            let rest: Vec<_> = found.into_iter().filter(|(offset, _)| *offset >= from).collect();
            assert_eq!(self.read(from, model, committed), rest);
        }
    }

    /// Compacts until there is nothing left to do.
    fn compact_all(&mut self, random: &mut Random) {
        while self.rewrite(random) {}
    }
}

#[test]
fn power_may_fail_at_any_step_of_a_compaction() {
    let (mut removed, mut recycled) = (Counts::default(), 0);
    for seed in 1..=30 {
        let mut random = Random(seed * 7919);
        let disk = FakeDisk::new(seed, [512, 4096][seed as usize % 2]);
        let compression =
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
                [seed as usize % 5];
        let mut model = Model::default();
        for life in 1..5 {
            let mut node = Node::open(&disk, life);
            for _ in 0..10 + random.below(80) {
                match random.below(12) {
                    0..4 => node.append(&mut random, &mut model, compression),
                    4..10 => drop(node.rewrite(&mut random)),
                    10 => node.machine.checkpoint(),
                    _ => node.check(&model, &mut random),
                }
            }
            node.check(&model, &mut random);
            removed.add(&node.removed);
            recycled += usize::from(node.machine.log.segments()[0] > 1);
            drop(node);
            if random.below(3) == 0 { disk.kill() } else { disk.crash() }
        }
        let mut node = Node::open(&disk, 9);
        node.check(&model, &mut random);
        // What is open ends, as it would be in the way.
        let mut ends = Vec::new();
        (0..2).for_each(|n| node.end(n, random.below(2) == 0, &mut model, &mut ends));
        if !ends.is_empty() {
            node.machine.propose(ends);
        }
        node.compact_all(&mut random);
        node.check(&model, &mut random);
        let found = node.read(0, &model, false);
        assert!(found.iter().all(|(offset, _)| !model.aborted.contains(offset)), "gone for everybody");
        let keys: Vec<u8> = found.into_iter().filter_map(|(_, row)| Some(row?.0)).collect();
        assert_eq!(keys.len(), keys.iter().collect::<BTreeSet<_>>().len(), "one record a key");
        // Tombstones go when their time is over.
        node.machine.now += DELETE_RETENTION_MS;
        node.compact_all(&mut random);
        assert!(
            node.read(0, &model, false).iter().flat_map(|(_, row)| row).all(|(_, value)| value.is_some())
        );
        node.check(&model, &mut random);
        // So do markers, with what is compacted next: those of aborts once it is known that all they ended has gone.
        for _ in 0..3 {
            let mut records = Vec::new();
            let batch = node.fill(BatchBuilder::new(node.machine.now as i64), &mut random, &mut model);
            Append::encode(&mut records, PARTITION.0, 0, &batch);
            node.machine.propose(records);
            node.compact_all(&mut random);
            node.machine.now += DELETE_RETENTION_MS;
        }
        assert!(node.read(0, &model, false).iter().all(|(_, row)| row.is_some()), "there are none left");
        node.check(&model, &mut random);
        removed.add(&node.removed);
        let listed = node.machine.shard.snapshot(ID).live_cold.len() as u32;
        node.machine.checkpoint();
        node.machine.checkpoint();
        // Those that were rewritten before a checkpoint could list them are given up, as the compactor does.
        node.fresh.iter().for_each(|file| node.machine.log.remove_cold(*file));
        node.machine.driver.settle();
        assert_eq!(node.machine.log.stats().cold_files, listed, "nothing is left over");
    }
    let Counts { superseded, tombstones, aborted, markers, .. } = removed;
    assert!(superseded > 1_000 && tombstones > 50 && recycled > 5, "{removed:?} {recycled}");
    assert!(aborted > 500 && markers > 500, "{removed:?}");
}
