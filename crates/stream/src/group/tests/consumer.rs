//! KIP-848 groups: readers that do as clients do, and what they are told.

mod conversion;
mod random;

use super::Script;
use bowline_model::consumer_group::{Beat, Description, Heartbeat, Partitions, Refused};
use bowline_model::event::Event;
use bowline_model::group::{Commit, Error, GroupKind, Member, PartitionCommit, Reply, Request, State};
use bowline_model::record::Kind;
use bowline_model::request::TopicMeta;
use bowline_model::{SessionId, Token, TopicId, record};
use std::collections::BTreeSet;

/// Longer than any session.
const LONG_MS: u64 = 46_000;

fn topic(id: u8) -> TopicId {
    TopicId([id; 16])
}

/// A client of group `g`.
#[derive(Clone, Debug)]
struct Reader {
    id: String,
    instance: Option<String>,
    epoch: i32,
    owned: Partitions,
    topics: Vec<String>,
    regex: Option<String>,
    assignor: Option<String>,
    /// An answer was lost: the next request says everything, so that its answer does as well.
    full: bool,
}

fn reader(id: &str) -> Reader {
    Reader {
        id: id.to_owned(),
        instance: None,
        epoch: 0,
        owned: Partitions::new(),
        topics: vec!["t".into()],
        regex: None,
        assignor: None,
        full: false,
    }
}

impl Reader {
    fn of(mut self, instance: &str) -> Reader {
        self.instance = Some(instance.to_owned());
        self
    }

    fn matching(mut self, regex: &str) -> Reader {
        (self.topics, self.regex) = (Vec::new(), Some(regex.to_owned()));
        self
    }

    fn reading(mut self, topics: &[&str]) -> Reader {
        self.topics = topics.iter().map(|t| t.to_string()).collect();
        self
    }

    fn heartbeat(&self) -> Heartbeat {
        let joins = self.epoch == 0;
        let full = joins || self.full;
        Heartbeat {
            group: "g".into(),
            member_id: self.id.clone(),
            epoch: self.epoch,
            instance_id: self.instance.clone(),
            rack_id: None,
            rebalance_timeout_ms: if full { 10_000 } else { -1 },
            topics: full.then(|| self.topics.clone()),
            regex: self.regex.clone().filter(|_| full),
            assignor: self.assignor.clone(),
            owned: Some(if joins { Partitions::new() } else { self.owned.clone() }),
            client_id: "test".into(),
            client_host: "/127.0.0.1".into(),
        }
    }

    /// Does what the answer says. What is to be given back is given back at once.
    fn obey(&mut self, result: &Result<Beat, Refused>) {
        match result {
            Ok(beat) => {
                self.epoch = beat.epoch;
                self.full = false;
                if let Some(assignment) = &beat.assignment {
                    self.owned.clone_from(assignment);
                }
            }
            Err(refused) => match refused.error {
                Error::FencedMemberEpoch | Error::UnknownMemberId => {
                    self.epoch = 0;
                    self.owned.clear();
                }
                _ => {}
            },
        }
    }

    fn count(&self) -> usize {
        self.owned.values().map(BTreeSet::len).sum()
    }
}

impl Script {
    fn with_topics(topics: &[(&str, u8, u32)]) -> Script {
        let mut script = Script::new();
        script.topics(topics);
        script
    }

    fn topics(&mut self, topics: &[(&str, u8, u32)]) {
        let metas = topics.iter().map(|(name, id, partitions)| TopicMeta {
            name: (*name).into(),
            id: topic(*id),
            partitions: *partitions,
        });
        self.world.stream.topics_known(metas.collect(), true);
    }

    fn reply(&mut self, request: Request) -> Reply {
        let world = &mut self.world;
        world.stream.group(self.now, SessionId(9), Token(9), request, &mut world.out);
        world.settle(self.now);
        let mut replies = world.replies().into_iter().filter_map(|(_, event)| match event {
            Event::Group { token: Token(9), reply } => Some(reply),
            _ => None,
        });
        replies.next().expect("every request is answered when it is logged")
    }

