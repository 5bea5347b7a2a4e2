//! From JSON to commands.

use anyhow::{Context, bail};
use base64ct::{Base64, Encoding};
use bowline_model::TopicId;
use bowline_model::meta::{
    Binding, Command, Destination, ExchangeSpec, LimitScope, PasswordHash, PermissionSpec, PolicySpec,
    QueueDeclaration, ScramMechanism, Table, TopicPermissionSpec, TopicSpec, UserSpec, Value, VhostSpec,
};
use bowline_sasl::scram;
use bowline_topology::arguments::{self, DeclaredType};
use bowline_topology::{password, policy};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// JSON nests arrays and tables no deeper than this in arguments.
const DEPTH_MAX: usize = 16;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Definitions {
    vhosts: Vec<Vhost>,
    users: Vec<User>,
    permissions: Vec<Permission>,
    topic_permissions: Vec<TopicPermission>,
    parameters: Vec<Parameter>,
    global_parameters: Vec<GlobalParameter>,
    policies: Vec<Policy>,
    queues: Vec<Queue>,
    exchanges: Vec<Exchange>,
    bindings: Vec<Bound>,
}

#[derive(Deserialize)]
struct Vhost {
    name: String,
    description: Option<String>,
    tags: Option<Tags>,
    default_queue_type: Option<String>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    limits: Json,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    description: Option<String>,
    tags: Option<Tags>,
    default_queue_type: Option<String>,
}

/// A list, or as older versions wrote it: `a,b`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tags {
    List(Vec<String>),
    Text(String),
}

#[derive(Deserialize)]
struct User {
    name: String,
    password_hash: Option<String>,
    hashing_algorithm: Option<String>,
    /// In the clear: hashed on the way in.
    password: Option<String>,
    tags: Option<Tags>,
    #[serde(default)]
    limits: Json,
}

#[derive(Deserialize)]
struct Permission {
    user: String,
    #[serde(default = "root")]
    vhost: String,
    configure: String,
    write: String,
    read: String,
}

#[derive(Deserialize)]
struct TopicPermission {
    user: String,
    #[serde(default = "root")]
    vhost: String,
    exchange: String,
    write: String,
    read: String,
}

#[derive(Deserialize)]
struct Parameter {
    #[serde(default = "root")]
    vhost: String,
    component: String,
    name: String,
    value: Json,
}

#[derive(Deserialize)]
struct GlobalParameter {
    name: String,
    value: Json,
}

#[derive(Deserialize)]
struct Policy {
    #[serde(default = "root")]
    vhost: String,
    name: String,
    #[serde(flatten)]
    body: PolicyBody,
}

#[derive(Deserialize)]
struct PolicyBody {
    pattern: String,
    #[serde(rename = "apply-to", default = "all")]
    apply_to: String,
    definition: serde_json::Map<String, Json>,
    #[serde(default)]
    priority: i64,
}

#[derive(Deserialize)]
struct Queue {
    #[serde(default = "root")]
    vhost: String,
    name: String,
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    arguments: serde_json::Map<String, Json>,
}

#[derive(Deserialize)]
struct Exchange {
    #[serde(default = "root")]
    vhost: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    arguments: serde_json::Map<String, Json>,
}

#[derive(Deserialize)]
struct Bound {
    #[serde(default = "root")]
    vhost: String,
    source: String,
    destination: String,
    destination_type: String,
    #[serde(default)]
    routing_key: String,
    #[serde(default)]
    arguments: serde_json::Map<String, Json>,
}

fn root() -> String {
    "/".to_owned()
}

fn all() -> String {
    "all".to_owned()
}

impl Tags {
    fn list(self) -> Vec<String> {
        match self {
            Tags::List(tags) => tags,
            Tags::Text(text) => {
                text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
            }
        }
    }
}

