//! Producing: batches out, offsets back. Who retries keeps the batches and sends the same bytes again.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use bowline_codec_kafka::messages::InitProducerIdRequest;
use bowline_codec_kafka::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use bowline_codec_kafka::records::Records;

use super::Connection;
use super::transaction::persist;
use crate::error::Result;

/// A broker that has just started gets so long to be ready for producers.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the broker must have done before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Acks {
    /// Nothing; there is no answer.
    None,
    Leader,
    #[default]
    All,
}

/// Identity of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerId {
    pub id: i64,
    pub epoch: i16,
}

/// The next sequence number of each partition, for an idempotent producer (KIP-98).
#[derive(Clone, Debug, Default)]
pub struct Sequences(HashMap<i32, i32>);

/// One partition's part of a produce response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub partition: i32,
    /// 0: appended.
    pub error_code: i16,
    /// Offset of the batch's first record; −1 when not appended, or when the broker took it for a duplicate that
    /// it does not remember the place of.
    pub base_offset: i64,
}

impl Sequences {
    /// Takes `count` numbers of a partition and returns the first. They wrap to 0 after 2^31 − 1.
    pub fn take(&mut self, partition: i32, count: i32) -> i32 {
        let next = self.0.entry(partition).or_insert(0);
        let first = *next;
        *next = (i64::from(first) + i64::from(count)).rem_euclid(1 << 31) as i32;
        first
    }
}

/// An identity for a producer without transactions. A broker just started may ask for patience.
pub fn init_producer_id(connection: &mut Connection) -> Result<ProducerId> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    persist(connection, PATIENCE, "InitProducerId", |connection| {
        let response = connection.call(&request)?;
        let producer = ProducerId { id: response.producer_id, epoch: response.producer_epoch };
        Ok((response.error_code, producer))
    })
}

/// Buffers a request with one batch for each partition. With [`Acks::None`] there will be no answer.
pub fn send_produce(
    connection: &mut Connection,
    topic: &str,
    acks: Acks,
    timeout: Duration,
    batches: Vec<(i32, Bytes)>,
) -> Result<()> {
    send_produce_in(connection, None, topic, acks, timeout, batches)
}

/// As [`send_produce`], in the transaction of that transactional id.
pub fn send_produce_in(
    connection: &mut Connection,
    transactional_id: Option<&str>,
    topic: &str,
    acks: Acks,
    timeout: Duration,
    batches: Vec<(i32, Bytes)>,
) -> Result<()> {
    let partition_data = batches
        .into_iter()
        .map(|(index, batch)| PartitionProduceData { index, records: Some(Records::from(batch)) })
        .collect();
    let request = ProduceRequest {
        transactional_id: transactional_id.map(str::to_owned),
        acks: match acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        },
        timeout_ms: timeout.as_millis() as i32,
        topic_data: vec![TopicProduceData { name: topic.to_owned(), partition_data, ..Default::default() }],
    };
    if acks == Acks::None { connection.send_unanswered(&request) } else { connection.send(&request) }
}

/// The answer to the oldest produce request.
pub fn receive_produce(connection: &mut Connection, wait: Duration) -> Result<Option<Vec<Appended>>> {
    let Some(response) = connection.receive::<ProduceRequest>(wait)? else { return Ok(None) };
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    Ok(Some(
        partitions
            .map(|partition| Appended {
                partition: partition.index,
                error_code: partition.error_code,
                base_offset: partition.base_offset,
            })
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.take(0, 10), 0);
        assert_eq!(sequences.take(0, i32::MAX - 10), 10);
        assert_eq!(sequences.take(0, 3), i32::MAX);
        assert_eq!(sequences.take(0, 1), 2);
        assert_eq!(sequences.take(1, 1), 0);
    }
}
