//! UpdateFeaturesRequest: API key 57, versions 0–2, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct UpdateFeaturesRequest {
    pub timeout_ms: i32,
    pub feature_updates: Vec<FeatureUpdateKey>,
    /// Versions 1+.
    pub validate_only: bool,
}

impl Default for UpdateFeaturesRequest {
    fn default() -> Self {
        Self { timeout_ms: 60000, feature_updates: Vec::new(), validate_only: false }
    }
}

impl UpdateFeaturesRequest {
    pub const KEY: i16 = 57;
    pub const VERSIONS: RangeInclusive<i16> = 0..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "UpdateFeaturesRequest", version });
        }
        let message = Self {
            timeout_ms: buf.i32()?,
            feature_updates: buf.array(true, 5, |buf| FeatureUpdateKey::decode(buf, version))?,
            validate_only: if version >= 1 { buf.bool()? } else { false },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "UpdateFeaturesRequest", version });
        }
        out.put_i32(self.timeout_ms);
        out.put_length(self.feature_updates.len(), true)?;
        for item in &self.feature_updates {
            item.encode(out, version)?;
        }
        if version >= 1 {
            out.put_bool(self.validate_only);
        } else if self.validate_only {
            return Err(EncodeError::UnsupportedField { field: "ValidateOnly", version });
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for UpdateFeaturesRequest {
    const NAME: &'static str = "UpdateFeaturesRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for UpdateFeaturesRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::UpdateFeaturesResponse;
}

#[derive(Debug, Clone, PartialEq)]
pub struct FeatureUpdateKey {
    pub feature: String,
    pub max_version_level: i16,
    /// Versions 0.
    pub allow_downgrade: bool,
    /// Versions 1+.
    pub upgrade_type: i8,
}

impl Default for FeatureUpdateKey {
    fn default() -> Self {
        Self { feature: String::new(), max_version_level: 0, allow_downgrade: false, upgrade_type: 1 }
    }
}

impl FeatureUpdateKey {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            feature: buf.string(true)?,
            max_version_level: buf.i16()?,
            allow_downgrade: if version <= 0 { buf.bool()? } else { false },
            upgrade_type: if version >= 1 { buf.i8()? } else { 1 },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.feature, true)?;
        out.put_i16(self.max_version_level);
        if version <= 0 {
            out.put_bool(self.allow_downgrade);
        } else if self.allow_downgrade {
            return Err(EncodeError::UnsupportedField { field: "AllowDowngrade", version });
        }
        if version >= 1 {
            out.put_i8(self.upgrade_type);
        } else if self.upgrade_type != 1 {
            return Err(EncodeError::UnsupportedField { field: "UpgradeType", version });
        }
        out.put_uvarint(0);
        Ok(())
    }
}
