//! Settings of the broker that can be changed while it runs: those that topics inherit, by their names at the broker.
//! They hold for topics that do not set them, from the moment on at which they are changed. And those that are about
//! dead-letter topics of share groups (KIP-1191).

use super::{BOOLEANS, Defaults, ENTRIES, Entry, Rule, Type, get, normalised};
use crate::refusal::refuse;
use bowline_model::meta::{Reason, Rejection};

const AUTO_CREATE: &str = "errors.deadletterqueue.auto.create.topics.enable";
const PREFIX: &str = "errors.deadletterqueue.topic.name.prefix";

/// Settings that no topic inherits, sorted by name.
#[rustfmt::skip]
pub static OWN: &[Entry] = &[
    Entry { name: AUTO_CREATE, kind: Type::Boolean, broker_name: AUTO_CREATE,
        rule: Rule::OneOf(BOOLEANS), default: |_| "false".into(),
        doc: "Whether a share group's dead-letter topic is created if it is not there when a member of the group comes, or a record dies." },
    Entry { name: PREFIX, kind: Type::String, broker_name: PREFIX,
        rule: Rule::Like(|_| true, "anything"), default: |_| "dlq.".into(),
        doc: "Names of dead-letter topics of share groups begin with this." },
];

/// The setting of that name: one of [`OWN`], or the topic setting that inherits from it.
pub fn entry(broker_name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().chain(OWN).find(|entry| !broker_name.is_empty() && entry.broker_name == broker_name)
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
    /// What names of dead-letter topics begin with.
    pub fn dead_letter_prefix(&self) -> &str {
        get(&self.changed, PREFIX).unwrap_or("dlq.")
    }

    /// Dead-letter topics come into being by themselves.
    pub fn creates_dead_letter_topics(&self) -> bool {
        get(&self.changed, AUTO_CREATE).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Takes over what was changed: settings of all brokers first, then those of this one, which go before them.
    pub(crate) fn change<'a>(&mut self, configs: impl Iterator<Item = &'a [(String, String)]>) {
        let all: Vec<(String, String)> = configs
            .flatten()
            .filter_map(|(name, value)| Some((entry(name)?.name.to_owned(), value.clone())))
            .collect();
        self.changed = normalised(&all);
    }
}
