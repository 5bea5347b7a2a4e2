//! WriteTxnMarkersRequest: API key 27, versions 1–2, flexible from 1.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct WriteTxnMarkersRequest {
    pub markers: Vec<WritableTxnMarker>,
}

impl WriteTxnMarkersRequest {
    pub const KEY: i16 = 27;
    pub const VERSIONS: RangeInclusive<i16> = 1..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 1;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "WriteTxnMarkersRequest", version });
        }
        let message = Self { markers: buf.array(true, 17, |buf| WritableTxnMarker::decode(buf, version))? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "WriteTxnMarkersRequest", version });
        }
        out.put_length(self.markers.len(), true)?;
        for item in &self.markers {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for WriteTxnMarkersRequest {
    const NAME: &'static str = "WriteTxnMarkersRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for WriteTxnMarkersRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::WriteTxnMarkersResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct WritableTxnMarker {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub transaction_result: bool,
    pub topics: Vec<WritableTxnMarkerTopic>,
    pub coordinator_epoch: i32,
    /// Versions 2+.
    pub transaction_version: i8,
}

impl WritableTxnMarker {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            producer_id: buf.i64()?,
            producer_epoch: buf.i16()?,
            transaction_result: buf.bool()?,
            topics: buf.array(true, 3, |buf| WritableTxnMarkerTopic::decode(buf, version))?,
            coordinator_epoch: buf.i32()?,
            transaction_version: if version >= 2 { buf.i8()? } else { 0 },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_bool(self.transaction_result);
        out.put_length(self.topics.len(), true)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        out.put_i32(self.coordinator_epoch);
        if version >= 2 {
            out.put_i8(self.transaction_version);
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct WritableTxnMarkerTopic {
    pub name: String,
    pub partition_indexes: Vec<i32>,
}

impl WritableTxnMarkerTopic {
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
