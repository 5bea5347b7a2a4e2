//! CreateAclsRequest: API key 30, versions 1–3, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct CreateAclsRequest {
    pub creations: Vec<AclCreation>,
}

impl CreateAclsRequest {
    pub const KEY: i16 = 30;
    pub const VERSIONS: RangeInclusive<i16> = 1..=3;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "CreateAclsRequest", version });
        }
        let flexible = version >= 2;
        let message = Self { creations: buf.array(flexible, 8, |buf| AclCreation::decode(buf, version))? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "CreateAclsRequest", version });
        }
        let flexible = version >= 2;
        out.put_length(self.creations.len(), flexible)?;
        for item in &self.creations {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for CreateAclsRequest {
    const NAME: &'static str = "CreateAclsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for CreateAclsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::CreateAclsResponse;
}

#[derive(Debug, Clone, PartialEq)]
pub struct AclCreation {
    pub resource_type: i8,
    pub resource_name: String,
    pub resource_pattern_type: i8,
    pub principal: String,
    pub host: String,
    pub operation: i8,
    pub permission_type: i8,
}

impl Default for AclCreation {
    fn default() -> Self {
        Self {
            resource_type: 0,
            resource_name: String::new(),
            resource_pattern_type: 3,
            principal: String::new(),
            host: String::new(),
            operation: 0,
            permission_type: 0,
        }
    }
}

impl AclCreation {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 2;
        let message = Self {
            resource_type: buf.i8()?,
            resource_name: buf.string(flexible)?,
            resource_pattern_type: buf.i8()?,
            principal: buf.string(flexible)?,
            host: buf.string(flexible)?,
            operation: buf.i8()?,
            permission_type: buf.i8()?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 2;
        out.put_i8(self.resource_type);
        out.put_string(&self.resource_name, flexible)?;
        out.put_i8(self.resource_pattern_type);
        out.put_string(&self.principal, flexible)?;
        out.put_string(&self.host, flexible)?;
        out.put_i8(self.operation);
        out.put_i8(self.permission_type);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
