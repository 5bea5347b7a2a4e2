//! DescribeAcls (29), CreateAcls (30) and DeleteAcls (31): the access rules, read and changed. A rule holds from the
//! moment that its creation is answered, on every connection.

use super::create_topics::Refusal;
use super::denied;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::create_acls_request::AclCreation;
use bowline_codec_kafka::messages::create_acls_response::AclCreationResult;
use bowline_codec_kafka::messages::delete_acls_request::DeleteAclsFilter;
use bowline_codec_kafka::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsMatchingAcl};
use bowline_codec_kafka::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use bowline_codec_kafka::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse,
};
use bowline_model::acl::{
    Acl, AclFilter, Operation, PatternFilter, PatternKind, Permission, Resource, ResourceKind,
};
use bowline_model::meta::{Command, MetaRequest};
use bowline_topology::acls;
use std::collections::BTreeSet;

/// In filters: whatever it is.
const ANY: i8 = 1;
/// In filters: patterns that apply to the name.
const MATCH: i8 = 2;

/// Rules in one command to the log; so many are small.
const RULES_PER_COMMAND: usize = 100;
/// Rules that one request may find for deletion, counted for each filter that finds them.
const FOUND_MAX: usize = acls::ACLS_MAX;

pub fn describe(request: DescribeAclsRequest, cx: &mut Context<'_>) -> Step {
    let filter = may(Operation::Describe, cx).and_then(|()| {
        filter(
            [
                request.resource_type_filter,
                request.pattern_type_filter,
                request.operation,
                request.permission_type,
            ],
            [request.resource_name_filter, request.principal_filter, request.host_filter],
        )
    });
    let filter = match filter {
        Ok(filter) => filter,
        Err((error, message)) => {
            return cx.reply(&DescribeAclsResponse {
                error_code: error.code(),
                error_message: Some(message),
                ..Default::default()
            });
        }
    };
    let mut resources: Vec<DescribeAclsResource> = Vec::new();
    for acl in matching(&filter, cx) {
        let (resource_type, pattern_type) = (acl.resource as i8, acl.pattern as i8);
        let described = AclDescription {
            principal: acl.principal.to_string(),
            host: acl.host,
            operation: acl.operation as i8,
            permission_type: acl.permission as i8,
        };
        match resources.last_mut() {
            // They come sorted by resource.
            Some(last)
                if (last.resource_type, last.pattern_type) == (resource_type, pattern_type)
                    && last.resource_name == acl.name =>
            {
                last.acls.push(described);
            }
            _ => resources.push(DescribeAclsResource {
                resource_type,
                resource_name: acl.name,
                pattern_type,
                acls: vec![described],
            }),
        }
    }
    cx.reply(&DescribeAclsResponse { resources, ..Default::default() })
}

pub fn create(request: CreateAclsRequest, cx: &mut Context<'_>) -> Step {
    let allowed = may(Operation::Alter, cx);
    let mut results = Vec::with_capacity(request.creations.len());
    // Positions in `results`, and the rules.
    let mut good = Vec::new();
    for creation in request.creations {
        let acl = allowed.clone().and_then(|()| wanted(creation));
        results.push(match acl {
            Ok(acl) => {
                good.push((results.len(), acl));
                AclCreationResult::default()
            }
            Err((error, message)) => {
                AclCreationResult { error_code: error.code(), error_message: Some(message) }
            }
        });
    }
    let mut asked = Vec::new();
    for chunk in good.chunks(RULES_PER_COMMAND) {
        let acls = chunk.iter().map(|(_, acl)| acl.clone()).collect();
        cx.ask_meta(asked.len() as u32, MetaRequest::Propose(Command::AclsAdd(acls)));
        asked.push(chunk.iter().map(|(position, _)| *position).collect::<Vec<usize>>());
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (positions, answer) in asked.into_iter().zip(answers) {
            let Some(outcome) = errors::outcome(answer) else { return cx.mismatch() };
            let Err((error, message)) = outcome else { continue };
            for position in positions {
                results[position] =
                    AclCreationResult { error_code: error.code(), error_message: Some(message.clone()) };
            }
        }
        cx.reply(&CreateAclsResponse { results, ..Default::default() })
    })
}

