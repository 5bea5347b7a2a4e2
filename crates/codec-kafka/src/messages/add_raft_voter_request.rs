//! AddRaftVoterRequest: API key 80, versions 0–1, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct AddRaftVoterRequest {
    pub cluster_id: Option<String>,
    pub timeout_ms: i32,
    pub voter_id: i32,
    pub voter_directory_id: Uuid,
    pub listeners: Vec<Listener>,
    /// Versions 1+.
    pub ack_when_committed: bool,
}

impl Default for AddRaftVoterRequest {
    fn default() -> Self {
        Self {
            cluster_id: Some(String::new()),
            timeout_ms: 0,
            voter_id: 0,
            voter_directory_id: Uuid::ZERO,
            listeners: Vec::new(),
            ack_when_committed: true,
        }
    }
}

impl AddRaftVoterRequest {
    pub const KEY: i16 = 80;
    pub const VERSIONS: RangeInclusive<i16> = 0..=1;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "AddRaftVoterRequest", version });
        }
        let message = Self {
            cluster_id: buf.nullable_string(true, true)?,
            timeout_ms: buf.i32()?,
            voter_id: buf.i32()?,
            voter_directory_id: buf.uuid()?,
            listeners: buf.array(true, 5, |buf| Listener::decode(buf, version))?,
            ack_when_committed: if version >= 1 { buf.bool()? } else { true },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "AddRaftVoterRequest", version });
        }
        out.put_nullable_string(self.cluster_id.as_deref(), true)?;
        out.put_i32(self.timeout_ms);
        out.put_i32(self.voter_id);
        out.put_uuid(self.voter_directory_id);
        out.put_length(self.listeners.len(), true)?;
        for item in &self.listeners {
            item.encode(out, version)?;
        }
        if version >= 1 {
            out.put_bool(self.ack_when_committed);
        } else if !self.ack_when_committed {
            return Err(EncodeError::UnsupportedField { field: "AckWhenCommitted", version });
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for AddRaftVoterRequest {
    const NAME: &'static str = "AddRaftVoterRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for AddRaftVoterRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::AddRaftVoterResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listener {
    pub name: String,
    pub host: String,
    pub port: u16,
}

impl Listener {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { name: buf.string(true)?, host: buf.string(true)?, port: buf.u16()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_string(&self.host, true)?;
        out.put_u16(self.port);
        out.put_uvarint(0);
        Ok(())
    }
}
