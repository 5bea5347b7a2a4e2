//! AlterReplicaLogDirsRequest: API key 34, versions 1–2, flexible from 2.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlterReplicaLogDirsRequest {
    pub dirs: Vec<AlterReplicaLogDir>,
}

impl AlterReplicaLogDirsRequest {
    pub const KEY: i16 = 34;
    pub const VERSIONS: RangeInclusive<i16> = 1..=2;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 2;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "AlterReplicaLogDirsRequest", version });
        }
        let flexible = version >= 2;
        let message = Self { dirs: buf.array(flexible, 3, |buf| AlterReplicaLogDir::decode(buf, version))? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "AlterReplicaLogDirsRequest", version });
        }
        let flexible = version >= 2;
        out.put_length(self.dirs.len(), flexible)?;
        for item in &self.dirs {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

impl Message for AlterReplicaLogDirsRequest {
    const NAME: &'static str = "AlterReplicaLogDirsRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for AlterReplicaLogDirsRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::AlterReplicaLogDirsResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlterReplicaLogDir {
    pub path: String,
    pub topics: Vec<AlterReplicaLogDirTopic>,
}

impl AlterReplicaLogDir {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 2;
        let message = Self {
            path: buf.string(flexible)?,
            topics: buf.array(flexible, 3, |buf| AlterReplicaLogDirTopic::decode(buf, version))?,
        };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 2;
        out.put_string(&self.path, flexible)?;
        out.put_length(self.topics.len(), flexible)?;
        for item in &self.topics {
            item.encode(out, version)?;
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlterReplicaLogDirTopic {
    pub name: String,
    pub partitions: Vec<i32>,
}

impl AlterReplicaLogDirTopic {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 2;
        let message =
            Self { name: buf.string(flexible)?, partitions: buf.array(flexible, 4, |buf| buf.i32())? };
        if flexible {
            buf.skip_tags()?;
        }
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 2;
        out.put_string(&self.name, flexible)?;
        out.put_length(self.partitions.len(), flexible)?;
        for item in &self.partitions {
            out.put_i32(*item);
        }
        if flexible {
            out.put_uvarint(0);
        }
        Ok(())
    }
}
