//! ConsumerGroupHeartbeat (68): the one request by which a member of a KIP-848 group joins, lives, is told what to
//! read, and leaves.

use super::create_topics::Refusal;
use super::denied;
use super::group_kinds::not_shared;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use bowline_codec_kafka::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::TopicId;
use bowline_model::acl::{Operation, Resource, WILDCARD};
use bowline_model::consumer_group::{Beat, Heartbeat, Partitions, Refused};
use bowline_model::event::Event;
use bowline_model::group::{Reply, Request};

/// From this version on members name themselves.
const NAMES_ITSELF_FROM: i16 = 1;
/// The epoch with which a member joins.
const JOINS: i32 = 0;

pub fn start(request: ConsumerGroupHeartbeatRequest, client_id: Option<&str>, cx: &mut Context<'_>) -> Step {
    if let Err((error, message)) = check(&request, cx) {
        return cx.reply(&refuse(error, Some(message)));
    }
    let client_id = client_id.unwrap_or_default().to_owned();
    if request.member_epoch != JOINS {
        return beat(request, client_id, cx);
    }
    not_shared(request.group_id.clone(), cx, |free, cx| match free {
        Ok(()) => beat(request, client_id, cx),
        Err(error @ ErrorCode::GroupIdNotFound) => {
            let message = format!("Group {} is not a consumer group.", request.group_id);
            cx.reply(&refuse(error, Some(message)))
        }
        Err(error) => cx.reply(&refuse(error, None)),
    })
}

fn beat(request: ConsumerGroupHeartbeatRequest, client_id: String, cx: &mut Context<'_>) -> Step {
    let unnamed = request.member_id.is_empty() && request.member_epoch == JOINS;
    let member_id = match unnamed && cx.head.version < NAMES_ITSELF_FROM {
        true => uuid::Uuid::new_v4().to_string(),
        false => request.member_id,
    };
    let owned = request.topic_partitions.map(|topics| {
        let mut owned = Partitions::new();
        for topic in topics {
            let numbers = topic.partitions.into_iter().filter_map(|number| u32::try_from(number).ok());
            owned.entry(TopicId(topic.topic_id.0)).or_default().extend(numbers);
        }
        owned.retain(|_, numbers| !numbers.is_empty());
        owned
    });
    let group = request.group_id.clone();
    let heartbeat = Heartbeat {
        group: request.group_id,
        member_id,
        epoch: request.member_epoch,
        instance_id: request.instance_id,
        rack_id: request.rack_id,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request.subscribed_topic_names,
        regex: request.subscribed_topic_regex,
        assignor: request.server_assignor,
        owned,
        client_id,
        client_host: cx.peer.client_host.clone(),
    };
    cx.ask_group(0, &group, Request::ConsumerHeartbeat(Box::new(heartbeat)));
    cx.gather(1, |mut answers, cx| {
        let response = match answers.pop() {
            Some(Event::Group { reply: Reply::ConsumerHeartbeat(Ok(beat)), .. }) => accepted(beat),
            Some(Event::Group { reply: Reply::ConsumerHeartbeat(Err(refused)), .. }) => {
                let Refused { error, message } = refused;
                refuse(errors::group(error), Some(message))
            }
            Some(Event::Failed { reason, .. }) => refuse(errors::coordinator_failure(reason), None),
            _ => return cx.mismatch(),
        };
        cx.reply(&response)
    })
}

/// A member reads by its group, and has to be allowed to see what it subscribes to: by name, or with a pattern, which
/// the coordinator matches with all topics there are, any topic at all.
fn check(request: &ConsumerGroupHeartbeatRequest, cx: &mut Context<'_>) -> Result<(), Refusal> {
    super::may_join(&request.group_id, cx).map_err(denied)?;
    let mut see = |name: &str| {
        let topic = Resource::Topic(name);
        cx.check(Operation::Describe, topic, ErrorCode::TopicAuthorizationFailed).map_err(denied)
    };
    request.subscribed_topic_names.iter().flatten().try_for_each(|name| see(name))?;
    match request.subscribed_topic_regex.as_deref() {
        None | Some("") => Ok(()),
        Some(_) => see(WILDCARD),
    }
}

fn accepted(beat: Beat) -> ConsumerGroupHeartbeatResponse {
    let topic = |(id, numbers): (TopicId, std::collections::BTreeSet<u32>)| TopicPartitions {
        topic_id: Uuid(id.0),
        partitions: numbers.into_iter().map(|number| number as i32).collect(),
    };
    ConsumerGroupHeartbeatResponse {
        member_id: Some(beat.member_id),
        member_epoch: beat.epoch,
        heartbeat_interval_ms: beat.heartbeat_interval_ms as i32,
        assignment: beat
            .assignment
            .map(|partitions| Assignment { topic_partitions: partitions.into_iter().map(topic).collect() }),
        ..Default::default()
    }
}

fn refuse(error: ErrorCode, error_message: Option<String>) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse { error_code: error.code(), error_message, ..Default::default() }
}
