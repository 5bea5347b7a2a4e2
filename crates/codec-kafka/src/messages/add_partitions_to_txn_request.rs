//! AddPartitionsToTxnRequest: API key 24, versions 0–5, flexible from 3.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AddPartitionsToTxnRequest {
    /// Versions 4+.
    pub transactions: Vec<AddPartitionsToTxnTransaction>,
    /// Versions 0–3.
    pub v3_and_below_transactional_id: String,
    /// Versions 0–3.
    pub v3_and_below_producer_id: i64,
    /// Versions 0–3.
    pub v3_and_below_producer_epoch: i16,
    /// Versions 0–3.
    pub v3_and_below_topics: Vec<AddPartitionsToTxnTopic>,
}

impl AddPartitionsToTxnRequest {
    pub const KEY: i16 = 24;
    pub const VERSIONS: RangeInclusive<i16> = 0..=5;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 3;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "AddPartitionsToTxnRequest", version });
        }
        let flexible = version >= 3;
        let message = Self {
            transactions: if version >= 4 {
                buf.array(true, 14, |buf| AddPartitionsToTxnTransaction::decode(buf, version))?
            } else {
                Vec::new()
            },
            v3_and_below_transactional_id: if version <= 3 { buf.string(flexible)? } else { String::new() },
            v3_and_below_producer_id: if version <= 3 { buf.i64()? } else { 0 },
            v3_and_below_producer_epoch: if version <= 3 { buf.i16()? } else { 0 },
            v3_and_below_topics: if version <= 3 {
                buf.array(flexible, 3, |buf| AddPartitionsToTxnTopic::decode(buf, version))?
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
            return Err(EncodeError::UnsupportedVersion { message: "AddPartitionsToTxnRequest", version });
        }
        let flexible = version >= 3;
        if version >= 4 {
            out.put_length(self.transactions.len(), true)?;
            for item in &self.transactions {
                item.encode(out, version)?;
            }
        } else if !self.transactions.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "Transactions", version });
        }
        if version <= 3 {
            out.put_string(&self.v3_and_below_transactional_id, flexible)?;
        } else if !self.v3_and_below_transactional_id.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "V3AndBelowTransactionalId", version });
        }
        if version <= 3 {
            out.put_i64(self.v3_and_below_producer_id);
        } else if self.v3_and_below_producer_id != 0 {
            return Err(EncodeError::UnsupportedField { field: "V3AndBelowProducerId", version });
        }
        if version <= 3 {
            out.put_i16(self.v3_and_below_producer_epoch);
        } else if self.v3_and_below_producer_epoch != 0 {
            return Err(EncodeError::UnsupportedField { field: "V3AndBelowProducerEpoch", version });
        }
        if version <= 3 {
            out.put_length(self.v3_and_below_topics.len(), flexible)?;
            for item in &self.v3_and_below_topics {
                item.encode(out, version)?;
            }
        } else if !self.v3_and_below_topics.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "V3AndBelowTopics", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for AddPartitionsToTxnRequest {
    const NAME: &'static str = "AddPartitionsToTxnRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for AddPartitionsToTxnRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::AddPartitionsToTxnResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AddPartitionsToTxnTransaction {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub verify_only: bool,
    pub topics: Vec<AddPartitionsToTxnTopic>,
}

impl AddPartitionsToTxnTransaction {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            transactional_id: buf.string(true)?,
            producer_id: buf.i64()?,
            producer_epoch: buf.i16()?,
            verify_only: buf.bool()?,
            topics: buf.array(true, 3, |buf| AddPartitionsToTxnTopic::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.transactional_id, true)?;
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_bool(self.verify_only);
        out.put_length(self.topics.len(), true)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AddPartitionsToTxnTopic {
    pub name: String,
    pub partitions: Vec<i32>,
}

impl AddPartitionsToTxnTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let message =
            Self { name: buf.string(flexible)?, partitions: buf.array(flexible, 4, |buf| buf.i32())? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        out.put_string(&self.name, flexible)?;
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
