//! From the schema's CamelCase names to Rust's.

/// `PartitionMaxBytes` → `partition_max_bytes`, `ISRNodes` → `isr_nodes`.
pub fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 8);
    for (i, &c) in chars.iter().enumerate() {
        let after_lower = i > 0 && !chars[i - 1].is_ascii_uppercase();
        let ends_acronym = i > 0 && chars.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if i > 0 && c.is_ascii_uppercase() && (after_lower || ends_acronym) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A field's Rust name: snake case, with an underscore behind Rust's keywords.
pub fn field_name(name: &str) -> String {
    const KEYWORDS: &[&str] = &["type", "match", "ref", "move", "loop", "mod", "use", "in", "where", "self"];
    let mut snake = snake_case(name);
    if KEYWORDS.contains(&snake.as_str()) {
        snake.push('_');
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rust() {
        assert_eq!(snake_case("PartitionMaxBytes"), "partition_max_bytes");
        assert_eq!(snake_case("LastKnownElr"), "last_known_elr");
        assert_eq!(snake_case("ISRNodes"), "isr_nodes");
        assert_eq!(snake_case("ResultsByTopicV3AndBelow"), "results_by_topic_v3_and_below");
        assert_eq!(field_name("Match"), "match_");
    }
}
