//! FindCoordinatorRequest: API key 10, versions 0–6, flexible from 3.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct FindCoordinatorRequest {
    /// Versions 0–3.
    pub key: String,
    /// Versions 1+.
    pub key_type: i8,
    /// Versions 4+.
    pub coordinator_keys: Vec<String>,
}

impl FindCoordinatorRequest {
    pub const KEY: i16 = 10;
    pub const VERSIONS: RangeInclusive<i16> = 0..=6;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 3;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "FindCoordinatorRequest", version });
        }
        let flexible = version >= 3;
        let message = Self {
            key: if version <= 3 { buf.string(flexible)? } else { String::new() },
            key_type: if version >= 1 { buf.i8()? } else { 0 },
            coordinator_keys: if version >= 4 {
                buf.array(true, 1, |buf| buf.string(true))?
            } else {
                Vec::new()
            },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "FindCoordinatorRequest", version });
        }
        let flexible = version >= 3;
        if version <= 3 {
            out.put_string(&self.key, flexible)?;
        } else if !self.key.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "Key", version });
        }
        if version >= 1 {
            out.put_i8(self.key_type);
        } else if self.key_type != 0 {
            return Err(EncodeError::UnsupportedField { field: "KeyType", version });
        }
        if version >= 4 {
            out.put_length(self.coordinator_keys.len(), true)?;
            for item in &self.coordinator_keys {
                out.put_string(item, true)?;
            }
        } else if !self.coordinator_keys.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "CoordinatorKeys", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for FindCoordinatorRequest {
    const NAME: &'static str = "FindCoordinatorRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for FindCoordinatorRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::FindCoordinatorResponse;
}
