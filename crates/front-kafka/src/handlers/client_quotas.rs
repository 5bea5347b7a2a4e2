//! DescribeClientQuotas (48) and AlterClientQuotas (49). A quota holds from the moment that it is answered.

use super::create_topics::Refusal;
use super::denied;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::alter_client_quotas_request::{EntityData, OpData};
use bowline_codec_kafka::messages::alter_client_quotas_response as altered;
use bowline_codec_kafka::messages::describe_client_quotas_request::ComponentData;
use bowline_codec_kafka::messages::describe_client_quotas_response as described;
use bowline_codec_kafka::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
};
use bowline_model::acl::{Operation, Resource};
use bowline_model::meta::{Command, MetaRequest};
use bowline_model::quota::{QuotaChanges, QuotaEntity, QuotaKey};
use bowline_topology::quotas;

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

pub fn describe(request: DescribeClientQuotasRequest, cx: &mut Context<'_>) -> Step {
    let filter = may(Operation::DescribeConfigs, cx).and_then(|()| filter(request.components));
    let filter = match filter {
        Ok(filter) => filter,
        Err((error, message)) => {
            return cx.reply(&DescribeClientQuotasResponse {
                error_code: error.code(),
                error_message: Some(message),
                entries: None,
                ..Default::default()
            });
        }
    };
    let mut entries = Vec::new();
    cx.broker.catalog.look(&mut |topology| {
        let found = topology.quotas().iter().filter(|(entity, _)| filter.matches(entity, request.strict));
        entries = found
            .map(|(entity, limits)| described::EntryData {
                entity: parts(entity)
                    .map(|(entity_type, name)| described::EntityData {
                        entity_type: entity_type.into(),
                        entity_name: name.clone(),
                    })
                    .collect(),
                values: limits
                    .iter()
                    .map(|(key, value)| described::ValueData { key: key.name().into(), value: *value })
                    .collect(),
            })
            .collect();
    });
    cx.reply(&DescribeClientQuotasResponse { entries: Some(entries), ..Default::default() })
}

pub fn alter(request: AlterClientQuotasRequest, cx: &mut Context<'_>) -> Step {
    let allowed = may(Operation::AlterConfigs, cx);
    let mut entries = Vec::with_capacity(request.entries.len());
    let mut asked = Vec::new();
    for entry in request.entries {
        let change = allowed.clone().and_then(|()| {
            let (entity, changes) = (entity(&entry.entity)?, changes(entry.ops)?);
            quotas::check(&entity, &changes).map_err(|rejection| invalid(rejection.text))?;
            Ok((entity, changes))
        });
        let shown = entry
            .entity
            .into_iter()
            .map(|part| altered::EntityData { entity_type: part.entity_type, entity_name: part.entity_name });
        let mut result = altered::EntryData { error_code: 0, error_message: None, entity: shown.collect() };
        match change {
            Ok((entity, changes)) if !request.validate_only => {
                let set = Command::QuotasSet { entity, changes };
                cx.ask_meta(asked.len() as u32, MetaRequest::Propose(set));
                asked.push(entries.len());
            }
            Ok(_) => {}
            Err(refusal) => refuse(&mut result, refusal),
        }
        entries.push(result);
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (position, answer) in asked.into_iter().zip(answers) {
            let Some(set) = errors::outcome(answer) else { return cx.mismatch() };
            if let Err(refusal) = set {
                refuse(&mut entries[position], refusal);
            }
        }
        cx.reply(&AlterClientQuotasResponse { entries, ..Default::default() })
    })
}

fn may(operation: Operation, cx: &mut Context<'_>) -> Result<(), Refusal> {
    cx.check(operation, Resource::Cluster, ErrorCode::ClusterAuthorizationFailed).map_err(denied)
}

fn refuse(result: &mut altered::EntryData, (error, message): Refusal) {
    result.error_code = error.code();
    result.error_message = Some(message);
}

fn invalid(text: impl Into<String>) -> Refusal {
    (ErrorCode::InvalidRequest, text.into())
}

/// The parts that an entity has, by Kafka's names.
fn parts(entity: &QuotaEntity) -> impl Iterator<Item = (&'static str, &Option<String>)> {
    let all = [(USER, &entity.user), (CLIENT_ID, &entity.client_id), (IP, &entity.ip)];
    all.into_iter().filter_map(|(kind, part)| Some((kind, part.as_ref()?)))
}

