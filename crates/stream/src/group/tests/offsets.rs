use super::{Script, client};
use crate::group::Options;
use bowline_model::group::{Commit, Error, PartitionCommit, Request};
use bowline_model::record::Kind;
use bowline_model::{SessionId, Token};

fn fetch(s: &mut Script) -> String {
    let topics = Some(vec![("t".into(), vec![0, 1]), ("u".into(), vec![0])]);
    s.ask(0, Request::FetchOffsets { group: "g".into(), topics, member: None, require_stable: false })
        .remove(0)
}

fn all(s: &mut Script) -> String {
    s.ask(0, Request::FetchOffsets { group: "g".into(), topics: None, member: None, require_stable: false })
        .remove(0)
}

fn delete(s: &mut Script) -> String {
    let mut heard = s.ask(0, Request::Delete { group: "g".into() });
    heard.extend(s.logged());
    heard.remove(0)
}

#[test]
fn a_commit_is_answered_when_it_is_applied() {
    let mut s = Script::new();
    assert_eq!(fetch(&mut s), "0: offsets t/0=-1,t/1=-1,u/0=-1");
    let outside = client(1);
    assert!(s.commit(&outside, "t", 5, "note").is_empty());
    assert!(s.world.out.propose[0].urgent);
    assert_eq!(fetch(&mut s), "0: offsets t/0=-1,t/1=-1,u/0=-1");
    assert_eq!(s.logged(), ["1: each t/0 ok"]);
    assert_eq!(fetch(&mut s), "0: offsets t/0=5note,t/1=-1,u/0=-1");
    assert_eq!(all(&mut s), "0: offsets t/0=5note");
    assert_eq!(s.ask(0, Request::List), ["0: list g  Empty"]);
    // Back is allowed too: the client knows why.
    s.commit(&outside, "t", 3, "");
    s.logged();
    assert_eq!(all(&mut s), "0: offsets t/0=3");
    s.world.assert_replays(None, 0);
    s.world.stream = s.world.replayed(Some(&s.world.checkpoint()), s.world.blocks.all.len());
    assert_eq!(all(&mut s), "0: offsets t/0=3");
}

#[test]
fn who_may_commit() {
    let mut s = Script::new();
    assert_eq!(s.commit(&client(1).named("m1").generation(1), "t", 1, ""), ["1: commit 69"]);
    let (one, two) = s.stable_pair();
    assert!(s.commit(&one, "t", 1, "").is_empty());
    assert_eq!(s.logged(), ["1: each t/0 ok"]);
    assert_eq!(s.commit(&client(3), "t", 1, ""), ["3: commit 25"], "not from outside a group with members");
    assert_eq!(s.commit(&client(3).named("m3").generation(1), "t", 1, ""), ["3: commit 25"]);
    assert_eq!(s.commit(&one.clone().generation(2), "t", 1, ""), ["1: commit 22"]);
    // PreparingRebalance: what was worked on may still be committed.
    s.join(&one);
    assert!(s.commit(&two, "t", 2, "").is_empty());
    assert_eq!(s.logged(), ["2: each t/0 ok"]);
    s.join(&two);
    let two = two.generation(2);
    assert_eq!(s.commit(&two, "t", 3, ""), ["2: commit 27"]);
    s.sync(&one.generation(2), &[]);
    assert!(s.commit(&two, "t", 3, "").is_empty());
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    for i in 0..5 {
        s.pass(6_000);
        s.commit(&one, "t", i, "");
        s.logged();
        assert_eq!(s.beat(&two), ["2: beat ok"]);
    }
    assert_eq!(s.describe(), ["0: Stable range m1=A,m2=B"]);
}

#[test]
fn long_notes_are_refused_one_by_one() {
    let mut s = Script::new();
    let long = "x".repeat(4097);
    assert_eq!(s.commit(&client(1), "t", 1, &long), ["1: each t/0 12"]);
    assert!(s.world.stream.groups.is_empty());
    let one = |partition, metadata: &str| PartitionCommit {
        partition,
        offset: 7,
        leader_epoch: 2,
        metadata: Some(metadata.into()),
    };
    let topics = vec![("t".into(), vec![one(0, &long), one(1, &long[..4096])])];
    s.ask(1, Request::Commit(Commit { member: client(1).member(), topics, knows_epochs: true }));
    assert_eq!(s.logged(), ["1: each t/0 12,t/1 ok"]);
}

#[test]
fn a_commit_that_cannot_be_logged_is_to_be_tried_again() {
    let mut s = Script::new();
    s.commit(&client(1), "t", 1, "");
    let waiter = s.world.out.propose.remove(0).waiter.unwrap();
    s.world.stream.refused(waiter, true, &mut s.world.out);
    assert_eq!(s.heard(), [format!("1: commit {}", Error::CoordinatorNotAvailable as i16)]);
}

