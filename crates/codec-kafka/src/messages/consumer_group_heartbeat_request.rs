//! ConsumerGroupHeartbeatRequest: API key 68, versions 0–1, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerGroupHeartbeatRequest {
    pub group_id: String,
    pub member_id: String,
    pub member_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub subscribed_topic_names: Option<Vec<String>>,
    /// Versions 1+.
    pub subscribed_topic_regex: Option<String>,
    pub server_assignor: Option<String>,
    pub topic_partitions: Option<Vec<TopicPartitions>>,
}

impl Default for ConsumerGroupHeartbeatRequest {
    fn default() -> Self {
        Self {
            group_id: String::new(),
            member_id: String::new(),
            member_epoch: 0,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: -1,
            subscribed_topic_names: None,
            subscribed_topic_regex: None,
            server_assignor: None,
            topic_partitions: None,
        }
    }
}

impl ConsumerGroupHeartbeatRequest {
    pub const KEY: i16 = 68;
    pub const VERSIONS: RangeInclusive<i16> = 0..=1;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "ConsumerGroupHeartbeatRequest",
                version,
            });
        }
        let message = Self {
            group_id: buf.string(true)?,
            member_id: buf.string(true)?,
            member_epoch: buf.i32()?,
            instance_id: buf.nullable_string(true, true)?,
            rack_id: buf.nullable_string(true, true)?,
            rebalance_timeout_ms: buf.i32()?,
            subscribed_topic_names: buf.nullable_array(true, true, 1, |buf| buf.string(true))?,
            subscribed_topic_regex: if version >= 1 { buf.nullable_string(true, true)? } else { None },
            server_assignor: buf.nullable_string(true, true)?,
            topic_partitions: buf
                .nullable_array(true, true, 18, |buf| TopicPartitions::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "ConsumerGroupHeartbeatRequest",
                version,
            });
        }
        out.put_string(&self.group_id, true)?;
        out.put_string(&self.member_id, true)?;
        out.put_i32(self.member_epoch);
        out.put_nullable_string(self.instance_id.as_deref(), true)?;
        out.put_nullable_string(self.rack_id.as_deref(), true)?;
        out.put_i32(self.rebalance_timeout_ms);
        match &self.subscribed_topic_names {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    out.put_string(item, true)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        if version >= 1 {
            out.put_nullable_string(self.subscribed_topic_regex.as_deref(), true)?;
        } else if self.subscribed_topic_regex.is_some() {
            return Err(EncodeError::UnsupportedField { field: "SubscribedTopicRegex", version });
        }
        out.put_nullable_string(self.server_assignor.as_deref(), true)?;
        match &self.topic_partitions {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for ConsumerGroupHeartbeatRequest {
    const NAME: &'static str = "ConsumerGroupHeartbeatRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ConsumerGroupHeartbeatRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ConsumerGroupHeartbeatResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicPartitions {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

impl TopicPartitions {
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
