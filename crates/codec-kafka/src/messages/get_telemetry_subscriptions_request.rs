//! GetTelemetrySubscriptionsRequest: API key 71, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct GetTelemetrySubscriptionsRequest {
    pub client_instance_id: Uuid,
}

impl GetTelemetrySubscriptionsRequest {
    pub const KEY: i16 = 71;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "GetTelemetrySubscriptionsRequest",
                version,
            });
        }
        let message = Self { client_instance_id: buf.uuid()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "GetTelemetrySubscriptionsRequest",
                version,
            });
        }
        out.put_uuid(self.client_instance_id);
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for GetTelemetrySubscriptionsRequest {
    const NAME: &'static str = "GetTelemetrySubscriptionsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for GetTelemetrySubscriptionsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::GetTelemetrySubscriptionsResponse;
}
