//! JoinGroupResponse: API key 11, versions 0–9, flexible from 6.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct JoinGroupResponse {
    /// Versions 2+.
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub generation_id: i32,
    /// Versions 7+.
    pub protocol_type: Option<String>,
    /// Null in versions 7+.
    pub protocol_name: Option<String>,
    pub leader: String,
    /// Versions 9+.
    pub skip_assignment: bool,
    pub member_id: String,
    pub members: Vec<JoinGroupResponseMember>,
}

impl Default for JoinGroupResponse {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            error_code: 0,
            generation_id: -1,
            protocol_type: None,
            protocol_name: Some(String::new()),
            leader: String::new(),
            skip_assignment: false,
            member_id: String::new(),
            members: Vec::new(),
        }
    }
}

impl JoinGroupResponse {
    pub const KEY: i16 = 11;
    pub const VERSIONS: RangeInclusive<i16> = 0..=9;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 6;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "JoinGroupResponse", version });
        }
        let flexible = version >= 6;
        let message = Self {
            throttle_time_ms: if version >= 2 { buf.i32()? } else { 0 },
            error_code: buf.i16()?,
            generation_id: buf.i32()?,
            protocol_type: if version >= 7 { buf.nullable_string(true, true)? } else { None },
            protocol_name: buf.nullable_string(flexible, version >= 7)?,
            leader: buf.string(flexible)?,
            skip_assignment: if version >= 9 { buf.bool()? } else { false },
            member_id: buf.string(flexible)?,
            members: buf.array(flexible, 4, |buf| JoinGroupResponseMember::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "JoinGroupResponse", version });
        }
        let flexible = version >= 6;
        if version >= 2 {
            out.put_i32(self.throttle_time_ms);
        }
        out.put_i16(self.error_code);
        out.put_i32(self.generation_id);
        if version >= 7 {
            out.put_nullable_string(self.protocol_type.as_deref(), true)?;
        }
        if self.protocol_name.is_none() && version < 7 {
            return Err(EncodeError::NullNotAllowed { field: "ProtocolName", version });
        }
        out.put_nullable_string(self.protocol_name.as_deref(), flexible)?;
        out.put_string(&self.leader, flexible)?;
        if version >= 9 {
            out.put_bool(self.skip_assignment);
        } else if self.skip_assignment {
            return Err(EncodeError::UnsupportedField { field: "SkipAssignment", version });
        }
        out.put_string(&self.member_id, flexible)?;
        out.put_length(self.members.len(), flexible)?;
        for item in &self.members {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for JoinGroupResponse {
    const NAME: &'static str = "JoinGroupResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for JoinGroupResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct JoinGroupResponseMember {
    pub member_id: String,
    /// Versions 5+.
    pub group_instance_id: Option<String>,
    pub metadata: Bytes,
}

impl JoinGroupResponseMember {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 6;
        let message = Self {
            member_id: buf.string(flexible)?,
            group_instance_id: if version >= 5 { buf.nullable_string(flexible, true)? } else { None },
            metadata: buf.bytes(flexible)?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 6;
        out.put_string(&self.member_id, flexible)?;
        if version >= 5 {
            out.put_nullable_string(self.group_instance_id.as_deref(), flexible)?;
        }
        out.put_bytes(&self.metadata, flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
