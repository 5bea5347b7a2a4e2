//! DescribeUserScramCredentialsRequest: API key 50, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct DescribeUserScramCredentialsRequest {
    pub users: Option<Vec<UserName>>,
}

impl Default for DescribeUserScramCredentialsRequest {
    fn default() -> Self {
        Self { users: Some(Vec::new()) }
    }
}

impl DescribeUserScramCredentialsRequest {
    pub const KEY: i16 = 50;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "DescribeUserScramCredentialsRequest",
                version,
            });
        }
        let message =
            Self { users: buf.nullable_array(true, true, 2, |buf| UserName::decode(buf, version))? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "DescribeUserScramCredentialsRequest",
                version,
            });
        }
        match &self.users {
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

impl Message for DescribeUserScramCredentialsRequest {
    const NAME: &'static str = "DescribeUserScramCredentialsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DescribeUserScramCredentialsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DescribeUserScramCredentialsResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct UserName {
    pub name: String,
}

impl UserName {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { name: buf.string(true)? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_uvarint(0);
        Ok(())
    }
}
