//! StreamsGroupTopologyDescriptionUpdateRequest: API key 93, versions 0–0, flexible from 0.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::ops::RangeInclusive;

use crate::message::{Message, Request};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamsGroupTopologyDescriptionUpdateRequest {
    pub group_id: String,
    pub member_id: String,
    pub topology_epoch: i32,
    pub topology_description: TopologyDescription,
}

impl StreamsGroupTopologyDescriptionUpdateRequest {
    pub const KEY: i16 = 93;
    pub const VERSIONS: RangeInclusive<i16> = 0..=0;
    /// First flexible version.
    pub const FLEXIBLE: i16 = 0;

    pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: "StreamsGroupTopologyDescriptionUpdateRequest",
                version,
            });
        }
        let message = Self {
            group_id: buf.string(true)?,
            member_id: buf.string(true)?,
            topology_epoch: buf.i32()?,
            topology_description: TopologyDescription::decode(buf, version)?,
        };
        buf.skip_tags()?;
        Ok(message)
    }

    pub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: "StreamsGroupTopologyDescriptionUpdateRequest",
                version,
            });
        }
        out.put_string(&self.group_id, true)?;
        out.put_string(&self.member_id, true)?;
        out.put_i32(self.topology_epoch);
        self.topology_description.encode(out, version)?;
        out.put_uvarint(0);
        Ok(())
    }
}

impl Message for StreamsGroupTopologyDescriptionUpdateRequest {
    const NAME: &'static str = "StreamsGroupTopologyDescriptionUpdateRequest";
    const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;
    const FLEXIBLE: i16 = Self::FLEXIBLE;

    fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::decode(buf, version)
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.encode(out, version)
    }
}

impl Request for StreamsGroupTopologyDescriptionUpdateRequest {
    const KEY: i16 = Self::KEY;
    type Response = super::StreamsGroupTopologyDescriptionUpdateResponse;
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
