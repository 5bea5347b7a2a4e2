//! DescribeTopicPartitionsResponse: API key 75, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribeTopicPartitionsResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<DescribeTopicPartitionsResponseTopic>,
    pub next_cursor: Option<Cursor>,
}

impl DescribeTopicPartitionsResponse {
    pub const KEY: i16 = 75;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "DescribeTopicPartitionsResponse",
                version,
            });
        }
        let message = Self {
            throttle_time_ms: buf.i32()?,
            topics: buf.array(true, 26, |buf| DescribeTopicPartitionsResponseTopic::decode(buf, version))?,
            next_cursor: if buf.struct_is_present(true)? {
                Some(Cursor::decode(buf, version)?)
            } else {
                None
            },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "DescribeTopicPartitionsResponse",
                version,
            });
        }
        out.put_i32(self.throttle_time_ms);
        out.put_length(self.topics.len(), true)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        match &self.next_cursor {
            Some(value) => {
                out.put_i8(1);
                value.encode(out, version)?;
            }
            None => out.put_i8(-1),
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for DescribeTopicPartitionsResponse {
    const NAME: &'static str = "DescribeTopicPartitionsResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for DescribeTopicPartitionsResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DescribeTopicPartitionsResponseTopic {
    pub error_code: i16,
    pub name: Option<String>,
    pub topic_id: Uuid,
    pub is_internal: bool,
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    pub topic_authorized_operations: i32,
}

impl Default for DescribeTopicPartitionsResponseTopic {
    fn default() -> Self {
        Self {
            error_code: 0,
            name: Some(String::new()),
            topic_id: Uuid::ZERO,
            is_internal: false,
            partitions: Vec::new(),
            topic_authorized_operations: i32::MIN,
        }
    }
}

impl DescribeTopicPartitionsResponseTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            error_code: buf.i16()?,
            name: buf.nullable_string(true, true)?,
            topic_id: buf.uuid()?,
            is_internal: buf.bool()?,
            partitions: buf
                .array(true, 20, |buf| DescribeTopicPartitionsResponsePartition::decode(buf, version))?,
            topic_authorized_operations: buf.i32()?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i16(self.error_code);
        out.put_nullable_string(self.name.as_deref(), true)?;
        out.put_uuid(self.topic_id);
        out.put_bool(self.is_internal);
        out.put_length(self.partitions.len(), true)?;
        for item in &self.partitions {
            item.encode(out, version)?;
        }
        out.put_i32(self.topic_authorized_operations);
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DescribeTopicPartitionsResponsePartition {
    pub error_code: i16,
    pub partition_index: i32,
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub replica_nodes: Vec<i32>,
    pub isr_nodes: Vec<i32>,
    pub eligible_leader_replicas: Option<Vec<i32>>,
    pub last_known_elr: Option<Vec<i32>>,
    pub offline_replicas: Vec<i32>,
}

impl Default for DescribeTopicPartitionsResponsePartition {
    fn default() -> Self {
        Self {
            error_code: 0,
            partition_index: 0,
            leader_id: 0,
            leader_epoch: -1,
            replica_nodes: Vec::new(),
            isr_nodes: Vec::new(),
            eligible_leader_replicas: None,
            last_known_elr: None,
            offline_replicas: Vec::new(),
        }
    }
}

impl DescribeTopicPartitionsResponsePartition {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            error_code: buf.i16()?,
            partition_index: buf.i32()?,
            leader_id: buf.i32()?,
            leader_epoch: buf.i32()?,
            replica_nodes: buf.array(true, 4, |buf| buf.i32())?,
            isr_nodes: buf.array(true, 4, |buf| buf.i32())?,
            eligible_leader_replicas: buf.nullable_array(true, true, 4, |buf| buf.i32())?,
            last_known_elr: buf.nullable_array(true, true, 4, |buf| buf.i32())?,
            offline_replicas: buf.array(true, 4, |buf| buf.i32())?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_i16(self.error_code);
        out.put_i32(self.partition_index);
        out.put_i32(self.leader_id);
        out.put_i32(self.leader_epoch);
        out.put_length(self.replica_nodes.len(), true)?;
        for item in &self.replica_nodes {
            out.put_i32(*item);
        }
        out.put_length(self.isr_nodes.len(), true)?;
        for item in &self.isr_nodes {
            out.put_i32(*item);
        }
        match &self.eligible_leader_replicas {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    out.put_i32(*item);
                }
            }
            None => out.put_null_length(true)?,
        }
        match &self.last_known_elr {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    out.put_i32(*item);
                }
            }
            None => out.put_null_length(true)?,
        }
        out.put_length(self.offline_replicas.len(), true)?;
        for item in &self.offline_replicas {
            out.put_i32(*item);
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cursor {
    pub topic_name: String,
    pub partition_index: i32,
}

impl Cursor {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { topic_name: buf.string(true)?, partition_index: buf.i32()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.topic_name, true)?;
        out.put_i32(self.partition_index);
        out.put_uvarint(0);
        Ok(())
    }
}
