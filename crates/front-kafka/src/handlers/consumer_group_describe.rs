//! ConsumerGroupDescribe (69): a KIP-848 group, its members, what they read and what they shall read. A group of the
//! classic protocol is none here (error 69), so that tools ask by DescribeGroups.

use super::OPERATIONS_NOT_ASKED;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use bowline_codec_kafka::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::acl::{Operation, Resource};
use bowline_model::consumer_group::{DescribedMember, DescribedTopic, Description, Refused};
use bowline_model::event::Event;
use bowline_model::group::{Reply, Request};

/// From this version on it is told which protocol a member speaks.
const MEMBER_TYPE_FROM: i16 = 1;
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

pub fn start(request: ConsumerGroupDescribeRequest, cx: &mut Context<'_>) -> Step {
    let mut groups = Vec::with_capacity(request.group_ids.len());
    // Positions in `groups` of those that are asked for.
    let mut asked = Vec::new();
    for group_id in request.group_ids {
        let mut group = DescribedGroup { authorized_operations: OPERATIONS_NOT_ASKED, ..Default::default() };
        if !cx.allows(Operation::Describe, Resource::Group(&group_id)) {
            group.error_code = ErrorCode::GroupAuthorizationFailed.code();
        } else if group_id.is_empty() {
            group.error_code = ErrorCode::InvalidGroupId.code();
        } else {
            if request.include_authorized_operations {
                group.authorized_operations = cx.authorized_operations(Resource::Group(&group_id));
            }
            cx.ask_group(
                asked.len() as u32,
                &group_id,
                Request::ConsumerDescribe { group: group_id.clone() },
            );
            asked.push(groups.len());
        }
        groups.push(DescribedGroup { group_id, ..group });
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (position, answer) in asked.into_iter().zip(answers) {
            let described = match answer {
                Event::Group { reply: Reply::ConsumerDescribe(Ok(description)), .. } => {
                    match sees_topics(&description, cx) {
                        true => describe(description, cx.head.version),
                        false => DescribedGroup {
                            error_code: ErrorCode::TopicAuthorizationFailed.code(),
                            error_message: Some("The group has topics that you may not describe.".into()),
                            ..Default::default()
                        },
                    }
                }
                Event::Group { reply: Reply::ConsumerDescribe(Err(refused)), .. } => {
                    let Refused { error, message } = refused;
                    DescribedGroup {
                        error_code: errors::group(error).code(),
                        error_message: Some(message),
                        ..Default::default()
                    }
                }
                Event::Failed { reason, .. } => DescribedGroup {
                    error_code: errors::coordinator_failure(reason).code(),
                    ..Default::default()
                },
                _ => return cx.mismatch(),
            };
            let group: &mut DescribedGroup = &mut groups[position];
            let authorized_operations = match described.error_code {
                0 => group.authorized_operations,
                _ => OPERATIONS_NOT_ASKED,
            };
            let group_id = std::mem::take(&mut group.group_id);
            *group = DescribedGroup { group_id, authorized_operations, ..described };
        }
        cx.reply(&ConsumerGroupDescribeResponse { groups, ..Default::default() })
    })
}

/// Who may not see all that the members read is told nothing of them.
fn sees_topics(description: &Description, cx: &mut Context<'_>) -> bool {
    description.members.iter().all(|member| {
        let names = member.assigned.iter().chain(&member.target).map(|topic| &topic.name);
        names.chain(&member.topics).all(|name| cx.allows(Operation::Describe, Resource::Topic(name)))
    })
}

fn describe(description: Description, version: i16) -> DescribedGroup {
    DescribedGroup {
        group_state: description.state.name().into(),
        group_epoch: description.epoch,
        assignment_epoch: description.assignment_epoch,
        assignor_name: description.assignor,
        members: description.members.into_iter().map(|member| describe_member(member, version)).collect(),
        ..Default::default()
    }
}

fn describe_member(member: DescribedMember, version: i16) -> Member {
    let default = Member::default();
    Member {
        member_id: member.member_id,
        instance_id: member.instance_id,
        rack_id: member.rack_id,
        member_epoch: member.epoch,
        client_id: member.client_id,
        client_host: member.client_host,
        subscribed_topic_names: member.topics,
        subscribed_topic_regex: member.regex,
        assignment: assignment(member.assigned),
        target_assignment: assignment(member.target),
        member_type: match version >= MEMBER_TYPE_FROM {
            true if member.classic => CLASSIC,
            true => CONSUMER,
            false => default.member_type,
        },
    }
}

fn assignment(topics: Vec<DescribedTopic>) -> Assignment {
    let topic = |topic: DescribedTopic| TopicPartitions {
        topic_id: Uuid(topic.id.0),
        topic_name: topic.name,
        partitions: topic.partitions.into_iter().map(|number| number as i32).collect(),
    };
    Assignment { topic_partitions: topics.into_iter().map(topic).collect() }
}
