//! CreateTopics (19), and creation as Metadata and CreatePartitions share it.

use super::{configs, denied};
use crate::catalog::{VHOST, is_valid_name};
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use bowline_codec_kafka::messages::create_topics_response::CreatableTopicResult;
use bowline_codec_kafka::messages::{CreateTopicsRequest, CreateTopicsResponse};
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::meta::{Command, MetaRequest, Outcome, TopicSpec};
use bowline_model::{SessionId, TopicId};
use bowline_topology::Check;

/// Why a topic is not created: the code and words for people.
pub type Refusal = (ErrorCode, String);

/// A topic to be created, checked.
#[derive(Clone)]
pub struct Creation {
    pub name: String,
    /// ≥ 1.
    pub partitions: u32,
    pub configs: Vec<(String, String)>,
}

/// From this version on a quota that is used up is an error (KIP-599).
const STRICT_QUOTA_FROM: i16 = 6;

/// "Not said" for partitions and replication factor: the broker's default.
const BROKER_DEFAULT: i32 = -1;

pub fn start(request: CreateTopicsRequest, cx: &mut Context<'_>) -> Step {
    let validate_only = request.validate_only;
    let mut results = Vec::with_capacity(request.topics.len());
    // Positions in `results` of the topics that are being created, in the order of the questions.
    let mut asked = Vec::new();
    let mut partitions_left = cx.broker.options.limits.create_partitions_max;
    let topics: Vec<Asked> = duplicates_refused(request.topics).collect();
    let too_many = asked_partitions(&topics) > u64::from(partitions_left);
    for topic in topics {
        let name = topic.name.clone();
        let checked = match topic.refusal {
            Some(refusal) => Err(refusal),
            None if too_many => {
                Err((ErrorCode::PolicyViolation, "too many partitions in a request".to_owned()))
            }
            None => check(topic.topic, cx).and_then(|creation| {
                if validate_only {
                    validate(&creation, cx)?;
                } else {
                    charge(creation.partitions as usize, STRICT_QUOTA_FROM, cx)?;
                }
                let left = partitions_left.checked_sub(creation.partitions);
                partitions_left =
                    left.ok_or((ErrorCode::InvalidPartitions, "too many partitions".to_owned()))?;
                Ok(creation)
            }),
        };
        // No error has no text: null, and not the empty text that the schema has by default.
        let result = CreatableTopicResult {
            name,
            error_message: None,
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        };
        results.push(match checked {
            Err(refusal) => refused(result, refusal),
            Ok(creation) => {
                let shown = cx.allows(Operation::DescribeConfigs, Resource::Topic(&creation.name));
                let result = match shown {
                    true => CreatableTopicResult {
                        num_partitions: creation.partitions as i32,
                        replication_factor: 1,
                        configs: Some(configs::describe_new(&creation.configs, cx)),
                        ..result
                    },
                    false => CreatableTopicResult {
                        topic_config_error_code: ErrorCode::TopicAuthorizationFailed.code(),
                        configs: Some(Vec::new()),
                        ..result
                    },
                };
                if !validate_only {
                    propose(asked.len() as u32, creation, cx);
                    asked.push(results.len());
                }
                result
            }
        });
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (position, answer) in asked.into_iter().zip(answers) {
            match outcome(answer) {
                Ok(id) => results[position].topic_id = Uuid(id.0),
                Err(refusal) => {
                    let result = std::mem::take(&mut results[position]);
                    results[position] = refused(result, refusal);
                }
            }
        }
        cx.reply(&CreateTopicsResponse { topics: results, ..Default::default() })
    })
}

/// What the meta shard would say of [`propose`].
fn validate(creation: &Creation, cx: &Context<'_>) -> Result<(), Refusal> {
    let command = command(creation.clone());
    let mut check = Check::Log;
    // Nobody's session: that matters for queues only.
    cx.broker.catalog.look(&mut |topology| check = topology.check(&command, SessionId(0)));
    match check {
        Check::Refuse(rejection) => Err((errors::rejection(&rejection), rejection.text)),
        Check::Done(_) | Check::Log => Ok(()),
    }
}

/// Asks the meta shard to create a topic.
pub fn propose(sub: u32, creation: Creation, cx: &mut Context<'_>) {
    cx.ask_meta(sub, MetaRequest::Propose(command(creation)));
}

fn command(creation: Creation) -> Command {
    Command::TopicCreate(TopicSpec {
        vhost: VHOST.into(),
        name: creation.name,
        id: TopicId(*uuid::Uuid::new_v4().as_bytes()),
        partitions: creation.partitions,
        configs: creation.configs,
        arguments: Vec::new(),
    })
}

/// What the meta shard made of [`propose`].
pub fn outcome(answer: Event) -> Result<TopicId, Refusal> {
    match errors::outcome(answer) {
        Some(Ok(Outcome::Topic { id, .. })) => Ok(id),
        Some(Err(refusal)) => Err(refusal),
        _ => Err((ErrorCode::UnknownServerError, "unexpected answer".into())),
    }
}

