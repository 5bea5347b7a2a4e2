//! ConsumerGroupDescribe (69): a KIP-848 group, its members, what they read and what they shall read. A group of the
//! classic protocol is none here (error 69), so that tools ask by DescribeGroups.

use super::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED};
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::Uuid;
use bowline_codec_kafka::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use bowline_codec_kafka::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use bowline_model::consumer_group::{DescribedMember, DescribedTopic, Description, Refused};
use bowline_model::event::Event;
use bowline_model::group::{Reply, Request};

/// From this version on it is told which protocol a member speaks.
const MEMBER_TYPE_FROM: i16 = 1;
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

pub fn start(request: ConsumerGroupDescribeRequest, cx: &mut Context<'_>) -> Step {
    for (sub, group) in request.group_ids.iter().enumerate() {
        cx.ask_group(sub as u32, group, Request::ConsumerDescribe { group: group.clone() });
    }
    let authorized_operations = match request.include_authorized_operations {
        true => GROUP_OPERATIONS,
        false => OPERATIONS_NOT_ASKED,
    };
    cx.gather(request.group_ids.len(), move |answers, cx| {
        let mut groups = Vec::with_capacity(answers.len());
        for (group_id, answer) in request.group_ids.into_iter().zip(answers) {
            let described = match answer {
                Event::Group { reply: Reply::ConsumerDescribe(Ok(description)), .. } => {
                    describe(description, cx.head.version)
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
            groups.push(DescribedGroup { group_id, authorized_operations, ..described });
        }
        cx.reply(&ConsumerGroupDescribeResponse { groups, ..Default::default() })
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
