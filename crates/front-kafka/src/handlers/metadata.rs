//! Metadata (3): brokers, topics, leaders; and the place where a topic is created by its first use.
//!
//! Kafka answers the request that creates a topic with an error and lets the client ask again. Here the topic is
//! created first and the answer is good at once.

use super::create_topics::{self, Creation};
use super::{LEADER_EPOCH, OPERATIONS_NOT_ASKED, cluster_operations};
use crate::access::Named;
use crate::catalog::{Topic, is_valid_name};
use crate::pending::{Context, Step};
use bowline_codec_kafka::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use bowline_codec_kafka::messages::{MetadataRequest, MetadataResponse};
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::acl::{Operation, Resource};
use hashbrown::{HashMap, HashSet};

/// Below this version the client cannot forbid creation.
const CREATION_FLAG_FROM: i16 = 4;
/// From this version on a topic without a name is null, before it is empty.
const NULL_NAMES_FROM: i16 = 12;

enum Wanted {
    Name(String),
    Id(Uuid),
}

/// Names whose creation was refused, and how.
type Refused = HashMap<String, ErrorCode, foldhash::fast::RandomState>;

pub fn start(request: MetadataRequest, cx: &mut Context<'_>) -> Step {
    let operations = Operations {
        cluster: request.include_cluster_authorized_operations,
        topic: request.include_topic_authorized_operations,
    };
    let topics = match request.topics {
        // In version 0 an empty list asks for everything; later null does, and empty asks for nothing.
        Some(topics) if cx.head.version == 0 && topics.is_empty() => None,
        topics => topics,
    };
    let Some(topics) = topics else {
        let mut all = cx.broker.catalog.topics();
        // Not even a hint at what somebody may not see.
        all.retain(|topic| cx.allows(Operation::Describe, Resource::Topic(&topic.name)));
        let described = all.iter().map(|topic| describe(topic, operations, cx)).collect();
        return respond(described, operations, cx);
    };
    let wanted: Vec<Wanted> = topics
        .into_iter()
        .map(|topic| match topic.name {
            Some(name) if topic.topic_id.is_zero() => Wanted::Name(name),
            None | Some(_) => Wanted::Id(topic.topic_id),
        })
        .collect();
    let may_create = cx.head.version < CREATION_FLAG_FROM || request.allow_auto_topic_creation;
    let missing = match cx.broker.options.auto_create && may_create {
        true => missing(&wanted, cx),
        false => Vec::new(),
    };
    let mut refused = Refused::default();
    let missing: Vec<String> = missing
        .into_iter()
        .filter(|name| {
            let may = create_topics::may_create(name, cx);
            if !may {
                refused.insert(name.clone(), ErrorCode::TopicAuthorizationFailed);
            }
            may
        })
        .collect();
    let count = missing.len();
    for (sub, name) in missing.iter().enumerate() {
        let creation = Creation {
            name: name.clone(),
            partitions: cx.broker.options.num_partitions,
            configs: Vec::new(),
        };
        create_topics::propose(sub as u32, creation, cx);
    }
    cx.gather(count, move |answers, cx| {
        for (name, answer) in missing.into_iter().zip(answers) {
            match create_topics::outcome(answer) {
                Ok(_) => tracing::info!(topic = %name, "topic created by first use"),
                // Somebody else was faster; whatever stands there is looked up below. If it is not a topic, the name
                // is taken by a queue of AMQP's.
                Err((ErrorCode::TopicAlreadyExists, _)) => {
                    refused.insert(name, ErrorCode::InvalidTopicException);
                }
                Err((error, _)) => {
                    refused.insert(name, error);
                }
            }
        }
        let mut described: Vec<MetadataResponseTopic> =
            wanted.into_iter().map(|wanted| find(wanted, &refused, operations, cx)).collect();
        // Who asks for a topic twice, by whatever name, is told once.
        let mut seen: HashSet<(Option<String>, Uuid), foldhash::fast::RandomState> = HashSet::default();
        described.retain(|topic| seen.insert((topic.name.clone(), topic.topic_id)));
        respond(described, operations, cx)
    })
}

#[derive(Clone, Copy)]
struct Operations {
    cluster: bool,
    topic: bool,
}

/// Names to be created, each once.
fn missing(wanted: &[Wanted], cx: &mut Context<'_>) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    for wanted in wanted {
        let Wanted::Name(name) = wanted else { continue };
        if is_valid_name(name)
            && cx.allows(Operation::Describe, Resource::Topic(name))
            && cx.topic(name).is_none()
        {
            missing.push(name.clone());
        }
    }
    missing.sort_unstable();
    missing.dedup();
    missing.truncate(cx.broker.options.limits.auto_create_topics_max);
    missing
}

fn find(
    wanted: Wanted,
    refused: &Refused,
    operations: Operations,
    cx: &mut Context<'_>,
) -> MetadataResponseTopic {
    let (found, name, id) = match wanted {
        Wanted::Name(name) => {
            let found = cx.permitted(Operation::Describe, Named::Name(&name)).map_err(|error| match error {
                ErrorCode::UnknownTopicOrPartition if !is_valid_name(&name) => {
                    ErrorCode::InvalidTopicException
                }
                ErrorCode::UnknownTopicOrPartition => refused.get(&name).copied().unwrap_or(error),
                error => error,
            });
            (found, Some(name), Uuid::ZERO)
        }
        Wanted::Id(id) => {
            let name = (cx.head.version < NULL_NAMES_FROM).then(String::new);
            // That there is a topic of this id is nobody's business who may not see it.
            let found =
                cx.permitted(Operation::Describe, Named::Id(id)).map_err(|_| ErrorCode::UnknownTopicId);
            (found, name, id)
        }
    };
    match found {
        Ok(topic) => describe(&topic, operations, cx),
        Err(error) => {
            let missing =
                matches!(error, ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidTopicException);
            let topic_authorized_operations = match &name {
                Some(name) if operations.topic && missing => cx.authorized_operations(Resource::Topic(name)),
                _ => OPERATIONS_NOT_ASKED,
            };
            MetadataResponseTopic {
                error_code: error.code(),
                name,
                topic_id: id,
                topic_authorized_operations,
                ..Default::default()
            }
        }
    }
}

fn describe(topic: &Topic, operations: Operations, cx: &mut Context<'_>) -> MetadataResponseTopic {
    let node_id = cx.broker.options.node_id;
    let partitions = (0..topic.partitions.len()).map(|index| MetadataResponsePartition {
        error_code: 0,
        partition_index: index as i32,
        leader_id: node_id,
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![node_id],
        isr_nodes: vec![node_id],
        offline_replicas: Vec::new(),
    });
    MetadataResponseTopic {
        error_code: 0,
        name: Some(topic.name.clone()),
        topic_id: topic.wire_id(),
        is_internal: false,
        partitions: partitions.collect(),
        topic_authorized_operations: match operations.topic {
            true => cx.authorized_operations(Resource::Topic(&topic.name)),
            false => OPERATIONS_NOT_ASKED,
        },
    }
}

fn respond(topics: Vec<MetadataResponseTopic>, operations: Operations, cx: &mut Context<'_>) -> Step {
    let cluster = cluster_operations(operations.cluster, cx);
    let node_id = cx.broker.options.node_id;
    let (host, port) = cx.peer.advertised.clone();
    cx.reply(&MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id, host, port: port.into(), rack: None }],
        cluster_id: Some(cx.broker.cluster_id.clone()),
        controller_id: node_id,
        topics,
        cluster_authorized_operations: cluster,
        ..Default::default()
    })
}
