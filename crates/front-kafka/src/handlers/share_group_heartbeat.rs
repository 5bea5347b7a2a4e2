//! ShareGroupHeartbeat (76): a member joins, lives, learns what to fetch from, and leaves.

use super::group_kinds::not_read;
use crate::catalog::Catalog;
use crate::pending::{Context, Step};
use crate::share;
use crate::share::assignor::Assignment;
use crate::share::membership::{Heartbeat, Refusal};
use bowline_codec_kafka::messages::share_group_heartbeat_response as wire;
use bowline_codec_kafka::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::TopicId;
use bowline_model::acl::{Operation, Resource};

/// The epoch with which a member joins.
const JOINS: i32 = 0;

pub fn start(request: ShareGroupHeartbeatRequest, client_id: Option<&str>, cx: &mut Context<'_>) -> Step {
    let denied = cx
        .check(Operation::Read, Resource::Group(&request.group_id), ErrorCode::GroupAuthorizationFailed)
        .err()
        .or_else(|| {
            let names = request.subscribed_topic_names.iter().flatten();
            let mut hidden = names.filter(|name| !cx.allows(Operation::Describe, Resource::Topic(name)));
            hidden.next().map(|_| ErrorCode::TopicAuthorizationFailed)
        });
    if let Some(error) = denied {
        return cx.reply(&ShareGroupHeartbeatResponse { error_code: error.code(), ..Default::default() });
    }
    if request.member_epoch != JOINS {
        return beat(request, client_id.unwrap_or_default().to_owned(), cx);
    }
    let client_id = client_id.unwrap_or_default().to_owned();
    not_read(request.group_id.clone(), cx, |free, cx| match free {
        Ok(()) => beat(request, client_id, cx),
        Err(error @ ErrorCode::GroupIdNotFound) => {
            let message = format!("Group {} is not a share group.", request.group_id);
            refuse(error, message, cx)
        }
        Err(error) => refuse(error, "the coordinator does not answer".to_owned(), cx),
    })
}

fn beat(request: ShareGroupHeartbeatRequest, client_id: String, cx: &mut Context<'_>) -> Step {
    let config = share::config(&request.group_id, cx);
    let heartbeat = Heartbeat {
        group: request.group_id,
        member: request.member_id.clone(),
        epoch: request.member_epoch,
        rack: request.rack_id,
        topics: request.subscribed_topic_names,
        client_id,
        client_host: cx.peer.client_host.clone(),
    };
    let catalog = &*cx.broker.catalog;
    let mut lookup = |name: &str| topic(catalog, name);
    let shared = &cx.broker.options.share;
    let answer = shared.groups().heartbeat(heartbeat, &config, cx.now.instant, &mut lookup);
    match answer {
        Ok(answer) => cx.reply(&ShareGroupHeartbeatResponse {
            member_id: Some(request.member_id),
            member_epoch: answer.epoch,
            // Who leaves has no next heartbeat.
            heartbeat_interval_ms: if answer.epoch < 0 { 0 } else { config.heartbeat_interval_ms as i32 },
            assignment: answer.assignment.map(assignment),
            ..Default::default()
        }),
        Err(refusal) => {
            let (error, message) = match refusal {
                Refusal::Invalid(message) => (ErrorCode::InvalidRequest, message),
                // Also for a group of which nothing is known: the client joins again, as after a restart it must.
                Refusal::UnknownMember => (ErrorCode::UnknownMemberId, "the group has no such member"),
                Refusal::FencedEpoch => (ErrorCode::FencedMemberEpoch, "the member has another epoch"),
                Refusal::GroupFull => (ErrorCode::GroupMaxSizeReached, "the group is full"),
                Refusal::TooManyGroups => (ErrorCode::CoordinatorNotAvailable, "there are too many groups"),
            };
            refuse(error, message.to_owned(), cx)
        }
    }
}

fn refuse(error: ErrorCode, message: String, cx: &Context<'_>) -> Step {
    cx.reply(&ShareGroupHeartbeatResponse {
        error_code: error.code(),
        error_message: Some(message),
        ..Default::default()
    })
}

/// A topic's id and number of partitions, for [`share::membership`].
pub fn topic(catalog: &dyn Catalog, name: &str) -> Option<(TopicId, u32)> {
    catalog.topic(name).map(|topic| (topic.id, topic.partitions.len() as u32))
}

fn assignment(assignment: Assignment) -> wire::Assignment {
    let topic = |(id, partitions): (TopicId, _)| wire::TopicPartitions { topic_id: Uuid(id.0), partitions };
    wire::Assignment { topic_partitions: assignment.into_iter().map(topic).collect() }
}
