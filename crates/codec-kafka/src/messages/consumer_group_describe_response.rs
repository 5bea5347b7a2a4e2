//! ConsumerGroupDescribeResponse: API key 69, versions 0–1, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::uuid::Uuid;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConsumerGroupDescribeResponse {
    pub throttle_time_ms: i32,
    pub groups: Vec<DescribedGroup>,
}

impl ConsumerGroupDescribeResponse {
    pub const KEY: i16 = 69;
    pub const VERSIONS: RangeInclusive<i16> = 0..=1;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "ConsumerGroupDescribeResponse",
                version,
            });
        }
        let message = Self {
            throttle_time_ms: buf.i32()?,
            groups: buf.array(true, 20, |buf| DescribedGroup::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "ConsumerGroupDescribeResponse",
                version,
            });
        }
        out.put_i32(self.throttle_time_ms);
        out.put_length(self.groups.len(), true)?;
        for item in &self.groups {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for ConsumerGroupDescribeResponse {
    const NAME: &'static str = "ConsumerGroupDescribeResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for ConsumerGroupDescribeResponse {
    const KEY: i16 = Self::KEY;

    fn set_throttle_time_ms(&mut self, ms: i32) {
        self.throttle_time_ms = ms;
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DescribedGroup {
    pub error_code: i16,
    pub error_message: Option<String>,
    pub group_id: String,
    pub group_state: String,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor_name: String,
    pub members: Vec<Member>,
    pub authorized_operations: i32,
}

impl Default for DescribedGroup {
    fn default() -> Self {
        Self {
            error_code: 0,
            error_message: None,
            group_id: String::new(),
            group_state: String::new(),
            group_epoch: 0,
            assignment_epoch: 0,
            assignor_name: String::new(),
            members: Vec::new(),
            authorized_operations: i32::MIN,
        }
    }
}

impl DescribedGroup {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            error_code: buf.i16()?,
            error_message: buf.nullable_string(true, true)?,
            group_id: buf.string(true)?,
            group_state: buf.string(true)?,
            group_epoch: buf.i32()?,
            assignment_epoch: buf.i32()?,
            assignor_name: buf.string(true)?,
            members: buf.array(true, 16, |buf| Member::decode(buf, version))?,
            authorized_operations: buf.i32()?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i16(self.error_code);
        out.put_nullable_string(self.error_message.as_deref(), true)?;
        out.put_string(&self.group_id, true)?;
        out.put_string(&self.group_state, true)?;
        out.put_i32(self.group_epoch);
        out.put_i32(self.assignment_epoch);
        out.put_string(&self.assignor_name, true)?;
        out.put_length(self.members.len(), true)?;
        for item in &self.members {
            item.encode(out, version)?;
        }
        out.put_i32(self.authorized_operations);
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub member_epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_topic_names: Vec<String>,
    pub subscribed_topic_regex: Option<String>,
    pub assignment: Assignment,
    pub target_assignment: Assignment,
    /// Versions 1+.
    pub member_type: i8,
}

impl Default for Member {
    fn default() -> Self {
        Self {
            member_id: String::new(),
            instance_id: None,
            rack_id: None,
            member_epoch: 0,
            client_id: String::new(),
            client_host: String::new(),
            subscribed_topic_names: Vec::new(),
            subscribed_topic_regex: None,
            assignment: Assignment::default(),
            target_assignment: Assignment::default(),
            member_type: -1,
        }
    }
}

impl Member {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            member_id: buf.string(true)?,
            instance_id: buf.nullable_string(true, true)?,
            rack_id: buf.nullable_string(true, true)?,
            member_epoch: buf.i32()?,
            client_id: buf.string(true)?,
            client_host: buf.string(true)?,
            subscribed_topic_names: buf.array(true, 1, |buf| buf.string(true))?,
            subscribed_topic_regex: buf.nullable_string(true, true)?,
            assignment: Assignment::decode(buf, version)?,
            target_assignment: Assignment::decode(buf, version)?,
            member_type: if version >= 1 { buf.i8()? } else { -1 },
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.member_id, true)?;
        out.put_nullable_string(self.instance_id.as_deref(), true)?;
        out.put_nullable_string(self.rack_id.as_deref(), true)?;
        out.put_i32(self.member_epoch);
        out.put_string(&self.client_id, true)?;
        out.put_string(&self.client_host, true)?;
        out.put_length(self.subscribed_topic_names.len(), true)?;
        for item in &self.subscribed_topic_names {
            out.put_string(item, true)?;
        }
        out.put_nullable_string(self.subscribed_topic_regex.as_deref(), true)?;
        self.assignment.encode(out, version)?;
        self.target_assignment.encode(out, version)?;
        if version >= 1 {
            out.put_i8(self.member_type);
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assignment {
    pub topic_partitions: Vec<TopicPartitions>,
}

impl Assignment {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message =
            Self { topic_partitions: buf.array(true, 19, |buf| TopicPartitions::decode(buf, version))? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_length(self.topic_partitions.len(), true)?;
        for item in &self.topic_partitions {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicPartitions {
    pub topic_id: Uuid,
    pub topic_name: String,
    pub partitions: Vec<i32>,
}

impl TopicPartitions {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            topic_id: buf.uuid()?,
            topic_name: buf.string(true)?,
            partitions: buf.array(true, 4, |buf| buf.i32())?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_uuid(self.topic_id);
        out.put_string(&self.topic_name, true)?;
        out.put_length(self.partitions.len(), true)?;
        for item in &self.partitions {
            out.put_i32(*item);
        }
        out.put_uvarint(0);
        Ok(())
    }
}
