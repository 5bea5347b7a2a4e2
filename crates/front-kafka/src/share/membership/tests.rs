use super::*;

struct Script {
    groups: Groups,
    topics: BTreeMap<String, (TopicId, u32)>,
    now: Instant,
}

impl Script {
    fn new(topics: &[(&str, u32)]) -> Script {
        let mut script = Script { groups: Groups::default(), topics: BTreeMap::new(), now: Instant::now() };
        topics.iter().for_each(|(name, partitions)| script.topic(name, *partitions));
        script
    }

    fn topic(&mut self, name: &str, partitions: u32) {
        self.topics.insert(name.to_owned(), (TopicId([name.as_bytes()[0]; 16]), partitions));
    }

    fn beat(&mut self, member: &str, epoch: i32, topics: Option<&[&str]>) -> Result<Answer, Refusal> {
        let heartbeat = Heartbeat {
            group: "g".into(),
            member: member.into(),
            epoch,
            rack: None,
            topics: topics.map(|topics| topics.iter().map(|topic| (*topic).to_owned()).collect()),
            client_id: "c".into(),
            client_host: "/h".into(),
        };
        let mut lookup = |name: &str| self.topics.get(name).copied();
        self.groups.heartbeat(heartbeat, &ShareConfig::default(), self.now, &mut lookup)
    }
}

/// An answer with partitions of topic `t`.
fn told(epoch: i32, partitions: &[i32]) -> Result<Answer, Refusal> {
    Ok(Answer { epoch, assignment: Some([(TopicId([b't'; 16]), partitions.to_vec())].into()) })
}

fn same(epoch: i32) -> Result<Answer, Refusal> {
    Ok(Answer { epoch, assignment: None })
}

#[test]
fn members_come_share_and_go() {
    let mut s = Script::new(&[("t", 2)]);
    assert_eq!(s.beat("a", 0, Some(&["t"])), told(1, &[0, 1]));
    assert_eq!(s.beat("a", 1, None), same(1));
    assert_eq!(s.beat("b", 0, Some(&["t"])), told(2, &[1]));
    assert_eq!(s.beat("a", 1, None), told(2, &[0]));
    assert_eq!(s.beat("c", 0, Some(&["t"])), told(3, &[0]), "more members than partitions");
    assert_eq!(s.beat("a", 2, None), same(3), "the epoch moves without the assignment");
    assert_eq!(s.beat("a", 2, None), told(3, &[0]), "the answer was lost: it is told again");
    assert_eq!(s.beat("b", -1, None), same(-1));
    assert_eq!(s.beat("b", 2, None), Err(Refusal::UnknownMember));
    assert_eq!(s.beat("c", 3, None), told(4, &[1]));
    assert_eq!(s.beat("a", 1, None), Err(Refusal::FencedEpoch));
    assert_eq!(s.beat("a", 9, None), Err(Refusal::FencedEpoch));
    assert_eq!(s.beat("a", 0, Some(&["t"])), told(4, &[0]), "it may always join again");
}

#[test]
fn topics_change_and_silence_ends_membership() {
    let mut s = Script::new(&[("t", 1)]);
    s.beat("a", 0, Some(&["t", "later"])).unwrap();
    s.topic("t", 3);
    assert_eq!(s.beat("a", 1, None), told(2, &[0, 1, 2]));
    s.topic("later", 1);
    let answer = s.beat("a", 2, None).unwrap();
    assert_eq!(answer.assignment.unwrap().len(), 2);
    s.beat("b", 0, Some(&["t"])).unwrap();
    s.now += Duration::from_secs(40);
    s.beat("b", 4, None).unwrap();
    s.now += Duration::from_secs(5);
    assert_eq!(s.beat("a", 3, None), Err(Refusal::UnknownMember));
    assert_eq!(s.beat("b", 4, None), told(5, &[0, 1, 2]));
    let mut none = |_: &str| None;
    assert_eq!(s.groups.names(s.now, &mut none), ["g"]);
    let described = s.groups.describe("g", s.now, &mut none).unwrap();
    assert_eq!((described.epoch, described.members.len()), (5, 1));
    assert_eq!(described.members[0].assignment[0].1, "t");
    s.now += Duration::from_secs(50);
    assert!(s.groups.describe("g", s.now, &mut none).is_none());
}

#[test]
fn what_is_malformed_is_refused() {
    let mut s = Script::new(&[("t", 1)]);
    let none: &[&str] = &[];
    for (member, epoch, topics) in
        [("", 0, Some(&["t"][..])), ("a", -2, None), ("a", 0, None), ("a", 0, Some(none))]
    {
        let refused = s.beat(member, epoch, topics);
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
    }
    assert_eq!(s.beat("a", 3, None), Err(Refusal::UnknownMember));
    for member in 0..ShareConfig::default().members_max {
        s.beat(&member.to_string(), 0, Some(&["t"])).unwrap();
    }
    assert_eq!(s.beat("one more", 0, Some(&["t"])), Err(Refusal::GroupFull));
}
