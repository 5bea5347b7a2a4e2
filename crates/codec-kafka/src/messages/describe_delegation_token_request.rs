//! DescribeDelegationTokenRequest: API key 41, versions 1–3, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct DescribeDelegationTokenRequest {
    pub owners: Option<Vec<DescribeDelegationTokenOwner>>,
}

impl Default for DescribeDelegationTokenRequest {
    fn default() -> Self {
        Self { owners: Some(Vec::new()) }
    }
}

impl DescribeDelegationTokenRequest {
    pub const KEY: i16 = 41;
    pub const VERSIONS: RangeInclusive<i16> = 1..=3;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "DescribeDelegationTokenRequest",
                version,
            });
        }
        let flexible = version >= 2;
        let message = Self {
            owners: buf.nullable_array(flexible, true, 3, |buf| {
                DescribeDelegationTokenOwner::decode(buf, version)
            })?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "DescribeDelegationTokenRequest",
                version,
            });
        }
        let flexible = version >= 2;
        match &self.owners {
            Some(items) => {
                out.put_length(items.len(), flexible)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(flexible)?,
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DescribeDelegationTokenRequest {
    const NAME: &'static str = "DescribeDelegationTokenRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DescribeDelegationTokenRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DescribeDelegationTokenResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribeDelegationTokenOwner {
    pub principal_type: String,
    pub principal_name: String,
}

impl DescribeDelegationTokenOwner {
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
