//! Configuration of `serve`. Each option is declared once, in [`ServeArgs`], and is thereby a flag, an
//! environment variable and a key of the TOML file; they win in that order, defaults come last.

use anyhow::Context;
use bowline_topology::config::started;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// No AMQP message is larger, whatever was said.
const MESSAGE_BYTES_MAX: u64 = 128 << 20;
/// Room in a segment for what goes with a message: properties, names, headers of records and blocks.
const BESIDE_A_MESSAGE: u64 = 2 << 20;

/// What the user said. `None` means "not said here".
#[derive(Args, Deserialize, Default, Clone, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[command(after_help = "\
Every option is also an environment variable (BOWLINE_DATA_DIR …) and a key of the TOML file (data-dir = \"…\").
Flags win over the environment, the environment over the file.

Examples:
  bowline serve
  bowline serve --data-dir /var/lib/bowline --amqp-addr 0.0.0.0:5672 --kafka-addr 0.0.0.0:9092 --user app:secret
  BOWLINE_LOG_FORMAT=json bowline serve --config /etc/bowline.toml")]
pub struct ServeArgs {
    /// TOML file with these options as keys.
    #[arg(long, env = "BOWLINE_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Where the log lives. Created if missing. [default: ./bowline-data]
    #[arg(long, env = "BOWLINE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where AMQP 0-9-1 clients connect; `none` switches it off. [default: localhost:5672]
    #[arg(long, env = "BOWLINE_AMQP_ADDR", value_name = "HOST:PORT")]
    amqp_addr: Option<String>,
    /// Where Kafka clients connect; `none` switches it off. [default: localhost:9092]
    #[arg(long, env = "BOWLINE_KAFKA_ADDR", value_name = "HOST:PORT")]
    kafka_addr: Option<String>,
    /// The address that Kafka clients are told to connect to. [default: the one they dialled]
    #[arg(long, env = "BOWLINE_KAFKA_ADVERTISED", value_name = "HOST:PORT")]
    kafka_advertised: Option<String>,
    /// Where AMQP clients connect with TLS; usually port 5671. [default: none]
    #[arg(long, env = "BOWLINE_AMQP_TLS_ADDR", value_name = "HOST:PORT")]
    amqp_tls_addr: Option<String>,
    /// Where Kafka clients connect with TLS (`security.protocol=SSL`). [default: none]
    #[arg(long, env = "BOWLINE_KAFKA_TLS_ADDR", value_name = "HOST:PORT")]
    kafka_tls_addr: Option<String>,
    /// As --kafka-advertised, for clients that came with TLS. [default: the one they dialled]
    #[arg(long, env = "BOWLINE_KAFKA_TLS_ADVERTISED", value_name = "HOST:PORT")]
    kafka_tls_advertised: Option<String>,
    /// The server's certificate and what leads to its authority, PEM. Read again when it changes, and on SIGHUP.
    #[arg(long, env = "BOWLINE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM, not encrypted.
    #[arg(long, env = "BOWLINE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Authorities of clients' certificates, PEM. With it clients may show one, and AMQP clients log in by it
    /// (EXTERNAL).
    #[arg(long, env = "BOWLINE_TLS_CLIENT_CA", value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Turn away TLS clients that show no certificate.
    #[arg(long, env = "BOWLINE_TLS_CLIENT_REQUIRED")]
    #[serde(default)]
    tls_client_required: bool,
    /// What of a client's certificate is its user's name. [default: common-name]
    #[arg(long, env = "BOWLINE_TLS_USER", value_enum)]
    tls_user: Option<TlsUser>,
    /// A user, `name:password`, for both protocols; may be given several times. `guest:guest` exists for loopback
    /// connections.
    #[arg(long = "user", env = "BOWLINE_USERS", value_name = "NAME:PASSWORD", value_delimiter = ',')]
    #[serde(default)]
    users: Vec<String>,
    /// A file of users, one `name:password` a line.
    #[arg(long, env = "BOWLINE_USERS_FILE", value_name = "FILE")]
    users_file: Option<PathBuf>,
    /// Whether clients are served that do not log in (Kafka), and guest, whose password everybody knows (AMQP).
    /// `loopback`: from this machine only. [default: loopback]
    #[arg(long, env = "BOWLINE_ANONYMOUS", value_enum)]
    anonymous: Option<Anonymity>,
    /// Kafka clients have to log in again after so many milliseconds, on the same connection; 0: never. [default: 0]
    #[arg(long, env = "BOWLINE_KAFKA_REAUTH", value_name = "MS")]
    kafka_reauth: Option<u64>,
    /// Keys of whoever issues tokens (JSON Web Key Set), for Kafka's SASL OAUTHBEARER: a file, read again when it
    /// changes, or an address (https:// or http://), asked again every ten minutes and for keys that are not known.
    #[arg(long, env = "BOWLINE_OAUTH_JWKS", value_name = "FILE|URL")]
    oauth_jwks: Option<String>,
    /// Tokens must be issued by (claim `iss`); `any`: by anybody who has one of the keys.
    #[arg(long, env = "BOWLINE_OAUTH_ISSUER", value_name = "TEXT")]
    oauth_issuer: Option<String>,
    /// Tokens must be for (claim `aud`); `any`: for anything, so that tokens for other services open this one.
    #[arg(long, env = "BOWLINE_OAUTH_AUDIENCE", value_name = "TEXT")]
    oauth_audience: Option<String>,
    /// RabbitMQ's definitions (JSON): vhosts, users, permissions, policies, queues, exchanges, bindings. What is
    /// missing is added at the start and on SIGHUP; nothing is removed.
    #[arg(long, env = "BOWLINE_DEFINITIONS", value_name = "FILE")]
    definitions: Option<PathBuf>,
    /// `durable`: a confirm means on stable storage. `relaxed`: a confirm means handed to the operating
    /// system; a power cut or kernel crash can lose confirmed messages. [default: durable]
    #[arg(long, env = "BOWLINE_FLUSH", value_enum)]
    flush: Option<Flush>,
    /// Memory for recently written blocks; half as much again for blocks read back. [default: 32MiB]
    #[arg(long, env = "BOWLINE_CACHE", value_name = "SIZE")]
    cache: Option<Size>,
    /// Memory for transient messages; beyond it they go through the log. [default: 48MiB]
    #[arg(long, env = "BOWLINE_TRANSIENT_MEMORY", value_name = "SIZE")]
    transient_memory: Option<Size>,
    /// Data shards; fixed when the data directory is created. [default: one for every two cores]
    #[arg(long, env = "BOWLINE_SHARDS", value_name = "N")]
    shards: Option<u16>,
    /// Size of the log's segment files from now on. [default: 64MiB]
    #[arg(long, env = "BOWLINE_SEGMENT", value_name = "SIZE")]
    segment: Option<Size>,
    /// Publishers are blocked when less than this is free on the disk. [default: 512MiB]
    #[arg(long, env = "BOWLINE_DISK_RESERVE", value_name = "SIZE")]
    disk_reserve: Option<Size>,
    /// Start although acknowledged records are damaged: they are set aside in `quarantine/` and reported.
    #[arg(long, env = "BOWLINE_ACCEPT_LOSS")]
    #[serde(default)]
    accept_loss: bool,
    /// Partitions of a topic created by first use. [default: 1]
    #[arg(long, env = "BOWLINE_NUM_PARTITIONS", value_name = "N")]
    num_partitions: Option<u32>,
    /// Memory for the keys of a topic while it is compacted: 14 bytes a key; with more keys it takes several rounds.
    /// [default: 48MiB]
    #[arg(long, env = "BOWLINE_COMPACTION_MEMORY", value_name = "SIZE")]
    compaction_memory: Option<Size>,
    /// How long the first rebalance of an empty group of Kafka consumers waits for more of them, milliseconds; 0: not
    /// at all. [default: 300]
    #[arg(long, env = "BOWLINE_KAFKA_REBALANCE_DELAY", value_name = "MS")]
    kafka_rebalance_delay: Option<u32>,
    /// What a group has committed is forgotten so many minutes after its last member has left, or if nobody subscribes
    /// to the topic any more. [default: 10080, seven days]
    #[arg(long, env = "BOWLINE_KAFKA_OFFSETS_RETENTION", value_name = "MINUTES")]
    kafka_offsets_retention: Option<u32>,
    /// A setting of Kafka's brokers, `name=value`, that bounds groups or is what groups inherit; may be given several
    /// times. One that is not enforced, or cannot have that value, is refused.
    #[arg(
        long = "kafka-config",
        env = "BOWLINE_KAFKA_CONFIG",
        value_name = "NAME=VALUE",
        value_delimiter = ';'
    )]
    #[serde(default, rename = "kafka-config")]
    kafka_configs: Vec<String>,
    /// The topic that metrics go to which Kafka clients push (KIP-714), made when the first come; an empty name:
    /// clients are not asked for any. [default: otlp_metrics]
    #[arg(long, env = "BOWLINE_CLIENT_METRICS_TOPIC", value_name = "NAME")]
    client_metrics_topic: Option<String>,
    /// Create topics on first use. [default: true]
    #[arg(long, env = "BOWLINE_AUTO_CREATE_TOPICS", value_name = "BOOL")]
    auto_create_topics: Option<bool>,
    /// Kafka's access rules (ACLs) decide what Kafka clients may do, and nothing is allowed that no rule allows.
    /// Without it there are no rules, and the permissions of users hold for Kafka, too.
    #[arg(long, env = "BOWLINE_KAFKA_ACLS")]
    #[serde(default)]
    kafka_acls: bool,
    /// Somebody to whom the rules do not apply, `User:name`; may be given several times. They make the first rules.
    #[arg(
        long = "kafka-super-user",
        env = "BOWLINE_KAFKA_SUPER_USERS",
        value_name = "PRINCIPAL",
        value_delimiter = ';'
    )]
    #[serde(default)]
    kafka_super_users: Vec<String>,
    /// What no rule names is open to everybody, instead of to nobody.
    #[arg(long, env = "BOWLINE_KAFKA_OPEN_WITHOUT_ACLS")]
    #[serde(default)]
    kafka_open_without_acls: bool,
    /// Kafka node id. [default: 1]
    #[arg(long, env = "BOWLINE_NODE_ID", value_name = "N")]
    node_id: Option<i32>,
    /// An AMQP message's body may be this large; up to 128MiB, and 2MiB less than a segment. [default: 32MiB]
    #[arg(long, env = "BOWLINE_MAX_MESSAGE_SIZE", value_name = "SIZE")]
    max_message_size: Option<Size>,
    /// Connections of each protocol at a time. [default: 20000]
    #[arg(long, env = "BOWLINE_MAX_CONNECTIONS", value_name = "N")]
    max_connections: Option<u32>,
    /// error, warn, info, debug; or a filter such as `info,bowline_storage=debug`. [default: info]
    #[arg(long, env = "BOWLINE_LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<String>,
    /// [default: text]
    #[arg(long, env = "BOWLINE_LOG_FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// Do not measure the disk's flush time at the start.
    #[arg(long, env = "BOWLINE_NO_PROBE")]
    #[serde(default)]
    no_probe: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flush {
    Durable,
    Relaxed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsUser {
    CommonName,
    DistinguishedName,
}

/// From where clients may come without a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymity {
    Loopback,
    Off,
    Everywhere,
}

