//! PushTelemetryRequest: API key 72, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct PushTelemetryRequest {
    pub client_instance_id: Uuid,
    pub subscription_id: i32,
    pub terminating: bool,
    pub compression_type: i8,
    pub metrics: Bytes,
}

impl PushTelemetryRequest {
    pub const KEY: i16 = 72;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "PushTelemetryRequest", version });
        }
        let message = Self {
            client_instance_id: buf.uuid()?,
            subscription_id: buf.i32()?,
            terminating: buf.bool()?,
            compression_type: buf.i8()?,
            metrics: buf.bytes(true)?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "PushTelemetryRequest", version });
        }
        out.put_uuid(self.client_instance_id);
        out.put_i32(self.subscription_id);
        out.put_bool(self.terminating);
        out.put_i8(self.compression_type);
        out.put_bytes(&self.metrics, true)?;
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for PushTelemetryRequest {
    const NAME: &'static str = "PushTelemetryRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for PushTelemetryRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::PushTelemetryResponse;
}
