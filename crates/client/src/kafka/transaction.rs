//! A transactional producer's calls: begin is nothing on the wire, then partitions and offsets are added, records sent
//! with [`send_produce_in`](super::send_produce_in), and the whole is ended (KIP-98). In version 2 of the protocol
//! (KIP-890), nothing is added: the connection on which records are sent has to speak it as well
//! ([`Connection::speak_transactions`]).
//!
//! One [`Transactions`] is one identity. Opening it ends what an earlier owner of the same transactional id has left
//! open, and fences that owner off.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bowline_codec_kafka::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use bowline_codec_kafka::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use bowline_codec_kafka::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest,
    TxnOffsetCommitRequest,
};

use super::{Cluster, Connection, Position, ProducerId, TxnVersion, check, is_retriable};
use crate::error::Result;
use crate::retry::Backoff;

const CONCURRENT_TRANSACTIONS: i16 = 51;
const RETRY_CEILING: Duration = Duration::from_millis(100);

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Commit,
    Abort,
}

/// A connection to the coordinator of a transactional id, and the identity that it gave.
#[derive(Debug)]
pub struct Transactions {
    connection: Connection,
    transactional_id: String,
    producer: ProducerId,
    version: TxnVersion,
    /// For retries within one call.
    patience: Duration,
}

impl Transactions {
    /// [`Transactions::open_as`] in version 1.
    pub fn open(cluster: &mut Cluster, transactional_id: &str, timeout: Duration) -> Result<Transactions> {
        Transactions::open_as(cluster, transactional_id, timeout, TxnVersion::One)
    }

    /// Finds the coordinator and takes the transactional id over. `timeout`: after which the coordinator ends a
    /// transaction by itself. `version`: if the broker can, else version 1 is spoken.
    pub fn open_as(
        cluster: &mut Cluster,
        transactional_id: &str,
        timeout: Duration,
        version: TxnVersion,
    ) -> Result<Transactions> {
        let mut connection = cluster.connect_to_transaction_coordinator(transactional_id)?;
        let version = connection.speak_transactions(version);
        let mut transactions = Transactions {
            connection,
            transactional_id: transactional_id.to_owned(),
            producer: ProducerId { id: -1, epoch: -1 },
            version,
            patience: cluster.options().timeout,
        };
        let request = InitProducerIdRequest {
            transactional_id: Some(transactional_id.to_owned()),
            transaction_timeout_ms: timeout.as_millis() as i32,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        transactions.producer = transactions.persist("InitProducerId", |connection| {
            let response = connection.call(&request)?;
            let producer = ProducerId { id: response.producer_id, epoch: response.producer_epoch };
            Ok((response.error_code, producer))
        })?;
        Ok(transactions)
    }

    /// Another one after each transaction of version 2, whose sequences begin at 0.
    pub fn producer(&self) -> ProducerId {
        self.producer
    }

    pub fn version(&self) -> TxnVersion {
        self.version
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Makes partitions part of the transaction: before the first record to each. In version 2 there is nothing to do.
    pub fn add_partitions(&mut self, topic: &str, partitions: &[i32]) -> Result<()> {
        if self.version == TxnVersion::Two {
            return Ok(());
        }
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.transactional_id.clone(),
            v3_and_below_producer_id: self.producer.id,
            v3_and_below_producer_epoch: self.producer.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: topic.to_owned(),
                partitions: partitions.to_vec(),
            }],
            ..Default::default()
        };
        self.persist("AddPartitionsToTxn", |connection| {
            let response = connection.call(&request)?;
            let topics = response.results_by_topic_v3_and_below.iter();
            let mut codes =
                topics.flat_map(|topic| &topic.results_by_partition).map(|p| p.partition_error_code);
            Ok((codes.find(|code| *code != 0).unwrap_or(0), ()))
        })
    }

    /// Makes a group's offsets part of the transaction, and commits them in it. For groups without members.
    pub fn commit_offsets(
        &mut self,
        cluster: &mut Cluster,
        group: &str,
        positions: &[Position],
    ) -> Result<()> {
        let request = AddOffsetsToTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            group_id: group.to_owned(),
        };
        if self.version == TxnVersion::One {
            self.persist("AddOffsetsToTxn", |connection| Ok((connection.call(&request)?.error_code, ())))?;
        }
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for position in positions {
            topics.entry(&position.topic).or_default().push(TxnOffsetCommitRequestPartition {
                partition_index: position.partition,
                committed_offset: position.offset,
                committed_leader_epoch: -1,
                committed_metadata: Some(String::new()),
            });
        }
        let topics = topics.into_iter().map(|(name, partitions)| TxnOffsetCommitRequestTopic {
            name: name.to_owned(),
            partitions,
            ..Default::default()
        });
        let request = TxnOffsetCommitRequest {
            transactional_id: self.transactional_id.clone(),
            group_id: group.to_owned(),
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            generation_id_or_member_epoch: -1,
            topics: topics.collect(),
            ..Default::default()
        };
        let mut coordinator = cluster.connect_to_coordinator(group)?;
        coordinator.speak_transactions(self.version);
        persist(&mut coordinator, self.patience, "TxnOffsetCommit", |connection| {
            let response = connection.call(&request)?;
            let mut codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
            Ok((codes.find(|code| *code != 0).unwrap_or(0), ()))
        })
    }

    /// Ends the transaction. With an error its fate is not known, unless a later [`open`](Transactions::open) succeeds:
    /// then it has ended one way or the other.
    pub fn end(&mut self, end: End) -> Result<()> {
        let request = EndTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            committed: end == End::Commit,
        };
        let next = self.persist("EndTxn", |connection| {
            let response = connection.call(&request)?;
            let producer = ProducerId { id: response.producer_id, epoch: response.producer_epoch };
            Ok((response.error_code, producer))
        })?;
        if self.version == TxnVersion::Two {
            self.producer = next;
        }
        Ok(())
    }

    fn persist<T>(
        &mut self,
        api: &'static str,
        ask: impl FnMut(&mut Connection) -> Result<(i16, T)>,
    ) -> Result<T> {
        persist(&mut self.connection, self.patience, api, ask)
    }
}

/// Asks again while the answer says that this helps: the coordinator loads, or is busy ending the transaction before.
pub(super) fn persist<T>(
    connection: &mut Connection,
    patience: Duration,
    api: &'static str,
    mut ask: impl FnMut(&mut Connection) -> Result<(i16, T)>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    let mut backoff = Backoff::new(RETRY_CEILING);
    loop {
        let (code, answer) = ask(connection)?;
        let again = code == CONCURRENT_TRANSACTIONS || is_retriable(code);
        if !again || Instant::now() >= deadline {
            check(api, code)?;
            return Ok(answer);
        }
        std::thread::sleep(backoff.step());
    }
}
