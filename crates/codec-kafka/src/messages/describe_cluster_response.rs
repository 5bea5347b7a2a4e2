//! DescribeClusterResponse: API key 60, versions 0–2, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct DescribeClusterResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<String>,
    /// Versions 1+.
    pub endpoint_type: i8,
    pub cluster_id: String,
    pub controller_id: i32,
    pub brokers: Vec<DescribeClusterBroker>,
    pub cluster_authorized_operations: i32,
}

impl Default for DescribeClusterResponse {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            error_code: 0,
            error_message: None,
            endpoint_type: 1,
            cluster_id: String::new(),
            controller_id: -1,
            brokers: Vec::new(),
            cluster_authorized_operations: i32::MIN,
        }
    }
}

impl DescribeClusterResponse {
    pub const KEY: i16 = 60;
    pub const VERSIONS: RangeInclusive<i16> = 0..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DescribeClusterResponse", version });
        }
        let message = Self {
            throttle_time_ms: buf.i32()?,
            error_code: buf.i16()?,
            error_message: buf.nullable_string(true, true)?,
            endpoint_type: if version >= 1 { buf.i8()? } else { 1 },
            cluster_id: buf.string(true)?,
            controller_id: buf.i32()?,
            brokers: buf.array(true, 11, |buf| DescribeClusterBroker::decode(buf, version))?,
            cluster_authorized_operations: buf.i32()?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DescribeClusterResponse", version });
        }
        out.put_i32(self.throttle_time_ms);
        out.put_i16(self.error_code);
        out.put_nullable_string(self.error_message.as_deref(), true)?;
        if version >= 1 {
            out.put_i8(self.endpoint_type);
        } else if self.endpoint_type != 1 {
            return Err(EncodeError::UnsupportedField { field: "EndpointType", version });
        }
        out.put_string(&self.cluster_id, true)?;
        out.put_i32(self.controller_id);
        out.put_length(self.brokers.len(), true)?;
        for item in &self.brokers {
            item.encode(out, version)?;
        }
        out.put_i32(self.cluster_authorized_operations);
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for DescribeClusterResponse {
    const NAME: &'static str = "DescribeClusterResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for DescribeClusterResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribeClusterBroker {
    pub broker_id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
    /// Versions 2+.
    pub is_fenced: bool,
}

impl DescribeClusterBroker {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            broker_id: buf.i32()?,
            host: buf.string(true)?,
            port: buf.i32()?,
            rack: buf.nullable_string(true, true)?,
            is_fenced: if version >= 2 { buf.bool()? } else { false },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.broker_id);
        out.put_string(&self.host, true)?;
        out.put_i32(self.port);
        out.put_nullable_string(self.rack.as_deref(), true)?;
        if version >= 2 {
            out.put_bool(self.is_fenced);
        } else if self.is_fenced {
            return Err(EncodeError::UnsupportedField { field: "IsFenced", version });
        }
        out.put_uvarint(0);
        Ok(())
    }
}
