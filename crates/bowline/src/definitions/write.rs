//! From the topology to JSON.

use base64ct::{Base64, Encoding};
use bowline_model::meta::{Destination, LimitScope, PasswordHash, PolicySpec, Table, Value};
use bowline_topology::{Topology, arguments, policy};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// Everything that outlives a restart. Queues of one connection, transient ones and what is predeclared are left
/// out, as RabbitMQ does.
pub fn definitions(topology: &Topology) -> Json {
    let vhosts: Vec<_> = topology.vhosts().collect();
    let limits: BTreeMap<LimitScope, &BTreeMap<String, i64>> = topology.limits().collect();
    let policies = |operator: bool| {
        vhosts.iter().flat_map(move |vhost| topology.policies(&vhost.name, operator)).collect::<Vec<_>>()
    };
    let mut parameters: Vec<Json> = policies(true)
        .into_iter()
        .map(|spec| {
            json!({"vhost": spec.vhost, "component": "operator_policy", "name": spec.name,
                   "value": policy_body(spec)})
        })
        .collect();
    for (scope, limits) in &limits {
        if let LimitScope::Vhost(vhost) = scope {
            parameters.push(
                json!({"vhost": vhost, "component": "vhost-limits", "name": "limits", "value": limits}),
            );
        }
    }
    let mut global_parameters = Vec::new();
    for parameter in topology.parameters() {
        let value: Json = serde_json::from_str(&parameter.value).unwrap_or(Json::Null);
        match parameter.vhost {
            None => global_parameters.push(json!({"name": parameter.name, "value": value})),
            Some(vhost) => parameters.push(json!({"vhost": vhost, "component": parameter.component,
                "name": parameter.name, "value": value})),
        }
    }
    json!({
        "rabbit_version": "4.0.0",
        "rabbitmq_version": "4.0.0",
        "product_name": "Bowline",
        "product_version": env!("CARGO_PKG_VERSION"),
        "rabbitmq_definition_format": "cluster",
        "vhosts": vhosts.iter().map(|vhost| {
            let mut metadata = json!({"description": vhost.description, "tags": vhost.tags});
            if let Some(kind) = &vhost.default_queue_type {
                metadata["default_queue_type"] = json!(kind);
            }
            let mut entry = metadata.clone();
            entry["name"] = json!(vhost.name);
            entry["metadata"] = metadata;
            entry
        }).collect::<Vec<_>>(),
        "users": topology.users().map(|user| {
            let (hash, algorithm) = hash(user.spec.password.as_ref());
            let scope = LimitScope::User(user.spec.name.clone());
            json!({"name": user.spec.name, "password_hash": hash, "hashing_algorithm": algorithm,
                   "tags": user.spec.tags, "limits": limits.get(&scope)})
        }).map(|mut user| {
            if user["limits"].is_null() {
                user["limits"] = json!({});
            }
            user
        }).collect::<Vec<_>>(),
        "permissions": topology.permissions().map(|p| json!({"user": p.user, "vhost": p.vhost,
            "configure": p.configure, "write": p.write, "read": p.read})).collect::<Vec<_>>(),
        "topic_permissions": topology.topic_permissions().map(|p| json!({"user": p.user, "vhost": p.vhost,
            "exchange": p.exchange, "write": p.write, "read": p.read})).collect::<Vec<_>>(),
        "parameters": parameters,
        "global_parameters": global_parameters,
        "policies": policies(false).into_iter().map(|spec| {
            let mut body = policy_body(spec);
            body["vhost"] = json!(spec.vhost);
            body["name"] = json!(spec.name);
            body
        }).collect::<Vec<_>>(),
        "queues": vhosts.iter().flat_map(|vhost| queues(topology, &vhost.name)).collect::<Vec<_>>(),
        "exchanges": vhosts.iter().flat_map(|vhost| exchanges(topology, &vhost.name)).collect::<Vec<_>>(),
        "bindings": vhosts.iter().flat_map(|vhost| bindings(topology, &vhost.name)).collect::<Vec<_>>(),
    })
}