/// A manual assignment names every broker of every partition; here that can only be this node, once each.
pub fn check_assignment<'a>(
    brokers: impl Iterator<Item = &'a [i32]>,
    cx: &Context<'_>,
) -> Result<(), Refusal> {
    for brokers in brokers {
        match brokers {
            [broker] if *broker == cx.broker.options.node_id => {}
            [_] => {
                return Err((ErrorCode::InvalidReplicaAssignment, "unknown broker in the assignment".into()));
            }
            _ => {
                return Err((
                    ErrorCode::InvalidReplicaAssignment,
                    "every partition needs exactly one replica".into(),
                ));
            }
        }
    }
    Ok(())
}

struct Asked {
    name: String,
    topic: CreatableTopic,
    refusal: Option<Refusal>,
}

/// A name that comes twice is refused, once, for nobody could say which of the two is meant.
fn duplicates_refused(topics: Vec<CreatableTopic>) -> impl Iterator<Item = Asked> {
    let mut counts: hashbrown::HashMap<String, u32, foldhash::fast::RandomState> = Default::default();
    for topic in &topics {
        *counts.entry_ref(topic.name.as_str()).or_insert(0) += 1;
    }
    topics.into_iter().filter_map(move |topic| {
        let count = counts.get_mut(&topic.name)?;
        let refusal = match *count {
            0 => return None,
            1 => None,
            _ => {
                *count = 0;
                Some((ErrorCode::InvalidRequest, "the topic is named more than once".to_owned()))
            }
        };
        Some(Asked { name: topic.name.clone(), topic, refusal })
    })
}

/// As the request has them, whether they are possible or not.
fn asked_partitions(topics: &[Asked]) -> u64 {
    let of_topic = |asked: &Asked| match asked.topic.assignments.len() {
        0 => u64::try_from(asked.topic.num_partitions).unwrap_or(1),
        assigned => assigned as u64,
    };
    topics.iter().filter(|asked| asked.refusal.is_none()).map(of_topic).sum()
}

/// Counts partitions that come or go against the client's quota.
pub fn charge(partitions: usize, strict_from: i16, cx: &Context<'_>) -> Result<(), Refusal> {
    cx.charge_mutations(partitions, cx.head.version >= strict_from)
        .map_err(|error| (error, "The throttling quota has been exceeded.".to_owned()))
}

/// Who may create in the cluster may create any topic.
pub fn may_create(name: &str, cx: &mut Context<'_>) -> bool {
    cx.allows(Operation::Create, Resource::Cluster) || cx.allows(Operation::Create, Resource::Topic(name))
}

fn check(topic: CreatableTopic, cx: &mut Context<'_>) -> Result<Creation, Refusal> {
    if !may_create(&topic.name, cx) {
        return Err(denied(ErrorCode::TopicAuthorizationFailed));
    }
    if !is_valid_name(&topic.name) {
        let text = "a topic name is 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', and neither '.' nor '..'";
        return Err((ErrorCode::InvalidTopicException, text.into()));
    }
    if cx.topic(&topic.name).is_some() {
        return Err((ErrorCode::TopicAlreadyExists, format!("topic '{}' already exists", topic.name)));
    }
    let given = topic.configs.iter().map(|config| (config.name.clone(), config.value.clone()));
    let configs = configs::checked(given)?;
    let partitions = match topic.assignments.is_empty() {
        true => unassigned_partitions(&topic, cx)?,
        false => assigned_partitions(&topic, cx)?,
    };
    Ok(Creation { name: topic.name, partitions, configs })
}

fn unassigned_partitions(topic: &CreatableTopic, cx: &Context<'_>) -> Result<u32, Refusal> {
    // Which of two mistakes is told: Kafka looks for impossible numbers first, then for brokers.
    let replicas = topic.replication_factor;
    if replicas == 0 || replicas < -1 {
        let text = format!("replication factor {replicas} is not positive");
        return Err((ErrorCode::InvalidReplicationFactor, text));
    }
    let partitions = match topic.num_partitions {
        BROKER_DEFAULT => cx.broker.options.num_partitions,
        n if n > 0 => n as u32,
        n => return Err((ErrorCode::InvalidPartitions, format!("{n} partitions are not possible"))),
    };
    if replicas > 1 {
        let text = format!("replication factor {replicas} is larger than the number of brokers, 1");
        return Err((ErrorCode::InvalidReplicationFactor, text));
    }
    Ok(partitions)
}

fn assigned_partitions(topic: &CreatableTopic, cx: &Context<'_>) -> Result<u32, Refusal> {
    let said = (topic.num_partitions, topic.replication_factor);
    if said != (BROKER_DEFAULT, -1) {
        let text = "with an assignment, partitions and replication factor must be -1";
        return Err((ErrorCode::InvalidRequest, text.into()));
    }
    let mut indexes: Vec<i32> =
        topic.assignments.iter().map(|a: &CreatableReplicaAssignment| a.partition_index).collect();
    indexes.sort_unstable();
    if indexes.iter().enumerate().any(|(expected, &index)| index != expected as i32) {
        let text = "the assignment must name partitions 0, 1, 2 ... once each";
        return Err((ErrorCode::InvalidReplicaAssignment, text.into()));
    }
    check_assignment(topic.assignments.iter().map(|a| a.broker_ids.as_slice()), cx)?;
    Ok(indexes.len() as u32)
}

fn refused(result: CreatableTopicResult, (error, message): Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: result.name,
        error_code: error.code(),
        error_message: Some(message),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}
