//! SyncGroupRequest: API key 14, versions 0–5, flexible from 4.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct SyncGroupRequest {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    /// Versions 3+.
    pub group_instance_id: Option<String>,
    /// Versions 5+.
    pub protocol_type: Option<String>,
    /// Versions 5+.
    pub protocol_name: Option<String>,
    pub assignments: Vec<SyncGroupRequestAssignment>,
}

impl SyncGroupRequest {
    pub const KEY: i16 = 14;
    pub const VERSIONS: RangeInclusive<i16> = 0..=5;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 4;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "SyncGroupRequest", version });
        }
        let flexible = version >= 4;
        let message = Self {
            group_id: buf.string(flexible)?,
            generation_id: buf.i32()?,
            member_id: buf.string(flexible)?,
            group_instance_id: if version >= 3 { buf.nullable_string(flexible, true)? } else { None },
            protocol_type: if version >= 5 { buf.nullable_string(true, true)? } else { None },
            protocol_name: if version >= 5 { buf.nullable_string(true, true)? } else { None },
            assignments: buf.array(flexible, 3, |buf| SyncGroupRequestAssignment::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "SyncGroupRequest", version });
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
        if version >= 5 {
            out.put_nullable_string(self.protocol_type.as_deref(), true)?;
        }
        if version >= 5 {
            out.put_nullable_string(self.protocol_name.as_deref(), true)?;
        }
        out.put_length(self.assignments.len(), flexible)?;
        for item in &self.assignments {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for SyncGroupRequest {
    const NAME: &'static str = "SyncGroupRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for SyncGroupRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::SyncGroupResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct SyncGroupRequestAssignment {
    pub member_id: String,
    pub assignment: Bytes,
}

impl SyncGroupRequestAssignment {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 4;
        let message = Self { member_id: buf.string(flexible)?, assignment: buf.bytes(flexible)? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 4;
        out.put_string(&self.member_id, flexible)?;
        out.put_bytes(&self.assignment, flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
