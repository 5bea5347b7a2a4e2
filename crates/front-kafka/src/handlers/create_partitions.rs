//! CreatePartitions (37): topics only grow.

use super::create_topics::{Refusal, charge, check_assignment};
use super::denied;
use crate::access::Named;
use crate::catalog::VHOST;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::create_partitions_request::CreatePartitionsTopic;
use bowline_codec_kafka::messages::create_partitions_response::CreatePartitionsTopicResult;
use bowline_codec_kafka::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use bowline_model::acl::Operation;
use bowline_model::meta::{Command, MetaRequest};
use hashbrown::HashMap;

/// From this version on a quota that is used up is an error (KIP-599).
const STRICT_QUOTA_FROM: i16 = 3;

pub fn start(request: CreatePartitionsRequest, cx: &mut Context<'_>) -> Step {
    let mut results = Vec::with_capacity(request.topics.len());
    let mut asked = Vec::new();
    let mut partitions_left = cx.broker.options.limits.create_partitions_max;
    // How often a topic is named; 0 when that has been refused.
    let mut times: HashMap<String, u32, foldhash::fast::RandomState> = HashMap::default();
    request.topics.iter().for_each(|topic| *times.entry_ref(topic.name.as_str()).or_default() += 1);
    for topic in request.topics {
        let mut result = CreatePartitionsTopicResult { name: topic.name.clone(), ..Default::default() };
        let twice = match times.get_mut(&topic.name) {
            Some(0) => continue,
            Some(times) if *times > 1 => {
                *times = 0;
                true
            }
            _ => false,
        };
        let checked = match twice {
            true => Err((ErrorCode::InvalidRequest, "the topic is named more than once".to_owned())),
            false => check(&topic, request.validate_only, &mut partitions_left, cx),
        };
        match checked {
            Err((error, message)) => {
                result.error_code = error.code();
                result.error_message = Some(message);
            }
            Ok(total) if !request.validate_only => {
                let add = Command::PartitionsAdd { vhost: VHOST.into(), name: topic.name, total };
                cx.ask_meta(asked.len() as u32, MetaRequest::Propose(add));
                asked.push(results.len());
            }
            Ok(_) => {}
        }
        results.push(result);
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (position, answer) in asked.into_iter().zip(answers) {
            let Some(made) = errors::outcome(answer) else { return cx.mismatch() };
            if let Err((error, message)) = made {
                let result: &mut CreatePartitionsTopicResult = &mut results[position];
                (result.error_code, result.error_message) = (error.code(), Some(message));
            }
        }
        cx.reply(&CreatePartitionsResponse { results, ..Default::default() })
    })
}

/// The total to grow to.
fn check(
    topic: &CreatePartitionsTopic,
    validate_only: bool,
    left: &mut u32,
    cx: &mut Context<'_>,
) -> Result<u32, Refusal> {
    let known = cx.permitted(Operation::Alter, Named::Name(&topic.name)).map_err(|error| match error {
        ErrorCode::UnknownTopicOrPartition => (error, format!("there is no topic '{}'", topic.name)),
        _ => denied(error),
    })?;
    let now = known.partitions.len();
    let grown = usize::try_from(topic.count).ok().and_then(|count| count.checked_sub(now)).filter(|&n| n > 0);
    let Some(grown) = grown else {
        let text = format!("the topic has {now} partitions, {} is not more", topic.count);
        return Err((ErrorCode::InvalidPartitions, text));
    };
    let Some(rest) = left.checked_sub(grown as u32) else {
        return Err((ErrorCode::InvalidPartitions, "too many partitions".into()));
    };
    if let Some(assignments) = &topic.assignments {
        if assignments.len() != grown {
            let text = format!("{grown} partitions are added, but {} are assigned", assignments.len());
            return Err((ErrorCode::InvalidReplicaAssignment, text));
        }
        check_assignment(assignments.iter().map(|assignment| assignment.broker_ids.as_slice()), cx)?;
    }
    if !validate_only {
        charge(grown, STRICT_QUOTA_FROM, cx)?;
    }
    *left = rest;
    Ok(topic.count as u32)
}
