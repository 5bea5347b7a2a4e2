//! SaslAuthenticateResponse: API key 36, versions 0–2, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct SaslAuthenticateResponse {
    pub error_code: i16,
    pub error_message: Option<String>,
    pub auth_bytes: Bytes,
    /// Versions 1+.
    pub session_lifetime_ms: i64,
}

impl Default for SaslAuthenticateResponse {
    fn default() -> Self {
        Self {
            error_code: 0,
            error_message: Some(String::new()),
            auth_bytes: Bytes::new(),
            session_lifetime_ms: 0,
        }
    }
}

impl SaslAuthenticateResponse {
    pub const KEY: i16 = 36;
    pub const VERSIONS: RangeInclusive<i16> = 0..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "SaslAuthenticateResponse", version });
        }
        let flexible = version >= 2;
        let message = Self {
            error_code: buf.i16()?,
            error_message: buf.nullable_string(flexible, true)?,
            auth_bytes: buf.bytes(flexible)?,
            session_lifetime_ms: if version >= 1 { buf.i64()? } else { 0 },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "SaslAuthenticateResponse", version });
        }
        let flexible = version >= 2;
        out.put_i16(self.error_code);
        out.put_nullable_string(self.error_message.as_deref(), flexible)?;
        out.put_bytes(&self.auth_bytes, flexible)?;
        if version >= 1 {
            out.put_i64(self.session_lifetime_ms);
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for SaslAuthenticateResponse {
    const NAME: &'static str = "SaslAuthenticateResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for SaslAuthenticateResponse {
    const KEY: i16 = Self::KEY;
}
