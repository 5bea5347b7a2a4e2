//! ShareFetchRequest: API key 78, versions 1–2, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct ShareFetchRequest {
    pub group_id: Option<String>,
    pub member_id: Option<String>,
    pub share_session_epoch: i32,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub max_records: i32,
    pub batch_size: i32,
    /// Versions 2+.
    pub share_acquire_mode: i8,
    /// Versions 2+.
    pub is_renew_ack: bool,
    pub topics: Vec<FetchTopic>,
    pub forgotten_topics_data: Vec<ForgottenTopic>,
}

impl Default for ShareFetchRequest {
    fn default() -> Self {
        Self {
            group_id: None,
            member_id: Some(String::new()),
            share_session_epoch: 0,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            max_records: 0,
            batch_size: 0,
            share_acquire_mode: 0,
            is_renew_ack: false,
            topics: Vec::new(),
            forgotten_topics_data: Vec::new(),
        }
    }
}

impl ShareFetchRequest {
    pub const KEY: i16 = 78;
    pub const VERSIONS: RangeInclusive<i16> = 1..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ShareFetchRequest", version });
        }
        let message = Self {
            group_id: buf.nullable_string(true, true)?,
            member_id: buf.nullable_string(true, true)?,
            share_session_epoch: buf.i32()?,
            max_wait_ms: buf.i32()?,
            min_bytes: buf.i32()?,
            max_bytes: buf.i32()?,
            max_records: buf.i32()?,
            batch_size: buf.i32()?,
            share_acquire_mode: if version >= 2 { buf.i8()? } else { 0 },
            is_renew_ack: if version >= 2 { buf.bool()? } else { false },
            topics: buf.array(true, 18, |buf| FetchTopic::decode(buf, version))?,
            forgotten_topics_data: buf.array(true, 18, |buf| ForgottenTopic::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ShareFetchRequest", version });
        }
        out.put_nullable_string(self.group_id.as_deref(), true)?;
        out.put_nullable_string(self.member_id.as_deref(), true)?;
        out.put_i32(self.share_session_epoch);
        out.put_i32(self.max_wait_ms);
        out.put_i32(self.min_bytes);
        out.put_i32(self.max_bytes);
        out.put_i32(self.max_records);
        out.put_i32(self.batch_size);
        if version >= 2 {
            out.put_i8(self.share_acquire_mode);
        }
        if version >= 2 {
            out.put_bool(self.is_renew_ack);
        } else if self.is_renew_ack {
            return Err(EncodeError::UnsupportedField { field: "IsRenewAck", version });
        }
        out.put_length(self.topics.len(), true)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        out.put_length(self.forgotten_topics_data.len(), true)?;
        for item in &self.forgotten_topics_data {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for ShareFetchRequest {
    const NAME: &'static str = "ShareFetchRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ShareFetchRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ShareFetchResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct FetchTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<FetchPartition>,
}

impl FetchTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            topic_id: buf.uuid()?,
            partitions: buf.array(true, 6, |buf| FetchPartition::decode(buf, version))?,
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
pub struct FetchPartition {
    pub partition_index: i32,
    pub acknowledgement_batches: Vec<AcknowledgementBatch>,
}

impl FetchPartition {
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

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForgottenTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

impl ForgottenTopic {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { topic_id: buf.uuid()?, partitions: buf.array(true, 4, |buf| buf.i32())? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_uuid(self.topic_id);
        out.put_length(self.partitions.len(), true)?;
        for item in &self.partitions {
            out.put_i32(*item);
        }
        out.put_uvarint(0);
        Ok(())
    }
}
