//! MetadataRequest: API key 3, versions 0–13, flexible from 9.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct MetadataRequest {
    /// Null in versions 1+.
    pub topics: Option<Vec<MetadataRequestTopic>>,
    /// Versions 4+.
    pub allow_auto_topic_creation: bool,
    /// Versions 8–10.
    pub include_cluster_authorized_operations: bool,
    /// Versions 8+.
    pub include_topic_authorized_operations: bool,
}

impl Default for MetadataRequest {
    fn default() -> Self {
        Self {
            topics: Some(Vec::new()),
            allow_auto_topic_creation: true,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: false,
        }
    }
}

impl MetadataRequest {
    pub const KEY: i16 = 3;
    pub const VERSIONS: RangeInclusive<i16> = 0..=13;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 9;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "MetadataRequest", version });
        }
        let flexible = version >= 9;
        let message = Self {
            topics: buf.nullable_array(flexible, version >= 1, 2, |buf| {
                MetadataRequestTopic::decode(buf, version)
            })?,
            allow_auto_topic_creation: if version >= 4 { buf.bool()? } else { true },
            include_cluster_authorized_operations: if (8..=10).contains(&version) {
                buf.bool()?
            } else {
                false
            },
            include_topic_authorized_operations: if version >= 8 { buf.bool()? } else { false },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "MetadataRequest", version });
        }
        let flexible = version >= 9;
        if self.topics.is_none() && version < 1 {
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
        if version >= 4 {
            out.put_bool(self.allow_auto_topic_creation);
        } else if !self.allow_auto_topic_creation {
            return Err(EncodeError::UnsupportedField { field: "AllowAutoTopicCreation", version });
        }
        if (8..=10).contains(&version) {
            out.put_bool(self.include_cluster_authorized_operations);
        } else if self.include_cluster_authorized_operations {
            return Err(EncodeError::UnsupportedField {
                field: "IncludeClusterAuthorizedOperations",
                version,
            });
        }
        if version >= 8 {
            out.put_bool(self.include_topic_authorized_operations);
        } else if self.include_topic_authorized_operations {
            return Err(EncodeError::UnsupportedField { field: "IncludeTopicAuthorizedOperations", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for MetadataRequest {
    const NAME: &'static str = "MetadataRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for MetadataRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::MetadataResponse;
}

#[derive(Debug, Clone, PartialEq)]
pub struct MetadataRequestTopic {
    /// Versions 10+.
    pub topic_id: Uuid,
    /// Null in versions 10+.
    pub name: Option<String>,
}

impl Default for MetadataRequestTopic {
    fn default() -> Self {
        Self { topic_id: Uuid::ZERO, name: Some(String::new()) }
    }
}

impl MetadataRequestTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 9;
        let message = Self {
            topic_id: if version >= 10 { buf.uuid()? } else { Uuid::ZERO },
            name: buf.nullable_string(flexible, version >= 10)?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 9;
        if version >= 10 {
            out.put_uuid(self.topic_id);
        }
        if self.name.is_none() && version < 10 {
            return Err(EncodeError::NullNotAllowed { field: "Name", version });
        }
        out.put_nullable_string(self.name.as_deref(), flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
