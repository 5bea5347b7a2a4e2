//! MetadataResponse: API key 3, versions 0–13, flexible from 9.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct MetadataResponse {
    /// Versions 3+.
    pub throttle_time_ms: i32,
    pub brokers: Vec<MetadataResponseBroker>,
    /// Versions 2+.
    pub cluster_id: Option<String>,
    /// Versions 1+.
    pub controller_id: i32,
    pub topics: Vec<MetadataResponseTopic>,
    /// Versions 8–10.
    pub cluster_authorized_operations: i32,
    /// Versions 13+.
    pub error_code: i16,
}

impl Default for MetadataResponse {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            brokers: Vec::new(),
            cluster_id: None,
            controller_id: -1,
            topics: Vec::new(),
            cluster_authorized_operations: i32::MIN,
            error_code: 0,
        }
    }
}

impl MetadataResponse {
    pub const KEY: i16 = 3;
    pub const VERSIONS: RangeInclusive<i16> = 0..=13;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 9;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "MetadataResponse", version });
        }
        let flexible = version >= 9;
        let message = Self {
            throttle_time_ms: if version >= 3 { buf.i32()? } else { 0 },
            brokers: buf.array(flexible, 10, |buf| MetadataResponseBroker::decode(buf, version))?,
            cluster_id: if version >= 2 { buf.nullable_string(flexible, true)? } else { None },
            controller_id: if version >= 1 { buf.i32()? } else { -1 },
            topics: buf.array(flexible, 8, |buf| MetadataResponseTopic::decode(buf, version))?,
            cluster_authorized_operations: if (8..=10).contains(&version) { buf.i32()? } else { i32::MIN },
            error_code: if version >= 13 { buf.i16()? } else { 0 },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "MetadataResponse", version });
        }
        let flexible = version >= 9;
        if version >= 3 {
            out.put_i32(self.throttle_time_ms);
        }
        out.put_length(self.brokers.len(), flexible)?;
        for item in &self.brokers {
            item.encode(out, version)?;
        }
        if version >= 2 {
            out.put_nullable_string(self.cluster_id.as_deref(), flexible)?;
        }
        if version >= 1 {
            out.put_i32(self.controller_id);
        }
        out.put_length(self.topics.len(), flexible)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        if (8..=10).contains(&version) {
            out.put_i32(self.cluster_authorized_operations);
        } else if self.cluster_authorized_operations != i32::MIN {
            return Err(EncodeError::UnsupportedField { field: "ClusterAuthorizedOperations", version });
        }
        if version >= 13 {
            out.put_i16(self.error_code);
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for MetadataResponse {
    const NAME: &'static str = "MetadataResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for MetadataResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetadataResponseBroker {
    pub node_id: i32,
    pub host: String,
    pub port: i32,
    /// Versions 1+.
    pub rack: Option<String>,
}

impl MetadataResponseBroker {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 9;
        let message = Self {
            node_id: buf.i32()?,
            host: buf.string(flexible)?,
            port: buf.i32()?,
            rack: if version >= 1 { buf.nullable_string(flexible, true)? } else { None },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 9;
        out.put_i32(self.node_id);
        out.put_string(&self.host, flexible)?;
        out.put_i32(self.port);
        if version >= 1 {
            out.put_nullable_string(self.rack.as_deref(), flexible)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct MetadataResponseTopic {
    pub error_code: i16,
    /// Null in versions 12+.
    pub name: Option<String>,
    /// Versions 10+.
    pub topic_id: Uuid,
    /// Versions 1+.
    pub is_internal: bool,
    pub partitions: Vec<MetadataResponsePartition>,
    /// Versions 8+.
    pub topic_authorized_operations: i32,
}

impl Default for MetadataResponseTopic {
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

impl MetadataResponseTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 9;
        let message = Self {
            error_code: buf.i16()?,
            name: buf.nullable_string(flexible, version >= 12)?,
            topic_id: if version >= 10 { buf.uuid()? } else { Uuid::ZERO },
            is_internal: if version >= 1 { buf.bool()? } else { false },
            partitions: buf.array(flexible, 18, |buf| MetadataResponsePartition::decode(buf, version))?,
            topic_authorized_operations: if version >= 8 { buf.i32()? } else { i32::MIN },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 9;
        out.put_i16(self.error_code);
        if self.name.is_none() && version < 12 {
            return Err(EncodeError::NullNotAllowed { field: "Name", version });
        }
        out.put_nullable_string(self.name.as_deref(), flexible)?;
        if version >= 10 {
            out.put_uuid(self.topic_id);
        }
        if version >= 1 {
            out.put_bool(self.is_internal);
        }
        out.put_length(self.partitions.len(), flexible)?;
        for item in &self.partitions {
            item.encode(out, version)?;
        }
        if version >= 8 {
            out.put_i32(self.topic_authorized_operations);
        } else if self.topic_authorized_operations != i32::MIN {
            return Err(EncodeError::UnsupportedField { field: "TopicAuthorizedOperations", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct MetadataResponsePartition {
    pub error_code: i16,
    pub partition_index: i32,
    pub leader_id: i32,
    /// Versions 7+.
    pub leader_epoch: i32,
    pub replica_nodes: Vec<i32>,
    pub isr_nodes: Vec<i32>,
    /// Versions 5+.
    pub offline_replicas: Vec<i32>,
}

impl Default for MetadataResponsePartition {
    fn default() -> Self {
        Self {
            error_code: 0,
            partition_index: 0,
            leader_id: 0,
            leader_epoch: -1,
            replica_nodes: Vec::new(),
            isr_nodes: Vec::new(),
            offline_replicas: Vec::new(),
        }
    }
}

impl MetadataResponsePartition {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 9;
        let message = Self {
            error_code: buf.i16()?,
            partition_index: buf.i32()?,
            leader_id: buf.i32()?,
            leader_epoch: if version >= 7 { buf.i32()? } else { -1 },
            replica_nodes: buf.array(flexible, 4, |buf| buf.i32())?,
            isr_nodes: buf.array(flexible, 4, |buf| buf.i32())?,
            offline_replicas: if version >= 5 {
                buf.array(flexible, 4, |buf| buf.i32())?
            } else {
                Vec::new()
            },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 9;
        out.put_i16(self.error_code);
        out.put_i32(self.partition_index);
        out.put_i32(self.leader_id);
        if version >= 7 {
            out.put_i32(self.leader_epoch);
        }
        out.put_length(self.replica_nodes.len(), flexible)?;
        for item in &self.replica_nodes {
            out.put_i32(*item);
        }
        out.put_length(self.isr_nodes.len(), flexible)?;
        for item in &self.isr_nodes {
            out.put_i32(*item);
        }
        if version >= 5 {
            out.put_length(self.offline_replicas.len(), flexible)?;
            for item in &self.offline_replicas {
                out.put_i32(*item);
            }
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
