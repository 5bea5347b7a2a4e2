//! Reading partitions: fetch requests from known positions, and the records in what comes back.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use bowline_codec_kafka::messages::FetchRequest;
use bowline_codec_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use bowline_codec_kafka::records::{
    Batch, BatchError, BatchHeader, Batches, ControlRecord, Record, RecordIter, verify_batch,
};

use super::{Connection, check};
use crate::error::{Error, Result};
use crate::socket::wait_any_readable;

/// A batch may decompress to at most this much.
const DECOMPRESSED_MAX: usize = 128 << 20;

/// How much a broker may send at a time, and how long it may wait for it.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    pub max_wait: Duration,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    /// Only records of committed transactions (isolation level 1).
    pub read_committed: bool,
}

impl Default for FetchLimits {
    /// The Java consumer's.
    fn default() -> FetchLimits {
        FetchLimits {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            read_committed: false,
        }
    }
}

/// The next record to read of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// One partition's part of a fetch response.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub topic: String,
    pub partition: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    /// Where the reader stood when it asked: records below it belong to a batch that began earlier.
    pub offset: i64,
    /// Whole batches, the last one perhaps cut off.
    pub records: Bytes,
    /// Aborted transactions of which these batches have records: producer id, and the first offset. Only told to who
    /// reads what is committed.
    pub aborted: Vec<(i64, i64)>,
}

/// Reads some partitions over a connection to their leader, one request at a time. The next request can be sent
/// before the records of the last answer have been looked at, so that the broker works meanwhile.
#[derive(Debug)]
pub struct Fetcher {
    connection: Connection,
    limits: FetchLimits,
    positions: Vec<Position>,
}

impl Fetcher {
    pub fn new(connection: Connection, limits: FetchLimits, positions: Vec<Position>) -> Fetcher {
        Fetcher { connection, limits, positions }
    }

    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Moves a partition's position, for instance after OFFSET_OUT_OF_RANGE.
    pub fn seek(&mut self, topic: &str, partition: i32, offset: i64) {
        for position in &mut self.positions {
            if position.topic == topic && position.partition == partition {
                position.offset = offset;
            }
        }
    }

