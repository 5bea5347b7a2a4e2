//! ListGroups (16): every shard lists the groups that it coordinates.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::messages::list_groups_response::ListedGroup;
use bowline_codec_kafka::messages::{ListGroupsRequest, ListGroupsResponse};
use bowline_model::ShardId;
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::group::{self, Reply};
use bowline_model::request::Request;

pub fn start(request: ListGroupsRequest, cx: &mut Context<'_>) -> Step {
    let all = cx.allows(Operation::Describe, Resource::Cluster);
    let shards = cx.broker.data_shards;
    for shard in 1..=shards {
        let token = cx.token(u32::from(shard) - 1);
        cx.send(ShardId(shard), Request::Group { token, request: group::Request::List });
    }
    cx.gather(shards.into(), move |answers, cx| {
        let mut response = ListGroupsResponse::default();
        for answer in answers {
            match answer {
                Event::Group { reply: Reply::List(listed), .. } => {
                    let shown = listed.into_iter().filter(|group| {
                        is_wanted(group, &request)
                            && (all || cx.allows(Operation::Describe, Resource::Group(&group.group)))
                    });
                    response.groups.extend(shown.map(row));
                }
                Event::Failed { reason, .. } => {
                    response.error_code = errors::coordinator_failure(reason).code();
                }
                _ => return cx.mismatch(),
            }
        }
        cx.reply(&response)
    })
}

/// Filters compare without regard to case; an empty one lets everything pass.
fn is_wanted(listed: &group::Listed, request: &ListGroupsRequest) -> bool {
    let passes = |filter: &[String], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    passes(&request.states_filter, listed.state.name()) && passes(&request.types_filter, listed.kind.name())
}

fn row(listed: group::Listed) -> ListedGroup {
    ListedGroup {
        group_id: listed.group,
        protocol_type: listed.protocol_type,
        group_state: listed.state.name().into(),
        group_type: listed.kind.name().into(),
    }
}
