//! ShareGroupDescribe (77): state and members of share groups.

use super::OPERATIONS_NOT_ASKED;
use super::share_group_heartbeat::topic;
use crate::errors;
use crate::pending::{Context, Step};
use crate::share::assignor;
use crate::share::membership;
use bowline_codec_kafka::messages::share_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use bowline_codec_kafka::messages::{ShareGroupDescribeRequest, ShareGroupDescribeResponse};
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::ShardId;
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::request::Request;
use bowline_model::share::{self, Reply};
use std::collections::BTreeSet;

pub fn start(request: ShareGroupDescribeRequest, cx: &mut Context<'_>) -> Step {
    ask_for_all(cx);
    cx.gather(cx.broker.data_shards.into(), move |answers, cx| {
        let kept = match known(answers) {
            Ok(kept) => kept,
            Err(Some(error)) => {
                let failed = |group_id| DescribedGroup {
                    group_id,
                    error_code: error.code(),
                    authorized_operations: OPERATIONS_NOT_ASKED,
                    ..Default::default()
                };
                let groups = request.group_ids.into_iter().map(failed).collect();
                return cx.reply(&ShareGroupDescribeResponse { groups, ..Default::default() });
            }
            Err(None) => return cx.mismatch(),
        };
        let mut groups = Vec::with_capacity(request.group_ids.len());
        for group_id in request.group_ids {
            let denied = ErrorCode::GroupAuthorizationFailed;
            if let Err(error) = cx.check(Operation::Describe, Resource::Group(&group_id), denied) {
                groups.push(DescribedGroup { group_id, error_code: error.code(), ..Default::default() });
                continue;
            }
            if group_id.is_empty() {
                let error_code = ErrorCode::InvalidGroupId.code();
                groups.push(DescribedGroup { group_id, error_code, ..Default::default() });
                continue;
            }
            let catalog = &*cx.broker.catalog;
            let mut lookup = |name: &str| topic(catalog, name);
            let described = cx.broker.options.share.groups().describe(&group_id, cx.now.instant, &mut lookup);
            let described = match described {
                Some(described) if !sees_topics(&described, cx) => DescribedGroup {
                    error_code: ErrorCode::TopicAuthorizationFailed.code(),
                    error_message: Some("The group has topics that you may not describe.".into()),
                    ..Default::default()
                },
                Some(described) => describe(described),
                None if kept.contains(&group_id) => DescribedGroup {
                    group_state: "Empty".into(),
                    assignor_name: assignor::NAME.into(),
                    ..Default::default()
                },
                None => DescribedGroup {
                    error_code: ErrorCode::GroupIdNotFound.code(),
                    error_message: Some(format!("there is no share group '{group_id}'")),
                    ..Default::default()
                },
            };
            let told = request.include_authorized_operations && described.error_code == 0;
            let authorized_operations = match told {
                true => cx.authorized_operations(Resource::Group(&group_id)),
                false => OPERATIONS_NOT_ASKED,
            };
            groups.push(DescribedGroup { group_id, authorized_operations, ..described });
        }
        cx.reply(&ShareGroupDescribeResponse { groups, ..Default::default() })
    })
}

/// Who may not see all that the members read is told nothing of them.
fn sees_topics(described: &membership::Described, cx: &mut Context<'_>) -> bool {
    described.members.iter().all(|member| {
        let names = member.topics.iter().chain(member.assignment.iter().map(|(_, name, _)| name));
        names.into_iter().all(|name| cx.allows(Operation::Describe, Resource::Topic(name)))
    })
}

/// Asks every shard, as questions from 0 on, which groups it keeps something of.
pub fn ask_for_all(cx: &mut Context<'_>) {
    for shard in 1..=cx.broker.data_shards {
        let token = cx.token(u32::from(shard) - 1);
        cx.send(ShardId(shard), Request::Share(share::Request::List { token }));
    }
}

/// The groups that the shards have answered with; `None` if they have answered something else.
pub fn known(answers: Vec<Event>) -> Result<BTreeSet<String>, Option<ErrorCode>> {
    let mut known = BTreeSet::new();
    for answer in answers {
        match answer {
            Event::Share { reply: Reply::Listed(listed), .. } => {
                known.extend(listed.into_iter().map(|listed| listed.group));
            }
            Event::Failed { reason, .. } => return Err(Some(errors::coordinator_failure(reason))),
            _ => return Err(None),
        }
    }
    Ok(known)
}

fn describe(described: membership::Described) -> DescribedGroup {
    let member = |member: membership::DescribedMember| Member {
        member_id: member.member,
        rack_id: member.rack,
        member_epoch: member.epoch,
        client_id: member.client_id,
        client_host: member.client_host,
        subscribed_topic_names: member.topics,
        assignment: Assignment {
            topic_partitions: member
                .assignment
                .into_iter()
                .map(|(id, topic_name, partitions)| TopicPartitions {
                    topic_id: Uuid(id.0),
                    topic_name,
                    partitions,
                })
                .collect(),
        },
    };
    DescribedGroup {
        group_state: "Stable".into(),
        group_epoch: described.epoch,
        assignment_epoch: described.epoch,
        assignor_name: assignor::NAME.into(),
        members: described.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}
