//! CreateTopicsResponse: API key 19, versions 2–7, flexible from 5.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct CreateTopicsResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<CreatableTopicResult>,
}

impl CreateTopicsResponse {
    pub const KEY: i16 = 19;
    pub const VERSIONS: RangeInclusive<i16> = 2..=7;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 5;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "CreateTopicsResponse", version });
        }
        let flexible = version >= 5;
        let message = Self {
            throttle_time_ms: buf.i32()?,
            topics: buf.array(flexible, 6, |buf| CreatableTopicResult::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "CreateTopicsResponse", version });
        }
        let flexible = version >= 5;
        out.put_i32(self.throttle_time_ms);
        out.put_length(self.topics.len(), flexible)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for CreateTopicsResponse {
    const NAME: &'static str = "CreateTopicsResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for CreateTopicsResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreatableTopicResult {
    pub name: String,
    /// Versions 7+.
    pub topic_id: Uuid,
    pub error_code: i16,
    pub error_message: Option<String>,
    /// Versions 5+. Tagged field 0.
    pub topic_config_error_code: i16,
    /// Versions 5+.
    pub num_partitions: i32,
    /// Versions 5+.
    pub replication_factor: i16,
    /// Versions 5+.
    pub configs: Option<Vec<CreatableTopicConfigs>>,
}

impl Default for CreatableTopicResult {
    fn default() -> Self {
        Self {
            name: String::new(),
            topic_id: Uuid::ZERO,
            error_code: 0,
            error_message: Some(String::new()),
            topic_config_error_code: 0,
            num_partitions: -1,
            replication_factor: -1,
            configs: Some(Vec::new()),
        }
    }
}

impl CreatableTopicResult {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 5;
        let mut message = Self {
            name: buf.string(flexible)?,
            topic_id: if version >= 7 { buf.uuid()? } else { Uuid::ZERO },
            error_code: buf.i16()?,
            error_message: buf.nullable_string(flexible, true)?,
            topic_config_error_code: 0,
            num_partitions: if version >= 5 { buf.i32()? } else { -1 },
            replication_factor: if version >= 5 { buf.i16()? } else { -1 },
            configs: if version >= 5 {
                buf.nullable_array(true, true, 6, |buf| CreatableTopicConfigs::decode(buf, version))?
            } else {
                Some(Vec::new())
            },
        };
        if flexible {
            for _ in 0..buf.tag_count()? {
                let (tag, outer_end) = buf.begin_tag()?;
                match tag {
                    0 => message.topic_config_error_code = buf.i16()?,
                    _ => {}
                }
                buf.end_tag(outer_end);
            }
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 5;
        out.put_string(&self.name, flexible)?;
        if version >= 7 {
            out.put_uuid(self.topic_id);
        }
        out.put_i16(self.error_code);
        out.put_nullable_string(self.error_message.as_deref(), flexible)?;
        if version >= 5 {
            out.put_i32(self.num_partitions);
        }
        if version >= 5 {
            out.put_i16(self.replication_factor);
        }
        if version >= 5 {
            match &self.configs {
                Some(items) => {
                    out.put_length(items.len(), true)?;
                    for item in items {
                        item.encode(out, version)?;
                    }
                }
                None => out.put_null_length(true)?,
            }
        }
        if flexible {
            out.put_uvarint(u32::from(self.topic_config_error_code != 0));
            if self.topic_config_error_code != 0 {
                let mut field = Writer::new();
                field.put_i16(self.topic_config_error_code);
                out.put_tag(0, field)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreatableTopicConfigs {
    pub name: String,
    pub value: Option<String>,
    pub read_only: bool,
    pub config_source: i8,
    pub is_sensitive: bool,
}

impl Default for CreatableTopicConfigs {
    fn default() -> Self {
        Self {
            name: String::new(),
            value: Some(String::new()),
            read_only: false,
            config_source: -1,
            is_sensitive: false,
        }
    }
}

impl CreatableTopicConfigs {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            name: buf.string(true)?,
            value: buf.nullable_string(true, true)?,
            read_only: buf.bool()?,
            config_source: buf.i8()?,
            is_sensitive: buf.bool()?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_nullable_string(self.value.as_deref(), true)?;
        out.put_bool(self.read_only);
        out.put_i8(self.config_source);
        out.put_bool(self.is_sensitive);
        out.put_uvarint(0);
        Ok(())
    }
}
