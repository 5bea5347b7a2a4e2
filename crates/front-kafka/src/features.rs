//! Features whose level clients read from ApiVersions (KIP-584), and act upon.
//!
//! A level is told only when all of it works. Levels are fixed: what is built is on.

/// One feature, by Kafka's name.
#[derive(Debug)]
pub struct Feature {
    pub name: &'static str,
    /// Lowest and highest level that this broker can do.
    pub supported: (i16, i16),
    /// The level that is in force; 0 is none.
    pub level: i16,
}

/// All features, sorted by name.
pub const FEATURES: &[Feature] = &[
    // Groups whose partitions the broker assigns (KIP-848).
    Feature { name: "group.version", supported: (0, 1), level: 1 },
    // Share groups (KIP-932), with dead-letter topics (KIP-1191).
    Feature { name: "share.version", supported: (0, 2), level: 2 },
    // Producers take a new epoch with each transaction, and join partitions by producing (KIP-890).
    Feature { name: "transaction.version", supported: (0, 2), level: 2 },
];

pub fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_supported() {
        assert!(FEATURES.is_sorted_by_key(|feature| feature.name));
        for Feature { name, supported: (low, high), level } in FEATURES {
            assert!((*low..=*high).contains(level) && *low >= 0, "{name}");
        }
    }
}
