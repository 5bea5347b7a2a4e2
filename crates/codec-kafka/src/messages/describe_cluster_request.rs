//! DescribeClusterRequest: API key 60, versions 0–2, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct DescribeClusterRequest {
    pub include_cluster_authorized_operations: bool,
    /// Versions 1+.
    pub endpoint_type: i8,
    /// Versions 2+.
    pub include_fenced_brokers: bool,
}

impl Default for DescribeClusterRequest {
    fn default() -> Self {
        Self { include_cluster_authorized_operations: false, endpoint_type: 1, include_fenced_brokers: false }
    }
}

impl DescribeClusterRequest {
    pub const KEY: i16 = 60;
    pub const VERSIONS: RangeInclusive<i16> = 0..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "DescribeClusterRequest", version });
        }
        let message = Self {
            include_cluster_authorized_operations: buf.bool()?,
            endpoint_type: if version >= 1 { buf.i8()? } else { 1 },
            include_fenced_brokers: if version >= 2 { buf.bool()? } else { false },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "DescribeClusterRequest", version });
        }
        out.put_bool(self.include_cluster_authorized_operations);
        if version >= 1 {
            out.put_i8(self.endpoint_type);
        } else if self.endpoint_type != 1 {
            return Err(EncodeError::UnsupportedField { field: "EndpointType", version });
        }
        if version >= 2 {
            out.put_bool(self.include_fenced_brokers);
        } else if self.include_fenced_brokers {
            return Err(EncodeError::UnsupportedField { field: "IncludeFencedBrokers", version });
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for DescribeClusterRequest {
    const NAME: &'static str = "DescribeClusterRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for DescribeClusterRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::DescribeClusterResponse;
}
