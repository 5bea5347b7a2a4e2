//! DeleteTopicsResponse: API key 20, versions 1–6, flexible from 4.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeleteTopicsResponse {
    pub throttle_time_ms: i32,
    pub responses: Vec<DeletableTopicResult>,
}

impl DeleteTopicsResponse {
    pub const KEY: i16 = 20;
    pub const VERSIONS: RangeInclusive<i16> = 1..=6;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 4;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DeleteTopicsResponse", version });
        }
        let flexible = version >= 4;
        let message = Self {
            throttle_time_ms: buf.i32()?,
            responses: buf.array(flexible, 4, |buf| DeletableTopicResult::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DeleteTopicsResponse", version });
        }
        let flexible = version >= 4;
        out.put_i32(self.throttle_time_ms);
        out.put_length(self.responses.len(), flexible)?;
        for item in &self.responses {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DeleteTopicsResponse {
    const NAME: &'static str = "DeleteTopicsResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for DeleteTopicsResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeletableTopicResult {
    /// Null in versions 6+.
    pub name: Option<String>,
    /// Versions 6+.
    pub topic_id: Uuid,
    pub error_code: i16,
    /// Versions 5+.
    pub error_message: Option<String>,
}

impl Default for DeletableTopicResult {
    fn default() -> Self {
        Self { name: Some(String::new()), topic_id: Uuid::ZERO, error_code: 0, error_message: None }
    }
}

impl DeletableTopicResult {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 4;
        let message = Self {
            name: buf.nullable_string(flexible, version >= 6)?,
            topic_id: if version >= 6 { buf.uuid()? } else { Uuid::ZERO },
            error_code: buf.i16()?,
            error_message: if version >= 5 { buf.nullable_string(true, true)? } else { None },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 4;
        if self.name.is_none() && version < 6 {
            return Err(EncodeError::NullNotAllowed { field: "Name", version });
        }
        out.put_nullable_string(self.name.as_deref(), flexible)?;
        if version >= 6 {
            out.put_uuid(self.topic_id);
        }
        out.put_i16(self.error_code);
        if version >= 5 {
            out.put_nullable_string(self.error_message.as_deref(), true)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
