//! StreamsGroupDescribeResponse: API key 89, versions 0–1, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Response};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamsGroupDescribeResponse {
    pub throttle_time_ms: i32,
    pub groups: Vec<DescribedGroup>,
}

impl StreamsGroupDescribeResponse {
    pub const KEY: i16 = 89;
    pub const VERSIONS: RangeInclusive<i16> = 0..=1;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: "StreamsGroupDescribeResponse", version });
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
            return Err(EncodeError::UnsupportedVersion { message: "StreamsGroupDescribeResponse", version });
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

impl Message for StreamsGroupDescribeResponse {
    const NAME: &'static str = "StreamsGroupDescribeResponse";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Response for StreamsGroupDescribeResponse {
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
    pub topology: Option<Topology>,
    pub members: Vec<Member>,
    pub authorized_operations: i32,
    /// Versions 1+.
    pub topology_description: Option<TopologyDescription>,
    /// Versions 1+.
    pub topology_description_status: i8,
    /// Versions 1+.
    pub assignor_name: Option<String>,
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
            topology: None,
            members: Vec::new(),
            authorized_operations: i32::MIN,
            topology_description: None,
            topology_description_status: 0,
            assignor_name: None,
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
            topology: if buf.struct_is_present(true)? { Some(Topology::decode(buf, version)?) } else { None },
            members: buf.array(true, 28, |buf| Member::decode(buf, version))?,
            authorized_operations: buf.i32()?,
            topology_description: if version >= 1 {
                if buf.struct_is_present(true)? {
                    Some(TopologyDescription::decode(buf, version)?)
                } else {
                    None
                }
            } else {
                None
            },
            topology_description_status: if version >= 1 { buf.i8()? } else { 0 },
            assignor_name: if version >= 1 { buf.nullable_string(true, true)? } else { None },
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
        match &self.topology {
            Some(value) => {
                out.put_i8(1);
                value.encode(out, version)?;
            }
            None => out.put_i8(-1),
        }
        out.put_length(self.members.len(), true)?;
        for item in &self.members {
            item.encode(out, version)?;
        }
        out.put_i32(self.authorized_operations);
        if version >= 1 {
            match &self.topology_description {
                Some(value) => {
                    out.put_i8(1);
                    value.encode(out, version)?;
                }
                None => out.put_i8(-1),
            }
        } else if self.topology_description.is_some() {
            return Err(EncodeError::UnsupportedField { field: "TopologyDescription", version });
        }
        if version >= 1 {
            out.put_i8(self.topology_description_status);
        } else if self.topology_description_status != 0 {
            return Err(EncodeError::UnsupportedField { field: "TopologyDescriptionStatus", version });
        }
        if version >= 1 {
            out.put_nullable_string(self.assignor_name.as_deref(), true)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topology {
    pub epoch: i32,
    pub subtopologies: Option<Vec<Subtopology>>,
}

impl Topology {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            epoch: buf.i32()?,
            subtopologies: buf.nullable_array(true, true, 6, |buf| Subtopology::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_i32(self.epoch);
        match &self.subtopologies {
            Some(items) => {
                out.put_length(items.len(), true)?;
                for item in items {
                    item.encode(out, version)?;
                }
            }
            None => out.put_null_length(true)?,
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subtopology {
    pub subtopology_id: String,
    pub source_topics: Vec<String>,
    pub repartition_sink_topics: Vec<String>,
    pub state_changelog_topics: Vec<TopicInfo>,
    pub repartition_source_topics: Vec<TopicInfo>,
}

impl Subtopology {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            subtopology_id: buf.string(true)?,
            source_topics: buf.array(true, 1, |buf| buf.string(true))?,
            repartition_sink_topics: buf.array(true, 1, |buf| buf.string(true))?,
            state_changelog_topics: buf.array(true, 9, |buf| TopicInfo::decode(buf, version))?,
            repartition_source_topics: buf.array(true, 9, |buf| TopicInfo::decode(buf, version))?,
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
        out.put_length(self.repartition_sink_topics.len(), true)?;
        for item in &self.repartition_sink_topics {
            out.put_string(item, true)?;
        }
        out.put_length(self.state_changelog_topics.len(), true)?;
        for item in &self.state_changelog_topics {
            item.encode(out, version)?;
        }
        out.put_length(self.repartition_source_topics.len(), true)?;
        for item in &self.repartition_source_topics {
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
pub struct Member {
    pub member_id: String,
    pub member_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topology_epoch: i32,
    pub process_id: String,
    pub user_endpoint: Option<Endpoint>,
    pub client_tags: Vec<KeyValue>,
    pub task_offsets: Vec<TaskOffset>,
    pub task_end_offsets: Vec<TaskOffset>,
    pub assignment: Assignment,
    pub target_assignment: Assignment,
    pub is_classic: bool,
}

impl Member {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            member_id: buf.string(true)?,
            member_epoch: buf.i32()?,
            instance_id: buf.nullable_string(true, true)?,
            rack_id: buf.nullable_string(true, true)?,
            client_id: buf.string(true)?,
            client_host: buf.string(true)?,
            topology_epoch: buf.i32()?,
            process_id: buf.string(true)?,
            user_endpoint: if buf.struct_is_present(true)? {
                Some(Endpoint::decode(buf, version)?)
            } else {
                None
            },
            client_tags: buf.array(true, 3, |buf| KeyValue::decode(buf, version))?,
            task_offsets: buf.array(true, 14, |buf| TaskOffset::decode(buf, version))?,
            task_end_offsets: buf.array(true, 14, |buf| TaskOffset::decode(buf, version))?,
            assignment: Assignment::decode(buf, version)?,
            target_assignment: Assignment::decode(buf, version)?,
            is_classic: buf.bool()?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.member_id, true)?;
        out.put_i32(self.member_epoch);
        out.put_nullable_string(self.instance_id.as_deref(), true)?;
        out.put_nullable_string(self.rack_id.as_deref(), true)?;
        out.put_string(&self.client_id, true)?;
        out.put_string(&self.client_host, true)?;
        out.put_i32(self.topology_epoch);
        out.put_string(&self.process_id, true)?;
        match &self.user_endpoint {
            Some(value) => {
                out.put_i8(1);
                value.encode(out, version)?;
            }
            None => out.put_i8(-1),
        }
        out.put_length(self.client_tags.len(), true)?;
        for item in &self.client_tags {
            item.encode(out, version)?;
        }
        out.put_length(self.task_offsets.len(), true)?;
        for item in &self.task_offsets {
            item.encode(out, version)?;
        }
        out.put_length(self.task_end_offsets.len(), true)?;
        for item in &self.task_end_offsets {
            item.encode(out, version)?;
        }
        self.assignment.encode(out, version)?;
        self.target_assignment.encode(out, version)?;
        out.put_bool(self.is_classic);
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

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assignment {
    pub active_tasks: Vec<TaskIds>,
    pub standby_tasks: Vec<TaskIds>,
    pub warmup_tasks: Vec<TaskIds>,
}

impl Assignment {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            active_tasks: buf.array(true, 3, |buf| TaskIds::decode(buf, version))?,
            standby_tasks: buf.array(true, 3, |buf| TaskIds::decode(buf, version))?,
            warmup_tasks: buf.array(true, 3, |buf| TaskIds::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_length(self.active_tasks.len(), true)?;
        for item in &self.active_tasks {
            item.encode(out, version)?;
        }
        out.put_length(self.standby_tasks.len(), true)?;
        for item in &self.standby_tasks {
            item.encode(out, version)?;
        }
        out.put_length(self.warmup_tasks.len(), true)?;
        for item in &self.warmup_tasks {
            item.encode(out, version)?;
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
pub struct TopologyDescription {
    pub subtopologies: Vec<TopologyDescriptionSubtopology>,
    pub global_stores: Vec<TopologyDescriptionGlobalStore>,
}

impl TopologyDescription {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            subtopologies: buf.array(true, 3, |buf| TopologyDescriptionSubtopology::decode(buf, version))?,
            global_stores: buf.array(true, 15, |buf| TopologyDescriptionGlobalStore::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_length(self.subtopologies.len(), true)?;
        for item in &self.subtopologies {
            item.encode(out, version)?;
        }
        out.put_length(self.global_stores.len(), true)?;
        for item in &self.global_stores {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopologyDescriptionSubtopology {
    pub subtopology_id: String,
    pub nodes: Vec<TopologyDescriptionNode>,
}

impl TopologyDescriptionSubtopology {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            subtopology_id: buf.string(true)?,
            nodes: buf.array(true, 7, |buf| TopologyDescriptionNode::decode(buf, version))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.subtopology_id, true)?;
        out.put_length(self.nodes.len(), true)?;
        for item in &self.nodes {
            item.encode(out, version)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopologyDescriptionNode {
    pub name: String,
    pub node_type: i8,
    pub source_topics: Vec<String>,
    pub sink_topic: Option<String>,
    pub stores: Vec<String>,
    pub successors: Vec<String>,
}

impl TopologyDescriptionNode {
    pub(crate) fn decode(buf: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            name: buf.string(true)?,
            node_type: buf.i8()?,
            source_topics: buf.array(true, 1, |buf| buf.string(true))?,
            sink_topic: buf.nullable_string(true, true)?,
            stores: buf.array(true, 1, |buf| buf.string(true))?,
            successors: buf.array(true, 1, |buf| buf.string(true))?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        out.put_string(&self.name, true)?;
        out.put_i8(self.node_type);
        out.put_length(self.source_topics.len(), true)?;
        for item in &self.source_topics {
            out.put_string(item, true)?;
        }
        out.put_nullable_string(self.sink_topic.as_deref(), true)?;
        out.put_length(self.stores.len(), true)?;
        for item in &self.stores {
            out.put_string(item, true)?;
        }
        out.put_length(self.successors.len(), true)?;
        for item in &self.successors {
            out.put_string(item, true)?;
        }
        out.put_uvarint(0);
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopologyDescriptionGlobalStore {
    pub source: TopologyDescriptionNode,
    pub processor: TopologyDescriptionNode,
}

impl TopologyDescriptionGlobalStore {
    pub(crate) fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let message = Self {
            source: TopologyDescriptionNode::decode(buf, version)?,
            processor: TopologyDescriptionNode::decode(buf, version)?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.source.encode(out, version)?;
        self.processor.encode(out, version)?;
        out.put_uvarint(0);
        Ok(())
    }
}
