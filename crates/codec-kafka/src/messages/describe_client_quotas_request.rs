//! DescribeClientQuotasRequest: API key 48, versions 0–1, flexible from 1.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribeClientQuotasRequest {
    pub components: Vec<ComponentData>,
    pub strict: bool,
}

impl DescribeClientQuotasRequest {
    pub const KEY: i16 = 48;
    pub const VERSIONS: RangeInclusive<i16> = 0..=1;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 1;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DescribeClientQuotasRequest", version });
        }
        let flexible = version >= 1;
        let message = Self {
            components: buf.array(flexible, 4, |buf| ComponentData::decode(buf, version))?,
            strict: buf.bool()?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DescribeClientQuotasRequest", version });
        }
        let flexible = version >= 1;
        out.put_length(self.components.len(), flexible)?;
        for item in &self.components {
            item.encode(out, version)?;
        }
        out.put_bool(self.strict);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for DescribeClientQuotasRequest {
    const NAME: &'static str = "DescribeClientQuotasRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DescribeClientQuotasRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DescribeClientQuotasResponse;
}

#[derive(Debug, Clone, PartialEq)]
pub struct ComponentData {
    pub entity_type: String,
    pub match_type: i8,
    pub match_: Option<String>,
}

impl Default for ComponentData {
    fn default() -> Self {
        Self { entity_type: String::new(), match_type: 0, match_: Some(String::new()) }
    }
}

impl ComponentData {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 1;
        let message = Self {
            entity_type: buf.string(flexible)?,
            match_type: buf.i8()?,
            match_: buf.nullable_string(flexible, true)?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 1;
        out.put_string(&self.entity_type, flexible)?;
        out.put_i8(self.match_type);
        out.put_nullable_string(self.match_.as_deref(), flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
