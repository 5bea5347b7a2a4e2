//! ListTransactionsRequest: API key 66, versions 0–2, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct ListTransactionsRequest {
    pub state_filters: Vec<String>,
    pub producer_id_filters: Vec<i64>,
    /// Versions 1+.
    pub duration_filter: i64,
    /// Versions 2+.
    pub transactional_id_pattern: Option<String>,
}

impl Default for ListTransactionsRequest {
    fn default() -> Self {
        Self {
            state_filters: Vec::new(),
            producer_id_filters: Vec::new(),
            duration_filter: -1,
            transactional_id_pattern: None,
        }
    }
}

impl ListTransactionsRequest {
    pub const KEY: i16 = 66;
    pub const VERSIONS: RangeInclusive<i16> = 0..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "ListTransactionsRequest", version });
        }
        let message = Self {
            state_filters: buf.array(true, 1, |buf| buf.string(true))?,
            producer_id_filters: buf.array(true, 8, |buf| buf.i64())?,
            duration_filter: if version >= 1 { buf.i64()? } else { -1 },
            transactional_id_pattern: if version >= 2 { buf.nullable_string(true, true)? } else { None },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "ListTransactionsRequest", version });
        }
        out.put_length(self.state_filters.len(), true)?;
        for item in &self.state_filters {
            out.put_string(item, true)?;
        }
        out.put_length(self.producer_id_filters.len(), true)?;
        for item in &self.producer_id_filters {
            out.put_i64(*item);
        }
        if version >= 1 {
            out.put_i64(self.duration_filter);
        } else if self.duration_filter != -1 {
            return Err(EncodeError::UnsupportedField { field: "DurationFilter", version });
        }
        if version >= 2 {
            out.put_nullable_string(self.transactional_id_pattern.as_deref(), true)?;
        } else if self.transactional_id_pattern.is_some() {
            return Err(EncodeError::UnsupportedField { field: "TransactionalIdPattern", version });
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for ListTransactionsRequest {
    const NAME: &'static str = "ListTransactionsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for ListTransactionsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::ListTransactionsResponse;
}