#[test]
fn deleting_a_group() {
    let mut s = Script::new();
    assert_eq!(delete(&mut s), "0: delete 69");
    let (one, two) = s.stable_pair();
    s.commit(&one, "t", 1, "");
    s.logged();
    assert_eq!(delete(&mut s), "0: delete 68");
    s.leave(&one);
    s.leave(&two);
    assert_eq!(s.describe(), ["0: Empty  "]);
    assert_eq!(delete(&mut s), "0: delete ok");
    assert_eq!(s.describe(), ["0: Dead  "]);
    assert_eq!(all(&mut s), "0: offsets ");
    s.world.assert_replays(None, 0);
}

#[test]
fn deleting_offsets() {
    let mut s = Script::new();
    let forget = |s: &mut Script, topics: &[&str]| {
        let topics = topics.iter().map(|t| (t.to_string(), vec![0])).collect();
        let mut heard = s.ask(0, Request::OffsetDelete { group: "g".into(), topics });
        heard.extend(s.logged());
        heard.remove(0)
    };
    assert_eq!(forget(&mut s, &["t"]), "0: forget 69");
    for topic in ["t", "u", "v"] {
        s.commit(&client(1), topic, 4, "");
    }
    s.logged();
    assert_eq!(forget(&mut s, &["v", "w"]), "0: each v/0 ok,w/0 ok");
    s.stable_pair();
    assert_eq!(forget(&mut s, &["t", "u"]), "0: each t/0 86,u/0 ok");
    assert_eq!(all(&mut s), "0: offsets t/0=4");
    s.world.stream.topic_deleted("t", &mut s.world.out);
    s.logged();
    assert_eq!(all(&mut s), "0: offsets ");
    s.world.assert_replays(None, 0);
}

#[test]
fn offsets_expire_a_week_after_the_group_was_left() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    s.commit(&one, "t", 1, "");
    s.commit(&one, "unsubscribed", 1, "");
    s.logged();
    // As long as there are members, only what nobody subscribes to goes.
    let week = Options::default().offsets_retention_ms;
    while s.now < 1_000_000 + week + 60 * 60 * 1000 {
        s.pass(5_000);
        s.beat(&one);
        s.beat(&two);
        s.logged();
    }
    assert_eq!(all(&mut s), "0: offsets t/0=1");
    s.leave(&one);
    s.leave(&two);
    s.pass(week - 1);
    s.logged();
    assert_eq!(all(&mut s), "0: offsets t/0=1");
    // A restart: since when the group is empty is not known, so the week begins anew.
    s.world.stream = s.world.replayed(None, 0);
    s.pass(week - 1);
    assert!(s.world.out.propose.is_empty());
    s.pass(20 * 60 * 1000);
    let proposal = &s.world.out.propose[0];
    assert!(!proposal.urgent);
    assert_eq!(bowline_model::record::at(&proposal.records, 0).unwrap().kind, Kind::OffsetDelete);
    s.logged();
    assert_eq!(all(&mut s), "0: offsets ");
    s.world.assert_replays(None, 0);
}

#[test]
fn a_commit_on_its_way_is_not_expired() {
    let mut s = Script::new();
    s.commit(&client(1), "t", 1, "");
    s.logged();
    s.pass(60_000);
    s.now += 2 * Options::default().offsets_retention_ms;
    // Asked, not logged yet, when the old one would go.
    s.world.stream.group(
        s.now,
        SessionId(1),
        Token(1),
        Request::Commit(Commit {
            member: client(1).member(),
            topics: vec![(
                "t".into(),
                vec![PartitionCommit { partition: 0, offset: 2, leader_epoch: -1, metadata: None }],
            )],
            knows_epochs: true,
        }),
        &mut s.world.out,
    );
    s.pass(0);
    assert_eq!(s.world.out.propose.len(), 1);
    s.logged();
    assert_eq!(all(&mut s), "0: offsets t/0=2");
}

#[test]
fn damaged_checkpoints_are_refused_without_panic() {
    let mut s = Script::new();
    for topic in ["t", "u"] {
        s.commit(&client(1), topic, 4, "note");
    }
    s.logged();
    let mut good = Vec::new();
    s.world.stream.groups.checkpoint(&mut good);
    for at in 0..good.len() {
        assert!(s.world.stream.groups.restore(&good[..at]).is_err(), "{at}");
        for flip in [1, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            let _ = s.world.stream.groups.restore(&bad);
        }
    }
    s.world.stream.groups.restore(&good).unwrap();
    assert_eq!(all(&mut s), "0: offsets t/0=4note,u/0=4note");
}
