//! DeleteAclsRequest: API key 31, versions 1–3, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeleteAclsRequest {
    pub filters: Vec<DeleteAclsFilter>,
}

impl DeleteAclsRequest {
    pub const KEY: i16 = 31;
    pub const VERSIONS: RangeInclusive<i16> = 1..=3;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DeleteAclsRequest", version });
        }
        let flexible = version >= 2;
        let message = Self { filters: buf.array(flexible, 8, |buf| DeleteAclsFilter::decode(buf, version))? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DeleteAclsRequest", version });
        }
        let flexible = version >= 2;
        out.put_length(self.filters.len(), flexible)?;
        for item in &self.filters {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DeleteAclsRequest {
    const NAME: &'static str = "DeleteAclsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DeleteAclsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DeleteAclsResponse;
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeleteAclsFilter {
    pub resource_type_filter: i8,
    pub resource_name_filter: Option<String>,
    pub pattern_type_filter: i8,
    pub principal_filter: Option<String>,
    pub host_filter: Option<String>,
    pub operation: i8,
    pub permission_type: i8,
}

impl Default for DeleteAclsFilter {
    fn default() -> Self {
        Self {
            resource_type_filter: 0,
            resource_name_filter: Some(String::new()),
            pattern_type_filter: 3,
            principal_filter: Some(String::new()),
            host_filter: Some(String::new()),
            operation: 0,
            permission_type: 0,
        }
    }
}

impl DeleteAclsFilter {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 2;
        let message = Self {
            resource_type_filter: buf.i8()?,
            resource_name_filter: buf.nullable_string(flexible, true)?,
            pattern_type_filter: buf.i8()?,
            principal_filter: buf.nullable_string(flexible, true)?,
            host_filter: buf.nullable_string(flexible, true)?,
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
        out.put_i8(self.resource_type_filter);
        out.put_nullable_string(self.resource_name_filter.as_deref(), flexible)?;
        out.put_i8(self.pattern_type_filter);
        out.put_nullable_string(self.principal_filter.as_deref(), flexible)?;
        out.put_nullable_string(self.host_filter.as_deref(), flexible)?;
        out.put_i8(self.operation);
        out.put_i8(self.permission_type);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
