//! DescribeDelegationTokenResponse: API key 41, versions 1–3, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribeDelegationTokenResponse {
    pub error_code: i16,
    pub tokens: Vec<DescribedDelegationToken>,
    pub throttle_time_ms: i32,
}

impl DescribeDelegationTokenResponse {
    pub const KEY: i16 = 41;
    pub const VERSIONS: RangeInclusive<i16> = 1..=3;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "DescribeDelegationTokenResponse",
                version,
            });
        }
        let flexible = version >= 2;
        let message = Self {
            error_code: buf.i16()?,
            tokens: buf.array(flexible, 30, |buf| DescribedDelegationToken::decode(buf, version))?,
            throttle_time_ms: buf.i32()?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "DescribeDelegationTokenResponse",
                version,
            });
        }
        let flexible = version >= 2;
        out.put_i16(self.error_code);
        out.put_length(self.tokens.len(), flexible)?;
        for item in &self.tokens {
            item.encode(out, version)?;
        }
        out.put_i32(self.throttle_time_ms);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DescribeDelegationTokenResponse {
    const NAME: &'static str = "DescribeDelegationTokenResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for DescribeDelegationTokenResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribedDelegationToken {
    pub principal_type: String,
    pub principal_name: String,
    /// Versions 3+.
    pub token_requester_principal_type: String,
    /// Versions 3+.
    pub token_requester_principal_name: String,
    pub issue_timestamp: i64,
    pub expiry_timestamp: i64,
    pub max_timestamp: i64,
    pub token_id: String,
    pub hmac: Bytes,
    pub renewers: Vec<DescribedDelegationTokenRenewer>,
}

impl DescribedDelegationToken {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 2;
        let message = Self {
            principal_type: buf.string(flexible)?,
            principal_name: buf.string(flexible)?,
            token_requester_principal_type: if version >= 3 { buf.string(true)? } else { String::new() },
            token_requester_principal_name: if version >= 3 { buf.string(true)? } else { String::new() },
            issue_timestamp: buf.i64()?,
            expiry_timestamp: buf.i64()?,
            max_timestamp: buf.i64()?,
            token_id: buf.string(flexible)?,
            hmac: buf.bytes(flexible)?,
            renewers: buf.array(flexible, 3, |buf| DescribedDelegationTokenRenewer::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 2;
        out.put_string(&self.principal_type, flexible)?;
        out.put_string(&self.principal_name, flexible)?;
        if version >= 3 {
            out.put_string(&self.token_requester_principal_type, true)?;
        } else if !self.token_requester_principal_type.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "TokenRequesterPrincipalType", version });
        }
        if version >= 3 {
            out.put_string(&self.token_requester_principal_name, true)?;
        } else if !self.token_requester_principal_name.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "TokenRequesterPrincipalName", version });
        }
        out.put_i64(self.issue_timestamp);
        out.put_i64(self.expiry_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_string(&self.token_id, flexible)?;
        out.put_bytes(&self.hmac, flexible)?;
        out.put_length(self.renewers.len(), flexible)?;
        for item in &self.renewers {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribedDelegationTokenRenewer {
    pub principal_type: String,
    pub principal_name: String,
}

impl DescribedDelegationTokenRenewer {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 2;
        let message = Self { principal_type: buf.string(flexible)?, principal_name: buf.string(flexible)? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 2;
        out.put_string(&self.principal_type, flexible)?;
        out.put_string(&self.principal_name, flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
