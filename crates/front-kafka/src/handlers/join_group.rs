//! JoinGroup (11): answered when the group's next generation begins.

use super::group_kinds::not_shared;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::join_group_response::JoinGroupResponseMember;
use bowline_codec_kafka::messages::{JoinGroupRequest, JoinGroupResponse};
use bowline_model::event::Event;
use bowline_model::group::{Join, JoinRefused, Joined, Reply, Request};

/// From this version on a new dynamic member is given its id first and joins with it (KIP-394).
const KNOWN_MEMBER_FROM: i16 = 4;
/// From this version on a leader can be told that there is nothing to assign (KIP-814).
const SKIPS_ASSIGNMENT_FROM: i16 = 9;
/// From this version on a missing protocol name is null.
const NULL_PROTOCOL_FROM: i16 = 7;

pub fn start(request: JoinGroupRequest, client_id: Option<&str>, cx: &mut Context<'_>) -> Step {
    if let Err(error) = super::may_join(&request.group_id, cx) {
        return refuse(error, request.member_id, cx);
    }
    let client_id = client_id.unwrap_or_default().to_owned();
    if !request.member_id.is_empty() {
        return join(request, client_id, cx);
    }
    not_shared(request.group_id.clone(), cx, |free, cx| match free {
        Ok(()) => join(request, client_id, cx),
        Err(ErrorCode::GroupIdNotFound) => refuse(ErrorCode::InconsistentGroupProtocol, String::new(), cx),
        Err(error) => refuse(error, String::new(), cx),
    })
}

fn join(request: JoinGroupRequest, client_id: String, cx: &mut Context<'_>) -> Step {
    // A static member's id names the instance, so that people can tell them apart.
    let named_after = request.group_instance_id.as_deref().unwrap_or(&client_id);
    let join = Join {
        group: request.group_id,
        new_member_id: format!("{named_after}-{}", uuid::Uuid::new_v4()),
        require_known_member_id: cx.head.version >= KNOWN_MEMBER_FROM && request.group_instance_id.is_none(),
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        client_id,
        client_host: cx.peer.client_host.clone(),
        session_timeout_ms: request.session_timeout_ms,
        // Version 0 has no timeout of its own for rebalances.
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => request.session_timeout_ms,
            timeout => timeout,
        },
        protocol_type: request.protocol_type,
        protocols: request.protocols.into_iter().map(|p| (p.name, p.metadata)).collect(),
    };
    let group = join.group.clone();
    cx.ask_group(0, &group, Request::Join(join));
    cx.gather(1, |mut answers, cx| match answers.pop() {
        Some(Event::Group { reply: Reply::Join(Ok(joined)), .. }) => accepted(joined, cx),
        Some(Event::Group { reply: Reply::Join(Err(refused)), .. }) => {
            let JoinRefused { error, member_id } = refused;
            refuse(errors::group(error), member_id, cx)
        }
        Some(Event::Failed { reason, .. }) => refuse(errors::coordinator_failure(reason), String::new(), cx),
        _ => cx.mismatch(),
    })
}

fn accepted(mut joined: Joined, cx: &Context<'_>) -> Step {
    let mut skip_assignment = false;
    if let Some(former) = joined.led_as.take() {
        if cx.head.version >= SKIPS_ASSIGNMENT_FROM {
            skip_assignment = true;
        } else {
            // It cannot be told to leave the assignment alone, so it is not told that it leads.
            joined.leader = former;
            joined.members.clear();
        }
    }
    let members = joined.members.into_iter().map(|(member_id, group_instance_id, metadata)| {
        JoinGroupResponseMember { member_id, group_instance_id, metadata }
    });
    cx.reply(&JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: Some(joined.protocol_type),
        protocol_name: Some(joined.protocol_name),
        leader: joined.leader,
        skip_assignment,
        member_id: joined.member_id,
        members: members.collect(),
        ..Default::default()
    })
}

fn refuse(error: ErrorCode, member_id: String, cx: &Context<'_>) -> Step {
    cx.reply(&JoinGroupResponse {
        error_code: error.code(),
        generation_id: -1,
        protocol_type: None,
        protocol_name: (cx.head.version < NULL_PROTOCOL_FROM).then(String::new),
        member_id,
        ..Default::default()
    })
}
