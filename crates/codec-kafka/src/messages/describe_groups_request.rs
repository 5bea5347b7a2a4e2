//! DescribeGroupsRequest: API key 15, versions 0–6, flexible from 5.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribeGroupsRequest {
    pub groups: Vec<String>,
    /// Versions 3+.
    pub include_authorized_operations: bool,
}

impl DescribeGroupsRequest {
    pub const KEY: i16 = 15;
    pub const VERSIONS: RangeInclusive<i16> = 0..=6;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 5;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DescribeGroupsRequest", version });
        }
        let flexible = version >= 5;
        let message = Self {
            groups: buf.array(flexible, 1, |buf| buf.string(flexible))?,
            include_authorized_operations: if version >= 3 { buf.bool()? } else { false },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DescribeGroupsRequest", version });
        }
        let flexible = version >= 5;
        out.put_length(self.groups.len(), flexible)?;
        for item in &self.groups {
            out.put_string(item, flexible)?;
        }
        if version >= 3 {
            out.put_bool(self.include_authorized_operations);
        } else if self.include_authorized_operations {
            return Err(EncodeError::UnsupportedField { field: "IncludeAuthorizedOperations", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DescribeGroupsRequest {
    const NAME: &'static str = "DescribeGroupsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DescribeGroupsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DescribeGroupsResponse;
}