/// Tokens that are accepted. `None`: whatever they say of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tokens {
    pub keys: KeysAt,
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

/// Where the keys are that tokens are checked with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeysAt {
    File(PathBuf),
    /// `https://…` or `http://…`.
    Address(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// A number of bytes, written `64MiB`, `1g`, `4096` …
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = text[..digits].parse().map_err(|_| format!("`{text}` is not a size"))?;
        let shift =
            match text[digits..].trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
                "" => 0,
                "k" => 10,
                "m" => 20,
                "g" => 30,
                "t" => 40,
                _ => return Err(format!("`{text}`: the unit must be KiB, MiB, GiB or TiB")),
            };
        number.checked_mul(1 << shift).map(Size).ok_or_else(|| format!("`{text}` is too large"))
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Size, String> {
        text.parse()
    }
}

/// The configuration that is in force.
#[derive(Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub amqp_addr: Option<String>,
    pub kafka_addr: Option<String>,
    pub kafka_advertised: Option<(String, u16)>,
    pub amqp_tls_addr: Option<String>,
    pub kafka_tls_addr: Option<String>,
    pub kafka_tls_advertised: Option<(String, u16)>,
    pub tls: Option<bowline_net::tls::Files>,
    pub tls_user: TlsUser,
    pub users: Vec<(String, String)>,
    pub anonymous: Anonymity,
    /// 0: never.
    pub kafka_reauth_ms: u64,
    pub tokens: Option<Tokens>,
    pub definitions: Option<PathBuf>,
    pub flush: Flush,
    pub cache_bytes: usize,
    pub transient_bytes: usize,
    pub shards: Option<u16>,
    pub segment_bytes: u64,
    pub disk_reserve_bytes: u64,
    pub accept_loss: bool,
    pub num_partitions: u32,
    pub compaction_bytes: usize,
    pub groups: bowline_replica::GroupOptions,
    /// Checked by `bowline_topology::config::started`.
    pub kafka_configs: Vec<(String, String)>,
    /// `None`: clients are not asked for metrics.
    pub client_metrics_topic: Option<String>,
    pub auto_create_topics: bool,
    pub kafka_acls: Option<bowline_front_kafka::AclOptions>,
    pub node_id: i32,
    pub message_bytes_max: u64,
    pub max_connections: u32,
    pub log_level: String,
    pub log_format: LogFormat,
    pub probe: bool,
}