    fn send(&mut self, heartbeat: Heartbeat) -> Result<Beat, Refused> {
        match self.reply(Request::ConsumerHeartbeat(Box::new(heartbeat))) {
            Reply::ConsumerHeartbeat(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// One heartbeat, and what it says is done.
    fn live(&mut self, reader: &mut Reader) -> Result<Beat, Refused> {
        let result = self.send(reader.heartbeat());
        reader.obey(&result);
        result
    }

    fn refused(&mut self, heartbeat: Heartbeat) -> Error {
        self.send(heartbeat).expect_err("it is refused").error
    }

    fn group(&mut self) -> Description {
        match self.reply(Request::ConsumerDescribe { group: "g".into() }) {
            Reply::ConsumerDescribe(result) => result.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Everybody sends heartbeats until nothing changes.
    fn calm(&mut self, readers: &mut [&mut Reader]) {
        for _ in 0..20 {
            for reader in readers.iter_mut() {
                let _ = self.live(reader);
            }
        }
        assert_eq!(self.group().state, State::Stable);
    }
}

#[test]
fn a_partition_moves_when_its_owner_has_let_go() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let (mut a, mut b) = (reader("a"), reader("b"));
    let beat = s.live(&mut a).unwrap();
    assert_eq!((beat.epoch, beat.heartbeat_interval_ms, a.count()), (1, 5000, 4));
    assert_eq!(s.live(&mut a).unwrap().assignment, None, "nothing new");
    let beat = s.live(&mut b).unwrap();
    assert_eq!((beat.epoch, b.count()), (2, 0), "all is held");
    assert_eq!(s.group().state, State::Reconciling);
    // `a` learns that it has to give two back, and has not yet.
    let told = s.send(a.heartbeat()).unwrap();
    assert_eq!((told.epoch, told.assignment.as_ref().unwrap()[&topic(1)].len()), (1, 2));
    assert_eq!(s.live(&mut b).unwrap().assignment, None);
    assert_eq!(s.send(a.heartbeat()).unwrap().assignment, None, "it still lists them");
    assert_eq!(s.group().members[0].assigned[0].partitions, [0, 1, 2, 3], "and is told to have them");
    assert_eq!((s.live(&mut b).unwrap().epoch, b.count()), (2, 0));
    a.obey(&Ok(told));
    assert_eq!((s.live(&mut a).unwrap().epoch, a.count()), (2, 2));
    assert_eq!((s.live(&mut b).unwrap().epoch, b.count()), (2, 2));
    let all: BTreeSet<u32> = a.owned[&topic(1)].union(&b.owned[&topic(1)]).copied().collect();
    assert_eq!(all.len(), 4);
    let group = s.group();
    assert_eq!((group.state, group.epoch, group.assignment_epoch), (State::Stable, 2, 2));
    assert_eq!(group.members[0].assigned[0].name, "t");
    // `b` leaves; `a` gets all.
    let leaves = Heartbeat { epoch: -1, ..b.heartbeat() };
    assert_eq!(s.send(leaves).unwrap().epoch, -1);
    assert_eq!((s.live(&mut a).unwrap().epoch, a.count()), (3, 4));
    assert_eq!(s.reply_code(Request::Delete { group: "g".into() }), 68);
    s.send(Heartbeat { epoch: -1, ..a.heartbeat() }).unwrap();
    assert_eq!(s.group().state, State::Empty);
    assert_eq!(s.reply_code(Request::Delete { group: "g".into() }), 0);
    assert_eq!(s.refused(Heartbeat { epoch: 3, ..a.heartbeat() }), Error::GroupIdNotFound);
    s.world.assert_replays(None, 0);
}

#[test]
fn who_is_not_what_it_says_is_fenced() {
    let mut s = Script::with_topics(&[("t", 1, 2)]);
    let mut a = reader("a");
    assert_eq!(s.refused(Heartbeat { epoch: 1, ..a.heartbeat() }), Error::GroupIdNotFound);
    s.live(&mut a).unwrap();
    assert_eq!(s.refused(Heartbeat { epoch: 1, ..reader("x").heartbeat() }), Error::UnknownMemberId);
    assert_eq!(s.refused(Heartbeat { epoch: -1, ..reader("x").heartbeat() }), Error::UnknownMemberId);
    assert_eq!(s.refused(Heartbeat { epoch: 2, ..a.heartbeat() }), Error::FencedMemberEpoch);
    // An answer was lost: the epoch before is good as long as nothing is claimed that was not given.
    let before = a.clone();
    let mut b = reader("b");
    s.live(&mut b).unwrap();
    s.live(&mut a).unwrap();
    s.live(&mut a).unwrap();
    assert_eq!((before.epoch, a.epoch), (1, 2));
    assert_eq!(s.send(Heartbeat { epoch: 1, ..a.heartbeat() }).unwrap().epoch, 2);
    assert_eq!(s.refused(Heartbeat { epoch: 1, owned: None, ..a.heartbeat() }), Error::FencedMemberEpoch);
    assert_eq!(s.refused(before.heartbeat()), Error::FencedMemberEpoch, "it claims what is another's");
    // Joining again is always possible.
    let again = Reader { epoch: 0, ..a.clone() };
    assert_eq!(s.send(again.heartbeat()).unwrap().assignment, Some(a.owned.clone()));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut s = Script::with_topics(&[("t", 1, 2)]);
    let good = reader("a").heartbeat();
    for (bad, error) in [
        (Heartbeat { group: String::new(), ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { member_id: String::new(), ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { instance_id: Some(String::new()), ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { rack_id: Some(String::new()), ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { epoch: -3, ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { epoch: -2, ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { rebalance_timeout_ms: -1, ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { topics: None, ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { owned: None, ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { owned: Some([(topic(1), [0].into())].into()), ..good.clone() }, Error::InvalidRequest),
        (Heartbeat { assignor: Some("best".into()), ..good.clone() }, Error::UnsupportedAssignor),
        (Heartbeat { regex: Some("a(".into()), ..good.clone() }, Error::InvalidRegularExpression),
        (Heartbeat { regex: Some("a)|(b".into()), ..good.clone() }, Error::InvalidRegularExpression),
        (
            Heartbeat { regex: Some("(a{1000}){1000}".into()), ..good.clone() },
            Error::InvalidRegularExpression,
        ),
    ] {
        assert_eq!(s.refused(bad.clone()), error, "{bad:?}");
    }
    assert_eq!(s.world.stream.groups.len(), 0, "nothing came of any of them");
}

#[test]
fn who_is_silent_or_keeps_what_it_must_give_back_is_given_up() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let (mut a, mut b) = (reader("a"), reader("b"));
    s.live(&mut a).unwrap();
    s.live(&mut b).unwrap();
    // `a` is told, and goes on as if it had not been, until its rebalance timeout is over.
    s.send(a.heartbeat()).unwrap();
    s.pass(6_000);
    s.send(a.heartbeat()).unwrap();
    s.pass(5_000);
    assert_eq!(s.refused(a.heartbeat()), Error::UnknownMemberId);
    assert_eq!((s.live(&mut b).unwrap().epoch, b.count()), (3, 4));
    s.pass(LONG_MS);
    assert_eq!(s.group().state, State::Empty);
    assert_eq!(s.live(&mut b).unwrap_err().error, Error::UnknownMemberId);
    s.logged();
    s.world.assert_replays(None, 0);
}

#[test]
fn the_groups_settings_hold() {
    let mut s = Script::with_topics(&[("t", 1, 1)]);
    let settings = [("consumer.heartbeat.interval.ms", "7000"), ("consumer.session.timeout.ms", "60000")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    s.world.stream.configure_groups(vec![("g".into(), settings.to_vec())]);
    let mut a = reader("a");
    assert_eq!(s.live(&mut a).unwrap().heartbeat_interval_ms, 7000);
    s.pass(59_000);
    assert!(s.live(&mut a).is_ok());
    s.world.stream.configure_groups(vec![("g".into(), Vec::new())]);
    assert_eq!(s.live(&mut a).unwrap().heartbeat_interval_ms, 5000);
    s.pass(LONG_MS);
    assert!(s.live(&mut a).is_err());
}

#[test]
fn a_static_member_finds_its_place_again() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let (mut a, mut b) = (reader("a").of("one"), reader("b").of("two"));
    s.calm(&mut [&mut a, &mut b]);
    let epoch = s.group().epoch;
    // Its instance is in use as long as it has not left.
    let mut c = reader("c").of("one");
    assert_eq!(s.refused(c.heartbeat()), Error::UnreleasedInstanceId);
    assert_eq!(s.refused(Heartbeat { epoch: a.epoch, ..c.heartbeat() }), Error::FencedInstanceId);
    assert_eq!(s.send(Heartbeat { epoch: -2, ..a.heartbeat() }).unwrap().epoch, -2);
    s.live(&mut b).unwrap();
    assert_eq!(b.count(), 2, "nothing is another's yet");
    s.live(&mut c).unwrap();
    assert_eq!((&c.owned, c.epoch), (&a.owned, epoch));
    assert_eq!(s.group().epoch, epoch, "nobody else has anything to do");
    assert_eq!(s.refused(a.heartbeat()), Error::FencedInstanceId);
    assert_eq!(
        s.refused(Heartbeat { instance_id: Some("no".into()), ..a.heartbeat() }),
        Error::UnknownMemberId
    );
    // Away for longer than a session, it is one no more.
    s.send(Heartbeat { epoch: -2, ..c.heartbeat() }).unwrap();
    s.pass(LONG_MS - 2_000);
    s.live(&mut b).unwrap();
    s.pass(2_000);
    s.live(&mut b).unwrap();
    assert_eq!(b.count(), 4);
}

/// Whatever a member calls itself when it joins anew: nothing stays with who it was before, where nobody could read it.
#[test]
fn a_member_that_becomes_another_instance_is_still_itself() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let (mut a, mut b) = (reader("a").of("one"), reader("b"));
    s.calm(&mut [&mut a, &mut b]);
    let (epoch, before) = (s.group().epoch, a.owned.clone());
    let mut a = reader("a").of("other");
    s.live(&mut a).unwrap();
    assert_eq!((&a.owned, a.epoch, s.group().epoch), (&before, epoch, epoch));
    // The name that it had is free: the one without a name takes it.
    let mut b = reader("b").of("one");
    s.calm(&mut [&mut a, &mut b]);
    assert_eq!((a.count(), b.count(), s.group().members.len()), (2, 2, 2));
    // It takes over the place of one that has left for a while, and its own is free.
    s.send(Heartbeat { epoch: -2, ..a.heartbeat() }).unwrap();
    let mut b = reader("b").of("other");
    s.calm(&mut [&mut b]);
    assert_eq!((b.count(), s.group().members.len()), (4, 1));
    s.world.assert_replays(None, 0);
}

#[test]
fn topics_that_come_grow_and_go_are_followed() {
    let mut s = Script::with_topics(&[("t", 1, 2)]);
    let (mut a, mut b) = (reader("a").matching("t.*"), reader("b").reading(&["u"]));
    s.calm(&mut [&mut a, &mut b]);
    assert_eq!((a.count(), b.count()), (2, 0), "a topic that is not there yet is waited for");
    s.topics(&[("t", 1, 3), ("u", 2, 2), ("t.more", 3, 1), ("at", 4, 1)]);
    s.now += 2_000;
    s.calm(&mut [&mut a, &mut b]);
    assert_eq!((a.count(), b.count()), (4, 2), "whole names match");
    assert!(a.owned.contains_key(&topic(3)) && !a.owned.contains_key(&topic(4)));
    // Gone, and another of that name.
    s.topics(&[("t", 7, 1), ("u", 2, 2)]);
    s.now += 2_000;
    s.calm(&mut [&mut a, &mut b]);
    assert_eq!(a.owned, Partitions::from([(topic(7), [0].into())]));
    assert_eq!(s.group().members[0].regex.as_deref(), Some("t.*"));
    // Another subscription.
    let heartbeat = Heartbeat { topics: Some(vec!["u".into()]), regex: Some(String::new()), ..a.heartbeat() };
    let result = s.send(heartbeat);
    a.obey(&result);
    s.calm(&mut [&mut a, &mut b]);
    assert_eq!((a.count(), b.count()), (1, 1));
}

#[test]
fn the_assignor_is_what_most_prefer() {
    let mut s = Script::with_topics(&[("t", 1, 4), ("u", 2, 4)]);
    let range = |id: &str| Reader { assignor: Some("range".into()), ..reader(id).reading(&["t", "u"]) };
    let (mut a, mut b) = (range("a"), range("b"));
    s.calm(&mut [&mut a, &mut b]);
    assert_eq!(s.group().assignor, "range");
    assert_eq!(a.owned[&topic(1)], BTreeSet::from([0, 1]));
    assert_eq!(a.owned[&topic(1)], a.owned[&topic(2)]);
}

#[test]
fn members_go_on_after_a_restart() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let (mut a, mut b) = (reader("a"), reader("b").of("two"));
    s.calm(&mut [&mut a, &mut b]);
    let before = s.group();
    let half = s.world.checkpoint();
    let applied = s.world.blocks.all.len();
    for checkpoint in [None, Some(&half[..])] {
        let mut started = Vec::new();
        record::put(&mut started, Kind::NodeStarted, &[]);
        s.world.write(s.now, started);
        s.world.stream = s.world.replayed(checkpoint, checkpoint.map_or(0, |_| applied));
        // Nothing is known of topics yet, which is not to be taken for that there are none.
        assert_eq!(s.live(&mut a).unwrap().assignment, None);
        s.topics(&[("t", 1, 4)]);
        assert_eq!(s.live(&mut a).unwrap().assignment, None);
        assert_eq!(s.live(&mut b).unwrap().assignment, None);
        let after = s.group();
        assert_eq!((after.epoch, after.state), (before.epoch, State::Stable));
        assert_eq!((a.count(), b.count()), (2, 2));
        s.pass(30_000);
        s.live(&mut a).unwrap();
    }
    // Sessions count from the start.
    s.pass(20_000);
    s.live(&mut a).unwrap();
    assert_eq!(a.count(), 4);
    s.world.assert_replays(Some(&half), applied);
}

#[test]
fn commits_and_offsets_are_for_members_in_their_epoch() {
    let mut s = Script::with_topics(&[("t", 1, 2)]);
    let mut a = reader("a");
    s.live(&mut a).unwrap();
    let commit_as = |s: &mut Script, id: &str, epoch: i32, knows_epochs: bool| {
        let member = Member { group: "g".into(), member_id: id.into(), generation: epoch, instance_id: None };
        let one = PartitionCommit { partition: 0, offset: 5, leader_epoch: -1, metadata: None };
        let topics = vec![("t".to_owned(), vec![one])];
        s.reply_code(Request::Commit(Commit { member, topics, knows_epochs }))
    };
    let commit = |s: &mut Script, id: &str, epoch: i32| commit_as(s, id, epoch, true);
    let fetch = |s: &mut Script, member: Option<(&str, i32)>| {
        let member = member.map(|(id, epoch)| (id.to_owned(), epoch));
        s.reply_code(Request::FetchOffsets { group: "g".into(), topics: None, member, require_stable: false })
    };
    assert_eq!(commit(&mut s, "a", 1), 0);
    assert_eq!(commit(&mut s, "a", 0), 113);
    assert_eq!(commit(&mut s, "b", 1), 25);
    assert_eq!(commit_as(&mut s, "a", 1, false), 35, "in a version that knows no epochs");
    assert_eq!(commit_as(&mut s, "b", 1, false), 25);
    assert_eq!(commit(&mut s, "", -1), 25, "not from outside while there are members");
    assert_eq!(fetch(&mut s, Some(("a", 1))), 0);
    assert_eq!(fetch(&mut s, Some(("a", 2))), 113);
    assert_eq!(fetch(&mut s, Some(("b", 1))), 25);
    assert_eq!(fetch(&mut s, None), 0, "anybody may look");
    assert_eq!(
        s.reply_code(Request::OffsetDelete { group: "g".into(), topics: vec![("t".into(), vec![0])] }),
        86
    );
    // Another comes and takes partition 1: what stays may be committed as in the epoch before, what is new may not.
    let mut b = reader("b");
    s.calm(&mut [&mut a, &mut b]);
    assert_eq!((a.epoch, a.owned[&topic(1)].contains(&0)), (2, true));
    assert_eq!((commit(&mut s, "a", 2), commit(&mut s, "a", 1), commit(&mut s, "a", 3)), (0, 0, 113));
    assert_eq!(commit(&mut s, "b", 1), 113);
    s.send(Heartbeat { epoch: -1, ..b.heartbeat() }).unwrap();
    s.send(Heartbeat { epoch: -1, ..a.heartbeat() }).unwrap();
    assert_eq!(commit(&mut s, "", -1), 0);
    let forget = Request::OffsetDelete { group: "g".into(), topics: vec![("t".into(), vec![0])] };
    assert_eq!(s.reply_code(forget), 0, "nobody reads it any more");
    assert_eq!(commit(&mut s, "", -1), 0);
    let Reply::List(listed) = s.reply(Request::List) else { panic!() };
    assert_eq!(
        (listed[0].kind.name(), listed[0].state.name(), &*listed[0].protocol_type),
        ("consumer", "Empty", "consumer")
    );
    let Reply::Describe(described) = s.reply(Request::Describe { group: "g".into() }) else { panic!() };
    assert_eq!(described.state, State::Dead, "no classic group");
    let kind = |s: &mut Script| match s.reply(Request::KindOf { group: "g".into() }) {
        Reply::KindOf(kind) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(&mut s), Some(GroupKind::Consumer));
    assert_eq!(s.reply_code(Request::Delete { group: "g".into() }), 0);
    assert_eq!(kind(&mut s), None);
    s.world.assert_replays(None, 0);
}

#[test]
fn offsets_are_kept_for_those_who_are_there() {
    let mut s = Script::with_topics(&[("t", 1, 1), ("other", 2, 1)]);
    let (mut a, mut b) = (reader("a"), reader("b").matching("o.*"));
    s.calm(&mut [&mut a, &mut b]);
    let forget = |s: &mut Script, topic: &str| {
        s.reply_code(Request::OffsetDelete { group: "g".into(), topics: vec![(topic.into(), vec![0])] })
    };
    assert_eq!((forget(&mut s, "t"), forget(&mut s, "other")), (86, 86));
    s.send(Heartbeat { epoch: -1, ..b.heartbeat() }).unwrap();
    assert_eq!((forget(&mut s, "t"), forget(&mut s, "other")), (86, 0));
}

#[test]
fn a_group_is_full_at_some_time() {
    let mut s = Script::with_topics(&[("t", 1, 2)]);
    for n in 0..2_000 {
        s.live(&mut reader(&format!("m{n}"))).unwrap();
    }
    assert_eq!(s.refused(reader("one more").heartbeat()), Error::GroupMaxSizeReached);
    assert!(s.live(&mut reader("m7")).is_ok());
}

#[test]
fn nothing_is_left_of_a_group_that_nobody_uses() {
    let mut s = Script::with_topics(&[("t", 1, 2)]);
    let mut a = reader("a");
    s.live(&mut a).unwrap();
    s.send(Heartbeat { epoch: -1, ..a.heartbeat() }).unwrap();
    s.pass(11 * 60 * 1000);
    s.logged();
    assert_eq!(s.world.stream.groups.len(), 0);
    assert_eq!(s.world.checkpoint(), crate::testing::World::new().checkpoint());
}

impl Script {
    /// The error of the reply, or of its one partition.
    fn reply_code(&mut self, request: Request) -> i16 {
        let code = |result: Result<(), Error>| result.map_or_else(|error| error as i16, |()| 0);
        match self.reply(request) {
            Reply::Delete(result) => code(result),
            Reply::FetchOffsets(result) => code(result.map(drop)),
            Reply::Commit(result) | Reply::OffsetDelete(result) => match result {
                Ok(all) => code(all[0].1[0].1),
                Err(error) => code(Err(error)),
            },
            Reply::Heartbeat(result) => code(result),
            other => panic!("{other:?}"),
        }
    }
}