pub fn delete(request: DeleteAclsRequest, cx: &mut Context<'_>) -> Step {
    let allowed = may(Operation::Alter, cx);
    let mut found: Vec<Result<Vec<Acl>, Refusal>> = Vec::with_capacity(request.filters.len());
    let mut left = FOUND_MAX;
    for DeleteAclsFilter {
        resource_type_filter,
        resource_name_filter,
        pattern_type_filter,
        principal_filter,
        host_filter,
        operation,
        permission_type,
    } in request.filters
    {
        let filter = allowed.clone().and_then(|()| {
            filter(
                [resource_type_filter, pattern_type_filter, operation, permission_type],
                [resource_name_filter, principal_filter, host_filter],
            )
        });
        found.push(filter.and_then(|filter| {
            let acls = matching(&filter, cx);
            let too_many = || (ErrorCode::InvalidRequest, "the filters find too many rules".to_owned());
            left = left.checked_sub(acls.len().max(1)).ok_or_else(too_many)?;
            Ok(acls)
        }));
    }
    let going: BTreeSet<&Acl> = found.iter().flatten().flatten().collect();
    let going: Vec<Acl> = going.into_iter().cloned().collect();
    let mut count = 0;
    for chunk in going.chunks(RULES_PER_COMMAND) {
        cx.ask_meta(count, MetaRequest::Propose(Command::AclsRemove(chunk.to_vec())));
        count += 1;
    }
    cx.gather(count as usize, move |answers, cx| {
        // What could not be removed; all of it for the same reason, that the node cannot write.
        let mut failed: Option<Refusal> = None;
        for answer in answers {
            match errors::outcome(answer) {
                Some(Ok(_)) => {}
                Some(Err(refusal)) => failed = Some(refusal),
                None => return cx.mismatch(),
            }
        }
        let results = found.into_iter().map(|found| match (found, &failed) {
            (Ok(acls), None) => DeleteAclsFilterResult {
                error_code: 0,
                error_message: None,
                matching_acls: acls.into_iter().map(deleted).collect(),
            },
            (Err((error, message)), _) => filter_refused(error, message),
            (Ok(_), Some((error, message))) => filter_refused(*error, message.clone()),
        });
        cx.reply(&DeleteAclsResponse { filter_results: results.collect(), ..Default::default() })
    })
}

/// Whether the client may look at the rules or change them, and whether there can be any.
fn may(operation: Operation, cx: &mut Context<'_>) -> Result<(), Refusal> {
    cx.check(operation, Resource::Cluster, ErrorCode::ClusterAuthorizationFailed).map_err(denied)?;
    match cx.broker.options.acls {
        Some(_) => Ok(()),
        None => Err((ErrorCode::SecurityDisabled, "No authorizer is switched on (--kafka-acls).".into())),
    }
}

fn matching(filter: &AclFilter, cx: &Context<'_>) -> Vec<Acl> {
    let mut found = Vec::new();
    cx.broker.catalog.look(&mut |topology| found = topology.acls().matching(filter));
    found
}

fn wanted(creation: AclCreation) -> Result<Acl, Refusal> {
    let unknown = |what: &str, number: i8| invalid(format!("{what} {number} cannot be in a rule"));
    let principal = creation.principal.parse().map_err(|_| {
        invalid(format!("Could not parse principal from `{}`: it is written User:name", creation.principal))
    })?;
    let acl = Acl {
        resource: ResourceKind::from_i8(creation.resource_type)
            .ok_or_else(|| unknown("Resource type", creation.resource_type))?,
        pattern: PatternKind::from_i8(creation.resource_pattern_type)
            .ok_or_else(|| unknown("Pattern type", creation.resource_pattern_type))?,
        name: creation.resource_name,
        principal,
        host: creation.host,
        operation: Operation::from_i8(creation.operation)
            .ok_or_else(|| unknown("Operation", creation.operation))?,
        permission: Permission::from_i8(creation.permission_type)
            .ok_or_else(|| unknown("Permission type", creation.permission_type))?,
    };
    acls::check(&acl).map_err(|rejection| invalid(rejection.text))?;
    Ok(acl)
}

/// A filter out of its numbers (resource type, pattern type, operation, permission) and words (name, principal, host).
fn filter(numbers: [i8; 4], words: [Option<String>; 3]) -> Result<AclFilter, Refusal> {
    fn one<T>(number: i8, known: fn(i8) -> Option<T>) -> Result<Option<T>, Refusal> {
        match number {
            ANY => Ok(None),
            number => known(number)
                .map(Some)
                .ok_or_else(|| invalid(format!("the filter has an unknown element, number {number}"))),
        }
    }
    let [resource, pattern, operation, permission] = numbers;
    let [name, principal, host] = words;
    Ok(AclFilter {
        resource: one(resource, ResourceKind::from_i8)?,
        name,
        pattern: match pattern {
            MATCH => PatternFilter::Match,
            pattern => one(pattern, PatternKind::from_i8)?.map_or(PatternFilter::Any, PatternFilter::Is),
        },
        principal,
        host,
        operation: one(operation, Operation::from_i8)?,
        permission: one(permission, Permission::from_i8)?,
    })
}

fn invalid(text: String) -> Refusal {
    (ErrorCode::InvalidRequest, text)
}

fn deleted(acl: Acl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl {
        error_code: 0,
        error_message: None,
        resource_type: acl.resource as i8,
        resource_name: acl.name,
        pattern_type: acl.pattern as i8,
        principal: acl.principal.to_string(),
        host: acl.host,
        operation: acl.operation as i8,
        permission_type: acl.permission as i8,
    }
}

fn filter_refused(error: ErrorCode, message: String) -> DeleteAclsFilterResult {
    DeleteAclsFilterResult {
        error_code: error.code(),
        error_message: Some(message),
        matching_acls: Vec::new(),
    }
}
