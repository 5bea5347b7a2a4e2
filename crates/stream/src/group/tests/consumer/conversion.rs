//! A group changes its protocol while it runs.

use super::super::{Client, client};
use super::{Reader, Script, reader, topic};
use bowline_model::consumer_group::{Heartbeat, Partitions};
use bowline_model::group::{Error, JoinRefused, Leaving, Reply, Request, State, Sync};
use bytes::Bytes;

/// A subscription to `t` that owns these of its partitions (version 1).
fn subscription(owned: &[u32]) -> Bytes {
    let mut bytes = b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff".to_vec();
    bytes.extend((i32::from(!owned.is_empty())).to_be_bytes());
    if !owned.is_empty() {
        bytes.extend(b"\0\x01t");
        bytes.extend((owned.len() as i32).to_be_bytes());
        owned.iter().for_each(|n| bytes.extend((*n as i32).to_be_bytes()));
    }
    bytes.into()
}

fn assignment(numbers: &[u32]) -> Bytes {
    let mut bytes = b"\0\x01\0\0\0\x01\0\x01t".to_vec();
    bytes.extend((numbers.len() as i32).to_be_bytes());
    numbers.iter().for_each(|n| bytes.extend((*n as i32).to_be_bytes()));
    bytes.extend([0xff; 4]);
    bytes.into()
}

fn classic(session: u64, owned: &[u32]) -> Client {
    Client { protocols: vec![("cooperative-sticky".into(), subscription(owned))], ..client(session) }
}

/// Numbers of the partitions of `t` in an assignment.
fn read(assignment: &Bytes) -> Vec<u32> {
    if assignment.len() <= 10 {
        return Vec::new();
    }
    let n = u32::from_be_bytes(assignment[9..13].try_into().unwrap()) as usize;
    assignment[13..13 + 4 * n].chunks(4).map(|c| u32::from_be_bytes(c.try_into().unwrap())).collect()
}

impl Script {
    /// Joins a group that answers at once.
    fn rejoin(&mut self, client: &mut Client) -> Result<(), Error> {
        match self.reply(Request::Join(client.join())) {
            Reply::Join(Ok(joined)) => {
                assert_ne!(joined.leader, joined.member_id, "nobody leads");
                client.id = joined.member_id;
                client.generation = joined.generation;
                Ok(())
            }
            Reply::Join(Err(JoinRefused { error, member_id })) => {
                client.id = member_id;
                Err(error)
            }
            other => panic!("{other:?}"),
        }
    }

    fn assigned(&mut self, client: &Client) -> Result<Vec<u32>, Error> {
        let sync = Sync {
            member: client.member(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("cooperative-sticky".into()),
            assignments: Vec::new(),
        };
        match self.reply(Request::Sync(sync)) {
            Reply::Sync(result) => result.map(|synced| read(&synced.assignment)),
            other => panic!("{other:?}"),
        }
    }

    fn beats(&mut self, client: &Client) -> i16 {
        self.reply_code(Request::Heartbeat(client.member()))
    }

    /// A stable classic group of one member that has everything, `t` having four partitions.
    fn lone_classic(&mut self) -> Client {
        let mut one = classic(1, &[]);
        assert!(self.join(&one).is_empty());
        self.pass(700);
        (one.id, one.generation) = ("m1".into(), 1);
        let sync = Sync {
            member: one.member(),
            protocol_type: None,
            protocol_name: None,
            assignments: vec![("m1".into(), assignment(&[0, 1, 2, 3]))],
        };
        let Reply::Sync(Ok(_)) = self.reply(Request::Sync(sync)) else { panic!() };
        one
    }
}

#[test]
fn a_classic_group_is_taken_over_member_by_member_and_goes_back() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let mut one = s.lone_classic();
    assert_eq!(s.beats(&one), 0);
    // The first of the new protocol comes: it waits, as all is the other's.
    let mut new = reader("n");
    let beat = s.live(&mut new).unwrap();
    assert_eq!((beat.epoch, new.count()), (2, 0));
    let group = s.group();
    assert_eq!(group.members.len(), 2);
    assert!(group.members[0].classic && !group.members[1].classic);
    // The old one is told to join again, twice: to give two back, and to say that it has.
    assert_eq!(s.beats(&one), 27);
    one.protocols = vec![("cooperative-sticky".into(), subscription(&[0, 1, 2, 3]))];
    s.rejoin(&mut one).unwrap();
    let kept = s.assigned(&one).unwrap();
    assert_eq!(kept.len(), 2);
    s.live(&mut new).unwrap();
    assert_eq!(new.count(), 0, "not before it has said so");
    assert_eq!(s.beats(&one), 27);
    one.protocols = vec![("cooperative-sticky".into(), subscription(&kept))];
    s.rejoin(&mut one).unwrap();
    assert_eq!(s.assigned(&one).unwrap(), kept);
    assert_eq!(s.beats(&one), 0);
    s.live(&mut new).unwrap();
    assert_eq!(new.count(), 2);
    assert_eq!(s.group().state, State::Stable);
    let Reply::List(listed) = s.reply(Request::List) else { panic!() };
    assert_eq!(listed[0].kind.name(), "consumer");
    s.world.assert_replays(None, 0);
    // The last of the new protocol leaves: classic again, and a rebalance.
    s.send(Heartbeat { epoch: -1, ..new.heartbeat() }).unwrap();
    let Reply::List(listed) = s.reply(Request::List) else { panic!() };
    assert_eq!((listed[0].kind.name(), listed[0].state), ("classic", State::PreparingRebalance));
    let refused = s.reply(Request::ConsumerDescribe { group: "g".into() });
    assert!(matches!(refused, Reply::ConsumerDescribe(Err(r)) if r.error == Error::GroupIdNotFound));
    assert_eq!(s.beats(&one), 27);
    assert_eq!(s.join(&one), ["1: join m1 gen 3 cooperative-sticky leader m1 of m1"]);
    s.world.assert_replays(None, 0);
}

