//! A member of a classic consumer group: join, sync, heartbeat, commit, leave (KIP-62, KIP-394).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bowline_codec_kafka::messages::consumer_protocol_assignment::TopicPartition;
use bowline_codec_kafka::messages::join_group_request::JoinGroupRequestProtocol;
use bowline_codec_kafka::messages::leave_group_request::MemberIdentity;
use bowline_codec_kafka::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use bowline_codec_kafka::messages::offset_fetch_request::OffsetFetchRequestTopic;
use bowline_codec_kafka::messages::sync_group_request::SyncGroupRequestAssignment;
use bowline_codec_kafka::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use bowline_codec_kafka::protocol::consumer::{
    PROTOCOL_TYPE, decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};

use super::{Cluster, Connection, Position, check, is_retriable, range_assignment};
use crate::error::{Error, Result};
use crate::retry::Backoff;

const ASSIGNOR: &str = "range";
/// Version 1 of subscription and assignment: what every client since 2.4 writes and reads.
const PROTOCOL_VERSION: i16 = 1;

const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

const RETRY_CEILING: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub struct GroupOptions {
    pub group: String,
    pub topics: Vec<String>,
    /// Without a heartbeat for so long a member is out.
    pub session_timeout: Duration,
    /// How long the group waits for its members when it rebalances.
    pub rebalance_timeout: Duration,
    pub heartbeat_interval: Duration,
}

impl GroupOptions {
    /// Timeouts as the Java consumer has them.
    pub fn new(group: impl Into<String>, topics: Vec<String>) -> GroupOptions {
        GroupOptions {
            group: group.into(),
            topics,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(300),
            heartbeat_interval: Duration::from_secs(3),
        }
    }
}

/// What a heartbeat has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    Member,
    /// Commit what was consumed and [`join`](Member::join) again.
    Rejoin,
}

/// Membership in a group, over a connection to its coordinator. The caller keeps it alive by calling
/// [`beat`](Member::beat) at least as often as the heartbeat interval.
#[derive(Debug)]
pub struct Member {
    connection: Connection,
    options: GroupOptions,
    member_id: String,
    generation: i32,
    assignment: Vec<(String, Vec<i32>)>,
    last_beat: Instant,
}

impl Member {
    /// Finds the coordinator. [`join`](Member::join) comes next.
    pub fn new(cluster: &mut Cluster, options: GroupOptions) -> Result<Member> {
        Ok(Member {
            connection: cluster.connect_to_coordinator(&options.group)?,
            options,
            member_id: String::new(),
            generation: -1,
            assignment: Vec::new(),
            last_beat: Instant::now(),
        })
    }

    pub fn member_id(&self) -> &str {
        &self.member_id
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Topics and partitions of this member in this generation.
    pub fn assignment(&self) -> &[(String, Vec<i32>)] {
        &self.assignment
    }

    /// Joins or rejoins, and returns with an assignment. As leader it asks `cluster` for the topics' partitions.
    pub fn join(&mut self, cluster: &mut Cluster) -> Result<()> {
        let deadline = Instant::now() + self.options.rebalance_timeout + cluster.options().timeout;
        let mut backoff = Backoff::new(RETRY_CEILING);
        loop {
            let outcome = self.join_once(cluster);
            self.last_beat = Instant::now();
            let Err(error) = outcome else { return Ok(()) };
            let Error::Kafka { code, .. } = error else { return Err(error) };
            match code {
                MEMBER_ID_REQUIRED | REBALANCE_IN_PROGRESS => {}
                UNKNOWN_MEMBER_ID | ILLEGAL_GENERATION => {
                    self.member_id.clear();
                    self.generation = -1;
                }
                code if is_retriable(code) => {
                    std::thread::sleep(backoff.step());
                    self.connection = cluster.connect_to_coordinator(&self.options.group)?;
                }
                _ => return Err(error),
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout("an assignment from the group"));
            }
        }
    }

    fn join_once(&mut self, cluster: &mut Cluster) -> Result<()> {
        let joined = self.join_group()?;
        let assignments =
            if joined.leader == joined.member_id { self.assign(cluster, &joined)? } else { Vec::new() };
        let request = SyncGroupRequest {
            group_id: self.options.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(ASSIGNOR.into()),
            assignments,
            ..Default::default()
        };
        let wait = self.rebalance_wait();
        let response = self.connection.call_within(&request, wait)?;
        check("SyncGroup", response.error_code)?;
        self.assignment = if response.assignment.is_empty() {
            Vec::new()
        } else {
            let assignment = decode_assignment(response.assignment)?;
            assignment.assigned_partitions.into_iter().map(|part| (part.topic, part.partitions)).collect()
        };
        Ok(())
    }

