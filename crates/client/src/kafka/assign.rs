//! The range assignor: for each topic, members in order of their ids get consecutive partitions, the first ones
//! one more when it does not come out even. Every client that offers "range" must come to the same result.

use std::collections::BTreeMap;

/// What each member gets: topic, partitions. `members`: member id and the topics it wants. `partitions_of`: how
/// many partitions a topic has; topics that are not in it are left out.
pub fn range_assignment(
    members: &[(String, Vec<String>)],
    partitions_of: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<(String, Vec<i32>)>> {
    let mut assignment: BTreeMap<String, Vec<(String, Vec<i32>)>> =
        members.iter().map(|(member, _)| (member.clone(), Vec::new())).collect();
    for (topic, partitions) in partitions_of {
        let mut takers: Vec<&String> =
            members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        takers.sort();
        let count = takers.len() as i32;
        if count == 0 {
            continue;
        }
        let (each, extra) = (partitions / count, partitions % count);
        let mut next = 0;
        for (place, member) in (0..).zip(takers) {
            let share = each + i32::from(place < extra);
            if share > 0
                && let Some(parts) = assignment.get_mut(member)
            {
                parts.push((topic.clone(), (next..next + share).collect()));
            }
            next += share;
        }
    }
    assignment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, topics: &[&str]) -> (String, Vec<String>) {
        (id.to_owned(), topics.iter().map(|topic| (*topic).to_owned()).collect())
    }

    #[test]
    fn shares_are_consecutive_and_differ_by_one() {
        let members = [member("b", &["t"]), member("a", &["t", "u"]), member("c", &["u"])];
        let partitions = BTreeMap::from([("t".to_owned(), 3), ("u".to_owned(), 1)]);
        let assignment = range_assignment(&members, &partitions);
        assert_eq!(assignment["a"], [("t".to_owned(), vec![0, 1]), ("u".to_owned(), vec![0])]);
        assert_eq!(assignment["b"], [("t".to_owned(), vec![2])]);
        assert_eq!(assignment["c"], []);
    }
}
