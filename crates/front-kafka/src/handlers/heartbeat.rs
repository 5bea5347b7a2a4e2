//! Heartbeat (12): keeps a member alive and tells it of a rebalance.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::{HeartbeatRequest, HeartbeatResponse};
use bowline_model::event::Event;
use bowline_model::group::{Member, Reply, Request};

pub fn start(request: HeartbeatRequest, cx: &mut Context<'_>) -> Step {
    if let Err(error) = super::may_join(&request.group_id, cx) {
        return cx.reply(&HeartbeatResponse { error_code: error.code(), ..Default::default() });
    }
    if request.group_id.is_empty() {
        let error_code = ErrorCode::InvalidGroupId.code();
        return cx.reply(&HeartbeatResponse { error_code, ..Default::default() });
    }
    let member = Member {
        group: request.group_id,
        member_id: request.member_id,
        generation: request.generation_id,
        instance_id: request.group_instance_id,
    };
    let group = member.group.clone();
    cx.ask_group(0, &group, Request::Heartbeat(member));
    cx.gather(1, |mut answers, cx| {
        let error = match answers.pop() {
            Some(Event::Group { reply: Reply::Heartbeat(Ok(())), .. }) => ErrorCode::None,
            Some(Event::Group { reply: Reply::Heartbeat(Err(error)), .. }) => errors::group(error),
            Some(Event::Failed { reason, .. }) => errors::coordinator_failure(reason),
            _ => return cx.mismatch(),
        };
        cx.reply(&HeartbeatResponse { error_code: error.code(), ..Default::default() })
    })
}
