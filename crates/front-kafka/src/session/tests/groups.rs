//! Requests of members of groups.

use super::*;
use bowline_model::group::{self, GroupKind, Reply};
use bowline_model::share::{Listed, Reply as ShareReply};
use messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse,
};

/// KIP-814: what a static leader that came back hears goes by what its version can say.
#[test]
fn a_returning_leader_does_not_assign_anew() {
    for version in [5, 8, 9] {
        let mut bench = Bench::new();
        let (group_id, member_id) = ("g".into(), "new".into());
        let request = JoinGroupRequest { group_id, member_id, ..Default::default() };
        bench.send(version, &request);
        let (_, request) = bench.sent().remove(0);
        let joined = group::Joined {
            generation: 4,
            protocol_type: "consumer".into(),
            protocol_name: "range".into(),
            leader: "new".into(),
            member_id: "new".into(),
            members: vec![("new".into(), Some("i".into()), Bytes::new())],
            led_as: Some("old".into()),
        };
        bench.event(Event::Group { token: token(&request), reply: Reply::Join(Ok(joined)) });
        let (_, answer) = bench.receive::<JoinGroupResponse>(version).unwrap();
        let told = (answer.leader.as_str(), answer.members.len(), answer.skip_assignment);
        assert_eq!(told, if version < 9 { ("old", 0, false) } else { ("new", 1, true) });
    }
}

fn join() -> JoinGroupRequest {
    JoinGroupRequest { group_id: "g".into(), ..Default::default() }
}

fn beat(member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { group_id: "g".into(), member_epoch, ..Default::default() }
}

fn share_beat(member_epoch: i32) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        member_epoch,
        subscribed_topic_names: Some(vec!["t".into()]),
        ..Default::default()
    }
}

impl Bench {
    /// Answers the question whether there is a group `g` of the classic or the newer protocol.
    fn is(&mut self, kind: Option<GroupKind>) {
        let asked = self.sent();
        let [(_, Request::Group { token, request: group::Request::KindOf { group } })] = &asked[..] else {
            panic!("{asked:?}")
        };
        assert_eq!(group, "g");
        self.event(Event::Group { token: *token, reply: Reply::KindOf(kind) });
    }

    /// Answers the question to each shard which share groups it keeps something of.
    fn keeps(&mut self, groups: [&[&str]; DATA_SHARDS as usize]) {
        let asked = self.shared();
        assert_eq!(asked.len(), groups.len());
        for (request, groups) in asked.iter().zip(groups) {
            let listed = |group: &&str| Listed { group: (*group).into(), has_members: false };
            self.reply(request, ShareReply::Listed(groups.iter().map(listed).collect()));
        }
    }

    fn join_error(&mut self) -> i16 {
        self.receive::<JoinGroupResponse>(9).unwrap().1.error_code
    }

    fn beat_error(&mut self) -> i16 {
        self.receive::<ConsumerGroupHeartbeatResponse>(1).unwrap().1.error_code
    }

    fn share_error(&mut self) -> i16 {
        self.receive::<ShareGroupHeartbeatResponse>(1).unwrap().1.error_code
    }
}

#[test]
fn no_share_group_has_the_name_of_a_group_with_offsets() {
    let mut bench = Bench::new();
    for (kind, expected) in [
        (Some(GroupKind::Classic), ErrorCode::GroupIdNotFound),
        (Some(GroupKind::Consumer), ErrorCode::GroupIdNotFound),
        (None, ErrorCode::None),
    ] {
        bench.send(1, &share_beat(0));
        bench.is(kind);
        assert_eq!(bench.share_error(), expected.code());
    }
    bench.send(1, &share_beat(1));
    assert_eq!((bench.share_error(), bench.sent().len()), (0, 0), "who is in asks nobody");
    // Nor does a group of another kind come beside members of a share group.
    bench.send(9, &join());
    assert_eq!(bench.join_error(), ErrorCode::InconsistentGroupProtocol.code());
    bench.send(1, &beat(0));
    assert_eq!(bench.beat_error(), ErrorCode::GroupIdNotFound.code());
    assert!(bench.sent().is_empty());
}

#[test]
fn no_group_has_the_name_of_a_share_group_without_members() {
    let mut bench = Bench::new();
    bench.send(9, &join());
    bench.is(None);
    bench.keeps([&["other"], &["g"]]);
    assert_eq!(bench.join_error(), ErrorCode::InconsistentGroupProtocol.code());
    bench.send(1, &beat(0));
    bench.is(None);
    bench.keeps([&["g"], &[]]);
    assert_eq!(bench.beat_error(), ErrorCode::GroupIdNotFound.code());
    // Where there is none, who joins goes on.
    bench.send(9, &join());
    bench.is(None);
    bench.keeps([&["other"], &[]]);
    assert!(matches!(&bench.sent()[..], [(_, Request::Group { request: group::Request::Join(_), .. })]));
    // So does who joins a group that is there, whatever consumers of another protocol call theirs.
    let mut bench = Bench::new();
    bench.send(1, &beat(0));
    bench.is(Some(GroupKind::Classic));
    let asked = bench.sent();
    assert!(
        matches!(&asked[..], [(_, Request::Group { request: group::Request::ConsumerHeartbeat(_), .. })]),
        "{asked:?}"
    );
}

#[test]
fn who_is_in_asks_for_no_names() {
    let mut bench = Bench::new();
    bench.send(9, &JoinGroupRequest { member_id: "m".into(), ..join() });
    assert!(matches!(&bench.sent()[..], [(_, Request::Group { request: group::Request::Join(_), .. })]));
    let mut bench = Bench::new();
    bench.send(1, &beat(3));
    let asked = bench.sent();
    assert!(
        matches!(&asked[..], [(_, Request::Group { request: group::Request::ConsumerHeartbeat(_), .. })]),
        "{asked:?}"
    );
    let mut bench = Bench::new();
    bench.send(2, &commit(3));
    assert!(matches!(&bench.sent()[..], [(_, Request::Group { request: group::Request::Commit(_), .. })]));
}

fn commit(generation: i32) -> OffsetCommitRequest {
    let topic = messages::offset_commit_request::OffsetCommitRequestTopic {
        name: "t".into(),
        partitions: vec![Default::default()],
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: generation,
        topics: vec![topic],
        ..Default::default()
    }
}

#[test]
fn who_is_no_member_commits_for_no_share_group() {
    let mut bench = Bench::new();
    bench.send(2, &commit(-1));
    bench.is(None);
    bench.keeps([&["g"], &[]]);
    let (_, refused) = bench.receive::<OffsetCommitResponse>(2).unwrap();
    assert_eq!(refused.topics[0].partitions[0].error_code, ErrorCode::GroupIdNotFound.code());
    bench.send(2, &commit(-1));
    bench.is(Some(GroupKind::Consumer));
    assert!(matches!(&bench.sent()[..], [(_, Request::Group { request: group::Request::Commit(_), .. })]));
}
