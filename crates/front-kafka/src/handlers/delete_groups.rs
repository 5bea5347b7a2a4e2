//! DeleteGroups (42): forgets groups that have no members, with their offsets.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::delete_groups_response::DeletableGroupResult;
use bowline_codec_kafka::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use bowline_model::event::Event;
use bowline_model::group::{Reply, Request};

pub fn start(request: DeleteGroupsRequest, cx: &mut Context<'_>) -> Step {
    let groups = request.groups_names;
    for (sub, group) in groups.iter().enumerate() {
        cx.ask_group(sub as u32, group, Request::Delete { group: group.clone() });
    }
    cx.gather(groups.len(), move |answers, cx| {
        let mut results = Vec::with_capacity(groups.len());
        for (group_id, answer) in groups.into_iter().zip(answers) {
            let error = match answer {
                Event::Group { reply: Reply::Delete(result), .. } => {
                    result.map_or_else(errors::group, |()| ErrorCode::None)
                }
                Event::Failed { reason, .. } => errors::coordinator_failure(reason),
                _ => return cx.mismatch(),
            };
            results.push(DeletableGroupResult { group_id, error_code: error.code(), error_message: None });
        }
        cx.reply(&DeleteGroupsResponse { results, ..Default::default() })
    })
}
