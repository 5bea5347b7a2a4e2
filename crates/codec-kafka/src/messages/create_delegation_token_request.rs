//! CreateDelegationTokenRequest: API key 38, versions 1–3, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct CreateDelegationTokenRequest {
    /// Versions 3+.
    pub owner_principal_type: Option<String>,
    /// Versions 3+.
    pub owner_principal_name: Option<String>,
    pub renewers: Vec<CreatableRenewers>,
    pub max_lifetime_ms: i64,
}

impl Default for CreateDelegationTokenRequest {
    fn default() -> Self {
        Self {
            owner_principal_type: Some(String::new()),
            owner_principal_name: Some(String::new()),
            renewers: Vec::new(),
            max_lifetime_ms: 0,
        }
    }
}

impl CreateDelegationTokenRequest {
    pub const KEY: i16 = 38;
    pub const VERSIONS: RangeInclusive<i16> = 1..=3;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "CreateDelegationTokenRequest", version });
        }
        let flexible = version >= 2;
        let message = Self {
            owner_principal_type: if version >= 3 {
                buf.nullable_string(true, true)?
            } else {
                Some(String::new())
            },
            owner_principal_name: if version >= 3 {
                buf.nullable_string(true, true)?
            } else {
                Some(String::new())
            },
            renewers: buf.array(flexible, 3, |buf| CreatableRenewers::decode(buf, version))?,
            max_lifetime_ms: buf.i64()?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "CreateDelegationTokenRequest", version });
        }
        let flexible = version >= 2;
        if version >= 3 {
            out.put_nullable_string(self.owner_principal_type.as_deref(), true)?;
        } else if self.owner_principal_type.as_ref().is_some_and(|value| !value.is_empty()) {
            return Err(EncodeError::UnsupportedField { field: "OwnerPrincipalType", version });
        }
        if version >= 3 {
            out.put_nullable_string(self.owner_principal_name.as_deref(), true)?;
        } else if self.owner_principal_name.as_ref().is_some_and(|value| !value.is_empty()) {
            return Err(EncodeError::UnsupportedField { field: "OwnerPrincipalName", version });
        }
        out.put_length(self.renewers.len(), flexible)?;
        for item in &self.renewers {
            item.encode(out, version)?;
        }
        out.put_i64(self.max_lifetime_ms);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for CreateDelegationTokenRequest {
    const NAME: &'static str = "CreateDelegationTokenRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for CreateDelegationTokenRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::CreateDelegationTokenResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct CreatableRenewers {
    pub principal_type: String,
    pub principal_name: String,
}

impl CreatableRenewers {
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
