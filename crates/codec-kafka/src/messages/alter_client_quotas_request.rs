//! AlterClientQuotasRequest: API key 49, versions 0–1, flexible from 1.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlterClientQuotasRequest {
    pub entries: Vec<EntryData>,
    pub validate_only: bool,
}

impl AlterClientQuotasRequest {
    pub const KEY: i16 = 49;
    pub const VERSIONS: RangeInclusive<i16> = 0..=1;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 1;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "AlterClientQuotasRequest", version });
        }
        let flexible = version >= 1;
        let message = Self {
            entries: buf.array(flexible, 3, |buf| EntryData::decode(buf, version))?,
            validate_only: buf.bool()?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "AlterClientQuotasRequest", version });
        }
        let flexible = version >= 1;
        out.put_length(self.entries.len(), flexible)?;
        for item in &self.entries {
            item.encode(out, version)?;
        }
        out.put_bool(self.validate_only);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for AlterClientQuotasRequest {
    const NAME: &'static str = "AlterClientQuotasRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for AlterClientQuotasRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::AlterClientQuotasResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct EntryData {
    pub entity: Vec<EntityData>,
    pub ops: Vec<OpData>,
}

impl EntryData {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 1;
        let message = Self {
            entity: buf.array(flexible, 3, |buf| EntityData::decode(buf, version))?,
            ops: buf.array(flexible, 11, |buf| OpData::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 1;
        out.put_length(self.entity.len(), flexible)?;
        for item in &self.entity {
            item.encode(out, version)?;
        }
        out.put_length(self.ops.len(), flexible)?;
        for item in &self.ops {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct EntityData {
    pub entity_type: String,
    pub entity_name: Option<String>,
}

impl Default for EntityData {
    fn default() -> Self {
        Self { entity_type: String::new(), entity_name: Some(String::new()) }
    }
}

impl EntityData {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 1;
        let message =
            Self { entity_type: buf.string(flexible)?, entity_name: buf.nullable_string(flexible, true)? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 1;
        out.put_string(&self.entity_type, flexible)?;
        out.put_nullable_string(self.entity_name.as_deref(), flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct OpData {
    pub key: String,
    pub value: f64,
    pub remove: bool,
}

impl OpData {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 1;
        let message = Self { key: buf.string(flexible)?, value: buf.f64()?, remove: buf.bool()? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 1;
        out.put_string(&self.key, flexible)?;
        out.put_f64(self.value);
        out.put_bool(self.remove);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
