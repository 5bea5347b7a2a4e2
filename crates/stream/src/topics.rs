//! Topics as groups' coordinators know them: told by the meta shard, volatile, the same on every data shard.

use bowline_model::TopicId;
use bowline_model::request::TopicMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    pub id: TopicId,
    /// How many it has, ≥ 1.
    pub partitions: u32,
}

/// All topics that can be subscribed to, by name.
#[derive(Debug, Default)]
pub struct Topics {
    by_name: BTreeMap<Arc<str>, Known>,
    by_id: BTreeMap<TopicId, Arc<str>>,
    version: u64,
}

impl Topics {
    /// Moves with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, name: &str) -> Option<Known> {
        self.by_name.get(name).copied()
    }

    pub fn name(&self, id: &TopicId) -> Option<&Arc<str>> {
        self.by_id.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Known)> {
        self.by_name.iter().map(|(name, known)| (name, *known))
    }

    /// `all`: whatever is not among them is gone.
    pub fn put(&mut self, topics: Vec<TopicMeta>, all: bool) {
        if all {
            self.by_name.clear();
            self.by_id.clear();
        }
        for TopicMeta { name, id, partitions } in topics {
            self.by_id.insert(id, name.clone());
            if let Some(before) = self.by_name.insert(name, Known { id, partitions })
                && before.id != id
            {
                self.by_id.remove(&before.id);
            }
        }
        self.version += 1;
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(known) = self.by_name.remove(name) {
            self.by_id.remove(&known.id);
            self.version += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(name: &str, id: u8, partitions: u32) -> TopicMeta {
        TopicMeta { name: name.into(), id: TopicId([id; 16]), partitions }
    }

    #[test]
    fn topics_come_grow_and_go() {
        let mut topics = Topics::default();
        topics.put(vec![meta("a", 1, 1), meta("b", 2, 2)], true);
        topics.put(vec![meta("a", 1, 3), meta("b", 4, 1)], false);
        assert_eq!(topics.get("a").unwrap().partitions, 3);
        assert_eq!(topics.name(&TopicId([2; 16])), None, "made anew under another id");
        let version = topics.version();
        topics.remove("a");
        topics.remove("nothing");
        assert_eq!((topics.get("a"), topics.version()), (None, version + 1));
        topics.put(Vec::new(), true);
        assert_eq!(topics.iter().count(), 0);
    }
}
