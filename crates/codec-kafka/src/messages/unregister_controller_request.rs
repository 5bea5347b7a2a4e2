//! UnregisterControllerRequest: API key 94, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct UnregisterControllerRequest {
    pub controller_id: i32,
}

impl UnregisterControllerRequest {
    pub const KEY: i16 = 94;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "UnregisterControllerRequest", version });
        }
        let message = Self { controller_id: buf.i32()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "UnregisterControllerRequest", version });
        }
        out.put_i32(self.controller_id);
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for UnregisterControllerRequest {
    const NAME: &'static str = "UnregisterControllerRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for UnregisterControllerRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::UnregisterControllerResponse;
}
