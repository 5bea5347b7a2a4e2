//! LeaveGroup (13): one member until version 2, several from version 3 on (administrators remove static members).

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::leave_group_response::MemberResponse;
use bowline_codec_kafka::messages::{LeaveGroupRequest, LeaveGroupResponse};
use bowline_model::event::Event;
use bowline_model::group::{Leaving, Reply, Request};

/// First version that names several members.
const BATCHED_FROM: i16 = 3;

pub fn start(request: LeaveGroupRequest, cx: &mut Context<'_>) -> Step {
    if let Err(error) = super::may_join(&request.group_id, cx) {
        return cx.reply(&LeaveGroupResponse { error_code: error.code(), ..Default::default() });
    }
    let members = match cx.head.version >= BATCHED_FROM {
        true => {
            let leaving = request.members.into_iter();
            leaving.map(|m| Leaving { member_id: m.member_id, instance_id: m.group_instance_id }).collect()
        }
        false => vec![Leaving { member_id: request.member_id, instance_id: None }],
    };
    let group = request.group_id.clone();
    cx.ask_group(0, &group, Request::Leave { group: request.group_id, members });
    cx.gather(1, |mut answers, cx| match answers.pop() {
        Some(Event::Group { reply: Reply::Leave(left), .. }) => answer(left, cx),
        Some(Event::Failed { reason, .. }) => {
            let error_code = errors::coordinator_failure(reason).code();
            cx.reply(&LeaveGroupResponse { error_code, ..Default::default() })
        }
        _ => cx.mismatch(),
    })
}

fn answer(left: Vec<(Leaving, Result<(), bowline_model::group::Error>)>, cx: &Context<'_>) -> Step {
    let code = |result: Result<(), _>| result.map_or_else(errors::group, |()| ErrorCode::None).code();
    if cx.head.version < BATCHED_FROM {
        let error_code = left.into_iter().next().map_or(0, |(_, result)| code(result));
        return cx.reply(&LeaveGroupResponse { error_code, ..Default::default() });
    }
    let members = left.into_iter().map(|(leaving, result)| MemberResponse {
        member_id: leaving.member_id,
        group_instance_id: leaving.instance_id,
        error_code: code(result),
    });
    cx.reply(&LeaveGroupResponse { members: members.collect(), ..Default::default() })
}
