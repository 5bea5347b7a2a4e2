//! SaslAuthenticateRequest: API key 36, versions 0–2, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct SaslAuthenticateRequest {
    pub auth_bytes: Bytes,
}

impl SaslAuthenticateRequest {
    pub const KEY: i16 = 36;
    pub const VERSIONS: RangeInclusive<i16> = 0..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "SaslAuthenticateRequest", version });
        }
        let flexible = version >= 2;
        let message = Self { auth_bytes: buf.bytes(flexible)? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "SaslAuthenticateRequest", version });
        }
        let flexible = version >= 2;
        out.put_bytes(&self.auth_bytes, flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for SaslAuthenticateRequest {
    const NAME: &'static str = "SaslAuthenticateRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for SaslAuthenticateRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::SaslAuthenticateResponse;
}
