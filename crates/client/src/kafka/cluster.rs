//! Who is there and who leads what: metadata, topics, connections to leaders and coordinators.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bowline_codec_kafka::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use bowline_codec_kafka::messages::metadata_request::MetadataRequestTopic;
use bowline_codec_kafka::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorRequest, MetadataRequest,
};

use super::{Connection, check, is_retriable};
use crate::address::KafkaAddress;
use crate::error::{Error, Result};
use crate::retry::Backoff;

const TOPIC_ALREADY_EXISTS: i16 = 36;
const LEADER_NOT_AVAILABLE: i16 = 5;
const RETRY_CEILING: Duration = Duration::from_millis(250);
// What FindCoordinator can be asked for.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub address: KafkaAddress,
    pub client_id: String,
    /// For connecting and for every call.
    pub timeout: Duration,
}

impl ConnectOptions {
    pub fn new(address: KafkaAddress) -> ConnectOptions {
        ConnectOptions { address, client_id: "bowline".into(), timeout: Duration::from_secs(30) }
    }
}

/// A connection for questions, and what they have taught.
#[derive(Debug)]
pub struct Cluster {
    options: ConnectOptions,
    control: Connection,
    /// Addresses by node id, as the brokers advertise them.
    brokers: HashMap<i32, String>,
}

/// A topic with a leader for each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    /// By partition index, ascending.
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    pub index: i32,
    pub leader: i32,
}

/// A topic to create.
#[derive(Clone, Debug)]
pub struct NewTopic<'a> {
    pub name: &'a str,
    pub partitions: i32,
    pub replication_factor: i16,
    pub configs: Vec<(&'a str, String)>,
}

impl Cluster {
    /// Connects to the first bootstrap address that answers.
    pub fn connect(options: &ConnectOptions) -> Result<Cluster> {
        let mut last = Error::Timeout("no bootstrap address");
        for address in &options.address.bootstrap {
            match Connection::open(address, &options.client_id, options.timeout) {
                Ok(control) => {
                    return Ok(Cluster { options: options.clone(), control, brokers: HashMap::new() });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Topics as they are now, whatever their state; `None` for a topic that the broker does not show.
    fn look_up(&mut self, name: &str, create: bool) -> Result<(i16, Option<Topic>)> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name: Some(name.into()), ..Default::default() }]),
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        let response = self.control.call(&request)?;
        self.brokers = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id, format!("{}:{}", broker.host, broker.port)))
            .collect();
        let Some(topic) = response.topics.into_iter().next() else { return Ok((0, None)) };
        let unled = topic.partitions.iter().any(|partition| partition.leader_id < 0);
        let code = match topic.error_code {
            0 if unled => LEADER_NOT_AVAILABLE,
            code => code,
        };
        let mut partitions: Vec<Partition> = topic
            .partitions
            .iter()
            .map(|partition| Partition { index: partition.partition_index, leader: partition.leader_id })
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        Ok((code, Some(Topic { name: name.to_owned(), partitions })))
    }

    /// The topic with its leaders. With `create` the broker is asked to create what is missing, as producers do;
    /// it needs a moment then.
    pub fn topic(&mut self, name: &str, create: bool) -> Result<Topic> {
        let deadline = Instant::now() + self.options.timeout;
        let mut backoff = Backoff::new(RETRY_CEILING);
        loop {
            let (code, topic) = self.look_up(name, create)?;
            match topic {
                Some(topic) if code == 0 && !topic.partitions.is_empty() => return Ok(topic),
                _ if is_retriable(code) && create && Instant::now() < deadline => {}
                _ if code == LEADER_NOT_AVAILABLE && Instant::now() < deadline => {}
                _ => {
                    check("Metadata", code)?;
                    return Err(Error::Timeout("a leader for every partition"));
                }
            }
            std::thread::sleep(backoff.step());
        }
    }

    /// Creates a topic, or finds that it exists.
    pub fn create_topic(&mut self, topic: &NewTopic<'_>) -> Result<Topic> {
        let configs = topic.configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).to_owned(),
            value: Some(value.clone()),
        });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.to_owned(),
                num_partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                configs: configs.collect(),
                ..Default::default()
            }],
            timeout_ms: self.options.timeout.as_millis() as i32,
            ..Default::default()
        };
        let response = self.control.call(&request)?;
        for result in &response.topics {
            if result.error_code != TOPIC_ALREADY_EXISTS {
                check("CreateTopics", result.error_code)?;
            }
        }
        let deadline = Instant::now() + self.options.timeout;
        let mut backoff = Backoff::new(RETRY_CEILING);
        loop {
            let (code, found) = self.look_up(topic.name, false)?;
            match found {
                Some(found) if code == 0 && !found.partitions.is_empty() => return Ok(found),
                _ if Instant::now() >= deadline => return Err(Error::Kafka { api: "Metadata", code }),
                _ => std::thread::sleep(backoff.step()),
            }
        }
    }

    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest {
            topic_names: vec![name.to_owned()],
            timeout_ms: self.options.timeout.as_millis() as i32,
            ..Default::default()
        };
        let response = self.control.call(&request)?;
        response.responses.iter().try_for_each(|result| check("DeleteTopics", result.error_code))
    }

    /// A connection of its own to a broker that metadata named.
    pub fn connect_to(&self, node: i32) -> Result<Connection> {
        let Some(address) = self.brokers.get(&node) else {
            return Err(Error::Protocol(format!("metadata named no broker {node}")));
        };
        Connection::open(address, &self.options.client_id, self.options.timeout)
    }

    /// A connection to the broker that coordinates a group.
    pub fn connect_to_coordinator(&mut self, group: &str) -> Result<Connection> {
        self.connect_to_coordinator_of(group, GROUP)
    }

    /// A connection to the broker that coordinates the transactions of a transactional id.
    pub fn connect_to_transaction_coordinator(&mut self, transactional_id: &str) -> Result<Connection> {
        self.connect_to_coordinator_of(transactional_id, TRANSACTION)
    }

    fn connect_to_coordinator_of(&mut self, key: &str, key_type: i8) -> Result<Connection> {
        let deadline = Instant::now() + self.options.timeout;
        let mut backoff = Backoff::new(RETRY_CEILING);
        loop {
            let request = FindCoordinatorRequest { key: key.to_owned(), key_type, ..Default::default() };
            let response = self.control.call(&request)?;
            match response.error_code {
                0 => {
                    let address = format!("{}:{}", response.host, response.port);
                    return Connection::open(&address, &self.options.client_id, self.options.timeout);
                }
                code if is_retriable(code) && Instant::now() < deadline => {
                    std::thread::sleep(backoff.step());
                }
                code => return Err(Error::Kafka { api: "FindCoordinator", code }),
            }
        }
    }
}
