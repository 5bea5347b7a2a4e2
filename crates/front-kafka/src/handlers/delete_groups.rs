//! DeleteGroups (42): forgets groups that have no members, with their offsets.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::delete_groups_response::DeletableGroupResult;
use bowline_codec_kafka::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::group::{Reply, Request};

pub fn start(request: DeleteGroupsRequest, cx: &mut Context<'_>) -> Step {
    let mut results = Vec::with_capacity(request.groups_names.len());
    let mut asked = Vec::new();
    for group_id in request.groups_names {
        let denied = ErrorCode::GroupAuthorizationFailed;
        let error = cx.check(Operation::Delete, Resource::Group(&group_id), denied).err();
        if error.is_none() {
            cx.ask_group(asked.len() as u32, &group_id, Request::Delete { group: group_id.clone() });
            asked.push(results.len());
        }
        let error_code = error.unwrap_or(ErrorCode::None).code();
        results.push(DeletableGroupResult { group_id, error_code, error_message: None });
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (position, answer) in asked.into_iter().zip(answers) {
            let error = match answer {
                Event::Group { reply: Reply::Delete(result), .. } => {
                    result.map_or_else(errors::group, |()| ErrorCode::None)
                }
                Event::Failed { reason, .. } => errors::coordinator_failure(reason),
                _ => return cx.mismatch(),
            };
            let result: &mut DeletableGroupResult = &mut results[position];
            result.error_code = error.code();
        }
        cx.reply(&DeleteGroupsResponse { results, ..Default::default() })
    })
}
