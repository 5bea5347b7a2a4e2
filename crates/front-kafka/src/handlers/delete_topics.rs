//! DeleteTopics (20): by name, or from version 6 on by id.

use crate::access::Named;
use crate::catalog::VHOST;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::messages::delete_topics_response::DeletableTopicResult;
use bowline_codec_kafka::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::acl::Operation;
use bowline_model::meta::{Command, MetaRequest};
use hashbrown::{HashMap, HashSet};

/// First version in which topics may be named by id.
const TOPIC_IDS_FROM: i16 = 6;
/// From this version on a quota that is used up is an error (KIP-599).
const STRICT_QUOTA_FROM: i16 = 5;

pub fn start(request: DeleteTopicsRequest, cx: &mut Context<'_>) -> Step {
    let named: Vec<(Option<String>, Uuid)> = match cx.head.version >= TOPIC_IDS_FROM {
        true => request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)).collect(),
        false => request.topic_names.into_iter().map(|name| (Some(name), Uuid::ZERO)).collect(),
    };
    let mut results: Vec<DeletableTopicResult> = Vec::with_capacity(named.len());
    let mut asked = Vec::new();
    let mut times: HashMap<(Option<String>, Uuid), u32, foldhash::fast::RandomState> = HashMap::default();
    named.iter().for_each(|named| *times.entry(named.clone()).or_default() += 1);
    let twice = twice(&named, cx);
    for (name, topic_id) in named {
        if name.is_none() && twice.contains(&topic_id) {
            continue;
        }
        let mut result = DeletableTopicResult { name: name.clone(), topic_id, ..Default::default() };
        // Refused once.
        match times.get_mut(&(name.clone(), topic_id)) {
            Some(0) => continue,
            Some(times) if *times > 1 => {
                *times = 0;
                result.error_code = ErrorCode::InvalidRequest.code();
                results.push(result);
                continue;
            }
            _ => {}
        }
        let found = match &name {
            // Both: nobody could say which is meant. Neither: nothing is.
            Some(_) if !topic_id.is_zero() => Err(ErrorCode::InvalidRequest),
            None if topic_id.is_zero() => Err(ErrorCode::InvalidRequest),
            Some(name) => cx.permitted(Operation::Delete, Named::Name(name)),
            None => cx.permitted(Operation::Delete, Named::Id(topic_id)),
        };
        let charged = found.and_then(|topic| {
            if twice.contains(&topic.wire_id()) {
                result.topic_id = topic.wire_id();
                return Err(ErrorCode::InvalidRequest);
            }
            cx.charge_mutations(topic.partitions.len(), cx.head.version >= STRICT_QUOTA_FROM)?;
            Ok(topic)
        });
        match charged {
            Ok(topic) => {
                result.name = Some(topic.name.clone());
                result.topic_id = topic.wire_id();
                let delete = Command::TopicDelete { vhost: VHOST.into(), name: topic.name.clone() };
                cx.ask_meta(asked.len() as u32, MetaRequest::Propose(delete));
                asked.push(results.len());
            }
            Err(error) => result.error_code = error.code(),
        }
        results.push(result);
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (position, answer) in asked.into_iter().zip(answers) {
            let Some(deleted) = errors::outcome(answer) else { return cx.mismatch() };
            if let Err((error, message)) = deleted {
                let result = &mut results[position];
                (result.error_code, result.error_message) = (error.code(), Some(message));
            }
        }
        cx.reply(&DeleteTopicsResponse { responses: results, ..Default::default() })
    })
}

/// Ids of topics that are named by name and by id as well. They are refused, once.
fn twice(
    named: &[(Option<String>, Uuid)],
    cx: &mut Context<'_>,
) -> HashSet<Uuid, foldhash::fast::RandomState> {
    let ids = named.iter().filter(|(name, _)| name.is_none()).map(|(_, id)| *id);
    let mut ids: HashSet<Uuid, foldhash::fast::RandomState> = ids.collect();
    if !ids.is_empty() {
        let names = named.iter().filter_map(|(name, id)| name.as_ref().filter(|_| id.is_zero()));
        let by_name: Vec<Uuid> =
            names.filter_map(|name| cx.topic(name).map(|topic| topic.wire_id())).collect();
        ids.retain(|id| by_name.contains(id));
    }
    ids
}
