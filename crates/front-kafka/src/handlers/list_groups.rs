//! ListGroups (16): every shard lists the groups that it coordinates, and the share groups that it keeps something of.

use super::share_group_describe::{ask_for_all, known};
use super::share_group_heartbeat::topic;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::messages::list_groups_response::ListedGroup;
use bowline_codec_kafka::messages::{ListGroupsRequest, ListGroupsResponse};
use bowline_model::ShardId;
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::group::{self, Reply};
use bowline_model::request::Request;
use std::collections::BTreeMap;

const SHARE: &str = "share";

pub fn start(request: ListGroupsRequest, cx: &mut Context<'_>) -> Step {
    let all = cx.allows(Operation::Describe, Resource::Cluster);
    let shards = cx.broker.data_shards;
    ask_for_all(cx);
    for shard in 1..=shards {
        let token = cx.token(u32::from(shards) + u32::from(shard) - 1);
        cx.send(ShardId(shard), Request::Group { token, request: group::Request::List });
    }
    cx.gather(usize::from(shards) * 2, move |mut answers, cx| {
        let mut response = ListGroupsResponse::default();
        for answer in answers.split_off(shards.into()) {
            match answer {
                Event::Group { reply: Reply::List(listed), .. } => {
                    response.groups.extend(listed.into_iter().map(row));
                }
                Event::Failed { reason, .. } => {
                    response.error_code = errors::coordinator_failure(reason).code();
                }
                _ => return cx.mismatch(),
            }
        }
        match known(answers) {
            Ok(kept) => {
                let mut states: BTreeMap<String, &str> =
                    kept.into_iter().map(|group| (group, "Empty")).collect();
                let catalog = &*cx.broker.catalog;
                let mut lookup = |name: &str| topic(catalog, name);
                let inhabited = cx.broker.options.share.groups().names(cx.now.instant, &mut lookup);
                states.extend(inhabited.into_iter().map(|group| (group, "Stable")));
                response.groups.extend(states.into_iter().map(share));
            }
            Err(Some(error)) => response.error_code = error.code(),
            Err(None) => return cx.mismatch(),
        }
        response.groups.retain(|group| {
            is_wanted(group, &request)
                && (all || cx.allows(Operation::Describe, Resource::Group(&group.group_id)))
        });
        cx.reply(&response)
    })
}

/// Filters compare without regard to case; an empty one lets everything pass.
fn is_wanted(listed: &ListedGroup, request: &ListGroupsRequest) -> bool {
    let passes = |filter: &[String], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    passes(&request.states_filter, &listed.group_state) && passes(&request.types_filter, &listed.group_type)
}

fn row(listed: group::Listed) -> ListedGroup {
    ListedGroup {
        group_id: listed.group,
        protocol_type: listed.protocol_type,
        group_state: listed.state.name().into(),
        group_type: listed.kind.name().into(),
    }
}

fn share((group_id, state): (String, &str)) -> ListedGroup {
    ListedGroup { group_id, protocol_type: SHARE.into(), group_state: state.into(), group_type: SHARE.into() }
}
