//! StreamsGroupHeartbeatRequest: API key 88, versions 0–1, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq)]
pub struct StreamsGroupHeartbeatRequest {
    pub group_id: String,
    pub member_id: String,
    pub member_epoch: i32,
    pub endpoint_information_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub topology: Option<Topology>,
    pub active_tasks: Option<Vec<TaskIds>>,
    pub standby_tasks: Option<Vec<TaskIds>>,
    pub warmup_tasks: Option<Vec<TaskIds>>,
    pub process_id: Option<String>,
    pub user_endpoint: Option<Endpoint>,
    pub client_tags: Option<Vec<KeyValue>>,
    pub task_offsets: Option<Vec<TaskOffset>>,
    pub task_end_offsets: Option<Vec<TaskOffset>>,
    pub shutdown_application: bool,
}

impl Default for StreamsGroupHeartbeatRequest {
    fn default() -> Self {
        Self {
            group_id: String::new(),
            member_id: String::new(),
            member_epoch: 0,
            endpoint_information_epoch: 0,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: -1,
            topology: None,
            active_tasks: None,
            standby_tasks: None,
            warmup_tasks: None,
            process_id: None,
            user_endpoint: None,
            client_tags: None,
            task_offsets: None,
            task_end_offsets: None,
            shutdown_application: false,
        }
    }
}

