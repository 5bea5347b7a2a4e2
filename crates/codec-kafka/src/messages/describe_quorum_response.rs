//! DescribeQuorumResponse: API key 55, versions 0–2, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct DescribeQuorumResponse {
    pub error_code: i16,
    /// Versions 2+.
    pub error_message: Option<String>,
    pub topics: Vec<TopicData>,
    /// Versions 2+.
    pub nodes: Vec<Node>,
}

impl Default for DescribeQuorumResponse {
    fn default() -> Self {
        Self { error_code: 0, error_message: Some(String::new()), topics: Vec::new(), nodes: Vec::new() }
    }
}

impl DescribeQuorumResponse {
    pub const KEY: i16 = 55;
    pub const VERSIONS: RangeInclusive<i16> = 0..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DescribeQuorumResponse", version });
        }
        let message = Self {
            error_code: buf.i16()?,
            error_message: if version >= 2 { buf.nullable_string(true, true)? } else { Some(String::new()) },
            topics: buf.array(true, 3, |buf| TopicData::decode(buf, version))?,
            nodes: if version >= 2 {
                buf.array(true, 6, |buf| Node::decode(buf, version))?
            } else {
                Vec::new()
            },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DescribeQuorumResponse", version });
        }
        out.put_i16(self.error_code);
        if version >= 2 {
            out.put_nullable_string(self.error_message.as_deref(), true)?;
        }
        out.put_length(self.topics.len(), true)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        if version >= 2 {
            out.put_length(self.nodes.len(), true)?;
            for item in &self.nodes {
                item.encode(out, version)?;
            }
        } else if !self.nodes.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "Nodes", version });
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for DescribeQuorumResponse {
    const NAME: &'static str = "DescribeQuorumResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for DescribeQuorumResponse {
    const KEY: i16 = Self::KEY;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicData {
    pub topic_name: String,
    pub partitions: Vec<PartitionData>,
}

impl TopicData {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            topic_name: buf.string(true)?,
            partitions: buf.array(true, 25, |buf| PartitionData::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.topic_name, true)?;
        out.put_length(self.partitions.len(), true)?;
        for item in &self.partitions {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct PartitionData {
    pub partition_index: i32,
    pub error_code: i16,
    /// Versions 2+.
    pub error_message: Option<String>,
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub high_watermark: i64,
    pub current_voters: Vec<ReplicaState>,
    pub observers: Vec<ReplicaState>,
}

impl Default for PartitionData {
    fn default() -> Self {
        Self {
            partition_index: 0,
            error_code: 0,
            error_message: Some(String::new()),
            leader_id: 0,
            leader_epoch: 0,
            high_watermark: 0,
            current_voters: Vec::new(),
            observers: Vec::new(),
        }
    }
}

impl PartitionData {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            partition_index: buf.i32()?,
            error_code: buf.i16()?,
            error_message: if version >= 2 { buf.nullable_string(true, true)? } else { Some(String::new()) },
            leader_id: buf.i32()?,
            leader_epoch: buf.i32()?,
            high_watermark: buf.i64()?,
            current_voters: buf.array(true, 13, |buf| ReplicaState::decode(buf, version))?,
            observers: buf.array(true, 13, |buf| ReplicaState::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.partition_index);
        out.put_i16(self.error_code);
        if version >= 2 {
            out.put_nullable_string(self.error_message.as_deref(), true)?;
        }
        out.put_i32(self.leader_id);
        out.put_i32(self.leader_epoch);
        out.put_i64(self.high_watermark);
        out.put_length(self.current_voters.len(), true)?;
        for item in &self.current_voters {
            item.encode(out, version)?;
        }
        out.put_length(self.observers.len(), true)?;
        for item in &self.observers {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaState {
    pub replica_id: i32,
    /// Versions 2+.
    pub replica_directory_id: Uuid,
    pub log_end_offset: i64,
    /// Versions 1+.
    pub last_fetch_timestamp: i64,
    /// Versions 1+.
    pub last_caught_up_timestamp: i64,
}

impl Default for ReplicaState {
    fn default() -> Self {
        Self {
            replica_id: 0,
            replica_directory_id: Uuid::ZERO,
            log_end_offset: 0,
            last_fetch_timestamp: -1,
            last_caught_up_timestamp: -1,
        }
    }
}

impl ReplicaState {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            replica_id: buf.i32()?,
            replica_directory_id: if version >= 2 { buf.uuid()? } else { Uuid::ZERO },
            log_end_offset: buf.i64()?,
            last_fetch_timestamp: if version >= 1 { buf.i64()? } else { -1 },
            last_caught_up_timestamp: if version >= 1 { buf.i64()? } else { -1 },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.replica_id);
        if version >= 2 {
            out.put_uuid(self.replica_directory_id);
        } else if !self.replica_directory_id.is_zero() {
            return Err(EncodeError::UnsupportedField { field: "ReplicaDirectoryId", version });
        }
        out.put_i64(self.log_end_offset);
        if version >= 1 {
            out.put_i64(self.last_fetch_timestamp);
        }
        if version >= 1 {
            out.put_i64(self.last_caught_up_timestamp);
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    pub node_id: i32,
    pub listeners: Vec<Listener>,
}

impl Node {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            node_id: buf.i32()?,
            listeners: buf.array(true, 5, |buf| Listener::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.node_id);
        out.put_length(self.listeners.len(), true)?;
        for item in &self.listeners {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listener {
    pub name: String,
    pub host: String,
    pub port: u16,
}

impl Listener {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { name: buf.string(true)?, host: buf.string(true)?, port: buf.u16()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_string(&self.host, true)?;
        out.put_u16(self.port);
        out.put_uvarint(0);
        Ok(())
    }
}
