//! AddPartitionsToTxnResponse: API key 24, versions 0–5, flexible from 3.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AddPartitionsToTxnResponse {
    pub throttle_time_ms: i32,
    /// Versions 4+.
    pub error_code: i16,
    /// Versions 4+.
    pub results_by_transaction: Vec<AddPartitionsToTxnResult>,
    /// Versions 0–3.
    pub results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult>,
}

impl AddPartitionsToTxnResponse {
    pub const KEY: i16 = 24;
    pub const VERSIONS: RangeInclusive<i16> = 0..=5;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 3;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "AddPartitionsToTxnResponse", version });
        }
        let flexible = version >= 3;
        let message = Self {
            throttle_time_ms: buf.i32()?,
            error_code: if version >= 4 { buf.i16()? } else { 0 },
            results_by_transaction: if version >= 4 {
                buf.array(true, 3, |buf| AddPartitionsToTxnResult::decode(buf, version))?
            } else {
                Vec::new()
            },
            results_by_topic_v3_and_below: if version <= 3 {
                buf.array(flexible, 3, |buf| AddPartitionsToTxnTopicResult::decode(buf, version))?
            } else {
                Vec::new()
            },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "AddPartitionsToTxnResponse", version });
        }
        let flexible = version >= 3;
        out.put_i32(self.throttle_time_ms);
        if version >= 4 {
            out.put_i16(self.error_code);
        }
        if version >= 4 {
            out.put_length(self.results_by_transaction.len(), true)?;
            for item in &self.results_by_transaction {
                item.encode(out, version)?;
            }
        } else if !self.results_by_transaction.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "ResultsByTransaction", version });
        }
        if version <= 3 {
            out.put_length(self.results_by_topic_v3_and_below.len(), flexible)?;
            for item in &self.results_by_topic_v3_and_below {
                item.encode(out, version)?;
            }
        } else if !self.results_by_topic_v3_and_below.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "ResultsByTopicV3AndBelow", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for AddPartitionsToTxnResponse {
    const NAME: &'static str = "AddPartitionsToTxnResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for AddPartitionsToTxnResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AddPartitionsToTxnResult {
    pub transactional_id: String,
    pub topic_results: Vec<AddPartitionsToTxnTopicResult>,
}

impl AddPartitionsToTxnResult {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            transactional_id: buf.string(true)?,
            topic_results: buf.array(true, 3, |buf| AddPartitionsToTxnTopicResult::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.transactional_id, true)?;
        out.put_length(self.topic_results.len(), true)?;
        for item in &self.topic_results {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AddPartitionsToTxnTopicResult {
    pub name: String,
    pub results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
}

impl AddPartitionsToTxnTopicResult {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let message = Self {
            name: buf.string(flexible)?,
            results_by_partition: buf
                .array(flexible, 6, |buf| AddPartitionsToTxnPartitionResult::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        out.put_string(&self.name, flexible)?;
        out.put_length(self.results_by_partition.len(), flexible)?;
        for item in &self.results_by_partition {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AddPartitionsToTxnPartitionResult {
    pub partition_index: i32,
    pub partition_error_code: i16,
}

impl AddPartitionsToTxnPartitionResult {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let message = Self { partition_index: buf.i32()?, partition_error_code: buf.i16()? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        out.put_i32(self.partition_index);
        out.put_i16(self.partition_error_code);
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
