//! ConsumerProtocolAssignment: versions 0–3, never flexible.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::Message;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConsumerProtocolAssignment {
    pub assigned_partitions: Vec<TopicPartition>,
    pub user_data: Option<Bytes>,
}

impl ConsumerProtocolAssignment {
    pub const VERSIONS: RangeInclusive<i16> = 0..=3;
    /// First flexible version.
    pub const FLEXIBLE: i16 = i16::MAX;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ConsumerProtocolAssignment", version });
        }
        Ok(Self {
            assigned_partitions: buf.array(false, 6, |buf| TopicPartition::decode(buf, version))?,
            user_data: buf.nullable_bytes(false, true)?,
        })
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ConsumerProtocolAssignment", version });
        }
        out.put_length(self.assigned_partitions.len(), false)?;
        for item in &self.assigned_partitions {
            item.encode(out, version)?;
        }
        out.put_nullable_bytes(self.user_data.as_ref(), false)?;
        Ok(())
    }
}

impl Message for ConsumerProtocolAssignment {
    const NAME: &'static str = "ConsumerProtocolAssignment";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicPartition {
    pub topic: String,
    pub partitions: Vec<i32>,
}

impl TopicPartition {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        Ok(Self { topic: buf.string(false)?, partitions: buf.array(false, 4, |buf| buf.i32())? })
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.topic, false)?;
        out.put_length(self.partitions.len(), false)?;
        for item in &self.partitions {
            out.put_i32(*item);
        }
        Ok(())
    }
}
