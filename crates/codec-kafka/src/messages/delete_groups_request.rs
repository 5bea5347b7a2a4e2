//! DeleteGroupsRequest: API key 42, versions 0–3, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeleteGroupsRequest {
    pub groups_names: Vec<String>,
}

impl DeleteGroupsRequest {
    pub const KEY: i16 = 42;
    pub const VERSIONS: RangeInclusive<i16> = 0..=3;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DeleteGroupsRequest", version });
        }
        let flexible = version >= 2;
        let message = Self { groups_names: buf.array(flexible, 1, |buf| buf.string(flexible))? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DeleteGroupsRequest", version });
        }
        let flexible = version >= 2;
        out.put_length(self.groups_names.len(), flexible)?;
        for item in &self.groups_names {
            out.put_string(item, flexible)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DeleteGroupsRequest {
    const NAME: &'static str = "DeleteGroupsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DeleteGroupsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DeleteGroupsResponse;
}
