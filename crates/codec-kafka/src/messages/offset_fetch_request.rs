//! OffsetFetchRequest: API key 9, versions 1–10, flexible from 6.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct OffsetFetchRequest {
    /// Versions 1–7.
    pub group_id: String,
    /// Versions 1–7. Null in versions 2+.
    pub topics: Option<Vec<OffsetFetchRequestTopic>>,
    /// Versions 8+.
    pub groups: Vec<OffsetFetchRequestGroup>,
    /// Versions 7+.
    pub require_stable: bool,
}

impl Default for OffsetFetchRequest {
    fn default() -> Self {
        Self { group_id: String::new(), topics: Some(Vec::new()), groups: Vec::new(), require_stable: false }
    }
}

impl OffsetFetchRequest {
    pub const KEY: i16 = 9;
    pub const VERSIONS: RangeInclusive<i16> = 1..=10;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 6;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "OffsetFetchRequest", version });
        }
        let flexible = version >= 6;
        let message = Self {
            group_id: if version <= 7 { buf.string(flexible)? } else { String::new() },
            topics: if version <= 7 {
                buf.nullable_array(flexible, version >= 2, 3, |buf| {
                    OffsetFetchRequestTopic::decode(buf, version)
                })?
            } else {
                Some(Vec::new())
            },
            groups: if version >= 8 {
                buf.array(true, 3, |buf| OffsetFetchRequestGroup::decode(buf, version))?
            } else {
                Vec::new()
            },
            require_stable: if version >= 7 { buf.bool()? } else { false },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "OffsetFetchRequest", version });
        }
        let flexible = version >= 6;
        if version <= 7 {
            out.put_string(&self.group_id, flexible)?;
        } else if !self.group_id.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "GroupId", version });
        }
        if version <= 7 {
            if self.topics.is_none() && version < 2 {
                return Err(EncodeError::NullNotAllowed { field: "Topics", version });
            }
            match &self.topics {
                Some(items) => {
                    out.put_length(items.len(), flexible)?;
                    for item in items {
                        item.encode(out, version)?;
                    }
                }
                None => out.put_null_length(flexible)?,
            }
        } else if self.topics.as_ref().is_some_and(|value| !value.is_empty()) {
            return Err(EncodeError::UnsupportedField { field: "Topics", version });
        }
        if version >= 8 {
            out.put_length(self.groups.len(), true)?;
            for item in &self.groups {
                item.encode(out, version)?;
            }
        } else if !self.groups.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "Groups", version });
        }
        if version >= 7 {
            out.put_bool(self.require_stable);
        } else if self.require_stable {
            return Err(EncodeError::UnsupportedField { field: "RequireStable", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for OffsetFetchRequest {
    const NAME: &'static str = "OffsetFetchRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for OffsetFetchRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::OffsetFetchResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct OffsetFetchRequestTopic {
    pub name: String,
    pub partition_indexes: Vec<i32>,
}

impl OffsetFetchRequestTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 6;
        let message =
            Self { name: buf.string(flexible)?, partition_indexes: buf.array(flexible, 4, |buf| buf.i32())? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 6;
        out.put_string(&self.name, flexible)?;
        out.put_length(self.partition_indexes.len(), flexible)?;
        for item in &self.partition_indexes {
            out.put_i32(*item);
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct OffsetFetchRequestGroup {
    pub group_id: String,
    /// Versions 9+.
    pub member_id: Option<String>,
    /// Versions 9+.
    pub member_epoch: i32,
    pub topics: Option<Vec<OffsetFetchRequestTopics>>,
}

impl Default for OffsetFetchRequestGroup {
    fn default() -> Self {
        Self { group_id: String::new(), member_id: None, member_epoch: -1, topics: Some(Vec::new()) }
    }
}

impl OffsetFetchRequestGroup {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            group_id: buf.string(true)?,
            member_id: if version >= 9 { buf.nullable_string(true, true)? } else { None },
            member_epoch: if version >= 9 { buf.i32()? } else { -1 },
            topics: buf
                .nullable_array(true, true, 3, |buf| OffsetFetchRequestTopics::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.group_id, true)?;
        if version >= 9 {
            out.put_nullable_string(self.member_id.as_deref(), true)?;
        }
        if version >= 9 {
            out.put_i32(self.member_epoch);
        }
        match &self.topics {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct OffsetFetchRequestTopics {
    /// Versions 8–9.
    pub name: String,
    /// Versions 10+.
    pub topic_id: Uuid,
    pub partition_indexes: Vec<i32>,
}

impl OffsetFetchRequestTopics {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            name: if version <= 9 { buf.string(true)? } else { String::new() },
            topic_id: if version >= 10 { buf.uuid()? } else { Uuid::ZERO },
            partition_indexes: buf.array(true, 4, |buf| buf.i32())?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if version <= 9 {
            out.put_string(&self.name, true)?;
        }
        if version >= 10 {
            out.put_uuid(self.topic_id);
        }
        out.put_length(self.partition_indexes.len(), true)?;
        for item in &self.partition_indexes {
            out.put_i32(*item);
        }
        out.put_uvarint(0);
        Ok(())
    }
}