    fn join_group(&mut self) -> Result<JoinGroupResponse> {
        let subscription =
            ConsumerProtocolSubscription { topics: self.options.topics.clone(), ..Default::default() };
        let request = JoinGroupRequest {
            group_id: self.options.group.clone(),
            session_timeout_ms: self.options.session_timeout.as_millis() as i32,
            rebalance_timeout_ms: self.options.rebalance_timeout.as_millis() as i32,
            member_id: self.member_id.clone(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: ASSIGNOR.into(),
                metadata: encode_subscription(&subscription, PROTOCOL_VERSION)?,
            }],
            ..Default::default()
        };
        let wait = self.rebalance_wait();
        let response = self.connection.call_within(&request, wait)?;
        if response.error_code == MEMBER_ID_REQUIRED {
            // The id comes with the refusal, and the next attempt brings it (KIP-394).
            self.member_id = response.member_id.clone();
        }
        check("JoinGroup", response.error_code)?;
        self.member_id = response.member_id.clone();
        self.generation = response.generation_id;
        Ok(response)
    }

    fn assign(
        &self,
        cluster: &mut Cluster,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>> {
        let mut members = Vec::new();
        let mut partitions_of = BTreeMap::new();
        for member in &joined.members {
            let topics = decode_subscription(member.metadata.clone())?.topics;
            for topic in &topics {
                if !partitions_of.contains_key(topic) {
                    let found = cluster.topic(topic, true)?;
                    partitions_of.insert(topic.clone(), found.partitions.len() as i32);
                }
            }
            members.push((member.member_id.clone(), topics));
        }
        range_assignment(&members, &partitions_of)
            .into_iter()
            .map(|(member_id, parts)| {
                let assigned_partitions = parts
                    .into_iter()
                    .map(|(topic, partitions)| TopicPartition { topic, partitions })
                    .collect();
                let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
                let assignment = encode_assignment(&assignment, PROTOCOL_VERSION)?;
                Ok(SyncGroupRequestAssignment { member_id, assignment })
            })
            .collect()
    }

    /// A heartbeat, if one is due.
    pub fn beat(&mut self) -> Result<Beat> {
        if self.last_beat.elapsed() < self.options.heartbeat_interval {
            return Ok(Beat::Member);
        }
        let request = HeartbeatRequest {
            group_id: self.options.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            ..Default::default()
        };
        let response = self.connection.call(&request)?;
        self.last_beat = Instant::now();
        self.member_or_rejoin("Heartbeat", response.error_code)
    }

    fn member_or_rejoin(&mut self, api: &'static str, code: i16) -> Result<Beat> {
        match code {
            0 => Ok(Beat::Member),
            REBALANCE_IN_PROGRESS => Ok(Beat::Rejoin),
            UNKNOWN_MEMBER_ID | ILLEGAL_GENERATION => {
                self.member_id.clear();
                self.generation = -1;
                Ok(Beat::Rejoin)
            }
            code => Err(Error::Kafka { api, code }),
        }
    }

    /// Commits positions: the offsets of the records to be read next.
    pub fn commit(&mut self, positions: &[Position]) -> Result<Beat> {
        if positions.is_empty() {
            return Ok(Beat::Member);
        }
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for position in positions {
            let partition = OffsetCommitRequestPartition {
                partition_index: position.partition,
                committed_offset: position.offset,
                committed_leader_epoch: -1,
                committed_metadata: Some(String::new()),
            };
            match topics.iter_mut().find(|topic| topic.name == position.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(OffsetCommitRequestTopic {
                    name: position.topic.clone(),
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        let request = OffsetCommitRequest {
            group_id: self.options.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member_id.clone(),
            retention_time_ms: -1,
            topics,
            ..Default::default()
        };
        let response = self.connection.call(&request)?;
        let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code);
        let code = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
        self.member_or_rejoin("OffsetCommit", code)
    }

    /// Committed offsets of the assigned partitions; −1 where nothing was committed.
    pub fn committed(&mut self) -> Result<Vec<Position>> {
        let topics = self
            .assignment
            .iter()
            .map(|(name, partitions)| OffsetFetchRequestTopic {
                name: name.clone(),
                partition_indexes: partitions.clone(),
            })
            .collect();
        let request = OffsetFetchRequest {
            group_id: self.options.group.clone(),
            topics: Some(topics),
            ..Default::default()
        };
        let response = self.connection.call(&request)?;
        check("OffsetFetch", response.error_code)?;
        let mut positions = Vec::new();
        for topic in response.topics {
            for partition in topic.partitions {
                check("OffsetFetch", partition.error_code)?;
                positions.push(Position {
                    topic: topic.name.clone(),
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                });
            }
        }
        Ok(positions)
    }

    /// Leaves the group, so that others take over at once.
    pub fn leave(mut self) -> Result<()> {
        let member_id = std::mem::take(&mut self.member_id);
        let version = self.connection.version::<LeaveGroupRequest>()?;
        let mut request = LeaveGroupRequest { group_id: self.options.group.clone(), ..Default::default() };
        if version >= 3 {
            request.members.push(MemberIdentity { member_id, ..Default::default() });
        } else {
            request.member_id = member_id;
        }
        let response = self.connection.call(&request)?;
        check("LeaveGroup", response.error_code)
    }

    fn rebalance_wait(&self) -> Duration {
        self.options.rebalance_timeout + Duration::from_secs(5)
    }
}
