//! A member of a group.

use bowline_model::{Millis, SessionId, Token, group as api};
use bytes::Bytes;

/// Who waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    pub session: SessionId,
    pub token: Token,
}

#[derive(Debug)]
pub struct Member {
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: u64,
    pub rebalance_timeout_ms: u64,
    /// Name and metadata, most preferred first.
    pub protocols: Vec<(String, Bytes)>,
    /// Of the current generation, from its leader.
    pub assignment: Bytes,
    pub awaiting_join: Option<Wait>,
    pub awaiting_sync: Option<Wait>,
    /// Has asked for its assignment in this generation.
    pub synced: bool,
    /// Has not been told yet that it is a member, so it cannot send heartbeats.
    pub is_new: bool,
    /// When it is given up unless it is heard of.
    pub deadline: Millis,
}

impl Member {
    /// Does not wait for anything yet. Metadata is copied, as it would keep the whole request in memory.
    pub fn new(join: &api::Join) -> Member {
        let mut member = Member {
            instance_id: join.instance_id.clone(),
            client_id: String::new(),
            client_host: String::new(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            synced: false,
            is_new: false,
            deadline: Millis::MAX,
        };
        member.update(join);
        member
    }

    /// Takes over what a member says of itself when it joins (again).
    pub fn update(&mut self, join: &api::Join) {
        self.client_id.clone_from(&join.client_id);
        self.client_host.clone_from(&join.client_host);
        self.session_timeout_ms = join.session_timeout_ms.max(0) as u64;
        self.rebalance_timeout_ms = join.rebalance_timeout_ms.max(0) as u64;
        self.protocols =
            join.protocols.iter().map(|(name, data)| (name.clone(), Bytes::copy_from_slice(data))).collect();
    }

    pub fn matches(&self, protocols: &[(String, Bytes)]) -> bool {
        self.protocols == protocols
    }

    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    pub fn metadata_bytes(&self) -> usize {
        metadata_bytes(&self.protocols)
    }

    /// When it must be given up as things stand; `None` while it waits for us. A new member's join is given up
    /// in the end although it waits: if its client has gone, it cannot have kept an id that it never learnt.
    pub fn expires(&self) -> Option<Millis> {
        let waits = self.awaiting_join.is_some() || self.awaiting_sync.is_some();
        if waits && !self.is_new { None } else { Some(self.deadline) }
    }
}

/// Names and metadata, bytes.
pub fn metadata_bytes(protocols: &[(String, Bytes)]) -> usize {
    protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
}
