//! DescribeGroups (15): state and members. A group that does not exist is "Dead"; from version 6 on that is an error.

use super::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED};
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use bowline_codec_kafka::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use bowline_model::event::Event;
use bowline_model::group::{DescribedMember, Description, Reply, Request, State};
use bytes::Bytes;

/// From this version on an unknown group is error 69 (KIP-1043).
const NOT_FOUND_FROM: i16 = 6;

pub fn start(request: DescribeGroupsRequest, cx: &mut Context<'_>) -> Step {
    for (sub, group) in request.groups.iter().enumerate() {
        cx.ask_group(sub as u32, group, Request::Describe { group: group.clone() });
    }
    let authorized_operations = match request.include_authorized_operations {
        true => GROUP_OPERATIONS,
        false => OPERATIONS_NOT_ASKED,
    };
    cx.gather(request.groups.len(), move |answers, cx| {
        let mut groups = Vec::with_capacity(answers.len());
        for (group_id, answer) in request.groups.into_iter().zip(answers) {
            let described = match answer {
                Event::Group { reply: Reply::Describe(description), .. } => describe(description, cx),
                Event::Failed { reason, .. } => DescribedGroup {
                    error_code: errors::coordinator_failure(reason).code(),
                    ..Default::default()
                },
                _ => return cx.mismatch(),
            };
            groups.push(DescribedGroup { group_id, authorized_operations, ..described });
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
