//! ShareAcknowledgeRequest: API key 79, versions 1–2, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct ShareAcknowledgeRequest {
    pub group_id: Option<String>,
    pub member_id: Option<String>,
    pub share_session_epoch: i32,
    /// Versions 2+.
    pub is_renew_ack: bool,
    pub topics: Vec<AcknowledgeTopic>,
}

impl Default for ShareAcknowledgeRequest {
    fn default() -> Self {
        Self {
            group_id: None,
            member_id: Some(String::new()),
            share_session_epoch: 0,
            is_renew_ack: false,
            topics: Vec::new(),
        }
    }
}

impl ShareAcknowledgeRequest {
    pub const KEY: i16 = 79;
    pub const VERSIONS: RangeInclusive<i16> = 1..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ShareAcknowledgeRequest", version });
        }
        let message = Self {
            group_id: buf.nullable_string(true, true)?,
            member_id: buf.nullable_string(true, true)?,
            share_session_epoch: buf.i32()?,
            is_renew_ack: if version >= 2 { buf.bool()? } else { false },
            topics: buf.array(true, 18, |buf| AcknowledgeTopic::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ShareAcknowledgeRequest", version });
        }
        out.put_nullable_string(self.group_id.as_deref(), true)?;
        out.put_nullable_string(self.member_id.as_deref(), true)?;
        out.put_i32(self.share_session_epoch);
        if version >= 2 {
            out.put_bool(self.is_renew_ack);
        } else if self.is_renew_ack {
            return Err(EncodeError::UnsupportedField { field: "IsRenewAck", version });
        }
        out.put_length(self.topics.len(), true)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for ShareAcknowledgeRequest {
    const NAME: &'static str = "ShareAcknowledgeRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ShareAcknowledgeRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ShareAcknowledgeResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AcknowledgeTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<AcknowledgePartition>,
}

impl AcknowledgeTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            topic_id: buf.uuid()?,
            partitions: buf.array(true, 6, |buf| AcknowledgePartition::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_uuid(self.topic_id);
        out.put_length(self.partitions.len(), true)?;
        for item in &self.partitions {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AcknowledgePartition {
    pub partition_index: i32,
    pub acknowledgement_batches: Vec<AcknowledgementBatch>,
}

impl AcknowledgePartition {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            partition_index: buf.i32()?,
            acknowledgement_batches: buf.array(true, 18, |buf| AcknowledgementBatch::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.partition_index);
        out.put_length(self.acknowledgement_batches.len(), true)?;
        for item in &self.acknowledgement_batches {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AcknowledgementBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    pub acknowledge_types: Vec<i8>,
}

impl AcknowledgementBatch {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            first_offset: buf.i64()?,
            last_offset: buf.i64()?,
            acknowledge_types: buf.array(true, 1, |buf| buf.i8())?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_i64(self.first_offset);
        out.put_i64(self.last_offset);
        out.put_length(self.acknowledge_types.len(), true)?;
        for item in &self.acknowledge_types {
            out.put_i8(*item);
        }
        out.put_uvarint(0);
        Ok(())
    }
}
