//! RenewDelegationTokenRequest: API key 39, versions 1–2, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct RenewDelegationTokenRequest {
    pub hmac: Bytes,
    pub renew_period_ms: i64,
}

impl RenewDelegationTokenRequest {
    pub const KEY: i16 = 39;
    pub const VERSIONS: RangeInclusive<i16> = 1..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "RenewDelegationTokenRequest", version });
        }
        let flexible = version >= 2;
        let message = Self { hmac: buf.bytes(flexible)?, renew_period_ms: buf.i64()? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "RenewDelegationTokenRequest", version });
        }
        let flexible = version >= 2;
        out.put_bytes(&self.hmac, flexible)?;
        out.put_i64(self.renew_period_ms);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for RenewDelegationTokenRequest {
    const NAME: &'static str = "RenewDelegationTokenRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for RenewDelegationTokenRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::RenewDelegationTokenResponse;
}
