//! Settings of groups (Kafka's config resource type GROUP), as coordinators obey them.
//!
//! Names, bounds and texts are in `bowline_topology::config::group`, which lets only valid settings in; here they
//! become numbers. A new setting is a row there, a field here and a line in [`GroupConfig::parsed`].

/// What holds for one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// `consumer.session.timeout.ms`: a member of a KIP-848 group that is not heard of for so long is given up.
    pub consumer_session_timeout_ms: u32,
    /// `consumer.heartbeat.interval.ms`: how often such a member is told to be heard of.
    pub consumer_heartbeat_interval_ms: u32,
}

impl Default for GroupConfig {
    /// Kafka's defaults.
    fn default() -> GroupConfig {
        GroupConfig { consumer_session_timeout_ms: 45_000, consumer_heartbeat_interval_ms: 5_000 }
    }
}

impl GroupConfig {
    /// Explicit settings over the defaults.
    pub fn parsed(explicit: &[(String, String)]) -> GroupConfig {
        GroupConfig::default().with(explicit)
    }

    /// Explicit settings over these. What cannot be read counts as not set.
    pub fn with(self, explicit: &[(String, String)]) -> GroupConfig {
        let mut config = self;
        for (name, value) in explicit {
            let number = || value.trim().parse::<u32>().ok();
            match name.as_str() {
                "consumer.session.timeout.ms" => {
                    config.consumer_session_timeout_ms =
                        number().unwrap_or(config.consumer_session_timeout_ms)
                }
                "consumer.heartbeat.interval.ms" => {
                    config.consumer_heartbeat_interval_ms =
                        number().unwrap_or(config.consumer_heartbeat_interval_ms)
                }
                _ => {}
            }
        }
        config
    }
}