/// The place of the part of that type.
fn part<'a, T>(kind: &str, user: &'a mut T, client_id: &'a mut T, ip: &'a mut T) -> Option<&'a mut T> {
    match kind {
        USER => Some(user),
        CLIENT_ID => Some(client_id),
        IP => Some(ip),
        _ => None,
    }
}

fn entity(named: &[EntityData]) -> Result<QuotaEntity, Refusal> {
    let mut entity = QuotaEntity::default();
    for EntityData { entity_type, entity_name } in named {
        let QuotaEntity { user, client_id, ip } = &mut entity;
        let Some(place) = part(entity_type, user, client_id, ip) else {
            return Err(invalid(format!("Unhandled client quota entity type {entity_type}")));
        };
        if place.replace(entity_name.clone()).is_some() {
            return Err(invalid(format!("Duplicate entity type {entity_type}")));
        }
    }
    Ok(entity)
}

fn changes(ops: Vec<OpData>) -> Result<QuotaChanges, Refusal> {
    let mut changes = QuotaChanges::new();
    for op in ops {
        // To remove what there is not is done.
        if op.remove && QuotaKey::from_name(&op.key).is_none() {
            continue;
        }
        let Some(key) = QuotaKey::from_name(&op.key) else {
            return Err(invalid(format!("Invalid configuration key {}", op.key)));
        };
        if changes.iter().any(|(known, _)| *known == key) {
            return Err(invalid(format!("Duplicate quota key {}", op.key)));
        }
        if !op.remove {
            whole(key, op.value)?;
        }
        changes.push((key, (!op.remove).then_some(op.value)));
    }
    Ok(changes)
}

/// Rates of bytes and connections are whole numbers, of connections 32 bits wide, of bytes 64.
fn whole(key: QuotaKey, value: f64) -> Result<(), Refusal> {
    let max = match key {
        QuotaKey::ControllerMutationRate | QuotaKey::RequestPercentage => return Ok(()),
        QuotaKey::ConnectionCreationRate => f64::from(i32::MAX),
        QuotaKey::ProducerByteRate | QuotaKey::ConsumerByteRate => i64::MAX as f64,
    };
    if value > max {
        return Err(invalid(format!("{value} is too large for {}", key.name())));
    }
    if value.fract().abs() > 1e-6 {
        return Err(invalid(format!("{} cannot be a fractional value", key.name())));
    }
    Ok(())
}

/// What an entity must have.
#[derive(Default)]
struct Filter {
    user: Option<Wanted>,
    client_id: Option<Wanted>,
    ip: Option<Wanted>,
}

enum Wanted {
    /// `None`: the default.
    Exactly(Option<String>),
    Any,
}

impl Filter {
    fn matches(&self, entity: &QuotaEntity, strict: bool) -> bool {
        let each = [(&self.user, &entity.user), (&self.client_id, &entity.client_id), (&self.ip, &entity.ip)];
        each.into_iter().all(|(wanted, found)| match (wanted, found) {
            (None, None) => true,
            (None, Some(_)) => !strict,
            (Some(_), None) => false,
            (Some(Wanted::Any), Some(_)) => true,
            (Some(Wanted::Exactly(name)), Some(found)) => name == found,
        })
    }
}

fn filter(components: Vec<ComponentData>) -> Result<Filter, Refusal> {
    let mut filter = Filter::default();
    for ComponentData { entity_type, match_type, match_ } in components {
        let Filter { user, client_id, ip } = &mut filter;
        let Some(place) = part(&entity_type, user, client_id, ip) else {
            return Err(match entity_type.as_str() {
                "" => invalid("Invalid empty entity type"),
                // One of a later Kafka, perhaps.
                other => (ErrorCode::UnsupportedVersion, format!("Unsupported entity type {other}")),
            });
        };
        let wanted = match (match_type, match_) {
            (0, Some(name)) => Wanted::Exactly(Some(name)),
            (0, None) => return Err(invalid("Request specified MATCH_TYPE_EXACT, but set a null name")),
            (1, None) => Wanted::Exactly(None),
            (2, None) => Wanted::Any,
            (1 | 2, Some(_)) => return Err(invalid("Only an exact match has a name")),
            (other, _) => return Err(invalid(format!("Unknown match type {other}"))),
        };
        if place.replace(wanted).is_some() {
            return Err(invalid(format!(
                "Entity type {entity_type} cannot appear more than once in the filter"
            )));
        }
    }
    if filter.ip.is_some() && (filter.user.is_some() || filter.client_id.is_some()) {
        return Err(invalid("Invalid entity filter component combination: ip goes with no other"));
    }
    Ok(filter)
}
