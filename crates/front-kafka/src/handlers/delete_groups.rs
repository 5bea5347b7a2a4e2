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
use bowline_model::group::{Error, Reply, Request};
use bowline_model::{request, share};
use hashbrown::HashSet;

pub fn start(request: DeleteGroupsRequest, cx: &mut Context<'_>) -> Step {
    let mut groups = request.groups_names;
    // Who names a group twice is told once.
    let mut seen: HashSet<String, foldhash::fast::RandomState> = HashSet::default();
    groups.retain(|group| seen.insert(group.clone()));
    // What came of each so far; `None`: it is still to be found out.
    let mut results: Vec<Option<ErrorCode>> = groups
        .iter()
        .map(|group| {
            let denied = ErrorCode::GroupAuthorizationFailed;
            let error = cx.check(Operation::Delete, Resource::Group(group), denied).err();
            error.or(is_inhabited(group, cx).then_some(ErrorCode::NonEmptyGroup))
        })
        .collect();
    let asked = open(&results);
    for (sub, at) in asked.iter().enumerate() {
        let group = groups[*at].clone();
        cx.ask_group(sub as u32, &groups[*at], Request::Delete { group });
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (at, answer) in asked.into_iter().zip(answers) {
            results[at] = match answer {
                Event::Group { reply: Reply::Delete(Ok(())), .. } => Some(ErrorCode::None),
                // Then it may be a share group.
                Event::Group { reply: Reply::Delete(Err(Error::GroupIdNotFound)), .. } => None,
                Event::Group { reply: Reply::Delete(Err(error)), .. } => Some(errors::group(error)),
                Event::Failed { reason, .. } => Some(errors::coordinator_failure(reason)),
                _ => return cx.mismatch(),
            };
        }
        delete_share_groups(groups, results, cx)
    })
}

/// Those that are no consumer groups: a name is of one kind of group, and where it is of two, the consumer group goes
/// first, alone.
fn delete_share_groups(
    groups: Vec<String>,
    mut results: Vec<Option<ErrorCode>>,
    cx: &mut Context<'_>,
) -> Step {
    let asked = open(&results);
    let shards = cx.broker.data_shards;
    let mut sub = 0;
    for at in &asked {
        for shard in 1..=shards {
            let delete =
                share::Request::Delete { token: cx.token(sub), group: groups[*at].clone(), partitions: None };
            cx.send(ShardId(shard), request::Request::Share(delete));
            sub += 1;
        }
    }
    cx.gather(sub as usize, move |answers, cx| {
        let mut answers = answers.into_iter();
        for at in asked {
            let mut error = ErrorCode::GroupIdNotFound;
            for answer in answers.by_ref().take(shards.into()) {
                let Some(of_shard) = changed(answer) else { return cx.mismatch() };
                error = both(error, of_shard);
            }
            results[at] = Some(error);
        }
        let result = |(group_id, error): (String, Option<ErrorCode>)| DeletableGroupResult {
            group_id,
            error_code: error.map_or(0, |error| error.code()),
            error_message: None,
        };
        let results = groups.into_iter().zip(results).map(result).collect();
        cx.reply(&DeleteGroupsResponse { results, ..Default::default() })
    })
}

/// Which of them are still open.
fn open(results: &[Option<ErrorCode>]) -> Vec<usize> {
    results.iter().enumerate().filter(|(_, result)| result.is_none()).map(|(at, _)| at).collect()
}

/// The group may be on some shards only.
fn both(one: ErrorCode, other: ErrorCode) -> ErrorCode {
    match (one, other) {
        (ErrorCode::GroupIdNotFound, error) => error,
        (ErrorCode::None, ErrorCode::GroupIdNotFound) => ErrorCode::None,
        (ErrorCode::None, error) => error,
        (error, _) => error,
    }
}