impl ServeArgs {
    /// Merges flags and environment (already in `self`) with the file and the defaults, and checks them.
    pub fn resolve(self) -> anyhow::Result<Config> {
        let file = match &self.config {
            Some(path) => read_file(path)?,
            None => ServeArgs::default(),
        };
        let mut users = Vec::new();
        let listed = if self.users.is_empty() { file.users } else { self.users };
        for entry in &listed {
            users.push(user(entry)?);
        }
        if let Some(path) = self.users_file.or(file.users_file) {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("users file {}", path.display()))?;
            for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
                users.push(user(line).with_context(|| format!("users file {}", path.display()))?);
            }
        }
        let advertised = self.kafka_advertised.or(file.kafka_advertised);
        let tls_advertised = self.kafka_tls_advertised.or(file.kafka_tls_advertised);
        let tls = match (self.tls_cert.or(file.tls_cert), self.tls_key.or(file.tls_key)) {
            (Some(certificate), Some(key)) => Some(bowline_net::tls::Files {
                certificate,
                key,
                client_authorities: self.tls_client_ca.or(file.tls_client_ca),
                client_must_show: self.tls_client_required || file.tls_client_required,
            }),
            (None, None) => None,
            _ => anyhow::bail!("tls-cert and tls-key go together"),
        };
        let tokens = tokens(
            self.oauth_jwks.or(file.oauth_jwks),
            self.oauth_issuer.or(file.oauth_issuer),
            self.oauth_audience.or(file.oauth_audience),
        )?;
        let segment_bytes = self.segment.or(file.segment).map_or(64 << 20, |s| s.0);
        // A message has to fit a segment, with what belongs to it.
        let message_room = segment_bytes.saturating_sub(BESIDE_A_MESSAGE).min(MESSAGE_BYTES_MAX);
        let kafka_configs = kafka_configs(if self.kafka_configs.is_empty() {
            &file.kafka_configs
        } else {
            &self.kafka_configs
        })?;
        let config = Config {
            data_dir: self.data_dir.or(file.data_dir).unwrap_or_else(|| "bowline-data".into()),
            amqp_addr: address(self.amqp_addr.or(file.amqp_addr), "localhost:5672"),
            kafka_addr: address(self.kafka_addr.or(file.kafka_addr), "localhost:9092"),
            kafka_advertised: advertised.as_deref().map(host_port).transpose()?,
            amqp_tls_addr: self.amqp_tls_addr.or(file.amqp_tls_addr).filter(|address| address != "none"),
            kafka_tls_addr: self.kafka_tls_addr.or(file.kafka_tls_addr).filter(|address| address != "none"),
            kafka_tls_advertised: tls_advertised.as_deref().map(host_port).transpose()?,
            tls,
            tls_user: self.tls_user.or(file.tls_user).unwrap_or(TlsUser::CommonName),
            users,
            anonymous: self.anonymous.or(file.anonymous).unwrap_or(Anonymity::Loopback),
            kafka_reauth_ms: self.kafka_reauth.or(file.kafka_reauth).unwrap_or(0),
            tokens,
            definitions: self.definitions.or(file.definitions),
            flush: self.flush.or(file.flush).unwrap_or(Flush::Durable),
            cache_bytes: self.cache.or(file.cache).map_or(32 << 20, |s| s.0 as usize),
            transient_bytes: self
                .transient_memory
                .or(file.transient_memory)
                .map_or(48 << 20, |s| s.0 as usize),
            shards: self.shards.or(file.shards),
            segment_bytes,
            disk_reserve_bytes: self.disk_reserve.or(file.disk_reserve).map_or(512 << 20, |s| s.0),
            accept_loss: self.accept_loss || file.accept_loss,
            num_partitions: self.num_partitions.or(file.num_partitions).unwrap_or(1),
            compaction_bytes: self
                .compaction_memory
                .or(file.compaction_memory)
                .map_or(bowline_replica::compact::KEYS_BYTES, |s| s.0 as usize),
            groups: groups(
                self.kafka_rebalance_delay.or(file.kafka_rebalance_delay),
                self.kafka_offsets_retention.or(file.kafka_offsets_retention),
                &kafka_configs,
            )?,
            kafka_configs,
            client_metrics_topic: client_metrics_topic(
                self.client_metrics_topic.or(file.client_metrics_topic),
            )?,
            auto_create_topics: self.auto_create_topics.or(file.auto_create_topics).unwrap_or(true),
            kafka_acls: kafka_acls(
                self.kafka_acls || file.kafka_acls,
                if self.kafka_super_users.is_empty() {
                    &file.kafka_super_users
                } else {
                    &self.kafka_super_users
                },
                self.kafka_open_without_acls || file.kafka_open_without_acls,
            )?,
            node_id: self.node_id.or(file.node_id).unwrap_or(1),
            message_bytes_max: self
                .max_message_size
                .or(file.max_message_size)
                .map_or(message_room.min(32 << 20), |s| s.0),
            max_connections: self.max_connections.or(file.max_connections).unwrap_or(20_000),
            log_level: self.log_level.or(file.log_level).unwrap_or_else(|| "info".into()),
            log_format: self.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
            probe: !(self.no_probe || file.no_probe),
        };
        anyhow::ensure!(
            config.tls.is_some() || (config.amqp_tls_addr.is_none() && config.kafka_tls_addr.is_none()),
            "a TLS address needs tls-cert and tls-key"
        );
        anyhow::ensure!(
            config.tls.as_ref().is_none_or(|tls| tls.client_authorities.is_some() || !tls.client_must_show),
            "tls-client-required needs tls-client-ca"
        );
        anyhow::ensure!(
            (32 << 20..=1 << 30).contains(&config.segment_bytes) && config.segment_bytes.is_multiple_of(4096),
            "segment must be between 32MiB and 1GiB and a multiple of 4096 bytes"
        );
        anyhow::ensure!(
            (1..=message_room).contains(&config.message_bytes_max),
            "max-message-size must be at most {} MiB with segments of {} MiB",
            message_room >> 20,
            segment_bytes >> 20
        );
        anyhow::ensure!(
            config.shards.is_none_or(|n| (1..=64).contains(&n)),
            "shards must be between 1 and 64"
        );
        anyhow::ensure!(config.cache_bytes >= 4 << 20, "cache must be at least 4MiB");
        anyhow::ensure!(
            (1..=10_000).contains(&config.num_partitions),
            "num-partitions must be between 1 and 10000"
        );
        anyhow::ensure!(config.node_id >= 0, "node-id must not be negative");
        Ok(config)
    }
}

