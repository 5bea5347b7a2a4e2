//! ListPartitionReassignmentsRequest: API key 46, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct ListPartitionReassignmentsRequest {
    pub timeout_ms: i32,
    pub topics: Option<Vec<ListPartitionReassignmentsTopics>>,
}

impl Default for ListPartitionReassignmentsRequest {
    fn default() -> Self {
        Self { timeout_ms: 60000, topics: None }
    }
}

impl ListPartitionReassignmentsRequest {
    pub const KEY: i16 = 46;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "ListPartitionReassignmentsRequest",
                version,
            });
        }
        let message = Self {
            timeout_ms: buf.i32()?,
            topics: buf.nullable_array(true, true, 3, |buf| {
                ListPartitionReassignmentsTopics::decode(buf, version)
            })?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "ListPartitionReassignmentsRequest",
                version,
            });
        }
        out.put_i32(self.timeout_ms);
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

impl Message for ListPartitionReassignmentsRequest {
    const NAME: &'static str = "ListPartitionReassignmentsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ListPartitionReassignmentsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ListPartitionReassignmentsResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListPartitionReassignmentsTopics {
    pub name: String,
    pub partition_indexes: Vec<i32>,
}

impl ListPartitionReassignmentsTopics {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message =
            Self { name: buf.string(true)?, partition_indexes: buf.array(true, 4, |buf| buf.i32())? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_length(self.partition_indexes.len(), true)?;
        for item in &self.partition_indexes {
            out.put_i32(*item);
        }
        out.put_uvarint(0);
        Ok(())
    }
}
