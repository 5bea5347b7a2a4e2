//! ElectLeadersRequest: API key 43, versions 0–2, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct ElectLeadersRequest {
    /// Versions 1+.
    pub election_type: i8,
    pub topic_partitions: Option<Vec<TopicPartitions>>,
    pub timeout_ms: i32,
}

impl Default for ElectLeadersRequest {
    fn default() -> Self {
        Self { election_type: 0, topic_partitions: Some(Vec::new()), timeout_ms: 60000 }
    }
}

impl ElectLeadersRequest {
    pub const KEY: i16 = 43;
    pub const VERSIONS: RangeInclusive<i16> = 0..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ElectLeadersRequest", version });
        }
        let flexible = version >= 2;
        let message = Self {
            election_type: if version >= 1 { buf.i8()? } else { 0 },
            topic_partitions: buf
                .nullable_array(flexible, true, 3, |buf| TopicPartitions::decode(buf, version))?,
            timeout_ms: buf.i32()?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ElectLeadersRequest", version });
        }
        let flexible = version >= 2;
        if version >= 1 {
            out.put_i8(self.election_type);
        } else if self.election_type != 0 {
            return Err(EncodeError::UnsupportedField { field: "ElectionType", version });
        }
        match &self.topic_partitions {
            Some(items) => {
                out.put_length(items.len(), flexible)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(flexible)?,
        }
        out.put_i32(self.timeout_ms);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for ElectLeadersRequest {
    const NAME: &'static str = "ElectLeadersRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ElectLeadersRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ElectLeadersResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicPartitions {
    pub topic: String,
    pub partitions: Vec<i32>,
}

impl TopicPartitions {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 2;
        let message =
            Self { topic: buf.string(flexible)?, partitions: buf.array(flexible, 4, |buf| buf.i32())? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 2;
        out.put_string(&self.topic, flexible)?;
        out.put_length(self.partitions.len(), flexible)?;
        for item in &self.partitions {
            out.put_i32(*item);
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
