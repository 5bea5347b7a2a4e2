//! AddOffsetsToTxnRequest: API key 25, versions 0–4, flexible from 3.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AddOffsetsToTxnRequest {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub group_id: String,
}

impl AddOffsetsToTxnRequest {
    pub const KEY: i16 = 25;
    pub const VERSIONS: RangeInclusive<i16> = 0..=4;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 3;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "AddOffsetsToTxnRequest", version });
        }
        let flexible = version >= 3;
        let message = Self {
            transactional_id: buf.string(flexible)?,
            producer_id: buf.i64()?,
            producer_epoch: buf.i16()?,
            group_id: buf.string(flexible)?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "AddOffsetsToTxnRequest", version });
        }
        let flexible = version >= 3;
        out.put_string(&self.transactional_id, flexible)?;
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_string(&self.group_id, flexible)?;
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for AddOffsetsToTxnRequest {
    const NAME: &'static str = "AddOffsetsToTxnRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for AddOffsetsToTxnRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::AddOffsetsToTxnResponse;
}
