//! FetchResponse: API key 1, versions 4–18, flexible from 12.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::records::Records;
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct FetchResponse {
    pub throttle_time_ms: i32,
    /// Versions 7+.
    pub error_code: i16,
    /// Versions 7+.
    pub session_id: i32,
    pub responses: Vec<FetchableTopicResponse>,
    /// Versions 16+. Tagged field 0.
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl FetchResponse {
    pub const KEY: i16 = 1;
    pub const VERSIONS: RangeInclusive<i16> = 4..=18;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 12;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "FetchResponse", version });
        }
        let flexible = version >= 12;
        let mut message = Self {
            throttle_time_ms: buf.i32()?,
            error_code: if version >= 7 { buf.i16()? } else { 0 },
            session_id: if version >= 7 { buf.i32()? } else { 0 },
            responses: buf.array(flexible, 3, |buf| FetchableTopicResponse::decode(buf, version))?,
            node_endpoints: Vec::new(),
        };
        if flexible {
            for _ in 0..buf.tag_count()? {
                let (tag, outer_end) = buf.begin_tag()?;
                match tag {
                    0 if version >= 16 => {
                        message.node_endpoints =
                            buf.array(true, 11, |buf| NodeEndpoint::decode(buf, version))?
                    }
                    _ => {}
                }
                buf.end_tag(outer_end);
            }
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "FetchResponse", version });
        }
        let flexible = version >= 12;
        out.put_i32(self.throttle_time_ms);
        if version >= 7 {
            out.put_i16(self.error_code);
        }
        if version >= 7 {
            out.put_i32(self.session_id);
        } else if self.session_id != 0 {
            return Err(EncodeError::UnsupportedField { field: "SessionId", version });
        }
        out.put_length(self.responses.len(), flexible)?;
        for item in &self.responses {
            item.encode(out, version)?;
        }
        if version < 16 && !self.node_endpoints.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "NodeEndpoints", version });
        }
        if flexible {
            out.put_uvarint(u32::from(version >= 16 && !self.node_endpoints.is_empty()));
            if version >= 16 && !self.node_endpoints.is_empty() {
                let mut field = Writer::new();
                field.put_length(self.node_endpoints.len(), true)?;
                for item in &self.node_endpoints {
                    item.encode(&mut field, version)?;
                }
                out.put_tag(0, field)?;
            }
        }
        Ok(())
    }
}

impl Message for FetchResponse {
    const NAME: &'static str = "FetchResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for FetchResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct FetchableTopicResponse {
    /// Versions 4–12.
    pub topic: String,
    /// Versions 13+.
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionData>,
}

