//! RequestHeader: versions 1–2, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::Message;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct RequestHeader {
    pub request_api_key: i16,
    pub request_api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
}

impl Default for RequestHeader {
    fn default() -> Self {
        Self { request_api_key: 0, request_api_version: 0, correlation_id: 0, client_id: Some(String::new()) }
    }
}

impl RequestHeader {
    pub const VERSIONS: RangeInclusive<i16> = 1..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "RequestHeader", version });
        }
        let flexible = version >= 2;
        let message = Self {
            request_api_key: buf.i16()?,
            request_api_version: buf.i16()?,
            correlation_id: buf.i32()?,
            client_id: buf.nullable_string(false, true)?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "RequestHeader", version });
        }
        let flexible = version >= 2;
        out.put_i16(self.request_api_key);
        out.put_i16(self.request_api_version);
        out.put_i32(self.correlation_id);
        out.put_nullable_string(self.client_id.as_deref(), false)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for RequestHeader {
    const NAME: &'static str = "RequestHeader";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}
