//! The topic exchange's table: binding keys as a trie of words, matched in one pass over the routing key.
//!
//! Words are what dots separate; the empty key has no words. `*` stands for one word, `#` for any number, none
//! included (AMQP 0-9-1, 3.1.3.3). Matching keeps the set of nodes that the words so far may have led to, so a
//! pattern like `#.#.#` costs no more than its nodes: the work per word is bounded by the number of nodes in the
//! set, never by the number of ways to reach them.
//!
//! Two facts keep the sets free of duplicates without marking nodes. A node is entered from its only parent, so a
//! set without duplicates steps to a set without duplicates. A `#` node, once active, stays active to the end,
//! because `#` also takes the next word: these are kept apart, in a list that only grows.

use crate::bag::Bag;
use crate::bindings::Target;
use crate::slab::Slab;
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use smallvec::SmallVec;
use std::hash::BuildHasher;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node {
    parent: u32,
    /// The word that leads here from the parent.
    word: Box<[u8]>,
    star: u32,
    hash: u32,
    /// Children under words; they are found through [`Trie::children`].
    words: u32,
    targets: Bag<Target>,
}

#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Slab<Node>,
    root: u32,
    /// Nodes under words, by parent and word.
    children: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// The words of a key.
pub(crate) fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Splitting the empty key would give one empty word.
    let whole = if key.is_empty() { None } else { Some(key) };
    whole.into_iter().flat_map(|key| key.split(|b| *b == b'.'))
}

impl Trie {
    pub fn new() -> Trie {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::new(NONE, Box::default()));
        Trie { nodes, root, children: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }

    pub fn add(&mut self, key: &[u8], target: Target) {
        let mut at = self.root;
        for word in words(key) {
            at = self.child_or_new(at, word);
        }
        self.node_mut(at).targets.add(target);
    }

    pub fn remove(&mut self, key: &[u8], target: Target) {
        let mut at = self.root;
        for word in words(key) {
            let Some(child) = self.child(at, word) else { return };
            at = child;
        }
        self.node_mut(at).targets.remove(target);
        while at != self.root && self.node(at).is_idle() {
            at = self.prune(at);
        }
    }

    /// Calls `found` for every non-empty target list that `key` leads to, each once.
    pub fn find<'a>(&'a self, key: &[u8], mut found: impl FnMut(&'a Bag<Target>)) {
        let mut active: SmallVec<[u32; 16]> = SmallVec::new();
        let mut next: SmallVec<[u32; 16]> = SmallVec::new();
        let mut hashes = HashNodes::default();
        active.push(self.root);
        self.enter_hashes(&active, &mut hashes);
        for word in words(key) {
            let word_hash = self.hasher.hash_one(word);
            next.clear();
            for &at in active.iter().chain(&hashes.list) {
                let node = self.node(at);
                if node.words > 0
                    && let Some(child) = self.word_child(at, word, word_hash)
                {
                    next.push(child);
                }
                if node.star != NONE {
                    next.push(node.star);
                }
            }
            std::mem::swap(&mut active, &mut next);
            self.enter_hashes(&active, &mut hashes);
        }
        for &at in active.iter().chain(&hashes.list) {
            let targets = &self.node(at).targets;
            if !targets.is_empty() {
                found(targets);
            }
        }
    }

    /// Adds the `#` children of `active`, and theirs: they match no words at all so far.
    fn enter_hashes(&self, active: &[u32], hashes: &mut HashNodes) {
        for &at in active {
            let mut at = at;
            loop {
                at = self.node(at).hash;
                if at == NONE || !hashes.enter(at) {
                    break;
                }
            }
        }
    }

    fn child_or_new(&mut self, at: u32, word: &[u8]) -> u32 {
        if let Some(child) = self.child(at, word) {
            return child;
        }
        let child = self.nodes.insert(Node::new(at, word.into()));
        match word {
            b"*" => self.node_mut(at).star = child,
            b"#" => self.node_mut(at).hash = child,
            _ => {
                self.node_mut(at).words += 1;
                let hash = edge_hash(at, self.hasher.hash_one(word));
                let (nodes, hasher) = (&self.nodes, &self.hasher);
                self.children.insert_unique(hash, child, |id| {
                    nodes.get(*id).map_or(0, |n| edge_hash(n.parent, hasher.hash_one(&*n.word)))
                });
            }
        }
        child
    }

    fn child(&self, at: u32, word: &[u8]) -> Option<u32> {
        match word {
            b"*" => Some(self.node(at).star).filter(|child| *child != NONE),
            b"#" => Some(self.node(at).hash).filter(|child| *child != NONE),
            _ => self.word_child(at, word, self.hasher.hash_one(word)),
        }
    }

    #[inline]
    fn word_child(&self, at: u32, word: &[u8], word_hash: u64) -> Option<u32> {
        let is_it = |id: &u32| {
            let node = self.node(*id);
            node.parent == at && *node.word == *word
        };
        self.children.find(edge_hash(at, word_hash), is_it).copied()
    }

    /// Removes an idle node; its parent.
    fn prune(&mut self, at: u32) -> u32 {
        let parent = self.node(at).parent;
        if self.node(parent).star == at {
            self.node_mut(parent).star = NONE;
        } else if self.node(parent).hash == at {
            self.node_mut(parent).hash = NONE;
        } else {
            let hash = edge_hash(parent, self.hasher.hash_one(&*self.node(at).word));
            if let Ok(entry) = self.children.find_entry(hash, |id| *id == at) {
                entry.remove();
            }
            self.node_mut(parent).words -= 1;
        }
        self.nodes.remove(at);
        parent
    }

    #[inline]
    fn node(&self, at: u32) -> &Node {
        self.nodes.get(at).expect("edges lead to living nodes")
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        self.nodes.get_mut(at).expect("edges lead to living nodes")
    }
}

impl Node {
    fn new(parent: u32, word: Box<[u8]>) -> Node {
        Node { parent, word, star: NONE, hash: NONE, words: 0, targets: Bag::new() }
    }

    /// Nothing ends here and nothing goes on from here.
    fn is_idle(&self) -> bool {
        self.targets.is_empty() && self.words == 0 && self.star == NONE && self.hash == NONE
    }
}

/// The hash of the edge under `word` that leaves `parent`; the word is hashed once for all parents.
#[inline]
fn edge_hash(parent: u32, word_hash: u64) -> u64 {
    let mixed = (word_hash ^ u64::from(parent)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// Active `#` nodes. Few in practice; many are looked up in a set.
#[derive(Default)]
struct HashNodes {
    list: SmallVec<[u32; 8]>,
    set: Option<HashSet<u32>>,
}

/// Up to this many nodes are compared one by one.
const LISTED_MAX: usize = 32;

impl HashNodes {
    /// False if it was active already.
    fn enter(&mut self, node: u32) -> bool {
        let new = match &mut self.set {
            Some(set) => set.insert(node),
            None => !self.list.contains(&node),
        };
        if new {
            self.list.push(node);
            if self.set.is_none() && self.list.len() > LISTED_MAX {
                self.set = Some(self.list.iter().copied().collect());
            }
        }
        new
    }
}
