//! Clients' own metrics (KIP-714): which are wanted of whom, and who has pushed when.
//!
//! * [`subscriptions`]: what the settings of all subscriptions mean for one client.
//! * [`instances`]: who was told what, and who comes too early; forgotten by and by.
//! * [`publication`]: what was pushed, as a record of a topic.
//!
//! What is here lives in memory, for all listeners of the node, and dies with the process: clients ask again.

pub mod instances;
pub mod publication;
pub mod subscriptions;

use crate::catalog::Catalog;
use bowline_codec_kafka::Uuid;
use bowline_topology::config::client_metrics::Client;
use instances::{Instances, Push, Refusal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use subscriptions::{Subscriptions, Wanted};

/// Where metrics go unless it is said otherwise: what OpenTelemetry's collector reads by default.
pub const TOPIC: &str = "otlp_metrics";
/// Largest push, bytes, compressed and not (Kafka's default of `telemetry.max.bytes`).
pub const PUSH_BYTES_MAX: usize = 1 << 20;
/// Of what a client calls itself, as much is kept, bytes.
const SOFTWARE_BYTES_MAX: usize = 255;
/// Clients that have not said what they are, as Kafka calls them.
const UNKNOWN: &str = "unknown";

/// What the listeners of a node share.
#[derive(Debug)]
pub struct Telemetry {
    topic: String,
    subscriptions: Mutex<Arc<Subscriptions>>,
    instances: Mutex<Instances>,
}

impl Telemetry {
    /// Metrics go to `topic`, which has to be a name that a topic may have.
    pub fn new(topic: impl Into<String>) -> Telemetry {
        Telemetry { topic: topic.into(), subscriptions: Mutex::default(), instances: Mutex::default() }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What is wanted of the client, who asks for it.
    ///
    /// # Errors
    /// It asks too early.
    pub fn ask(
        &self,
        id: Uuid,
        client: &Client<'_>,
        catalog: &dyn Catalog,
        now: Instant,
    ) -> Result<Wanted, Refusal> {
        let subscriptions = self.subscriptions(catalog);
        let wanted = subscriptions.wanted(id, client);
        lock(&self.instances).ask(id, wanted.plan(), now)?;
        Ok(wanted)
    }

    /// Whether the client may push this now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn push(
        &self,
        push: Push,
        client: &Client<'_>,
        catalog: &dyn Catalog,
        now: Instant,
    ) -> Result<(), Refusal> {
        let subscriptions = self.subscriptions(catalog);
        let plan = || subscriptions.wanted(push.id, client).plan();
        lock(&self.instances).push(push, subscriptions.version(), plan, now)
    }

    /// An id that no client has.
    pub fn new_id(&self) -> Uuid {
        loop {
            let id = Uuid(*uuid::Uuid::new_v4().as_bytes());
            // As Kafka's own, for people's command lines.
            if !id.to_string().starts_with('-') && !lock(&self.instances).is_known(id) {
                return id;
            }
        }
    }

    fn subscriptions(&self, catalog: &dyn Catalog) -> Arc<Subscriptions> {
        let mut known = lock(&self.subscriptions);
        if let Some(changed) = known.refreshed(catalog) {
            *known = Arc::new(changed);
        }
        known.clone()
    }
}

/// What a connection knows of its client.
#[derive(Debug)]
pub struct Connected {
    telemetry: Option<Arc<Telemetry>>,
    pub software_name: String,
    pub software_version: String,
    /// The instance that is forgotten with the connection.
    instance: Option<Uuid>,
}

impl Connected {
    /// `telemetry`: if it is served.
    pub fn new(telemetry: Option<Arc<Telemetry>>) -> Connected {
        Connected {
            telemetry,
            software_name: UNKNOWN.to_owned(),
            software_version: UNKNOWN.to_owned(),
            instance: None,
        }
    }

    /// What the client says that it is; ASCII.
    pub fn is_software(&mut self, name: &str, version: &str) {
        let cut = |text: &str| text.chars().take(SOFTWARE_BYTES_MAX).collect();
        (self.software_name, self.software_version) = (cut(name), cut(version));
    }

    /// The instance that spoke last over this connection.
    pub fn is_instance(&mut self, id: Uuid) {
        self.instance = Some(id);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let (Some(telemetry), Some(id)) = (&self.telemetry, self.instance) {
            lock(&telemetry.instances).forget(id);
        }
    }
}

/// A panic elsewhere leaves nothing half done that matters: clients ask again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
