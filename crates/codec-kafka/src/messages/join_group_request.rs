//! JoinGroupRequest: API key 11, versions 0–9, flexible from 6.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct JoinGroupRequest {
    pub group_id: String,
    pub session_timeout_ms: i32,
    /// Versions 1+.
    pub rebalance_timeout_ms: i32,
    pub member_id: String,
    /// Versions 5+.
    pub group_instance_id: Option<String>,
    pub protocol_type: String,
    pub protocols: Vec<JoinGroupRequestProtocol>,
    /// Versions 8+.
    pub reason: Option<String>,
}

impl Default for JoinGroupRequest {
    fn default() -> Self {
        Self {
            group_id: String::new(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: -1,
            member_id: String::new(),
            group_instance_id: None,
            protocol_type: String::new(),
            protocols: Vec::new(),
            reason: None,
        }
    }
}

impl JoinGroupRequest {
    pub const KEY: i16 = 11;
    pub const VERSIONS: RangeInclusive<i16> = 0..=9;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 6;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "JoinGroupRequest", version });
        }
        let flexible = version >= 6;
        let message = Self {
            group_id: buf.string(flexible)?,
            session_timeout_ms: buf.i32()?,
            rebalance_timeout_ms: if version >= 1 { buf.i32()? } else { -1 },
            member_id: buf.string(flexible)?,
            group_instance_id: if version >= 5 { buf.nullable_string(flexible, true)? } else { None },
            protocol_type: buf.string(flexible)?,
            protocols: buf.array(flexible, 3, |buf| JoinGroupRequestProtocol::decode(buf, version))?,
            reason: if version >= 8 { buf.nullable_string(true, true)? } else { None },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "JoinGroupRequest", version });
        }
        let flexible = version >= 6;
        out.put_string(&self.group_id, flexible)?;
        out.put_i32(self.session_timeout_ms);
        if version >= 1 {
            out.put_i32(self.rebalance_timeout_ms);
        }
        out.put_string(&self.member_id, flexible)?;
        if version >= 5 {
            out.put_nullable_string(self.group_instance_id.as_deref(), flexible)?;
        } else if self.group_instance_id.is_some() {
            return Err(EncodeError::UnsupportedField { field: "GroupInstanceId", version });
        }
        out.put_string(&self.protocol_type, flexible)?;
        out.put_length(self.protocols.len(), flexible)?;
        for item in &self.protocols {
            item.encode(out, version)?;
        }
        if version >= 8 {
            out.put_nullable_string(self.reason.as_deref(), true)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for JoinGroupRequest {
    const NAME: &'static str = "JoinGroupRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for JoinGroupRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::JoinGroupResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct JoinGroupRequestProtocol {
    pub name: String,
    pub metadata: Bytes,
}

impl JoinGroupRequestProtocol {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 6;
        let message = Self { name: buf.string(flexible)?, metadata: buf.bytes(flexible)? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 6;
        out.put_string(&self.name, flexible)?;
        out.put_bytes(&self.metadata, flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
