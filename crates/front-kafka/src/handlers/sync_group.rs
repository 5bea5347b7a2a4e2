//! SyncGroup (14): the leader brings the assignments, everybody gets their own.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::{SyncGroupRequest, SyncGroupResponse};
use bowline_model::event::Event;
use bowline_model::group::{Member, Reply, Request, Sync};

/// From this version on members must repeat what protocol they joined with (KIP-559).
const PROTOCOL_FROM: i16 = 5;

pub fn start(request: SyncGroupRequest, cx: &mut Context<'_>) -> Step {
    if let Err(error) = super::may_join(&request.group_id, cx) {
        return refuse(error, cx);
    }
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if cx.head.version >= PROTOCOL_FROM && !named {
        return refuse(ErrorCode::InconsistentGroupProtocol, cx);
    }
    if request.group_id.is_empty() {
        return refuse(ErrorCode::InvalidGroupId, cx);
    }
    let sync = Sync {
        member: Member {
            group: request.group_id,
            member_id: request.member_id,
            generation: request.generation_id,
            instance_id: request.group_instance_id,
        },
        protocol_type: request.protocol_type,
        protocol_name: request.protocol_name,
        assignments: request.assignments.into_iter().map(|a| (a.member_id, a.assignment)).collect(),
    };
    let group = sync.member.group.clone();
    cx.ask_group(0, &group, Request::Sync(sync));
    cx.gather(1, |mut answers, cx| match answers.pop() {
        Some(Event::Group { reply: Reply::Sync(Ok(synced)), .. }) => cx.reply(&SyncGroupResponse {
            protocol_type: Some(synced.protocol_type),
            protocol_name: Some(synced.protocol_name),
            assignment: synced.assignment,
            ..Default::default()
        }),
        Some(Event::Group { reply: Reply::Sync(Err(error)), .. }) => refuse(errors::group(error), cx),
        Some(Event::Failed { reason, .. }) => refuse(errors::coordinator_failure(reason), cx),
        _ => cx.mismatch(),
    })
}

fn refuse(error: ErrorCode, cx: &Context<'_>) -> Step {
    cx.reply(&SyncGroupResponse { error_code: error.code(), ..Default::default() })
}
