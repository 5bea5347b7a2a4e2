//! DeleteGroups (42): forgets groups that have no members, with their offsets; share groups with all that they have
//! settled.

use super::share_group_offsets::{changed, is_inhabited};
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::delete_groups_response::DeletableGroupResult;
use bowline_codec_kafka::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use bowline_model::ShardId;
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::group::{Reply, Request};
use bowline_model::{request, share};

pub fn start(request: DeleteGroupsRequest, cx: &mut Context<'_>) -> Step {
    let groups = request.groups_names;
    let shards = usize::from(cx.broker.data_shards);
    let each = 1 + shards;
    // Those that are refused at once, and why.
    let refused: Vec<Option<ErrorCode>> = groups
        .iter()
        .map(|group| {
            let denied = ErrorCode::GroupAuthorizationFailed;
            let error = cx.check(Operation::Delete, Resource::Group(group), denied).err();
            error.or(is_inhabited(group, cx).then_some(ErrorCode::NonEmptyGroup))
        })
        .collect();
    let mut asked = 0;
    for (group, refused) in groups.iter().zip(&refused) {
        if refused.is_some() {
            continue;
        }
        cx.ask_group(asked, group, Request::Delete { group: group.clone() });
        for shard in 1..each {
            let token = cx.token(asked + shard as u32);
            let delete = share::Request::Delete { token, group: group.clone(), partitions: None };
            cx.send(ShardId(shard as u16), request::Request::Share(delete));
        }
        asked += each as u32;
    }
    cx.gather(asked as usize, move |answers, cx| {
        let mut results = Vec::with_capacity(groups.len());
        let mut answers = answers.into_iter();
        for (group_id, refused) in groups.into_iter().zip(refused) {
            let mut error = refused.unwrap_or(ErrorCode::None);
            if refused.is_none() {
                error = match answers.next() {
                    Some(Event::Group { reply: Reply::Delete(result), .. }) => {
                        result.map_or_else(errors::group, |()| ErrorCode::None)
                    }
                    Some(Event::Failed { reason, .. }) => errors::coordinator_failure(reason),
                    _ => return cx.mismatch(),
                };
                for answer in answers.by_ref().take(shards) {
                    let Some(of_shard) = changed(answer) else { return cx.mismatch() };
                    error = both(error, of_shard);
                }
            }
            results.push(DeletableGroupResult { group_id, error_code: error.code(), error_message: None });
        }
        cx.reply(&DeleteGroupsResponse { results, ..Default::default() })
    })
}

/// The name may be that of a consumer group, of a share group on some shards, or of nothing.
fn both(one: ErrorCode, other: ErrorCode) -> ErrorCode {
    match (one, other) {
        (ErrorCode::GroupIdNotFound, error) => error,
        (ErrorCode::None, ErrorCode::GroupIdNotFound) => ErrorCode::None,
        (ErrorCode::None, error) => error,
        (error, _) => error,
    }
}