#[test]
fn a_classic_member_may_become_one_of_the_new_protocol() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let one = s.lone_classic();
    let mut new = reader("n");
    s.live(&mut new).unwrap();
    let Reply::Leave(left) = s.reply(Request::Leave {
        group: "g".into(),
        members: ["m1", "m1"].map(|id| Leaving { member_id: id.into(), instance_id: None }).to_vec(),
    }) else {
        panic!()
    };
    assert_eq!(left.iter().map(|(_, r)| r.is_ok()).collect::<Vec<_>>(), [true, false]);
    s.live(&mut new).unwrap();
    assert_eq!(new.owned, Partitions::from([(topic(1), [0, 1, 2, 3].into())]));
    assert_eq!(s.beats(&one), 25);
}

/// An administrator removes the last member of the new protocol; then a classic one comes.
#[test]
fn a_group_that_was_left_is_of_the_kind_of_who_comes_next() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let mut new = reader("n");
    s.live(&mut new).unwrap();
    let members = vec![Leaving { member_id: new.id.clone(), instance_id: None }];
    let Reply::Leave(left) = s.reply(Request::Leave { group: "g".into(), members }) else { panic!() };
    assert!(left[0].1.is_ok());
    assert_eq!(s.live(&mut new).unwrap_err().error, Error::UnknownMemberId);
    assert!(s.join(&classic(1, &[])).is_empty());
    assert_eq!(s.pass(700), ["1: join m1 gen 1 cooperative-sticky leader m1 of m1"]);
    s.logged();
    let Reply::List(listed) = s.reply(Request::List) else { panic!() };
    assert_eq!(listed[0].kind.name(), "classic");
    s.world.assert_replays(None, 0);
}

#[test]
fn classic_members_join_a_new_group_and_are_given_up_if_they_do_not_go_on() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let mut new = reader("n");
    s.live(&mut new).unwrap();
    let mut old = Client { known_id_required: true, ..classic(1, &[]) };
    assert_eq!(s.rejoin(&mut old), Err(Error::MemberIdRequired));
    assert_eq!(s.rejoin(&mut old), Ok(()));
    assert_eq!(s.assigned(&old).unwrap(), [0u32; 0], "all is held");
    assert_eq!(s.beats(&old), 0, "nothing to be had by joining again");
    s.live(&mut new).unwrap();
    s.live(&mut new).unwrap();
    assert_eq!(s.beats(&old), 27, "what it waits for is free");
    s.rejoin(&mut old).unwrap();
    let got = s.assigned(&old).unwrap();
    assert_eq!(got.len(), 2);
    assert_eq!(s.beats(&Client { generation: 1, ..old.clone() }), 22);
    let other = Client { protocols: vec![("range".into(), subscription(&[]))], ..client(3) };
    assert_eq!(s.rejoin(&mut other.clone()), Err(Error::InconsistentGroupProtocol));
    let odd =
        Client { protocols: vec![("cooperative-sticky".into(), Bytes::from_static(b"?"))], ..client(3) };
    assert_eq!(s.rejoin(&mut odd.clone()), Err(Error::InconsistentGroupProtocol));
    // Told to join again, it only sends heartbeats.
    let mut third = reader("o");
    s.live(&mut third).unwrap();
    for _ in 0..7 {
        assert_eq!(s.beats(&old), 27);
        s.live(&mut new).unwrap();
        s.live(&mut third).unwrap();
        s.pass(9_000);
    }
    assert_eq!(s.beats(&old), 25);
    s.calm(&mut [&mut new, &mut third]);
    assert_eq!(new.count() + third.count(), 4);
}

#[test]
fn a_static_classic_member_is_replaced_by_one_of_the_new_protocol() {
    let mut s = Script::with_topics(&[("t", 1, 4)]);
    let mut old = classic(1, &[]).instance("one");
    let mut new = reader("n");
    s.live(&mut new).unwrap();
    s.rejoin(&mut old).unwrap();
    for _ in 0..3 {
        s.live(&mut new).unwrap();
        s.rejoin(&mut old).unwrap();
    }
    let had = s.assigned(&old).unwrap();
    assert_eq!(had.len(), 2);
    let mut heir: Reader = reader("h").of("one");
    s.live(&mut heir).unwrap();
    assert_eq!(heir.owned[&topic(1)].iter().copied().collect::<Vec<_>>(), had);
    assert_eq!(s.beats(&old), 82);
}
