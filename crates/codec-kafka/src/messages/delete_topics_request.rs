//! DeleteTopicsRequest: API key 20, versions 1–6, flexible from 4.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeleteTopicsRequest {
    /// Versions 6+.
    pub topics: Vec<DeleteTopicState>,
    /// Versions 1–5.
    pub topic_names: Vec<String>,
    pub timeout_ms: i32,
}

impl DeleteTopicsRequest {
    pub const KEY: i16 = 20;
    pub const VERSIONS: RangeInclusive<i16> = 1..=6;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 4;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DeleteTopicsRequest", version });
        }
        let flexible = version >= 4;
        let message = Self {
            topics: if version >= 6 {
                buf.array(true, 18, |buf| DeleteTopicState::decode(buf, version))?
            } else {
                Vec::new()
            },
            topic_names: if version <= 5 {
                buf.array(flexible, 1, |buf| buf.string(flexible))?
            } else {
                Vec::new()
            },
            timeout_ms: buf.i32()?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DeleteTopicsRequest", version });
        }
        let flexible = version >= 4;
        if version >= 6 {
            out.put_length(self.topics.len(), true)?;
            for item in &self.topics {
                item.encode(out, version)?;
            }
        } else if !self.topics.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "Topics", version });
        }
        if version <= 5 {
            out.put_length(self.topic_names.len(), flexible)?;
            for item in &self.topic_names {
                out.put_string(item, flexible)?;
            }
        }
        out.put_i32(self.timeout_ms);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DeleteTopicsRequest {
    const NAME: &'static str = "DeleteTopicsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DeleteTopicsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DeleteTopicsResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeleteTopicState {
    pub name: Option<String>,
    pub topic_id: Uuid,
}

impl DeleteTopicState {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { name: buf.nullable_string(true, true)?, topic_id: buf.uuid()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_nullable_string(self.name.as_deref(), true)?;
        out.put_uuid(self.topic_id);
        out.put_uvarint(0);
        Ok(())
    }
}