    /// Sends a request unless one is under way.
    pub fn request(&mut self) -> Result<()> {
        if self.connection.in_flight() > 0 || self.positions.is_empty() {
            return Ok(());
        }
        let mut topics: Vec<FetchTopic> = Vec::new();
        for position in &self.positions {
            let partition = FetchPartition {
                partition: position.partition,
                current_leader_epoch: -1,
                fetch_offset: position.offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: self.limits.partition_max_bytes,
                ..Default::default()
            };
            match topics.iter_mut().find(|topic| topic.topic == position.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(FetchTopic {
                    topic: position.topic.clone(),
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: self.limits.max_wait.as_millis() as i32,
            min_bytes: self.limits.min_bytes,
            max_bytes: self.limits.max_bytes,
            isolation_level: self.limits.read_committed.into(),
            session_id: 0,
            session_epoch: -1,
            topics,
            ..Default::default()
        };
        self.connection.send(&request)?;
        self.connection.flush()
    }

    /// The answer, with the positions advanced beyond it. `None`: nothing came within `wait`.
    pub fn receive(&mut self, wait: Duration) -> Result<Option<Vec<Fetched>>> {
        let Some(response) = self.connection.receive::<FetchRequest>(wait)? else { return Ok(None) };
        check("Fetch", response.error_code)?;
        let mut fetched: Vec<Fetched> = Vec::new();
        let mut place = 0;
        for topic in response.responses {
            for partition in topic.partitions {
                let records = partition.records.map(|records| records.into_bytes()).unwrap_or_default();
                let aborted = partition.aborted_transactions.unwrap_or_default().into_iter();
                let aborted = aborted.map(|one| (one.producer_id, one.first_offset)).collect();
                let Some(position) = self.position_mut(&mut place, &topic.topic, partition.partition_index)
                else {
                    return Err(Error::Protocol(format!(
                        "records of {} {}, which nobody asked for",
                        topic.topic, partition.partition_index
                    )));
                };
                let offset = position.offset;
                if let Some(next) = position_after(&records).map_err(bad_batch)? {
                    position.offset = next.max(offset);
                }
                fetched.push(Fetched {
                    topic: topic.topic.clone(),
                    partition: partition.partition_index,
                    error_code: partition.error_code,
                    high_watermark: partition.high_watermark,
                    offset,
                    records,
                    aborted,
                });
            }
        }
        self.rotate(&fetched);
        Ok(Some(fetched))
    }

    /// Who has been served goes behind those who have not, as in the Java consumer: a broker whose answer is full would
    /// else never come to the last.
    fn rotate(&mut self, fetched: &[Fetched]) {
        if self.positions.len() <= 1 {
            return;
        }
        let served: HashSet<(&str, i32)> = fetched
            .iter()
            .filter(|part| !part.records.is_empty())
            .map(|part| (&*part.topic, part.partition))
            .collect();
        self.positions.sort_by_key(|position| served.contains(&(&*position.topic, position.partition)));
    }

    /// The position of a partition, and in `place` the index behind it. Brokers answer in the order in which they were
    /// asked, more or less, so it is looked for there first: all thousand of a thousand would be half a million looks.
    fn position_mut(&mut self, place: &mut usize, topic: &str, partition: i32) -> Option<&mut Position> {
        let is_it = |position: &Position| position.partition == partition && position.topic == topic;
        let (before, after) = self.positions.split_at(*place);
        let found = match after.iter().position(is_it) {
            Some(index) => *place + index,
            None => before.iter().position(is_it)?,
        };
        *place = found + 1;
        self.positions.get_mut(found)
    }
}

/// Waits until one of the readers has something to receive.
pub fn wait_any(fetchers: &[Fetcher], wait: Duration) -> Result<bool> {
    let sockets: Vec<_> = fetchers.iter().map(|fetcher| fetcher.connection.socket()).collect();
    wait_any_readable(&sockets, wait)
}

/// The offset after the last whole batch; `None` when there is none.
pub fn position_after(records: &Bytes) -> std::result::Result<Option<i64>, BatchError> {
    let mut next = None;
    for batch in Batches::new(records.clone()) {
        next = Some(batch?.header.next_offset());
    }
    Ok(next)
}

/// Calls `each` with batch header, offset and record, for all data records from `fetched.offset` on, without those of
/// aborted transactions. Checks every batch's checksum first.
pub fn for_each_record(
    fetched: &Fetched,
    mut each: impl FnMut(&BatchHeader, i64, &Record<'_>),
) -> Result<()> {
    let mut aborted = Aborted::new(&fetched.aborted);
    for batch in Batches::new(fetched.records.clone()) {
        let batch = batch.map_err(bad_batch)?;
        verify_batch(&batch.bytes).map_err(bad_batch)?;
        if aborted.covers(&batch)? || batch.header.is_control() {
            continue;
        }
        let body = batch.records(DECOMPRESSED_MAX).map_err(bad_batch)?;
        for record in RecordIter::new(&body, batch.header.records_count) {
            let record = record.map_err(bad_batch)?;
            let offset = batch.header.record_offset(record.offset_delta);
            if offset >= fetched.offset {
                each(&batch.header, offset, &record);
            }
        }
    }
    Ok(())
}

/// Tells the batches of aborted transactions from others, as one goes through a partition (KIP-98): a transaction is
/// aborted from its first offset up to the marker that says so.
struct Aborted {
    /// Not reached yet, the nearest last.
    ahead: Vec<(i64, i64)>,
    /// Producers in an aborted transaction.
    open: Vec<i64>,
}

impl Aborted {
    fn new(transactions: &[(i64, i64)]) -> Aborted {
        let mut ahead = transactions.to_vec();
        ahead.sort_by_key(|(_, first_offset)| std::cmp::Reverse(*first_offset));
        Aborted { ahead, open: Vec::new() }
    }

    /// Whether a batch is part of an aborted transaction. To be asked about each, in order.
    fn covers(&mut self, batch: &Batch) -> Result<bool> {
        let header = &batch.header;
        while let Some((producer, _)) = self.ahead.pop_if(|(_, first)| *first <= header.last_offset()) {
            self.open.push(producer);
        }
        if !header.is_transactional() {
            return Ok(false);
        }
        if header.is_control() {
            let body = batch.records(DECOMPRESSED_MAX).map_err(bad_batch)?;
            let first = RecordIter::new(&body, header.records_count).next();
            let marker = first.transpose().map_err(bad_batch)?;
            if marker.is_some_and(|record| ControlRecord::of(&record) == Some(ControlRecord::Abort))
                && let Some(place) = self.open.iter().position(|producer| *producer == header.producer_id)
            {
                self.open.swap_remove(place);
            }
            return Ok(false);
        }
        Ok(self.open.contains(&header.producer_id))
    }
}

fn bad_batch(error: BatchError) -> Error {
    Error::Protocol(format!("bad record batch: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_codec_kafka::records::{BatchBuilder, end_transaction_marker, set_base_offset};

    /// A batch of one record in a transaction of that producer.
    fn data(producer: i64, value: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::new(0).producer(producer, 0, 0).transactional();
        builder.append(None, Some(value), &[], 0).unwrap();
        builder.build().unwrap()
    }

    fn marker(producer: i64, commit: bool) -> Bytes {
        end_transaction_marker(commit, producer, 0, 0, 0).unwrap()
    }

    fn read(batches: &[Bytes], aborted: &[(i64, i64)]) -> Vec<u8> {
        let mut records = Vec::new();
        for (offset, batch) in (0..).zip(batches) {
            let mut batch = batch.to_vec();
            set_base_offset(&mut batch, offset).unwrap();
            records.extend(batch);
        }
        let fetched = Fetched {
            topic: "t".into(),
            partition: 0,
            error_code: 0,
            high_watermark: 0,
            offset: 0,
            records: records.into(),
            aborted: aborted.to_vec(),
        };
        let mut seen = Vec::new();
        for_each_record(&fetched, |_, _, record| seen.extend(record.value.unwrap())).unwrap();
        seen
    }

    #[test]
    fn records_of_aborted_transactions_are_left_out() {
        let log = [
            data(1, b"a"),
            data(2, b"b"),
            marker(1, false),
            data(1, b"c"),
            marker(2, true),
            marker(1, true),
            data(1, b"d"),
            marker(1, false),
        ];
        assert_eq!(read(&log, &[]), b"abcd", "who is told of none reads everything");
        assert_eq!(read(&log, &[(1, 6), (1, 0)]), b"bc", "in whatever order they are told");
    }
}
