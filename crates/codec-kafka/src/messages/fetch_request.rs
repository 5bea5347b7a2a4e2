//! FetchRequest: API key 1, versions 4–18, flexible from 12.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct FetchRequest {
    /// Versions 12+. Tagged field 0.
    pub cluster_id: Option<String>,
    /// Versions 4–14.
    pub replica_id: i32,
    /// Versions 15+. Tagged field 1.
    pub replica_state: ReplicaState,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub isolation_level: i8,
    /// Versions 7+.
    pub session_id: i32,
    /// Versions 7+.
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    /// Versions 7+.
    pub forgotten_topics_data: Vec<ForgottenTopic>,
    /// Versions 11+.
    pub rack_id: String,
}

impl Default for FetchRequest {
    fn default() -> Self {
        Self {
            cluster_id: None,
            replica_id: -1,
            replica_state: ReplicaState::default(),
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten_topics_data: Vec::new(),
            rack_id: String::new(),
        }
    }
}

impl FetchRequest {
    pub const KEY: i16 = 1;
    pub const VERSIONS: RangeInclusive<i16> = 4..=18;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 12;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "FetchRequest", version });
        }
        let flexible = version >= 12;
        let mut message = Self {
            cluster_id: None,
            replica_id: if version <= 14 { buf.i32()? } else { -1 },
            replica_state: ReplicaState::default(),
            max_wait_ms: buf.i32()?,
            min_bytes: buf.i32()?,
            max_bytes: buf.i32()?,
            isolation_level: buf.i8()?,
            session_id: if version >= 7 { buf.i32()? } else { 0 },
            session_epoch: if version >= 7 { buf.i32()? } else { -1 },
            topics: buf.array(flexible, 3, |buf| FetchTopic::decode(buf, version))?,
            forgotten_topics_data: if version >= 7 {
                buf.array(flexible, 3, |buf| ForgottenTopic::decode(buf, version))?
            } else {
                Vec::new()
            },
            rack_id: if version >= 11 { buf.string(flexible)? } else { String::new() },
        };
        if flexible {
            for _ in 0..buf.tag_count()? {
                let (tag, outer_end) = buf.begin_tag()?;
                match tag {
                    0 => message.cluster_id = buf.nullable_string(true, true)?,
                    1 if version >= 15 => message.replica_state = ReplicaState::decode(buf, version)?,
                    _ => {}
                }
                buf.end_tag(outer_end);
            }
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "FetchRequest", version });
        }
        let flexible = version >= 12;
        if version <= 14 {
            out.put_i32(self.replica_id);
        } else if self.replica_id != -1 {
            return Err(EncodeError::UnsupportedField { field: "ReplicaId", version });
        }
        if version < 15 && self.replica_state != ReplicaState::default() {
            return Err(EncodeError::UnsupportedField { field: "ReplicaState", version });
        }
        out.put_i32(self.max_wait_ms);
        out.put_i32(self.min_bytes);
        out.put_i32(self.max_bytes);
        out.put_i8(self.isolation_level);
        if version >= 7 {
            out.put_i32(self.session_id);
        }
        if version >= 7 {
            out.put_i32(self.session_epoch);
        }
        out.put_length(self.topics.len(), flexible)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        if version >= 7 {
            out.put_length(self.forgotten_topics_data.len(), flexible)?;
            for item in &self.forgotten_topics_data {
                item.encode(out, version)?;
            }
        } else if !self.forgotten_topics_data.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "ForgottenTopicsData", version });
        }
        if version >= 11 {
            out.put_string(&self.rack_id, flexible)?;
        }
        if flexible {
            out.put_uvarint(
                u32::from(self.cluster_id.is_some())
                    + u32::from(version >= 15 && self.replica_state != ReplicaState::default()),
            );
            if self.cluster_id.is_some() {
                let mut field = Writer::new();
                field.put_nullable_string(self.cluster_id.as_deref(), true)?;
                out.put_tag(0, field)?;
            }
            if version >= 15 && self.replica_state != ReplicaState::default() {
                let mut field = Writer::new();
                self.replica_state.encode(&mut field, version)?;
                out.put_tag(1, field)?;
            }
        }
        Ok(())
    }
}

