//! Share groups (KIP-932) as this front end sees them.
//!
//! * [`membership`]: who is in a group, and which partitions each member is told to fetch from. It is kept here, for all
//!   listeners of the node, and dies with the process: members join again by themselves. It has no say in who gets
//!   which record.
//! * [`session`]: share sessions, by which a member fetches and acknowledges. What a member holds comes back when the
//!   connection ends over which it fetches.
//! * [`coverage`]: which of the acquired records the fetched batches have.
//!
//! Who holds a record, and what is settled, is the business of the shard of the partition ([`bowline_model::share`]),
//! and of AMQP's consumers with `x-group` too.

pub mod assignor;
pub mod coverage;
pub mod membership;
pub mod session;

use crate::pending::Context;
use bowline_model::meta::ConfigKind;
use bowline_model::share_config::ShareConfig;
use bowline_topology::config::started;
use membership::Groups;
use session::NodeSessions;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all listeners of the node share.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    groups: Arc<Mutex<Groups>>,
    pub sessions: NodeSessions,
}

impl Shared {
    pub fn groups(&self) -> MutexGuard<'_, Groups> {
        // A panic elsewhere leaves nothing half done that matters: members join again.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What holds for the group.
pub fn config(group: &str, cx: &Context<'_>) -> ShareConfig {
    let inherited = started::for_groups(&cx.broker.catalog.defaults().started);
    ShareConfig::started(&inherited).with(&cx.broker.catalog.configs(ConfigKind::Group, group))
}
