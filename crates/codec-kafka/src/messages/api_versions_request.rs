//! ApiVersionsRequest: API key 18, versions 0–5, flexible from 3.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct ApiVersionsRequest {
    /// Versions 3+.
    pub client_software_name: String,
    /// Versions 3+.
    pub client_software_version: String,
    /// Versions 5+.
    pub cluster_id: Option<String>,
    /// Versions 5+.
    pub node_id: i32,
}

impl Default for ApiVersionsRequest {
    fn default() -> Self {
        Self {
            client_software_name: String::new(),
            client_software_version: String::new(),
            cluster_id: None,
            node_id: -1,
        }
    }
}

impl ApiVersionsRequest {
    pub const KEY: i16 = 18;
    pub const VERSIONS: RangeInclusive<i16> = 0..=5;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 3;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ApiVersionsRequest", version });
        }
        let flexible = version >= 3;
        let message = Self {
            client_software_name: if version >= 3 { buf.string(true)? } else { String::new() },
            client_software_version: if version >= 3 { buf.string(true)? } else { String::new() },
            cluster_id: if version >= 5 { buf.nullable_string(true, true)? } else { None },
            node_id: if version >= 5 { buf.i32()? } else { -1 },
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ApiVersionsRequest", version });
        }
        let flexible = version >= 3;
        if version >= 3 {
            out.put_string(&self.client_software_name, true)?;
        }
        if version >= 3 {
            out.put_string(&self.client_software_version, true)?;
        }
        if version >= 5 {
            out.put_nullable_string(self.cluster_id.as_deref(), true)?;
        }
        if version >= 5 {
            out.put_i32(self.node_id);
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for ApiVersionsRequest {
    const NAME: &'static str = "ApiVersionsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ApiVersionsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ApiVersionsResponse;
}
