//! ApiVersionsResponse: API key 18, versions 0–5, flexible from 3.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct ApiVersionsResponse {
    pub error_code: i16,
    pub api_keys: Vec<ApiVersion>,
    /// Versions 1+.
    pub throttle_time_ms: i32,
    /// Versions 3+. Tagged field 0.
    pub supported_features: Vec<SupportedFeatureKey>,
    /// Versions 3+. Tagged field 1.
    pub finalized_features_epoch: i64,
    /// Versions 3+. Tagged field 2.
    pub finalized_features: Vec<FinalizedFeatureKey>,
    /// Versions 3+. Tagged field 3.
    pub zk_migration_ready: bool,
}

impl Default for ApiVersionsResponse {
    fn default() -> Self {
        Self {
            error_code: 0,
            api_keys: Vec::new(),
            throttle_time_ms: 0,
            supported_features: Vec::new(),
            finalized_features_epoch: -1,
            finalized_features: Vec::new(),
            zk_migration_ready: false,
        }
    }
}

impl ApiVersionsResponse {
    pub const KEY: i16 = 18;
    pub const VERSIONS: RangeInclusive<i16> = 0..=5;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 3;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ApiVersionsResponse", version });
        }
        let flexible = version >= 3;
        let mut message = Self {
            error_code: buf.i16()?,
            api_keys: buf.array(flexible, 6, |buf| ApiVersion::decode(buf, version))?,
            throttle_time_ms: if version >= 1 { buf.i32()? } else { 0 },
            supported_features: Vec::new(),
            finalized_features_epoch: -1,
            finalized_features: Vec::new(),
            zk_migration_ready: false,
        };
        if flexible {
            for _ in 0..buf.tag_count()? {
                let (tag, outer_end) = buf.begin_tag()?;
                match tag {
                    0 => {
                        message.supported_features =
                            buf.array(true, 6, |buf| SupportedFeatureKey::decode(buf, version))?
                    }
                    1 => message.finalized_features_epoch = buf.i64()?,
                    2 => {
                        message.finalized_features =
                            buf.array(true, 6, |buf| FinalizedFeatureKey::decode(buf, version))?
                    }
                    3 => message.zk_migration_ready = buf.bool()?,
                    _ => {}
                }
                buf.end_tag(outer_end);
            }
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ApiVersionsResponse", version });
        }
        let flexible = version >= 3;
        out.put_i16(self.error_code);
        out.put_length(self.api_keys.len(), flexible)?;
        for item in &self.api_keys {
            item.encode(out, version)?;
        }
        if version >= 1 {
            out.put_i32(self.throttle_time_ms);
        }
        if flexible {
            out.put_uvarint(
                u32::from(!self.supported_features.is_empty())
                    + u32::from(self.finalized_features_epoch != -1)
                    + u32::from(!self.finalized_features.is_empty())
                    + u32::from(self.zk_migration_ready),
            );
            if !self.supported_features.is_empty() {
                let mut field = Writer::new();
                field.put_length(self.supported_features.len(), true)?;
                for item in &self.supported_features {
                    item.encode(&mut field, version)?;
                }
                out.put_tag(0, field)?;
            }
            if self.finalized_features_epoch != -1 {
                let mut field = Writer::new();
                field.put_i64(self.finalized_features_epoch);
                out.put_tag(1, field)?;
            }
            if !self.finalized_features.is_empty() {
                let mut field = Writer::new();
                field.put_length(self.finalized_features.len(), true)?;
                for item in &self.finalized_features {
                    item.encode(&mut field, version)?;
                }
                out.put_tag(2, field)?;
            }
            if self.zk_migration_ready {
                let mut field = Writer::new();
                field.put_bool(self.zk_migration_ready);
                out.put_tag(3, field)?;
            }
        }
        Ok(())
    }
}

impl Message for ApiVersionsResponse {
    const NAME: &'static str = "ApiVersionsResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for ApiVersionsResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApiVersion {
    pub api_key: i16,
    pub min_version: i16,
    pub max_version: i16,
}

impl ApiVersion {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let message = Self { api_key: buf.i16()?, min_version: buf.i16()?, max_version: buf.i16()? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        out.put_i16(self.api_key);
        out.put_i16(self.min_version);
        out.put_i16(self.max_version);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct SupportedFeatureKey {
    pub name: String,
    pub min_version: i16,
    pub max_version: i16,
}

impl SupportedFeatureKey {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { name: buf.string(true)?, min_version: buf.i16()?, max_version: buf.i16()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_i16(self.min_version);
        out.put_i16(self.max_version);
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct FinalizedFeatureKey {
    pub name: String,
    pub max_version_level: i16,
    pub min_version_level: i16,
}

impl FinalizedFeatureKey {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message =
            Self { name: buf.string(true)?, max_version_level: buf.i16()?, min_version_level: buf.i16()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_i16(self.max_version_level);
        out.put_i16(self.min_version_level);
        out.put_uvarint(0);
        Ok(())
    }
}
