//! Settings of the broker that can be changed while it runs: those that topics inherit, by their names at the broker.
//! They hold for topics that do not set them, from the moment on at which they are changed.

use super::{Defaults, ENTRIES, Entry, normalised};
use crate::refusal::refuse;
use bowline_model::meta::{Reason, Rejection};

/// The topic setting that inherits from this setting of the broker.
pub fn entry(broker_name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| !broker_name.is_empty() && entry.broker_name == broker_name)
}

/// Checks settings by their names at the broker.
///
/// # Errors
/// InvalidConfig: a value that the setting cannot have. InvalidArgument: no such setting can be changed.
pub fn validate(configs: &[(String, String)]) -> Result<(), Rejection> {
    for (name, value) in configs {
        match entry(name) {
            Some(entry) => entry.validate(value)?,
            None => {
                let text = format!("Cannot update these configs dynamically: {name}");
                return Err(refuse(Reason::InvalidArgument, text));
            }
        }
    }
    Ok(())
}

impl Defaults {
    /// Takes over what was changed: settings of all brokers first, then those of this one, which go before them.
    pub(crate) fn change<'a>(&mut self, configs: impl Iterator<Item = &'a [(String, String)]>) {
        let all: Vec<(String, String)> = configs
            .flatten()
            .filter_map(|(name, value)| Some((entry(name)?.name.to_owned(), value.clone())))
            .collect();
        self.changed = normalised(&all);
    }
}
