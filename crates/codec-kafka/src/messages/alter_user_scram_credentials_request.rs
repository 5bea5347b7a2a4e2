//! AlterUserScramCredentialsRequest: API key 51, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlterUserScramCredentialsRequest {
    pub deletions: Vec<ScramCredentialDeletion>,
    pub upsertions: Vec<ScramCredentialUpsertion>,
}

impl AlterUserScramCredentialsRequest {
    pub const KEY: i16 = 51;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "AlterUserScramCredentialsRequest",
                version,
            });
        }
        let message = Self {
            deletions: buf.array(true, 3, |buf| ScramCredentialDeletion::decode(buf, version))?,
            upsertions: buf.array(true, 9, |buf| ScramCredentialUpsertion::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "AlterUserScramCredentialsRequest",
                version,
            });
        }
        out.put_length(self.deletions.len(), true)?;
        for item in &self.deletions {
            item.encode(out, version)?;
        }
        out.put_length(self.upsertions.len(), true)?;
        for item in &self.upsertions {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for AlterUserScramCredentialsRequest {
    const NAME: &'static str = "AlterUserScramCredentialsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for AlterUserScramCredentialsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::AlterUserScramCredentialsResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScramCredentialDeletion {
    pub name: String,
    pub mechanism: i8,
}

impl ScramCredentialDeletion {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { name: buf.string(true)?, mechanism: buf.i8()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_i8(self.mechanism);
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScramCredentialUpsertion {
    pub name: String,
    pub mechanism: i8,
    pub iterations: i32,
    pub salt: Bytes,
    pub salted_password: Bytes,
}

impl ScramCredentialUpsertion {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            name: buf.string(true)?,
            mechanism: buf.i8()?,
            iterations: buf.i32()?,
            salt: buf.bytes(true)?,
            salted_password: buf.bytes(true)?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_i8(self.mechanism);
        out.put_i32(self.iterations);
        out.put_bytes(&self.salt, true)?;
        out.put_bytes(&self.salted_password, true)?;
        out.put_uvarint(0);
        Ok(())
    }
}
