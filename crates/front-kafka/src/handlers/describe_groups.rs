//! DescribeGroups (15): state and members. A group that does not exist is "Dead"; from version 6 on that is an error.

use super::OPERATIONS_NOT_ASKED;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use bowline_codec_kafka::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::group::{DescribedMember, Description, Reply, Request, State};
use bytes::Bytes;

/// From this version on an unknown group is error 69 (KIP-1043).
const NOT_FOUND_FROM: i16 = 6;

pub fn start(request: DescribeGroupsRequest, cx: &mut Context<'_>) -> Step {
    let mut groups = Vec::with_capacity(request.groups.len());
    // Positions in `groups` of those that are asked for.
    let mut asked = Vec::new();
    for group_id in request.groups {
        let mut described =
            DescribedGroup { authorized_operations: OPERATIONS_NOT_ASKED, ..Default::default() };
        if !cx.allows(Operation::Describe, Resource::Group(&group_id)) {
            described.error_code = ErrorCode::GroupAuthorizationFailed.code();
        } else {
            if request.include_authorized_operations {
                described.authorized_operations = cx.authorized_operations(Resource::Group(&group_id));
            }
            cx.ask_group(asked.len() as u32, &group_id, Request::Describe { group: group_id.clone() });
            asked.push(groups.len());
        }
        groups.push(DescribedGroup { group_id, ..described });
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (position, answer) in asked.into_iter().zip(answers) {
            let described = match answer {
                Event::Group { reply: Reply::Describe(description), .. } => describe(description, cx),
                Event::Failed { reason, .. } => DescribedGroup {
                    error_code: errors::coordinator_failure(reason).code(),
                    ..Default::default()
                },
                _ => return cx.mismatch(),
            };
            let group: &mut DescribedGroup = &mut groups[position];
            let authorized_operations = match described.error_code {
                0 => group.authorized_operations,
                _ => OPERATIONS_NOT_ASKED,
            };
            let group_id = std::mem::take(&mut group.group_id);
            *group = DescribedGroup { group_id, authorized_operations, ..described };
        }
        cx.reply(&DescribeGroupsResponse { groups, ..Default::default() })
    })
}

fn describe(description: Description, cx: &Context<'_>) -> DescribedGroup {
    let Description { state, protocol_type, protocol_name, members, .. } = description;
    let mut described =
        DescribedGroup { group_state: state.name().into(), protocol_type, ..Default::default() };
    if state == State::Dead && cx.head.version >= NOT_FOUND_FROM {
        described.error_code = ErrorCode::GroupIdNotFound.code();
        described.error_message = Some("there is no such group".into());
    }
    // While members are joining, nothing has been chosen yet and their metadata is in flux.
    let stable = state == State::Stable;
    described.protocol_data = if stable { protocol_name } else { String::new() };
    described.members = members.into_iter().map(|member| describe_member(member, stable)).collect();
    described
}

fn describe_member(member: DescribedMember, stable: bool) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: if stable { member.metadata } else { Bytes::new() },
        member_assignment: if stable { member.assignment } else { Bytes::new() },
    }
}
