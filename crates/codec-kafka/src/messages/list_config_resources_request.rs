//! ListConfigResourcesRequest: API key 74, versions 0–1, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListConfigResourcesRequest {
    /// Versions 1+.
    pub resource_types: Vec<i8>,
}

impl ListConfigResourcesRequest {
    pub const KEY: i16 = 74;
    pub const VERSIONS: RangeInclusive<i16> = 0..=1;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ListConfigResourcesRequest", version });
        }
        let message = Self {
            resource_types: if version >= 1 { buf.array(true, 1, |buf| buf.i8())? } else { Vec::new() },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ListConfigResourcesRequest", version });
        }
        if version >= 1 {
            out.put_length(self.resource_types.len(), true)?;
            for item in &self.resource_types {
                out.put_i8(*item);
            }
        } else if !self.resource_types.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "ResourceTypes", version });
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for ListConfigResourcesRequest {
    const NAME: &'static str = "ListConfigResourcesRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ListConfigResourcesRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ListConfigResourcesResponse;
}
