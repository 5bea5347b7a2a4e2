//! ProduceResponse: API key 0, versions 3–13, flexible from 9.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProduceResponse {
    pub responses: Vec<TopicProduceResponse>,
    pub throttle_time_ms: i32,
    /// Versions 10+. Tagged field 0.
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl ProduceResponse {
    pub const KEY: i16 = 0;
    pub const VERSIONS: RangeInclusive<i16> = 3..=13;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 9;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ProduceResponse", version });
        }
        let flexible = version >= 9;
        let mut message = Self {
            responses: buf.array(flexible, 3, |buf| TopicProduceResponse::decode(buf, version))?,
            throttle_time_ms: buf.i32()?,
            node_endpoints: Vec::new(),
        };
        if flexible {
            for _ in 0..buf.tag_count()? {
                let (tag, outer_end) = buf.begin_tag()?;
                match tag {
                    0 if version >= 10 => {
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
            return Err(EncodeError::UnsupportedVersion { message: "ProduceResponse", version });
        }
        let flexible = version >= 9;
        out.put_length(self.responses.len(), flexible)?;
        for item in &self.responses {
            item.encode(out, version)?;
        }
        out.put_i32(self.throttle_time_ms);
        if version < 10 && !self.node_endpoints.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "NodeEndpoints", version });
        }
        if flexible {
            out.put_uvarint(u32::from(version >= 10 && !self.node_endpoints.is_empty()));
            if version >= 10 && !self.node_endpoints.is_empty() {
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

impl Message for ProduceResponse {
    const NAME: &'static str = "ProduceResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for ProduceResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicProduceResponse {
    /// Versions 3–12.
    pub name: String,
    /// Versions 13+.
    pub topic_id: Uuid,
    pub partition_responses: Vec<PartitionProduceResponse>,
}

impl TopicProduceResponse {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 9;
        let message = Self {
            name: if version <= 12 { buf.string(flexible)? } else { String::new() },
            topic_id: if version >= 13 { buf.uuid()? } else { Uuid::ZERO },
            partition_responses: buf
                .array(flexible, 22, |buf| PartitionProduceResponse::decode(buf, version))?,
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
        out.put_length(self.partition_responses.len(), flexible)?;
        for item in &self.partition_responses {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct PartitionProduceResponse {
    pub index: i32,
    pub error_code: i16,
    pub base_offset: i64,
    pub log_append_time_ms: i64,
    /// Versions 5+.
    pub log_start_offset: i64,
    /// Versions 8+.
    pub record_errors: Vec<BatchIndexAndErrorMessage>,
    /// Versions 8+.
    pub error_message: Option<String>,
    /// Versions 10+. Tagged field 0.
    pub current_leader: LeaderIdAndEpoch,
}

impl Default for PartitionProduceResponse {
    fn default() -> Self {
        Self {
            index: 0,
            error_code: 0,
            base_offset: 0,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: LeaderIdAndEpoch::default(),
        }
    }
}

impl PartitionProduceResponse {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 9;
        let mut message = Self {
            index: buf.i32()?,
            error_code: buf.i16()?,
            base_offset: buf.i64()?,
            log_append_time_ms: buf.i64()?,
            log_start_offset: if version >= 5 { buf.i64()? } else { -1 },
            record_errors: if version >= 8 {
                buf.array(flexible, 6, |buf| BatchIndexAndErrorMessage::decode(buf, version))?
            } else {
                Vec::new()
            },
            error_message: if version >= 8 { buf.nullable_string(flexible, true)? } else { None },
            current_leader: LeaderIdAndEpoch::default(),
        };
        if flexible {
            for _ in 0..buf.tag_count()? {
                let (tag, outer_end) = buf.begin_tag()?;
                match tag {
                    0 if version >= 10 => message.current_leader = LeaderIdAndEpoch::decode(buf, version)?,
                    _ => {}
                }
                buf.end_tag(outer_end);
            }
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 9;
        out.put_i32(self.index);
        out.put_i16(self.error_code);
        out.put_i64(self.base_offset);
        out.put_i64(self.log_append_time_ms);
        if version >= 5 {
            out.put_i64(self.log_start_offset);
        }
        if version >= 8 {
            out.put_length(self.record_errors.len(), flexible)?;
            for item in &self.record_errors {
                item.encode(out, version)?;
            }
        }
        if version >= 8 {
            out.put_nullable_string(self.error_message.as_deref(), flexible)?;
        }
        if version < 10 && self.current_leader != LeaderIdAndEpoch::default() {
            return Err(EncodeError::UnsupportedField { field: "CurrentLeader", version });
        }
        if flexible {
            out.put_uvarint(u32::from(version >= 10 && self.current_leader != LeaderIdAndEpoch::default()));
            if version >= 10 && self.current_leader != LeaderIdAndEpoch::default() {
                let mut field = Writer::new();
                self.current_leader.encode(&mut field, version)?;
                out.put_tag(0, field)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct BatchIndexAndErrorMessage {
    pub batch_index: i32,
    pub batch_index_error_message: Option<String>,
}

impl BatchIndexAndErrorMessage {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 9;
        let message =
            Self { batch_index: buf.i32()?, batch_index_error_message: buf.nullable_string(flexible, true)? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 9;
        out.put_i32(self.batch_index);
        out.put_nullable_string(self.batch_index_error_message.as_deref(), flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
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