impl FetchableTopicResponse {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 12;
        let message = Self {
            topic: if version <= 12 { buf.string(flexible)? } else { String::new() },
            topic_id: if version >= 13 { buf.uuid()? } else { Uuid::ZERO },
            partitions: buf.array(flexible, 30, |buf| PartitionData::decode(buf, version))?,
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
pub struct PartitionData {
    pub partition_index: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    /// Versions 5+.
    pub log_start_offset: i64,
    /// Versions 12+. Tagged field 0.
    pub diverging_epoch: EpochEndOffset,
    /// Versions 12+. Tagged field 1.
    pub current_leader: LeaderIdAndEpoch,
    /// Versions 12+. Tagged field 2.
    pub snapshot_id: SnapshotId,
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Versions 11+.
    pub preferred_read_replica: i32,
    pub records: Option<Records>,
}

impl Default for PartitionData {
    fn default() -> Self {
        Self {
            partition_index: 0,
            error_code: 0,
            high_watermark: 0,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: EpochEndOffset::default(),
            current_leader: LeaderIdAndEpoch::default(),
            snapshot_id: SnapshotId::default(),
            aborted_transactions: Some(Vec::new()),
            preferred_read_replica: -1,
            records: None,
        }
    }
}

impl PartitionData {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 12;
        let mut message = Self {
            partition_index: buf.i32()?,
            error_code: buf.i16()?,
            high_watermark: buf.i64()?,
            last_stable_offset: buf.i64()?,
            log_start_offset: if version >= 5 { buf.i64()? } else { -1 },
            diverging_epoch: EpochEndOffset::default(),
            current_leader: LeaderIdAndEpoch::default(),
            snapshot_id: SnapshotId::default(),
            aborted_transactions: buf
                .nullable_array(flexible, true, 16, |buf| AbortedTransaction::decode(buf, version))?,
            preferred_read_replica: if version >= 11 { buf.i32()? } else { -1 },
            records: buf.nullable_records(flexible, true)?,
        };
        if flexible {
            for _ in 0..buf.tag_count()? {
                let (tag, outer_end) = buf.begin_tag()?;
                match tag {
                    0 => message.diverging_epoch = EpochEndOffset::decode(buf, version)?,
                    1 => message.current_leader = LeaderIdAndEpoch::decode(buf, version)?,
                    2 => message.snapshot_id = SnapshotId::decode(buf, version)?,
                    _ => {}
                }
                buf.end_tag(outer_end);
            }
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 12;
        out.put_i32(self.partition_index);
        out.put_i16(self.error_code);
        out.put_i64(self.high_watermark);
        out.put_i64(self.last_stable_offset);
        if version >= 5 {
            out.put_i64(self.log_start_offset);
        }
        if version < 12 && self.diverging_epoch != EpochEndOffset::default() {
            return Err(EncodeError::UnsupportedField { field: "DivergingEpoch", version });
        }
        if version < 12 && self.current_leader != LeaderIdAndEpoch::default() {
            return Err(EncodeError::UnsupportedField { field: "CurrentLeader", version });
        }
        if version < 12 && self.snapshot_id != SnapshotId::default() {
            return Err(EncodeError::UnsupportedField { field: "SnapshotId", version });
        }
        match &self.aborted_transactions {
            Some(items) => {
                out.put_length(items.len(), flexible)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(flexible)?,
        }
        if version >= 11 {
            out.put_i32(self.preferred_read_replica);
        } else if self.preferred_read_replica != -1 {
            return Err(EncodeError::UnsupportedField { field: "PreferredReadReplica", version });
        }
        out.put_nullable_records(self.records.as_ref(), flexible)?;
        if flexible {
            out.put_uvarint(
                u32::from(self.diverging_epoch != EpochEndOffset::default())
                    + u32::from(self.current_leader != LeaderIdAndEpoch::default())
                    + u32::from(self.snapshot_id != SnapshotId::default()),
            );
            if self.diverging_epoch != EpochEndOffset::default() {
                let mut field = Writer::new();
                self.diverging_epoch.encode(&mut field, version)?;
                out.put_tag(0, field)?;
            }
            if self.current_leader != LeaderIdAndEpoch::default() {
                let mut field = Writer::new();
                self.current_leader.encode(&mut field, version)?;
                out.put_tag(1, field)?;
            }
            if self.snapshot_id != SnapshotId::default() {
                let mut field = Writer::new();
                self.snapshot_id.encode(&mut field, version)?;
                out.put_tag(2, field)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct EpochEndOffset {
    pub epoch: i32,
    pub end_offset: i64,
}

impl Default for EpochEndOffset {
    fn default() -> Self {
        Self { epoch: -1, end_offset: -1 }
    }
}

impl EpochEndOffset {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { epoch: buf.i32()?, end_offset: buf.i64()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.epoch);
        out.put_i64(self.end_offset);
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct LeaderIdAndEpoch {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

impl Default for LeaderIdAndEpoch {
    fn default() -> Self {
        Self { leader_id: -1, leader_epoch: -1 }
    }
}

impl LeaderIdAndEpoch {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { leader_id: buf.i32()?, leader_epoch: buf.i32()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.leader_id);
        out.put_i32(self.leader_epoch);
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotId {
    pub end_offset: i64,
    pub epoch: i32,
}

impl Default for SnapshotId {
    fn default() -> Self {
        Self { end_offset: -1, epoch: -1 }
    }
}

impl SnapshotId {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { end_offset: buf.i64()?, epoch: buf.i32()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_i64(self.end_offset);
        out.put_i32(self.epoch);
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

impl AbortedTransaction {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 12;
        let message = Self { producer_id: buf.i64()?, first_offset: buf.i64()? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 12;
        out.put_i64(self.producer_id);
        out.put_i64(self.first_offset);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

impl NodeEndpoint {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            node_id: buf.i32()?,
            host: buf.string(true)?,
            port: buf.i32()?,
            rack: buf.nullable_string(true, true)?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.node_id);
        out.put_string(&self.host, true)?;
        out.put_i32(self.port);
        out.put_nullable_string(self.rack.as_deref(), true)?;
        out.put_uvarint(0);
        Ok(())
    }
}
