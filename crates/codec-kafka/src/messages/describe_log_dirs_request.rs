//! DescribeLogDirsRequest: API key 35, versions 1–5, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct DescribeLogDirsRequest {
    pub topics: Option<Vec<DescribableLogDirTopic>>,
}

impl Default for DescribeLogDirsRequest {
    fn default() -> Self {
        Self { topics: Some(Vec::new()) }
    }
}

impl DescribeLogDirsRequest {
    pub const KEY: i16 = 35;
    pub const VERSIONS: RangeInclusive<i16> = 1..=5;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DescribeLogDirsRequest", version });
        }
        let flexible = version >= 2;
        let message = Self {
            topics: buf
                .nullable_array(flexible, true, 3, |buf| DescribableLogDirTopic::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DescribeLogDirsRequest", version });
        }
        let flexible = version >= 2;
        match &self.topics {
            Some(items) => {
                out.put_length(items.len(), flexible)?;
                for item in items {
                    item.encode(out, version)?;
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

impl Message for DescribeLogDirsRequest {
    const NAME: &'static str = "DescribeLogDirsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DescribeLogDirsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DescribeLogDirsResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribableLogDirTopic {
    pub topic: String,
    pub partitions: Vec<i32>,
}

impl DescribableLogDirTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 2;
        let message =
            Self { topic: buf.string(flexible)?, partitions: buf.array(flexible, 4, |buf| buf.i32())? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 2;
        out.put_string(&self.topic, flexible)?;
        out.put_length(self.partitions.len(), flexible)?;
        for item in &self.partitions {
            out.put_i32(*item);
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