/// The commands, in steps of which each builds on those before. `current` is what is known of a user that is there,
/// `random` gives random octets.
///
/// # Errors
/// The JSON is not of the right form: nothing is taken over then.
pub fn commands(
    json: &Json,
    current: &dyn Fn(&str) -> Option<Known>,
    random: &mut dyn FnMut() -> [u8; 16],
) -> anyhow::Result<Vec<Vec<Command>>> {
    let found = Definitions::deserialize(json)?;
    let (mut vhosts, mut users, mut rest, mut names, mut bindings) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for vhost in found.vhosts {
        let limits = limits(&vhost.limits);
        let spec = VhostSpec {
            description: vhost.metadata.description.or(vhost.description).unwrap_or_default(),
            tags: vhost.metadata.tags.or(vhost.tags).map(Tags::list).unwrap_or_default(),
            default_queue_type: vhost
                .metadata
                .default_queue_type
                .or(vhost.default_queue_type)
                .filter(|kind| kind != "undefined"),
            name: vhost.name,
        };
        if !limits.is_empty() {
            rest.push(Command::LimitsPut { scope: LimitScope::Vhost(spec.name.clone()), limits });
        }
        vhosts.push(Command::VhostPut(spec));
    }
    for user in found.users {
        let limits = limits(&user.limits);
        if !limits.is_empty() {
            rest.push(Command::LimitsPut { scope: LimitScope::User(user.name.clone()), limits });
        }
        let password =
            password_of(&user, current, random).with_context(|| format!("user '{}'", user.name))?;
        rest.extend(scram_of(&user, current, random));
        let tags = user.tags.map(Tags::list).unwrap_or_default();
        users.push(Command::UserPut(UserSpec { name: user.name, password, tags }));
    }
    for Permission { user, vhost, configure, write, read } in found.permissions {
        rest.push(Command::PermissionPut(PermissionSpec { user, vhost, configure, write, read }));
    }
    for TopicPermission { user, vhost, exchange, write, read } in found.topic_permissions {
        rest.push(Command::TopicPermissionPut(TopicPermissionSpec { user, vhost, exchange, write, read }));
    }
    for Policy { vhost, name, body } in found.policies {
        rest.push(policy_command(vhost, name, body, false)?);
    }
    for Parameter { vhost, component, name, value } in found.parameters {
        rest.push(match component.as_str() {
            "operator_policy" => {
                let body =
                    PolicyBody::deserialize(&value).with_context(|| format!("operator policy '{name}'"))?;
                policy_command(vhost, name, body, true)?
            }
            "vhost-limits" => Command::LimitsPut { scope: LimitScope::Vhost(vhost), limits: limits(&value) },
            _ => Command::ParameterPut { vhost: Some(vhost), component, name, value: value.to_string() },
        });
    }
    for GlobalParameter { name, value } in found.global_parameters {
        rest.push(Command::ParameterPut {
            vhost: None,
            component: "global".to_owned(),
            name,
            value: value.to_string(),
        });
    }
    for exchange in found.exchanges {
        let spec = ExchangeSpec {
            kind: arguments::exchange_kind(&exchange.kind)
                .map_err(|refused| anyhow::anyhow!("exchange '{}': {}", exchange.name, refused.text))?,
            arguments: table(&exchange.arguments)?,
            vhost: exchange.vhost,
            name: exchange.name,
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            internal: exchange.internal,
        };
        names.push(Command::ExchangeDeclare(spec));
    }
    for queue in found.queues {
        names.push(queue_command(queue, random)?);
    }
    for bound in found.bindings {
        let destination = match bound.destination_type.as_str() {
            "queue" => Destination::Queue(bound.destination),
            "exchange" => Destination::Exchange(bound.destination),
            other => bail!("a binding's destination_type '{other}' is neither queue nor exchange"),
        };
        bindings.push(Command::Bind(Binding {
            vhost: bound.vhost,
            source: bound.source,
            destination,
            routing_key: bound.routing_key,
            arguments: table(&bound.arguments)?,
        }));
    }
    Ok(vec![vhosts, users, rest, names, bindings])
}

fn policy_command(vhost: String, name: String, body: PolicyBody, operator: bool) -> anyhow::Result<Command> {
    let apply_to = policy::apply_to(&body.apply_to)
        .with_context(|| format!("policy '{name}': apply-to '{}' is not known", body.apply_to))?;
    let definition = table(&body.definition)?;
    let PolicyBody { pattern, priority, .. } = body;
    Ok(Command::PolicyPut(PolicySpec { vhost, name, operator, pattern, apply_to, priority, definition }))
}

