//! CreateTopicsRequest: API key 19, versions 2–7, flexible from 5.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct CreateTopicsRequest {
    pub topics: Vec<CreatableTopic>,
    pub timeout_ms: i32,
    pub validate_only: bool,
}

impl Default for CreateTopicsRequest {
    fn default() -> Self {
        Self { topics: Vec::new(), timeout_ms: 60000, validate_only: false }
    }
}

impl CreateTopicsRequest {
    pub const KEY: i16 = 19;
    pub const VERSIONS: RangeInclusive<i16> = 2..=7;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 5;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "CreateTopicsRequest", version });
        }
        let flexible = version >= 5;
        let message = Self {
            topics: buf.array(flexible, 10, |buf| CreatableTopic::decode(buf, version))?,
            timeout_ms: buf.i32()?,
            validate_only: buf.bool()?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "CreateTopicsRequest", version });
        }
        let flexible = version >= 5;
        out.put_length(self.topics.len(), flexible)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        out.put_i32(self.timeout_ms);
        out.put_bool(self.validate_only);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for CreateTopicsRequest {
    const NAME: &'static str = "CreateTopicsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for CreateTopicsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::CreateTopicsResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct CreatableTopic {
    pub name: String,
    pub num_partitions: i32,
    pub replication_factor: i16,
    pub assignments: Vec<CreatableReplicaAssignment>,
    pub configs: Vec<CreatableTopicConfig>,
}

impl CreatableTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 5;
        let message = Self {
            name: buf.string(flexible)?,
            num_partitions: buf.i32()?,
            replication_factor: buf.i16()?,
            assignments: buf.array(flexible, 6, |buf| CreatableReplicaAssignment::decode(buf, version))?,
            configs: buf.array(flexible, 3, |buf| CreatableTopicConfig::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 5;
        out.put_string(&self.name, flexible)?;
        out.put_i32(self.num_partitions);
        out.put_i16(self.replication_factor);
        out.put_length(self.assignments.len(), flexible)?;
        for item in &self.assignments {
            item.encode(out, version)?;
        }
        out.put_length(self.configs.len(), flexible)?;
        for item in &self.configs {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct CreatableReplicaAssignment {
    pub partition_index: i32,
    pub broker_ids: Vec<i32>,
}

impl CreatableReplicaAssignment {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 5;
        let message =
            Self { partition_index: buf.i32()?, broker_ids: buf.array(flexible, 4, |buf| buf.i32())? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 5;
        out.put_i32(self.partition_index);
        out.put_length(self.broker_ids.len(), flexible)?;
        for item in &self.broker_ids {
            out.put_i32(*item);
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreatableTopicConfig {
    pub name: String,
    pub value: Option<String>,
}

impl Default for CreatableTopicConfig {
    fn default() -> Self {
        Self { name: String::new(), value: Some(String::new()) }
    }
}

impl CreatableTopicConfig {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 5;
        let message = Self { name: buf.string(flexible)?, value: buf.nullable_string(flexible, true)? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 5;
        out.put_string(&self.name, flexible)?;
        out.put_nullable_string(self.value.as_deref(), flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
