//! Committed offsets as bytes.
//!
//! ```text
//! version u8 = 2 | n groups, by name: n × ( name | n topics: n × ( name | n partitions: n ×
//!   ( partition (signed) | offset (signed) | leader epoch (signed) | stamp | 0, or 1 and metadata ) ) )
//!   | n KIP-848 groups, by name: n × ( name | length | the group as postcard ) (from version 2 on)
//! ```
//! Numbers are varints; names have their length in front. Groups without offsets are not in it.

use super::Groups;
use super::offsets::Committed;
use super::state::Group;
use crate::checkpoint::{Damaged, put_bytes, put_signed, take, take_bytes, take_i32, take_signed, take_str};
use bowline_model::varint;
use std::sync::Arc;

const VERSION: u8 = 2;
const VERSION_WITHOUT_CONSUMERS: u8 = 1;

impl Groups {
    /// Appends the durable state to `out`.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        let groups = || self.by_name.iter().filter(|(_, group)| !group.offsets.is_empty());
        varint::put(out, groups().count() as u64);
        for (name, group) in groups() {
            put_bytes(out, name.as_bytes());
            varint::put(out, group.offsets.topics().count() as u64);
            for (topic, partitions) in group.offsets.topics() {
                put_bytes(out, topic.as_bytes());
                varint::put(out, partitions.len() as u64);
                for (&partition, committed) in partitions {
                    put_committed(out, partition, committed);
                }
            }
        }
        varint::put(out, self.stored.len() as u64);
        for (name, stored) in &self.stored {
            put_bytes(out, name.as_bytes());
            put_bytes(out, &postcard::to_stdvec(stored).expect("our plain data always serialises"));
        }
    }

    /// Replaces durable state by what [`Groups::checkpoint`] wrote; forgets members.
    pub fn restore(&mut self, mut input: &[u8]) -> Result<(), Damaged> {
        let input = &mut input;
        let version = match input.split_off_first() {
            Some(&version @ (VERSION | VERSION_WITHOUT_CONSUMERS)) => version,
            _ => return Err(Damaged("version of groups")),
        };
        let mut restored = Groups::new(self.options.clone());
        for _ in 0..take(input)? {
            let name: Arc<str> = take_str(input)?.into();
            let mut group = Group::default();
            for _ in 0..take(input)? {
                let topic = take_str(input)?;
                for _ in 0..take(input)? {
                    let (partition, committed) = take_committed(input)?;
                    group.offsets.set(topic, partition, committed);
                }
            }
            restored.by_name.insert(name, group);
        }
        if version == VERSION {
            for _ in 0..take(input)? {
                let name = take_str(input)?.into();
                let stored = postcard::from_bytes(take_bytes(input)?).map_err(|_| Damaged("group"))?;
                restored.stored.insert(name, stored);
            }
            restored.load = true;
        }
        if !input.is_empty() {
            return Err(Damaged("bytes after the groups"));
        }
        *self = restored;
        Ok(())
    }
}

fn put_committed(out: &mut Vec<u8>, partition: i32, committed: &Committed) {
    put_signed(out, i64::from(partition));
    put_signed(out, committed.offset);
    put_signed(out, i64::from(committed.leader_epoch));
    varint::put(out, committed.stamp);
    match &committed.metadata {
        Some(text) => {
            out.push(1);
            put_bytes(out, text.as_bytes());
        }
        None => out.push(0),
    }
}

fn take_committed(input: &mut &[u8]) -> Result<(i32, Committed), Damaged> {
    let partition = take_i32(input)?;
    let offset = take_signed(input)?;
    let leader_epoch = take_i32(input)?;
    let stamp = take(input)?;
    let metadata = match input.split_off_first() {
        Some(0) => None,
        Some(1) => Some(take_str(input)?.into()),
        _ => return Err(Damaged("metadata")),
    };
    Ok((partition, Committed { offset, leader_epoch, metadata, stamp }))
}
