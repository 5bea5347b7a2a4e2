//! InitProducerIdRequest: API key 22, versions 0–6, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct InitProducerIdRequest {
    pub transactional_id: Option<String>,
    pub transaction_timeout_ms: i32,
    /// Versions 3+.
    pub producer_id: i64,
    /// Versions 3+.
    pub producer_epoch: i16,
    /// Versions 6+.
    pub enable2_pc: bool,
    /// Versions 6+.
    pub keep_prepared_txn: bool,
}

impl Default for InitProducerIdRequest {
    fn default() -> Self {
        Self {
            transactional_id: Some(String::new()),
            transaction_timeout_ms: 0,
            producer_id: -1,
            producer_epoch: -1,
            enable2_pc: false,
            keep_prepared_txn: false,
        }
    }
}

impl InitProducerIdRequest {
    pub const KEY: i16 = 22;
    pub const VERSIONS: RangeInclusive<i16> = 0..=6;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "InitProducerIdRequest", version });
        }
        let flexible = version >= 2;
        let message = Self {
            transactional_id: buf.nullable_string(flexible, true)?,
            transaction_timeout_ms: buf.i32()?,
            producer_id: if version >= 3 { buf.i64()? } else { -1 },
            producer_epoch: if version >= 3 { buf.i16()? } else { -1 },
            enable2_pc: if version >= 6 { buf.bool()? } else { false },
            keep_prepared_txn: if version >= 6 { buf.bool()? } else { false },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "InitProducerIdRequest", version });
        }
        let flexible = version >= 2;
        out.put_nullable_string(self.transactional_id.as_deref(), flexible)?;
        out.put_i32(self.transaction_timeout_ms);
        if version >= 3 {
            out.put_i64(self.producer_id);
        } else if self.producer_id != -1 {
            return Err(EncodeError::UnsupportedField { field: "ProducerId", version });
        }
        if version >= 3 {
            out.put_i16(self.producer_epoch);
        } else if self.producer_epoch != -1 {
            return Err(EncodeError::UnsupportedField { field: "ProducerEpoch", version });
        }
        if version >= 6 {
            out.put_bool(self.enable2_pc);
        } else if self.enable2_pc {
            return Err(EncodeError::UnsupportedField { field: "Enable2Pc", version });
        }
        if version >= 6 {
            out.put_bool(self.keep_prepared_txn);
        } else if self.keep_prepared_txn {
            return Err(EncodeError::UnsupportedField { field: "KeepPreparedTxn", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for InitProducerIdRequest {
    const NAME: &'static str = "InitProducerIdRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for InitProducerIdRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::InitProducerIdResponse;
}
