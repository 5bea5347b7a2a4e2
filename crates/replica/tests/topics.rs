//! Topics and groups over the shards of a node.

use crate::common::*;
use bowline_model::meta::{Command, Outcome};
use bowline_model::{ShardId, group};

/// What group `g` of `shard` has committed.
fn committed(session: &mut Session, shard: ShardId) -> usize {
    let fetch =
        group::Request::FetchOffsets { group: "g".into(), topics: None, member: None, require_stable: false };
    match session.group(shard, fetch) {
        group::Reply::FetchOffsets(Ok(topics)) => topics.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deleted_topic_is_forgotten_by_groups_on_every_shard() {
    let dir = tempfile::tempdir().unwrap();
    let (node, engine) = start(dir.path(), 3);
    let mut session = Session::new(&node);
    session.create_topic();
    let shards: Vec<ShardId> = (1..=3).map(ShardId).collect();
    for &shard in &shards {
        let member =
            group::Member { group: "g".into(), member_id: String::new(), generation: -1, instance_id: None };
        let commit = group::PartitionCommit { partition: 0, offset: 4, leader_epoch: -1, metadata: None };
        let topics = vec![("topic".into(), vec![commit])];
        session.group(shard, group::Request::Commit(group::Commit { member, topics, knows_epochs: true }));
        assert_eq!(committed(&mut session, shard), 1);
    }
    let (vhost, name) = ("/".into(), "topic".into());
    assert!(matches!(session.propose(Command::TopicDelete { vhost, name }), Outcome::Ok));
    session.create_topic();
    drop(session);
    engine.stop().unwrap();

    let (node, engine) = start(dir.path(), 3);
    let mut session = Session::new(&node);
    assert!(shards.into_iter().all(|shard| committed(&mut session, shard) == 0));
    drop(session);
    engine.stop().unwrap();
}
