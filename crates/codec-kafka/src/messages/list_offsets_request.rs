//! ListOffsetsRequest: API key 2, versions 1–11, flexible from 6.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListOffsetsRequest {
    pub replica_id: i32,
    /// Versions 2+.
    pub isolation_level: i8,
    pub topics: Vec<ListOffsetsTopic>,
    /// Versions 10+.
    pub timeout_ms: i32,
}

impl ListOffsetsRequest {
    pub const KEY: i16 = 2;
    pub const VERSIONS: RangeInclusive<i16> = 1..=11;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 6;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ListOffsetsRequest", version });
        }
        let flexible = version >= 6;
        let message = Self {
            replica_id: buf.i32()?,
            isolation_level: if version >= 2 { buf.i8()? } else { 0 },
            topics: buf.array(flexible, 3, |buf| ListOffsetsTopic::decode(buf, version))?,
            timeout_ms: if version >= 10 { buf.i32()? } else { 0 },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ListOffsetsRequest", version });
        }
        let flexible = version >= 6;
        out.put_i32(self.replica_id);
        if version >= 2 {
            out.put_i8(self.isolation_level);
        } else if self.isolation_level != 0 {
            return Err(EncodeError::UnsupportedField { field: "IsolationLevel", version });
        }
        out.put_length(self.topics.len(), flexible)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        if version >= 10 {
            out.put_i32(self.timeout_ms);
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for ListOffsetsRequest {
    const NAME: &'static str = "ListOffsetsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ListOffsetsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ListOffsetsResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListOffsetsTopic {
    pub name: String,
    pub partitions: Vec<ListOffsetsPartition>,
}

impl ListOffsetsTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 6;
        let message = Self {
            name: buf.string(flexible)?,
            partitions: buf.array(flexible, 12, |buf| ListOffsetsPartition::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 6;
        out.put_string(&self.name, flexible)?;
        out.put_length(self.partitions.len(), flexible)?;
        for item in &self.partitions {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ListOffsetsPartition {
    pub partition_index: i32,
    /// Versions 4+.
    pub current_leader_epoch: i32,
    pub timestamp: i64,
}

impl Default for ListOffsetsPartition {
    fn default() -> Self {
        Self { partition_index: 0, current_leader_epoch: -1, timestamp: 0 }
    }
}

impl ListOffsetsPartition {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 6;
        let message = Self {
            partition_index: buf.i32()?,
            current_leader_epoch: if version >= 4 { buf.i32()? } else { -1 },
            timestamp: buf.i64()?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 6;
        out.put_i32(self.partition_index);
        if version >= 4 {
            out.put_i32(self.current_leader_epoch);
        }
        out.put_i64(self.timestamp);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