impl Message for FetchRequest {
    const NAME: &'static str = "FetchRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for FetchRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::FetchResponse;
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaState {
    pub replica_id: i32,
    pub replica_epoch: i64,
}

impl Default for ReplicaState {
    fn default() -> Self {
        Self { replica_id: -1, replica_epoch: -1 }
    }
}

impl ReplicaState {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { replica_id: buf.i32()?, replica_epoch: buf.i64()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.replica_id);
        out.put_i64(self.replica_epoch);
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct FetchTopic {
    /// Versions 4–12.
    pub topic: String,
    /// Versions 13+.
    pub topic_id: Uuid,
    pub partitions: Vec<FetchPartition>,
}

impl FetchTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 12;
        let message = Self {
            topic: if version <= 12 { buf.string(flexible)? } else { String::new() },
            topic_id: if version >= 13 { buf.uuid()? } else { Uuid::ZERO },
            partitions: buf.array(flexible, 16, |buf| FetchPartition::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 12;
        if version <= 12 {
            out.put_string(&self.topic, flexible)?;
        }
        if version >= 13 {
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
pub struct FetchPartition {
    pub partition: i32,
    /// Versions 9+.
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    /// Versions 12+.
    pub last_fetched_epoch: i32,
    /// Versions 5+.
    pub log_start_offset: i64,
    pub partition_max_bytes: i32,
    /// Versions 17+. Tagged field 0.
    pub replica_directory_id: Uuid,
    /// Versions 18+. Tagged field 1.
    pub high_watermark: i64,
}

impl Default for FetchPartition {
    fn default() -> Self {
        Self {
            partition: 0,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 0,
            replica_directory_id: Uuid::ZERO,
            high_watermark: i64::MAX,
        }
    }
}

impl FetchPartition {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 12;
        let mut message = Self {
            partition: buf.i32()?,
            current_leader_epoch: if version >= 9 { buf.i32()? } else { -1 },
            fetch_offset: buf.i64()?,
            last_fetched_epoch: if version >= 12 { buf.i32()? } else { -1 },
            log_start_offset: if version >= 5 { buf.i64()? } else { -1 },
            partition_max_bytes: buf.i32()?,
            replica_directory_id: Uuid::ZERO,
            high_watermark: i64::MAX,
        };
        if flexible {
            for _ in 0..buf.tag_count()? {
                let (tag, outer_end) = buf.begin_tag()?;
                match tag {
                    0 if version >= 17 => message.replica_directory_id = buf.uuid()?,
                    1 if version >= 18 => message.high_watermark = buf.i64()?,
                    _ => {}
                }
                buf.end_tag(outer_end);
            }
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 12;
        out.put_i32(self.partition);
        if version >= 9 {
            out.put_i32(self.current_leader_epoch);
        }
        out.put_i64(self.fetch_offset);
        if version >= 12 {
            out.put_i32(self.last_fetched_epoch);
        } else if self.last_fetched_epoch != -1 {
            return Err(EncodeError::UnsupportedField { field: "LastFetchedEpoch", version });
        }
        if version >= 5 {
            out.put_i64(self.log_start_offset);
        }
        out.put_i32(self.partition_max_bytes);
        if flexible {
            out.put_uvarint(
                u32::from(version >= 17 && !self.replica_directory_id.is_zero())
                    + u32::from(version >= 18 && self.high_watermark != i64::MAX),
            );
            if version >= 17 && !self.replica_directory_id.is_zero() {
                let mut field = Writer::new();
                field.put_uuid(self.replica_directory_id);
                out.put_tag(0, field)?;
            }
            if version >= 18 && self.high_watermark != i64::MAX {
                let mut field = Writer::new();
                field.put_i64(self.high_watermark);
                out.put_tag(1, field)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForgottenTopic {
    /// Versions 7–12.
    pub topic: String,
    /// Versions 13+.
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

impl ForgottenTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 12;
        let message = Self {
            topic: if version <= 12 { buf.string(flexible)? } else { String::new() },
            topic_id: if version >= 13 { buf.uuid()? } else { Uuid::ZERO },
            partitions: buf.array(flexible, 4, |buf| buf.i32())?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 12;
        if version <= 12 {
            out.put_string(&self.topic, flexible)?;
        }
        if version >= 13 {
            out.put_uuid(self.topic_id);
        }
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
