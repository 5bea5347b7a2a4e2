//! FindCoordinatorResponse: API key 10, versions 0–6, flexible from 3.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct FindCoordinatorResponse {
    /// Versions 1+.
    pub throttle_time_ms: i32,
    /// Versions 0–3.
    pub error_code: i16,
    /// Versions 1–3.
    pub error_message: Option<String>,
    /// Versions 0–3.
    pub node_id: i32,
    /// Versions 0–3.
    pub host: String,
    /// Versions 0–3.
    pub port: i32,
    /// Versions 4+.
    pub coordinators: Vec<Coordinator>,
}

impl Default for FindCoordinatorResponse {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            error_code: 0,
            error_message: Some(String::new()),
            node_id: 0,
            host: String::new(),
            port: 0,
            coordinators: Vec::new(),
        }
    }
}

impl FindCoordinatorResponse {
    pub const KEY: i16 = 10;
    pub const VERSIONS: RangeInclusive<i16> = 0..=6;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 3;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "FindCoordinatorResponse", version });
        }
        let flexible = version >= 3;
        let message = Self {
            throttle_time_ms: if version >= 1 { buf.i32()? } else { 0 },
            error_code: if version <= 3 { buf.i16()? } else { 0 },
            error_message: if (1..=3).contains(&version) {
                buf.nullable_string(flexible, true)?
            } else {
                Some(String::new())
            },
            node_id: if version <= 3 { buf.i32()? } else { 0 },
            host: if version <= 3 { buf.string(flexible)? } else { String::new() },
            port: if version <= 3 { buf.i32()? } else { 0 },
            coordinators: if version >= 4 {
                buf.array(true, 14, |buf| Coordinator::decode(buf, version))?
            } else {
                Vec::new()
            },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "FindCoordinatorResponse", version });
        }
        let flexible = version >= 3;
        if version >= 1 {
            out.put_i32(self.throttle_time_ms);
        }
        if version <= 3 {
            out.put_i16(self.error_code);
        } else if self.error_code != 0 {
            return Err(EncodeError::UnsupportedField { field: "ErrorCode", version });
        }
        if (1..=3).contains(&version) {
            out.put_nullable_string(self.error_message.as_deref(), flexible)?;
        }
        if version <= 3 {
            out.put_i32(self.node_id);
        } else if self.node_id != 0 {
            return Err(EncodeError::UnsupportedField { field: "NodeId", version });
        }
        if version <= 3 {
            out.put_string(&self.host, flexible)?;
        } else if !self.host.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "Host", version });
        }
        if version <= 3 {
            out.put_i32(self.port);
        } else if self.port != 0 {
            return Err(EncodeError::UnsupportedField { field: "Port", version });
        }
        if version >= 4 {
            out.put_length(self.coordinators.len(), true)?;
            for item in &self.coordinators {
                item.encode(out, version)?;
            }
        } else if !self.coordinators.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "Coordinators", version });
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for FindCoordinatorResponse {
    const NAME: &'static str = "FindCoordinatorResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for FindCoordinatorResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Coordinator {
    pub key: String,
    pub node_id: i32,
    pub host: String,
    pub port: i32,
    pub error_code: i16,
    pub error_message: Option<String>,
}

impl Default for Coordinator {
    fn default() -> Self {
        Self {
            key: String::new(),
            node_id: 0,
            host: String::new(),
            port: 0,
            error_code: 0,
            error_message: Some(String::new()),
        }
    }
}

impl Coordinator {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            key: buf.string(true)?,
            node_id: buf.i32()?,
            host: buf.string(true)?,
            port: buf.i32()?,
            error_code: buf.i16()?,
            error_message: buf.nullable_string(true, true)?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.key, true)?;
        out.put_i32(self.node_id);
        out.put_string(&self.host, true)?;
        out.put_i32(self.port);
        out.put_i16(self.error_code);
        out.put_nullable_string(self.error_message.as_deref(), true)?;
        out.put_uvarint(0);
        Ok(())
    }
}
