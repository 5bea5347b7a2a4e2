//! DescribeGroupsResponse: API key 15, versions 0–6, flexible from 5.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribeGroupsResponse {
    /// Versions 1+.
    pub throttle_time_ms: i32,
    pub groups: Vec<DescribedGroup>,
}

impl DescribeGroupsResponse {
    pub const KEY: i16 = 15;
    pub const VERSIONS: RangeInclusive<i16> = 0..=6;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 5;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DescribeGroupsResponse", version });
        }
        let flexible = version >= 5;
        let message = Self {
            throttle_time_ms: if version >= 1 { buf.i32()? } else { 0 },
            groups: buf.array(flexible, 12, |buf| DescribedGroup::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DescribeGroupsResponse", version });
        }
        let flexible = version >= 5;
        if version >= 1 {
            out.put_i32(self.throttle_time_ms);
        }
        out.put_length(self.groups.len(), flexible)?;
        for item in &self.groups {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DescribeGroupsResponse {
    const NAME: &'static str = "DescribeGroupsResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for DescribeGroupsResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DescribedGroup {
    pub error_code: i16,
    /// Versions 6+.
    pub error_message: Option<String>,
    pub group_id: String,
    pub group_state: String,
    pub protocol_type: String,
    pub protocol_data: String,
    pub members: Vec<DescribedGroupMember>,
    /// Versions 3+.
    pub authorized_operations: i32,
}

impl Default for DescribedGroup {
    fn default() -> Self {
        Self {
            error_code: 0,
            error_message: None,
            group_id: String::new(),
            group_state: String::new(),
            protocol_type: String::new(),
            protocol_data: String::new(),
            members: Vec::new(),
            authorized_operations: i32::MIN,
        }
    }
}

impl DescribedGroup {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 5;
        let message = Self {
            error_code: buf.i16()?,
            error_message: if version >= 6 { buf.nullable_string(true, true)? } else { None },
            group_id: buf.string(flexible)?,
            group_state: buf.string(flexible)?,
            protocol_type: buf.string(flexible)?,
            protocol_data: buf.string(flexible)?,
            members: buf.array(flexible, 7, |buf| DescribedGroupMember::decode(buf, version))?,
            authorized_operations: if version >= 3 { buf.i32()? } else { i32::MIN },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 5;
        out.put_i16(self.error_code);
        if version >= 6 {
            out.put_nullable_string(self.error_message.as_deref(), true)?;
        } else if self.error_message.is_some() {
            return Err(EncodeError::UnsupportedField { field: "ErrorMessage", version });
        }
        out.put_string(&self.group_id, flexible)?;
        out.put_string(&self.group_state, flexible)?;
        out.put_string(&self.protocol_type, flexible)?;
        out.put_string(&self.protocol_data, flexible)?;
        out.put_length(self.members.len(), flexible)?;
        for item in &self.members {
            item.encode(out, version)?;
        }
        if version >= 3 {
            out.put_i32(self.authorized_operations);
        } else if self.authorized_operations != i32::MIN {
            return Err(EncodeError::UnsupportedField { field: "AuthorizedOperations", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribedGroupMember {
    pub member_id: String,
    /// Versions 4+.
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub member_metadata: Bytes,
    pub member_assignment: Bytes,
}

impl DescribedGroupMember {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 5;
        let message = Self {
            member_id: buf.string(flexible)?,
            group_instance_id: if version >= 4 { buf.nullable_string(flexible, true)? } else { None },
            client_id: buf.string(flexible)?,
            client_host: buf.string(flexible)?,
            member_metadata: buf.bytes(flexible)?,
            member_assignment: buf.bytes(flexible)?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 5;
        out.put_string(&self.member_id, flexible)?;
        if version >= 4 {
            out.put_nullable_string(self.group_instance_id.as_deref(), flexible)?;
        }
        out.put_string(&self.client_id, flexible)?;
        out.put_string(&self.client_host, flexible)?;
        out.put_bytes(&self.member_metadata, flexible)?;
        out.put_bytes(&self.member_assignment, flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
