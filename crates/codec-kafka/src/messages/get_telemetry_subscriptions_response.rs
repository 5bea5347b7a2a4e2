//! GetTelemetrySubscriptionsResponse: API key 71, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct GetTelemetrySubscriptionsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub client_instance_id: Uuid,
    pub subscription_id: i32,
    pub accepted_compression_types: Vec<i8>,
    pub push_interval_ms: i32,
    pub telemetry_max_bytes: i32,
    pub delta_temporality: bool,
    pub requested_metrics: Vec<String>,
}

impl GetTelemetrySubscriptionsResponse {
    pub const KEY: i16 = 71;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "GetTelemetrySubscriptionsResponse",
                version,
            });
        }
        let message = Self {
            throttle_time_ms: buf.i32()?,
            error_code: buf.i16()?,
            client_instance_id: buf.uuid()?,
            subscription_id: buf.i32()?,
            accepted_compression_types: buf.array(true, 1, |buf| buf.i8())?,
            push_interval_ms: buf.i32()?,
            telemetry_max_bytes: buf.i32()?,
            delta_temporality: buf.bool()?,
            requested_metrics: buf.array(true, 1, |buf| buf.string(true))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "GetTelemetrySubscriptionsResponse",
                version,
            });
        }
        out.put_i32(self.throttle_time_ms);
        out.put_i16(self.error_code);
        out.put_uuid(self.client_instance_id);
        out.put_i32(self.subscription_id);
        out.put_length(self.accepted_compression_types.len(), true)?;
        for item in &self.accepted_compression_types {
            out.put_i8(*item);
        }
        out.put_i32(self.push_interval_ms);
        out.put_i32(self.telemetry_max_bytes);
        out.put_bool(self.delta_temporality);
        out.put_length(self.requested_metrics.len(), true)?;
        for item in &self.requested_metrics {
            out.put_string(item, true)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for GetTelemetrySubscriptionsResponse {
    const NAME: &'static str = "GetTelemetrySubscriptionsResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for GetTelemetrySubscriptionsResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}
