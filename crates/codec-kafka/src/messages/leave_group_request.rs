//! LeaveGroupRequest: API key 13, versions 0–5, flexible from 4.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct LeaveGroupRequest {
    pub group_id: String,
    /// Versions 0–2.
    pub member_id: String,
    /// Versions 3+.
    pub members: Vec<MemberIdentity>,
}

impl LeaveGroupRequest {
    pub const KEY: i16 = 13;
    pub const VERSIONS: RangeInclusive<i16> = 0..=5;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 4;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "LeaveGroupRequest", version });
        }
        let flexible = version >= 4;
        let message = Self {
            group_id: buf.string(flexible)?,
            member_id: if version <= 2 { buf.string(false)? } else { String::new() },
            members: if version >= 3 {
                buf.array(flexible, 3, |buf| MemberIdentity::decode(buf, version))?
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
            return Err(EncodeError::UnsupportedVersion { message: "LeaveGroupRequest", version });
        }
        let flexible = version >= 4;
        out.put_string(&self.group_id, flexible)?;
        if version <= 2 {
            out.put_string(&self.member_id, false)?;
        } else if !self.member_id.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "MemberId", version });
        }
        if version >= 3 {
            out.put_length(self.members.len(), flexible)?;
            for item in &self.members {
                item.encode(out, version)?;
            }
        } else if !self.members.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "Members", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for LeaveGroupRequest {
    const NAME: &'static str = "LeaveGroupRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for LeaveGroupRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::LeaveGroupResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemberIdentity {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// Versions 5+.
    pub reason: Option<String>,
}

impl MemberIdentity {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 4;
        let message = Self {
            member_id: buf.string(flexible)?,
            group_instance_id: buf.nullable_string(flexible, true)?,
            reason: if version >= 5 { buf.nullable_string(true, true)? } else { None },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 4;
        out.put_string(&self.member_id, flexible)?;
        out.put_nullable_string(self.group_instance_id.as_deref(), flexible)?;
        if version >= 5 {
            out.put_nullable_string(self.reason.as_deref(), true)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
