//! HeartbeatRequest: API key 12, versions 0–4, flexible from 4.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeartbeatRequest {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    /// Versions 3+.
    pub group_instance_id: Option<String>,
}

impl HeartbeatRequest {
    pub const KEY: i16 = 12;
    pub const VERSIONS: RangeInclusive<i16> = 0..=4;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 4;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "HeartbeatRequest", version });
        }
        let flexible = version >= 4;
        let message = Self {
            group_id: buf.string(flexible)?,
            generation_id: buf.i32()?,
            member_id: buf.string(flexible)?,
            group_instance_id: if version >= 3 { buf.nullable_string(flexible, true)? } else { None },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "HeartbeatRequest", version });
        }
        let flexible = version >= 4;
        out.put_string(&self.group_id, flexible)?;
        out.put_i32(self.generation_id);
        out.put_string(&self.member_id, flexible)?;
        if version >= 3 {
            out.put_nullable_string(self.group_instance_id.as_deref(), flexible)?;
        } else if self.group_instance_id.is_some() {
            return Err(EncodeError::UnsupportedField { field: "GroupInstanceId", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for HeartbeatRequest {
    const NAME: &'static str = "HeartbeatRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for HeartbeatRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::HeartbeatResponse;
}