fn queue_command(queue: Queue, random: &mut dyn FnMut() -> [u8; 16]) -> anyhow::Result<Command> {
    let mut arguments = table(&queue.arguments)?;
    if let Some(kind) = queue.kind.filter(|kind| kind != "classic")
        && arguments::get(&arguments, arguments::QUEUE_TYPE).is_none()
    {
        arguments.push((arguments::QUEUE_TYPE.to_owned(), Value::Str(kind.into_bytes())));
    }
    let Queue { vhost, name, durable, auto_delete, .. } = queue;
    let refused = |refused: bowline_topology::Rejection| anyhow::anyhow!("{}", refused.text);
    if arguments::declared_type(&vhost, &name, &arguments).map_err(refused)? == DeclaredType::Stream {
        let configs = arguments::validate_stream(&vhost, &name, durable, false, auto_delete, &arguments)
            .map_err(refused)?;
        let mut id = random();
        // A version 4 UUID, as everybody else's.
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        let id = TopicId(id);
        return Ok(Command::TopicCreate(TopicSpec { vhost, name, id, partitions: 1, configs, arguments }));
    }
    let exclusive = None;
    Ok(Command::QueueDeclare(QueueDeclaration { vhost, name, durable, auto_delete, exclusive, arguments }))
}

/// A user as it is now.
pub struct Known {
    pub password: PasswordHash,
    /// Kafka clients may log in as this user with SCRAM.
    pub has_scram: bool,
}

impl Known {
    fn accepts(&self, text: &str) -> bool {
        password::accepts(&self.password, text.as_bytes())
    }
}

/// With the password itself at hand, SCRAM gets what it needs; a hash alone is no use to it.
fn scram_of(
    user: &User,
    current: &dyn Fn(&str) -> Option<Known>,
    random: &mut dyn FnMut() -> [u8; 16],
) -> Option<Command> {
    let text = user.password.as_ref()?;
    if current(&user.name).is_some_and(|known| known.has_scram && known.accepts(text)) {
        return None;
    }
    let iterations = NonZeroU32::new(scram::ITERATIONS_MIN)?;
    let put = [ScramMechanism::Sha256, ScramMechanism::Sha512]
        .map(|mechanism| (mechanism, scram::derive(mechanism, text.as_bytes(), &random(), iterations)));
    Some(Command::ScramAlter { user: user.name.clone(), put: put.into(), remove: Vec::new() })
}

fn password_of(
    user: &User,
    current: &dyn Fn(&str) -> Option<Known>,
    random: &mut dyn FnMut() -> [u8; 16],
) -> anyhow::Result<Option<PasswordHash>> {
    if let Some(text) = &user.password {
        // The hash that is there is kept if it fits: importing twice is importing once.
        let present = current(&user.name).filter(|known| known.accepts(text));
        return Ok(match present {
            Some(known) => Some(known.password),
            None => Some(password::argon2id(random(), text.as_bytes()).context("hashing the password")?),
        });
    }
    let Some(hash) = user.password_hash.as_deref().filter(|hash| !hash.is_empty()) else { return Ok(None) };
    let octets = || Base64::decode_vec(hash).ok().context("password_hash is not base64");
    Ok(Some(match user.hashing_algorithm.as_deref() {
        None | Some("rabbit_password_hashing_sha256") => PasswordHash::Sha256(octets()?),
        Some("rabbit_password_hashing_sha512") => PasswordHash::Sha512(octets()?),
        Some("argon2id") => PasswordHash::Argon2id(hash.to_owned()),
        Some(other) => bail!("hashing_algorithm '{other}' is not supported (sha256, sha512, argon2id are)"),
    }))
}

/// `{"max-connections": 5}`; RabbitMQ writes `[]` for none.
fn limits(json: &Json) -> Vec<(String, i64)> {
    let entries: BTreeMap<&String, i64> = json
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name, value.as_i64()?)))
        .collect();
    entries.into_iter().map(|(name, n)| (name.clone(), n)).collect()
}

fn table(entries: &serde_json::Map<String, Json>) -> anyhow::Result<Table> {
    let read = |(name, json): (&String, &Json)| Ok((name.clone(), value(json, 0)?));
    entries.iter().map(read).collect()
}

/// As RabbitMQ reads JSON into argument values.
fn value(json: &Json, depth: usize) -> anyhow::Result<Value> {
    anyhow::ensure!(depth < DEPTH_MAX, "arguments are nested too deep");
    Ok(match json {
        Json::Null => Value::Void,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => Value::Int { tag: b'l', value: n.into() },
            (None, Some(n)) => Value::Double(n),
            (None, None) => bail!("{n} is not a number that arguments can have"),
        },
        Json::String(text) => Value::Str(text.clone().into_bytes()),
        Json::Array(items) => {
            Value::Array(items.iter().map(|item| value(item, depth + 1)).collect::<anyhow::Result<_>>()?)
        }
        Json::Object(entries) => Value::Table(
            entries
                .iter()
                .map(|(name, json)| Ok((name.clone(), value(json, depth + 1)?)))
                .collect::<anyhow::Result<_>>()?,
        ),
    })
}