fn policy_body(spec: &PolicySpec) -> Json {
    json!({"pattern": spec.pattern, "apply-to": policy::apply_to_name(spec.apply_to),
           "definition": table(&spec.definition), "priority": spec.priority})
}

fn hash(password: Option<&PasswordHash>) -> (String, &'static str) {
    match password {
        None => (String::new(), "rabbit_password_hashing_sha256"),
        Some(PasswordHash::Sha256(octets)) => {
            (Base64::encode_string(octets), "rabbit_password_hashing_sha256")
        }
        Some(PasswordHash::Sha512(octets)) => {
            (Base64::encode_string(octets), "rabbit_password_hashing_sha512")
        }
        Some(PasswordHash::Argon2id(text)) => (text.clone(), "argon2id"),
    }
}

fn queues(topology: &Topology, vhost: &str) -> Vec<Json> {
    let lasting =
        |queue: &&bowline_topology::Queue| queue.declared.durable && queue.declared.exclusive.is_none();
    let queues = topology.queues(vhost).into_iter().filter(lasting).map(|queue| {
        let declared = &queue.declared;
        json!({"vhost": vhost, "name": declared.name, "type": queue.kind.name(), "durable": true,
               "auto_delete": declared.auto_delete, "arguments": table(&declared.arguments)})
    });
    let streams = topology.topics(vhost).filter(|topic| !topic.arguments.is_empty()).map(|topic| {
        json!({"vhost": vhost, "name": topic.name, "type": "stream", "durable": true, "auto_delete": false,
               "arguments": table(&topic.arguments)})
    });
    queues.chain(streams).collect()
}

fn exchanges(topology: &Topology, vhost: &str) -> Vec<Json> {
    let own = topology.exchanges(vhost).into_iter().filter(|exchange| !exchange.system);
    own.filter(|exchange| exchange.spec.durable)
        .map(|exchange| {
            let spec = &exchange.spec;
            json!({"vhost": vhost, "name": spec.name, "type": arguments::exchange_kind_name(spec.kind),
                   "durable": true, "auto_delete": spec.auto_delete, "internal": spec.internal,
                   "arguments": table(&spec.arguments)})
        })
        .collect()
}

fn bindings(topology: &Topology, vhost: &str) -> Vec<Json> {
    let lasting = |destination: &Destination| match destination {
        Destination::Queue(name) => topology.queue(vhost, name).is_none_or(|queue| queue.declared.durable),
        Destination::Exchange(name) => {
            topology.exchange(vhost, name).is_some_and(|exchange| exchange.spec.durable)
        }
    };
    let sources = topology.exchanges(vhost).into_iter().filter(|exchange| exchange.spec.durable);
    let all = sources.flat_map(|exchange| topology.bindings_from(vhost, &exchange.spec.name));
    all.filter(|binding| lasting(&binding.destination))
        .map(|binding| {
            let (destination, kind) = match &binding.destination {
                Destination::Queue(name) => (name, "queue"),
                Destination::Exchange(name) => (name, "exchange"),
            };
            json!({"vhost": vhost, "source": binding.source, "destination": destination,
                   "destination_type": kind, "routing_key": binding.routing_key,
                   "arguments": table(&binding.arguments)})
        })
        .collect()
}

fn table(entries: &Table) -> Json {
    Json::Object(entries.iter().map(|(name, value)| (name.clone(), plain(value))).collect::<Map<_, _>>())
}

/// JSON has fewer types; what is an octet string there and here is text, with what is not UTF-8 replaced.
fn plain(value: &Value) -> Json {
    match value {
        Value::Bool(b) => json!(b),
        Value::Int { value, .. } => i64::try_from(*value).map_or_else(|_| json!(*value as f64), |n| json!(n)),
        Value::Float(n) => json!(n),
        Value::Double(n) => json!(n),
        Value::Decimal { scale, value } => json!(f64::from(*value) / 10f64.powi(i32::from(*scale))),
        Value::Str(octets) | Value::Bytes(octets) => json!(String::from_utf8_lossy(octets)),
        Value::Timestamp(seconds) => json!(seconds),
        Value::Array(items) => Json::Array(items.iter().map(plain).collect()),
        Value::Table(entries) => table(entries),
        Value::Void => Json::Null,
    }
}
