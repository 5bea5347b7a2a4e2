//! ConsumerProtocolSubscription: versions 0–3, never flexible.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::Message;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerProtocolSubscription {
    pub topics: Vec<String>,
    pub user_data: Option<Bytes>,
    /// Versions 1+.
    pub owned_partitions: Vec<TopicPartition>,
    /// Versions 2+.
    pub generation_id: i32,
    /// Versions 3+.
    pub rack_id: Option<String>,
}

impl Default for ConsumerProtocolSubscription {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            user_data: None,
            owned_partitions: Vec::new(),
            generation_id: -1,
            rack_id: None,
        }
    }
}

impl ConsumerProtocolSubscription {
    pub const VERSIONS: RangeInclusive<i16> = 0..=3;
    /// First flexible version.
    pub const FLEXIBLE: i16 = i16::MAX;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ConsumerProtocolSubscription", version });
        }
        Ok(Self {
            topics: buf.array(false, 2, |buf| buf.string(false))?,
            user_data: buf.nullable_bytes(false, true)?,
            owned_partitions: if version >= 1 {
                buf.array(false, 6, |buf| TopicPartition::decode(buf, version))?
            } else {
                Vec::new()
            },
            generation_id: if version >= 2 { buf.i32()? } else { -1 },
            rack_id: if version >= 3 { buf.nullable_string(false, true)? } else { None },
        })
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ConsumerProtocolSubscription", version });
        }
        out.put_length(self.topics.len(), false)?;
        for item in &self.topics {
            out.put_string(item, false)?;
        }
        out.put_nullable_bytes(self.user_data.as_ref(), false)?;
        if version >= 1 {
            out.put_length(self.owned_partitions.len(), false)?;
            for item in &self.owned_partitions {
                item.encode(out, version)?;
            }
        }
        if version >= 2 {
            out.put_i32(self.generation_id);
        }
        if version >= 3 {
            out.put_nullable_string(self.rack_id.as_deref(), false)?;
        }
        Ok(())
    }
}

impl Message for ConsumerProtocolSubscription {
    const NAME: &'static str = "ConsumerProtocolSubscription";
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