fn groups(
    rebalance_delay_ms: Option<u32>,
    offsets_retention_minutes: Option<u32>,
    kafka_configs: &[(String, String)],
) -> anyhow::Result<bowline_replica::GroupOptions> {
    let mut groups = bowline_replica::GroupOptions::default();
    let number = |name| i32::try_from(started::number(kafka_configs, name)).unwrap_or(i32::MAX);
    groups.session_timeout_ms = number(started::SESSION_TIMEOUT_MIN)..=number(started::SESSION_TIMEOUT_MAX);
    groups.config = groups.config.with(&started::for_groups(kafka_configs));
    if let Some(delay) = rebalance_delay_ms {
        groups.initial_rebalance_delay_ms = delay;
    }
    if let Some(minutes) = offsets_retention_minutes {
        anyhow::ensure!(minutes > 0, "kafka-offsets-retention must be at least a minute");
        groups.offsets_retention_ms = u64::from(minutes) * 60_000;
    }
    Ok(groups)
}

/// Settings of Kafka's brokers, `name=value`.
fn kafka_configs(texts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| anyhow::anyhow!("kafka-config `{text}` is not written name=value"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    let configs = texts.iter().map(pair).collect::<anyhow::Result<Vec<_>>>()?;
    started::validate(&configs).map_err(|rejection| anyhow::anyhow!("kafka-config: {}", rejection.text))?;
    Ok(configs)
}

fn client_metrics_topic(name: Option<String>) -> anyhow::Result<Option<String>> {
    let name = name.unwrap_or_else(|| bowline_front_kafka::telemetry::TOPIC.to_owned());
    if name.is_empty() {
        return Ok(None);
    }
    anyhow::ensure!(
        bowline_front_kafka::catalog::is_valid_name(&name),
        "client-metrics-topic: `{name}` cannot be a topic's name"
    );
    Ok(Some(name))
}

/// What belongs to access rules is an error without them: it would protect nothing.
fn kafka_acls(
    on: bool,
    super_users: &[String],
    open_without_rules: bool,
) -> anyhow::Result<Option<bowline_front_kafka::AclOptions>> {
    if !on {
        anyhow::ensure!(
            super_users.is_empty() && !open_without_rules,
            "kafka-super-user and kafka-open-without-acls need kafka-acls"
        );
        return Ok(None);
    }
    let principal = |text: &String| {
        text.parse().map_err(|_| anyhow::anyhow!("kafka-super-user `{text}` is not written User:name"))
    };
    let super_users = super_users.iter().map(principal).collect::<anyhow::Result<_>>()?;
    Ok(Some(bowline_front_kafka::AclOptions { super_users, open_without_rules }))
}

fn read_file(path: &Path) -> anyhow::Result<ServeArgs> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("configuration file {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("configuration file {}", path.display()))
}

fn address(said: Option<String>, default: &str) -> Option<String> {
    let address = said.unwrap_or_else(|| default.to_owned());
    (address != "none").then_some(address)
}

fn user(entry: &str) -> anyhow::Result<(String, String)> {
    match entry.split_once(':') {
        Some((name, password)) if !name.is_empty() => Ok((name.to_owned(), password.to_owned())),
        _ => anyhow::bail!("a user is written name:password"),
    }
}

/// Issuer and audience are not forgotten by mistake: whoever wants to do without says so.
fn tokens(
    keys: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
) -> anyhow::Result<Option<Tokens>> {
    let (keys, issuer, audience) = match (keys, issuer, audience) {
        (None, None, None) => return Ok(None),
        (Some(keys), Some(issuer), Some(audience)) => (keys, issuer, audience),
        _ => anyhow::bail!(
            "oauth-jwks, oauth-issuer and oauth-audience go together (the last two may be `any`)"
        ),
    };
    let unless_any = |text: String| (text != "any").then_some(text);
    let keys = if keys.starts_with("https://") || keys.starts_with("http://") {
        KeysAt::Address(keys)
    } else {
        KeysAt::File(keys.into())
    };
    Ok(Some(Tokens { keys, issuer: unless_any(issuer), audience: unless_any(audience) }))
}

fn host_port(text: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = text.rsplit_once(':').with_context(|| format!("`{text}` is not HOST:PORT"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port.parse().with_context(|| format!("port of `{text}`"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bowline.toml");
        std::fs::write(&path, "data-dir = '/from/file'\ncache = '8MiB'\nusers = ['a:b:c']\n").unwrap();
        let args =
            ServeArgs { config: Some(path), data_dir: Some("/from/flag".into()), ..Default::default() };
        let config = args.resolve().unwrap();
        assert_eq!(config.data_dir, Path::new("/from/flag"));
        assert_eq!(config.cache_bytes, 8 << 20);
        assert_eq!(config.users, [("a".to_owned(), "b:c".to_owned())]);
        assert_eq!(config.amqp_addr.as_deref(), Some("localhost:5672"));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bowline.toml");
        std::fs::write(&path, "cahce = '8MiB'\n").unwrap();
        let error = ServeArgs { config: Some(path), ..Default::default() }.resolve().unwrap_err();
        assert!(format!("{error:#}").contains("cahce"));
    }

    #[test]
    fn tokens_need_their_rules() {
        let text = |text: &str| Some(text.to_owned());
        let keys = || text("keys.json");
        assert_eq!(tokens(None, None, None).unwrap(), None);
        let found = tokens(keys(), text("us"), text("any")).unwrap().unwrap();
        assert_eq!((found.issuer.as_deref(), found.audience), (Some("us"), None));
        assert_eq!(found.keys, KeysAt::File("keys.json".into()));
        let address = "https://us/keys.json";
        let found = tokens(text(address), text("us"), text("any")).unwrap().unwrap();
        assert_eq!(found.keys, KeysAt::Address(address.into()));
        for bad in [(keys(), None, None), (keys(), text("us"), None), (None, text("us"), text("kafka"))] {
            assert!(tokens(bad.0, bad.1, bad.2).is_err());
        }
    }

    #[test]
    fn access_rules_and_their_super_users() {
        let users = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(kafka_acls(false, &[], false).unwrap(), None);
        let acls = kafka_acls(true, &users(&["User:root", "User:CN=a,O=b"]), false).unwrap().unwrap();
        assert_eq!(acls.super_users[1].to_string(), "User:CN=a,O=b");
        assert!(kafka_acls(true, &users(&["root"]), false).is_err());
        assert!(kafka_acls(false, &users(&["User:root"]), false).is_err());
        assert!(kafka_acls(false, &[], true).is_err());
    }

    #[test]
    fn settings_of_kafkas_brokers() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let configs = kafka_configs(&texts(&[
            "group.min.session.timeout.ms=1000",
            "group.consumer.heartbeat.interval.ms = 6000",
        ]))
        .unwrap();
        let groups = groups(None, None, &configs).unwrap();
        assert_eq!(groups.session_timeout_ms, 1_000..=1_800_000);
        assert_eq!(groups.config.consumer_heartbeat_interval_ms, 6_000);
        assert_eq!(groups.config.consumer_session_timeout_ms, 45_000);
        for bad in ["group.min.session.timeout.ms", "num.partitions=3", "group.share.max.size=many"] {
            assert!(kafka_configs(&texts(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!("64MiB".parse::<Size>().unwrap().0, 64 << 20);
        assert_eq!("1g".parse::<Size>().unwrap().0, 1 << 30);
        assert_eq!("4096".parse::<Size>().unwrap().0, 4096);
        assert!("x".parse::<Size>().is_err() && "5 parsec".parse::<Size>().is_err());
    }
}