impl StreamsGroupHeartbeatRequest {
    pub const KEY: i16 = 88;
    pub const VERSIONS: RangeInclusive<i16> = 0..=1;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "StreamsGroupHeartbeatRequest", version });
        }
        let message = Self {
            group_id: buf.string(true)?,
            member_id: buf.string(true)?,
            member_epoch: buf.i32()?,
            endpoint_information_epoch: buf.i32()?,
            instance_id: buf.nullable_string(true, true)?,
            rack_id: buf.nullable_string(true, true)?,
            rebalance_timeout_ms: buf.i32()?,
            topology: if buf.struct_is_present(true)? { Some(Topology::decode(buf, version)?) } else { None },
            active_tasks: buf.nullable_array(true, true, 3, |buf| TaskIds::decode(buf, version))?,
            standby_tasks: buf.nullable_array(true, true, 3, |buf| TaskIds::decode(buf, version))?,
            warmup_tasks: buf.nullable_array(true, true, 3, |buf| TaskIds::decode(buf, version))?,
            process_id: buf.nullable_string(true, true)?,
            user_endpoint: if buf.struct_is_present(true)? {
                Some(Endpoint::decode(buf, version)?)
            } else {
                None
            },
            client_tags: buf.nullable_array(true, true, 3, |buf| KeyValue::decode(buf, version))?,
            task_offsets: buf.nullable_array(true, true, 14, |buf| TaskOffset::decode(buf, version))?,
            task_end_offsets: buf.nullable_array(true, true, 14, |buf| TaskOffset::decode(buf, version))?,
            shutdown_application: buf.bool()?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: "StreamsGroupHeartbeatRequest", version });
        }
        out.put_string(&self.group_id, true)?;
        out.put_string(&self.member_id, true)?;
        out.put_i32(self.member_epoch);
        out.put_i32(self.endpoint_information_epoch);
        out.put_nullable_string(self.instance_id.as_deref(), true)?;
        out.put_nullable_string(self.rack_id.as_deref(), true)?;
        out.put_i32(self.rebalance_timeout_ms);
        match &self.topology {
            Some(value) => {
                out.put_i8(1);
                value.encode(out, version)?;
            }
            None => out.put_i8(-1),
        }
        match &self.active_tasks {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        match &self.standby_tasks {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        match &self.warmup_tasks {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        out.put_nullable_string(self.process_id.as_deref(), true)?;
        match &self.user_endpoint {
            Some(value) => {
                out.put_i8(1);
                value.encode(out, version)?;
            }
            None => out.put_i8(-1),
        }
        match &self.client_tags {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        match &self.task_offsets {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        match &self.task_end_offsets {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        out.put_bool(self.shutdown_application);
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for StreamsGroupHeartbeatRequest {
    const NAME: &'static str = "StreamsGroupHeartbeatRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for StreamsGroupHeartbeatRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::StreamsGroupHeartbeatResponse;
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topology {
    pub epoch: i32,
    pub subtopologies: Vec<Subtopology>,
}

impl Topology {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            epoch: buf.i32()?,
            subtopologies: buf.array(true, 8, |buf| Subtopology::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.epoch);
        out.put_length(self.subtopologies.len(), true)?;
        for item in &self.subtopologies {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subtopology {
    pub subtopology_id: String,
    pub source_topics: Vec<String>,
    pub source_topic_regex: Vec<String>,
    pub state_changelog_topics: Vec<TopicInfo>,
    pub repartition_sink_topics: Vec<String>,
    pub repartition_source_topics: Vec<TopicInfo>,
    pub copartition_groups: Vec<CopartitionGroup>,
}

impl Subtopology {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            subtopology_id: buf.string(true)?,
            source_topics: buf.array(true, 1, |buf| buf.string(true))?,
            source_topic_regex: buf.array(true, 1, |buf| buf.string(true))?,
            state_changelog_topics: buf.array(true, 9, |buf| TopicInfo::decode(buf, version))?,
            repartition_sink_topics: buf.array(true, 1, |buf| buf.string(true))?,
            repartition_source_topics: buf.array(true, 9, |buf| TopicInfo::decode(buf, version))?,
            copartition_groups: buf.array(true, 4, |buf| CopartitionGroup::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.subtopology_id, true)?;
        out.put_length(self.source_topics.len(), true)?;
        for item in &self.source_topics {
            out.put_string(item, true)?;
        }
        out.put_length(self.source_topic_regex.len(), true)?;
        for item in &self.source_topic_regex {
            out.put_string(item, true)?;
        }
        out.put_length(self.state_changelog_topics.len(), true)?;
        for item in &self.state_changelog_topics {
            item.encode(out, version)?;
        }
        out.put_length(self.repartition_sink_topics.len(), true)?;
        for item in &self.repartition_sink_topics {
            out.put_string(item, true)?;
        }
        out.put_length(self.repartition_source_topics.len(), true)?;
        for item in &self.repartition_source_topics {
            item.encode(out, version)?;
        }
        out.put_length(self.copartition_groups.len(), true)?;
        for item in &self.copartition_groups {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicInfo {
    pub name: String,
    pub partitions: i32,
    pub replication_factor: i16,
    pub topic_configs: Vec<KeyValue>,
}

impl TopicInfo {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            name: buf.string(true)?,
            partitions: buf.i32()?,
            replication_factor: buf.i16()?,
            topic_configs: buf.array(true, 3, |buf| KeyValue::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_i32(self.partitions);
        out.put_i16(self.replication_factor);
        out.put_length(self.topic_configs.len(), true)?;
        for item in &self.topic_configs {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct KeyValue {
    pub key: String,
    pub value: String,
}

impl KeyValue {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { key: buf.string(true)?, value: buf.string(true)? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.key, true)?;
        out.put_string(&self.value, true)?;
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct CopartitionGroup {
    pub source_topics: Vec<i16>,
    pub source_topic_regex: Vec<i16>,
    pub repartition_source_topics: Vec<i16>,
}

impl CopartitionGroup {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            source_topics: buf.array(true, 2, |buf| buf.i16())?,
            source_topic_regex: buf.array(true, 2, |buf| buf.i16())?,
            repartition_source_topics: buf.array(true, 2, |buf| buf.i16())?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_length(self.source_topics.len(), true)?;
        for item in &self.source_topics {
            out.put_i16(*item);
        }
        out.put_length(self.source_topic_regex.len(), true)?;
        for item in &self.source_topic_regex {
            out.put_i16(*item);
        }
        out.put_length(self.repartition_source_topics.len(), true)?;
        for item in &self.repartition_source_topics {
            out.put_i16(*item);
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskIds {
    pub subtopology_id: String,
    pub partitions: Vec<i32>,
}

impl TaskIds {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message =
            Self { subtopology_id: buf.string(true)?, partitions: buf.array(true, 4, |buf| buf.i32())? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.subtopology_id, true)?;
        out.put_length(self.partitions.len(), true)?;
        for item in &self.partitions {
            out.put_i32(*item);
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { host: buf.string(true)?, port: buf.u16()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.host, true)?;
        out.put_u16(self.port);
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskOffset {
    pub subtopology_id: String,
    pub partition: i32,
    pub offset: i64,
}

impl TaskOffset {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self { subtopology_id: buf.string(true)?, partition: buf.i32()?, offset: buf.i64()? };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.subtopology_id, true)?;
        out.put_i32(self.partition);
        out.put_i64(self.offset);
        out.put_uvarint(0);
        Ok(())
    }
}
