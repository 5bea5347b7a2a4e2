//! RemoveRaftVoterRequest: API key 81, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct RemoveRaftVoterRequest {
    pub cluster_id: Option<String>,
    pub voter_id: i32,
    pub voter_directory_id: Uuid,
}

impl Default for RemoveRaftVoterRequest {
    fn default() -> Self {
        Self { cluster_id: Some(String::new()), voter_id: 0, voter_directory_id: Uuid::ZERO }
    }
}

impl RemoveRaftVoterRequest {
    pub const KEY: i16 = 81;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "RemoveRaftVoterRequest", version });
        }
        let message = Self {
            cluster_id: buf.nullable_string(true, true)?,
            voter_id: buf.i32()?,
            voter_directory_id: buf.uuid()?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "RemoveRaftVoterRequest", version });
        }
        out.put_nullable_string(self.cluster_id.as_deref(), true)?;
        out.put_i32(self.voter_id);
        out.put_uuid(self.voter_directory_id);
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for RemoveRaftVoterRequest {
    const NAME: &'static str = "RemoveRaftVoterRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for RemoveRaftVoterRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::RemoveRaftVoterResponse;
}
