//! Which partitions a member of a share group is to fetch from (Kafka calls this assignor `simple`).
//!
//! Every member gets a partition of its topics, if they have any, and every partition gets a member. With fewer members
//! than partitions each partition has one; with more, members share partitions evenly. Nothing depends on what was
//! assigned before: a partition that moves is just fetched from elsewhere.

use bowline_model::TopicId;
use std::collections::BTreeMap;

pub const NAME: &str = "simple";

/// Topics and partition indexes, ascending.
pub type Assignment = BTreeMap<TopicId, Vec<i32>>;

/// `members`: each with the topics that it subscribes to. `partitions`: how many a topic has; others do not exist.
pub fn assign<'a>(
    members: &BTreeMap<&'a str, Vec<TopicId>>,
    partitions: &BTreeMap<TopicId, u32>,
) -> BTreeMap<&'a str, Assignment> {
    let mut assigned: BTreeMap<&str, Assignment> =
        members.keys().map(|member| (*member, Assignment::new())).collect();
    // Topics with the same subscribers are dealt out as one row of partitions.
    let mut rows: BTreeMap<Vec<&str>, Vec<(TopicId, i32)>> = BTreeMap::new();
    for (&topic, &count) in partitions {
        let subscribers: Vec<&str> =
            members.iter().filter(|(_, topics)| topics.contains(&topic)).map(|(member, _)| *member).collect();
        rows.entry(subscribers).or_default().extend((0..count as i32).map(|index| (topic, index)));
    }
    for (subscribers, row) in rows {
        if subscribers.is_empty() || row.is_empty() {
            continue;
        }
        for at in 0..subscribers.len().max(row.len()) {
            let (member, (topic, index)) = (subscribers[at % subscribers.len()], row[at % row.len()]);
            if let Some(assignment) = assigned.get_mut(member) {
                assignment.entry(topic).or_default().push(index);
            }
        }
    }
    assigned.values_mut().flat_map(|assignment| assignment.values_mut()).for_each(|indexes| indexes.sort());
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(n: u8) -> TopicId {
        TopicId([n; 16])
    }

    /// A member, and what it gets.
    type Gets<'a> = (&'a str, &'a [(u8, &'a [i32])]);

    /// Members' topics and topics' partitions to what each member gets.
    fn check(members: &[(&str, &[u8])], partitions: &[(u8, u32)], expected: &[Gets<'_>]) {
        let members = members
            .iter()
            .map(|(name, topics)| (*name, topics.iter().map(|t| topic(*t)).collect()))
            .collect();
        let partitions = partitions.iter().map(|(t, count)| (topic(*t), *count)).collect();
        let assignment =
            |topics: &[(u8, &[i32])]| topics.iter().map(|(t, of)| (topic(*t), of.to_vec())).collect();
        let expected: BTreeMap<&str, Assignment> =
            expected.iter().map(|(name, topics)| (*name, assignment(topics))).collect();
        assert_eq!(assign(&members, &partitions), expected);
    }

    #[test]
    fn everybody_gets_something_and_everything_is_got() {
        check(&[("a", &[1])], &[(1, 3)], &[("a", &[(1, &[0, 1, 2])])]);
        check(&[("a", &[1]), ("b", &[1])], &[(1, 3)], &[("a", &[(1, &[0, 2])]), ("b", &[(1, &[1])])]);
        let three: &[(&str, &[u8])] = &[("a", &[1]), ("b", &[1]), ("c", &[1])];
        check(three, &[(1, 2)], &[("a", &[(1, &[0])]), ("b", &[(1, &[1])]), ("c", &[(1, &[0])])]);
        check(
            &[("a", &[1, 2]), ("b", &[2])],
            &[(1, 1), (2, 1)],
            &[("a", &[(1, &[0]), (2, &[0])]), ("b", &[(2, &[0])])],
        );
        check(&[("a", &[9]), ("b", &[])], &[(1, 1)], &[("a", &[]), ("b", &[])]);
    }
}
