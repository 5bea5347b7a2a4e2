//! ProduceRequest: API key 0, versions 3–13, flexible from 9.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::records::Records;
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProduceRequest {
    pub transactional_id: Option<String>,
    pub acks: i16,
    pub timeout_ms: i32,
    pub topic_data: Vec<TopicProduceData>,
}

impl ProduceRequest {
    pub const KEY: i16 = 0;
    pub const VERSIONS: RangeInclusive<i16> = 3..=13;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 9;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ProduceRequest", version });
        }
        let flexible = version >= 9;
        let message = Self {
            transactional_id: buf.nullable_string(flexible, true)?,
            acks: buf.i16()?,
            timeout_ms: buf.i32()?,
            topic_data: buf.array(flexible, 3, |buf| TopicProduceData::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ProduceRequest", version });
        }
        let flexible = version >= 9;
        out.put_nullable_string(self.transactional_id.as_deref(), flexible)?;
        out.put_i16(self.acks);
        out.put_i32(self.timeout_ms);
        out.put_length(self.topic_data.len(), flexible)?;
        for item in &self.topic_data {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for ProduceRequest {
    const NAME: &'static str = "ProduceRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ProduceRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ProduceResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicProduceData {
    /// Versions 3–12.
    pub name: String,
    /// Versions 13+.
    pub topic_id: Uuid,
    pub partition_data: Vec<PartitionProduceData>,
}

impl TopicProduceData {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 9;
        let message = Self {
            name: if version <= 12 { buf.string(flexible)? } else { String::new() },
            topic_id: if version >= 13 { buf.uuid()? } else { Uuid::ZERO },
            partition_data: buf.array(flexible, 6, |buf| PartitionProduceData::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 9;
        if version <= 12 {
            out.put_string(&self.name, flexible)?;
        }
        if version >= 13 {
            out.put_uuid(self.topic_id);
        }
        out.put_length(self.partition_data.len(), flexible)?;
        for item in &self.partition_data {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct PartitionProduceData {
    pub index: i32,
    pub records: Option<Records>,
}

impl PartitionProduceData {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 9;
        let message = Self { index: buf.i32()?, records: buf.nullable_records(flexible, true)? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 9;
        out.put_i32(self.index);
        out.put_nullable_records(self.records.as_ref(), flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
