//! ShareGroupHeartbeatRequest: API key 76, versions 1–1, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ShareGroupHeartbeatRequest {
    pub group_id: String,
    pub member_id: String,
    pub member_epoch: i32,
    pub rack_id: Option<String>,
    pub subscribed_topic_names: Option<Vec<String>>,
}

impl ShareGroupHeartbeatRequest {
    pub const KEY: i16 = 76;
    pub const VERSIONS: RangeInclusive<i16> = 1..=1;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ShareGroupHeartbeatRequest", version });
        }
        let message = Self {
            group_id: buf.string(true)?,
            member_id: buf.string(true)?,
            member_epoch: buf.i32()?,
            rack_id: buf.nullable_string(true, true)?,
            subscribed_topic_names: buf.nullable_array(true, true, 1, |buf| buf.string(true))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ShareGroupHeartbeatRequest", version });
        }
        out.put_string(&self.group_id, true)?;
        out.put_string(&self.member_id, true)?;
        out.put_i32(self.member_epoch);
        out.put_nullable_string(self.rack_id.as_deref(), true)?;
        match &self.subscribed_topic_names {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    out.put_string(item, true)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for ShareGroupHeartbeatRequest {
    const NAME: &'static str = "ShareGroupHeartbeatRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ShareGroupHeartbeatRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ShareGroupHeartbeatResponse;
}
