//! What the node's log says of each part, changed while it runs (resource type BROKER_LOGGER). Not kept over a restart,
//! as in Kafka.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;

/// The logger whose level holds for all that have none of their own.
pub const ROOT: &str = "root";

/// Kafka's levels; FATAL is written as an error.
pub const LEVELS: &[&str] = &["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// Makes the log follow levels by logger.
pub type Apply = Box<dyn Fn(&BTreeMap<String, &'static str>) + Send + Sync>;

pub struct Loggers {
    names: Vec<String>,
    /// As the node was started.
    root: &'static str,
    set: Mutex<BTreeMap<String, &'static str>>,
    apply: Apply,
}

impl fmt::Debug for Loggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loggers").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Loggers {
    /// `names`: of the parts, besides [`ROOT`]. `root`: the level that the node was started with.
    pub fn new(names: impl IntoIterator<Item = String>, root: &str, apply: Apply) -> Loggers {
        let root = level(&root.to_uppercase()).unwrap_or("INFO");
        let mut names: Vec<String> = names.into_iter().chain([ROOT.to_owned()]).collect();
        names.sort_unstable();
        Loggers { names, root, set: Mutex::default(), apply }
    }

    /// Name and level of each, and whether that is its own.
    pub fn levels(&self) -> Vec<(String, &'static str, bool)> {
        let set = self.set.lock();
        let root = set.get(ROOT).copied().unwrap_or(self.root);
        let one = |name: &String| match set.get(name) {
            Some(level) => (name.clone(), *level, true),
            None => (name.clone(), root, false),
        };
        self.names.iter().map(one).collect()
    }

    pub fn is_known(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Sets levels, or with `None` goes back to the root's.
    pub fn change(&self, changes: impl IntoIterator<Item = (String, Option<&'static str>)>) {
        let mut set = self.set.lock();
        for (name, level) in changes {
            match level {
                Some(level) => set.insert(name, level),
                None => set.remove(&name),
            };
        }
        (self.apply)(&set);
    }
}

/// The level of that name.
pub fn level(name: &str) -> Option<&'static str> {
    LEVELS.iter().find(|level| **level == name).copied()
}
