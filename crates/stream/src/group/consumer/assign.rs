//! Who shall read what: the broker's assignors.
//!
//! * `uniform`: everybody gets as many partitions as everybody else, if subscriptions allow, and keeps what it has
//!   as far as that allows.
//! * `range`: of each topic everybody gets neighbouring partitions, so that equal numbers of several topics that the
//!   same members subscribe to meet in one member.

use super::pairs;
use bowline_model::TopicId;
use bowline_model::consumer_group::Partitions;
use std::collections::{BTreeMap, BTreeSet};

pub const DEFAULT: &str = UNIFORM;
pub const ASSIGNORS: &[&str] = &[UNIFORM, RANGE];
const UNIFORM: &str = "uniform";
const RANGE: &str = "range";

pub struct Subscriber<'a> {
    pub id: &'a str,
    pub instance_id: Option<&'a str>,
    /// Topics that it subscribes to and that exist, with their numbers of partitions.
    pub topics: BTreeMap<TopicId, u32>,
    /// What it had in the assignment before.
    pub previous: &'a Partitions,
}

/// In the order of the members.
pub fn assign(assignor: &str, members: &[Subscriber<'_>]) -> Vec<Partitions> {
    match assignor {
        RANGE => range(members),
        _ => uniform(members),
    }
}

/// By topic: how many partitions, and who subscribes (positions in `members`).
fn by_topic(members: &[Subscriber<'_>]) -> BTreeMap<TopicId, (u32, Vec<usize>)> {
    let mut topics: BTreeMap<TopicId, (u32, Vec<usize>)> = BTreeMap::new();
    for (position, member) in members.iter().enumerate() {
        for (topic, partitions) in &member.topics {
            topics.entry(*topic).or_insert_with(|| (*partitions, Vec::new())).1.push(position);
        }
    }
    topics
}

fn range(members: &[Subscriber<'_>]) -> Vec<Partitions> {
    let mut targets = vec![Partitions::new(); members.len()];
    for (topic, (partitions, mut subscribers)) in by_topic(members) {
        // Static members first, in the order of their instances: they find their places again after a restart.
        subscribers.sort_by_key(|at| {
            let member = &members[*at];
            (member.instance_id.is_none(), member.instance_id, member.id)
        });
        let n = subscribers.len() as u32;
        let (each, extra) = (partitions / n, partitions % n);
        let mut first = 0;
        for (position, at) in subscribers.into_iter().enumerate() {
            let count = each + u32::from((position as u32) < extra);
            if count > 0 {
                targets[at].insert(topic, (first..first + count).collect());
            }
            first += count;
        }
    }
    targets
}

fn uniform(members: &[Subscriber<'_>]) -> Vec<Partitions> {
    let topics = by_topic(members);
    let mut owner: BTreeMap<(TopicId, u32), usize> = BTreeMap::new();
    let mut counts = vec![0usize; members.len()];
    let total: usize = topics.values().map(|(partitions, _)| *partitions as usize).sum();
    let alike = members.windows(2).all(|pair| pair[0].topics == pair[1].topics);

    // What can stay stays; if all subscribe alike, up to a fair share, the remainder going to those who have more.
    let share = if members.is_empty() { 0 } else { total / members.len() };
    let mut extra = if members.is_empty() { 0 } else { total % members.len() };
    for (position, member) in members.iter().enumerate() {
        let valid = pairs(member.previous)
            .filter(|(topic, number)| member.topics.get(topic).is_some_and(|partitions| number < partitions));
        for pair in valid {
            if alike && counts[position] >= share {
                if extra == 0 || counts[position] > share {
                    break;
                }
                extra -= 1;
            }
            if let std::collections::btree_map::Entry::Vacant(free) = owner.entry(pair) {
                free.insert(position);
                counts[position] += 1;
            }
        }
    }

    // The rest goes to whoever has least; first of topics with few subscribers, as they leave the least choice.
    let mut order: Vec<(&TopicId, &(u32, Vec<usize>))> = topics.iter().collect();
    order.sort_by_key(|(topic, (_, subscribers))| (subscribers.len(), **topic));
    let mut queue: BTreeSet<(usize, usize)> =
        if alike { counts.iter().copied().zip(0..).collect() } else { BTreeSet::new() };
    for (topic, (partitions, subscribers)) in order {
        for number in 0..*partitions {
            if owner.contains_key(&(*topic, number)) {
                continue;
            }
            let least = match alike {
                true => queue.pop_first().map(|(_, at)| at),
                false => subscribers.iter().copied().min_by_key(|at| (counts[*at], *at)),
            };
            let Some(least) = least else { continue };
            owner.insert((*topic, number), least);
            counts[least] += 1;
            if alike {
                queue.insert((counts[least], least));
            }
        }
    }
    if !alike {
        even_out(&topics, &mut owner, &mut counts);
    }
    let mut targets = vec![Partitions::new(); members.len()];
    for ((topic, number), at) in owner {
        targets[at].entry(topic).or_default().insert(number);
    }
    targets
}

/// Moves partitions from who has more to who has less by two or more, until there is no such pair. Ends because the
/// sum of the squares of the counts falls with each move.
fn even_out(
    topics: &BTreeMap<TopicId, (u32, Vec<usize>)>,
    owner: &mut BTreeMap<(TopicId, u32), usize>,
    counts: &mut [usize],
) {
    loop {
        let mut moved = false;
        for ((topic, _), at) in owner.iter_mut() {
            let Some((_, subscribers)) = topics.get(topic) else { continue };
            let least = subscribers.iter().copied().min_by_key(|other| (counts[*other], *other));
            if let Some(least) = least.filter(|least| counts[*at] > counts[*least] + 1) {
                counts[*at] -= 1;
                counts[least] += 1;
                *at = least;
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::has;
    use super::*;
    use proptest::prelude::*;

    fn topic(n: u8) -> TopicId {
        TopicId([n; 16])
    }

    /// Subscriptions by member, and an assignment before.
    fn assigned(
        assignor: &str,
        topics: &[u32],
        subscriptions: &[Vec<usize>],
        previous: &[Partitions],
    ) -> Vec<Partitions> {
        let ids: Vec<String> = (0..subscriptions.len()).map(|n| format!("m{n:03}")).collect();
        let nothing = Partitions::new();
        let members: Vec<Subscriber<'_>> = subscriptions
            .iter()
            .enumerate()
            .map(|(n, all)| Subscriber {
                id: &ids[n],
                instance_id: None,
                topics: all.iter().map(|t| (topic(*t as u8), topics[*t])).collect(),
                previous: previous.get(n).unwrap_or(&nothing),
            })
            .collect();
        assign(assignor, &members)
    }

    fn count(partitions: &Partitions) -> usize {
        pairs(partitions).count()
    }

    #[test]
    fn range_gives_neighbours_and_aligns_topics() {
        let targets = assigned("range", &[5, 5], &[vec![0, 1], vec![0, 1]], &[]);
        assert_eq!(targets[0][&topic(0)], BTreeSet::from([0, 1, 2]));
        assert_eq!(targets[1][&topic(0)], BTreeSet::from([3, 4]));
        assert_eq!(targets[0][&topic(1)], targets[0][&topic(0)]);
    }

    #[test]
    fn uniform_moves_as_little_as_it_must() {
        let first = assigned("uniform", &[12], &[vec![0], vec![0]], &[]);
        assert_eq!((count(&first[0]), count(&first[1])), (6, 6));
        let second = assigned("uniform", &[12], &[vec![0], vec![0], vec![0]], &first);
        assert_eq!(second.iter().map(count).collect::<Vec<_>>(), [4, 4, 4]);
        for n in 0..2 {
            assert!(
                pairs(&second[n]).all(|pair| has(&first[n], pair)),
                "nothing goes from one old member to the other"
            );
        }
        let third = assigned("uniform", &[12], &[vec![0], vec![0]], &second[..2]);
        assert!((0..2).all(|n| pairs(&second[n]).all(|pair| has(&third[n], pair))));
    }

    proptest! {
        /// Everything is assigned, once, to a subscriber; uniform: no move would make it more even.
        #[test]
        fn every_partition_has_one_reader(
            topics in proptest::collection::vec(1u32..9, 1..5),
            wishes in proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..4), 1..6),
            range in any::<bool>(),
        ) {
            let subscriptions: Vec<Vec<usize>> = wishes
                .iter()
                .map(|wish| wish.iter().map(|w| w.index(topics.len())).collect::<BTreeSet<_>>().into_iter().collect())
                .collect();
            let assignor = if range { "range" } else { "uniform" };
            let mut previous = Vec::new();
            // The second time with what the first has given, the members turned round.
            for turn in 0..2 {
                let mut subscriptions = subscriptions.clone();
                subscriptions.rotate_left(turn);
                let targets = assigned(assignor, &topics, &subscriptions, &previous);
                let mut seen = BTreeSet::new();
                for (target, subscription) in targets.iter().zip(&subscriptions) {
                    for (t, number) in pairs(target) {
                        prop_assert!(seen.insert((t, number)));
                        prop_assert!(subscription.contains(&(t.0[0] as usize)));
                        prop_assert!(number < topics[t.0[0] as usize]);
                    }
                }
                let expected: usize = topics
                    .iter()
                    .enumerate()
                    .filter(|(t, _)| subscriptions.iter().any(|s| s.contains(t)))
                    .map(|(_, n)| *n as usize)
                    .sum();
                prop_assert_eq!(seen.len(), expected);
                if !range {
                    for (target, _) in targets.iter().zip(&subscriptions) {
                        for (t, _) in pairs(target) {
                            for (other, subscription) in targets.iter().zip(&subscriptions) {
                                if subscription.contains(&(t.0[0] as usize)) {
                                    prop_assert!(count(target) <= count(other) + 1);
                                }
                            }
                        }
                    }
                }
                previous = targets;
            }
        }
    }
}
