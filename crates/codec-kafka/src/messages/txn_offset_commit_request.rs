//! TxnOffsetCommitRequest: API key 28, versions 0–6, flexible from 3.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct TxnOffsetCommitRequest {
    pub transactional_id: String,
    pub group_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Versions 3+.
    pub generation_id_or_member_epoch: i32,
    /// Versions 3+.
    pub member_id: String,
    /// Versions 3+.
    pub group_instance_id: Option<String>,
    pub topics: Vec<TxnOffsetCommitRequestTopic>,
}

impl Default for TxnOffsetCommitRequest {
    fn default() -> Self {
        Self {
            transactional_id: String::new(),
            group_id: String::new(),
            producer_id: 0,
            producer_epoch: 0,
            generation_id_or_member_epoch: -1,
            member_id: String::new(),
            group_instance_id: None,
            topics: Vec::new(),
        }
    }
}

impl TxnOffsetCommitRequest {
    pub const KEY: i16 = 28;
    pub const VERSIONS: RangeInclusive<i16> = 0..=6;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 3;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "TxnOffsetCommitRequest", version });
        }
        let flexible = version >= 3;
        let message = Self {
            transactional_id: buf.string(flexible)?,
            group_id: buf.string(flexible)?,
            producer_id: buf.i64()?,
            producer_epoch: buf.i16()?,
            generation_id_or_member_epoch: if version >= 3 { buf.i32()? } else { -1 },
            member_id: if version >= 3 { buf.string(true)? } else { String::new() },
            group_instance_id: if version >= 3 { buf.nullable_string(true, true)? } else { None },
            topics: buf.array(flexible, 3, |buf| TxnOffsetCommitRequestTopic::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "TxnOffsetCommitRequest", version });
        }
        let flexible = version >= 3;
        out.put_string(&self.transactional_id, flexible)?;
        out.put_string(&self.group_id, flexible)?;
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        if version >= 3 {
            out.put_i32(self.generation_id_or_member_epoch);
        } else if self.generation_id_or_member_epoch != -1 {
            return Err(EncodeError::UnsupportedField { field: "GenerationIdOrMemberEpoch", version });
        }
        if version >= 3 {
            out.put_string(&self.member_id, true)?;
        } else if !self.member_id.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "MemberId", version });
        }
        if version >= 3 {
            out.put_nullable_string(self.group_instance_id.as_deref(), true)?;
        } else if self.group_instance_id.is_some() {
            return Err(EncodeError::UnsupportedField { field: "GroupInstanceId", version });
        }
        out.put_length(self.topics.len(), flexible)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for TxnOffsetCommitRequest {
    const NAME: &'static str = "TxnOffsetCommitRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for TxnOffsetCommitRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::TxnOffsetCommitResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TxnOffsetCommitRequestTopic {
    /// Versions 0–5.
    pub name: String,
    /// Versions 6+.
    pub topic_id: Uuid,
    pub partitions: Vec<TxnOffsetCommitRequestPartition>,
}

impl TxnOffsetCommitRequestTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let message = Self {
            name: if version <= 5 { buf.string(flexible)? } else { String::new() },
            topic_id: if version >= 6 { buf.uuid()? } else { Uuid::ZERO },
            partitions: buf
                .array(flexible, 14, |buf| TxnOffsetCommitRequestPartition::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        if version <= 5 {
            out.put_string(&self.name, flexible)?;
        }
        if version >= 6 {
            out.put_uuid(self.topic_id);
        }
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
pub struct TxnOffsetCommitRequestPartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    /// Versions 2+.
    pub committed_leader_epoch: i32,
    pub committed_metadata: Option<String>,
}

impl Default for TxnOffsetCommitRequestPartition {
    fn default() -> Self {
        Self {
            partition_index: 0,
            committed_offset: 0,
            committed_leader_epoch: -1,
            committed_metadata: Some(String::new()),
        }
    }
}

impl TxnOffsetCommitRequestPartition {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let message = Self {
            partition_index: buf.i32()?,
            committed_offset: buf.i64()?,
            committed_leader_epoch: if version >= 2 { buf.i32()? } else { -1 },
            committed_metadata: buf.nullable_string(flexible, true)?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        out.put_i32(self.partition_index);
        out.put_i64(self.committed_offset);
        if version >= 2 {
            out.put_i32(self.committed_leader_epoch);
        }
        out.put_nullable_string(self.committed_metadata.as_deref(), flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
