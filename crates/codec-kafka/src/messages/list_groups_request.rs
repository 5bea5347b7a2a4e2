//! ListGroupsRequest: API key 16, versions 0–5, flexible from 3.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListGroupsRequest {
    /// Versions 4+.
    pub states_filter: Vec<String>,
    /// Versions 5+.
    pub types_filter: Vec<String>,
}

impl ListGroupsRequest {
    pub const KEY: i16 = 16;
    pub const VERSIONS: RangeInclusive<i16> = 0..=5;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 3;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ListGroupsRequest", version });
        }
        let flexible = version >= 3;
        let message = Self {
            states_filter: if version >= 4 {
                buf.array(true, 1, |buf| buf.string(true))?
            } else {
                Vec::new()
            },
            types_filter: if version >= 5 { buf.array(true, 1, |buf| buf.string(true))? } else { Vec::new() },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ListGroupsRequest", version });
        }
        let flexible = version >= 3;
        if version >= 4 {
            out.put_length(self.states_filter.len(), true)?;
            for item in &self.states_filter {
                out.put_string(item, true)?;
            }
        } else if !self.states_filter.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "StatesFilter", version });
        }
        if version >= 5 {
            out.put_length(self.types_filter.len(), true)?;
            for item in &self.types_filter {
                out.put_string(item, true)?;
            }
        } else if !self.types_filter.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "TypesFilter", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for ListGroupsRequest {
    const NAME: &'static str = "ListGroupsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ListGroupsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ListGroupsResponse;
}
