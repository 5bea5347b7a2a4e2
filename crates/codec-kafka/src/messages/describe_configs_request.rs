//! DescribeConfigsRequest: API key 32, versions 1–4, flexible from 4.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribeConfigsRequest {
    pub resources: Vec<DescribeConfigsResource>,
    pub include_synonyms: bool,
    /// Versions 3+.
    pub include_documentation: bool,
}

impl DescribeConfigsRequest {
    pub const KEY: i16 = 32;
    pub const VERSIONS: RangeInclusive<i16> = 1..=4;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 4;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DescribeConfigsRequest", version });
        }
        let flexible = version >= 4;
        let message = Self {
            resources: buf.array(flexible, 4, |buf| DescribeConfigsResource::decode(buf, version))?,
            include_synonyms: buf.bool()?,
            include_documentation: if version >= 3 { buf.bool()? } else { false },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DescribeConfigsRequest", version });
        }
        let flexible = version >= 4;
        out.put_length(self.resources.len(), flexible)?;
        for item in &self.resources {
            item.encode(out, version)?;
        }
        out.put_bool(self.include_synonyms);
        if version >= 3 {
            out.put_bool(self.include_documentation);
        } else if self.include_documentation {
            return Err(EncodeError::UnsupportedField { field: "IncludeDocumentation", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DescribeConfigsRequest {
    const NAME: &'static str = "DescribeConfigsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DescribeConfigsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DescribeConfigsResponse;
}

#[derive(Debug, Clone, PartialEq)]
pub struct DescribeConfigsResource {
    pub resource_type: i8,
    pub resource_name: String,
    pub configuration_keys: Option<Vec<String>>,
}

impl Default for DescribeConfigsResource {
    fn default() -> Self {
        Self { resource_type: 0, resource_name: String::new(), configuration_keys: Some(Vec::new()) }
    }
}

impl DescribeConfigsResource {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 4;
        let message = Self {
            resource_type: buf.i8()?,
            resource_name: buf.string(flexible)?,
            configuration_keys: buf.nullable_array(flexible, true, 1, |buf| buf.string(flexible))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 4;
        out.put_i8(self.resource_type);
        out.put_string(&self.resource_name, flexible)?;
        match &self.configuration_keys {
            Some(items) => {
                out.put_length(items.len(), flexible)?;
                for item in items {
                    out.put_string(item, flexible)?;
                }
            }
            None => out.put_null_length(flexible)?,
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
