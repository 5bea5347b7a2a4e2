//! `bowline serve`: opens the log, listens, and runs until a signal.

use crate::config::{Config, Flush, LogFormat, ServeArgs, TlsUser};
use crate::definitions;
use crate::issuer::Issuer;
use crate::login;
use anyhow::Context;
use bowline_front_kafka::loggers::ROOT;
use bowline_front_kafka::telemetry::Telemetry;
use bowline_front_kafka::{Authentication, Loggers};
use bowline_net::tls::CertificateUser;
use bowline_net::{Limit, Listener, Shutdown, Threads, Tls};
use bowline_replica::Node;
use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

/// How long open connections get to end cleanly once a signal came.
const GRACE: Duration = Duration::from_secs(5);
/// Certificates and keys of tokens are looked at this often.
const KEYS_LOOKED_AT: Duration = Duration::from_secs(5);
/// Once nothing was appended for so long, memory that is not in use goes back to the system.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(2);

pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = args.resolve()?;
    let loggers = init_tracing(&config)?;
    raise_open_files();
    // Listens and waits; connections run on threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config, loggers))
}

/// A connection is a file, and the soft limit that shells give is for programs that use select(2).
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Connections of one protocol: what was asked for, or what the open files allow after the log has had its share.
fn connections_max(config: &Config) -> u32 {
    const FOR_THE_LOG: u64 = 1024;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = files.saturating_sub(FOR_THE_LOG).max(files / 4) / 2;
    if each < u64::from(config.max_connections) {
        tracing::warn!(
            open_files = files,
            each,
            "the limit of open files allows fewer connections than configured"
        );
    }
    config.max_connections.min(u32::try_from(each).unwrap_or(u32::MAX)).max(1)
}

async fn serve(config: Config, loggers: Arc<Loggers>) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    // Before anything else: a signal that comes during the start is an orderly shutdown, too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // Bind first: an address in use should not cost a recovery.
    let tls = config.tls.clone().map(Tls::load).transpose().context("TLS")?;
    let mut issuer = config.tokens.as_ref().map(Issuer::load).transpose()?;
    let mut amqp = bind("AMQP", config.amqp_addr.as_deref(), None).await?;
    amqp.extend(bind("AMQP with TLS", config.amqp_tls_addr.as_deref(), tls.as_ref()).await?);
    let mut kafka = bind("Kafka", config.kafka_addr.as_deref(), None).await?;
    kafka.extend(bind("Kafka with TLS", config.kafka_tls_addr.as_deref(), tls.as_ref()).await?);
    let options = replica_options(&config);
    let (node, engine) = tokio::task::spawn_blocking(move || bowline_replica::start(options)).await??;

    login::configure_users(&config, &node).await?;
    if let Some(path) = &config.definitions {
        let report = definitions::load(&node, path).await?;
        tracing::info!(file = %path.display(), "definitions: {report}");
    }

    let (stop, shutdown) = watch::channel(false);
    let threads = Threads::start(std::thread::available_parallelism().map_or(2, |n| n.get()))?;
    let mut servers = JoinSet::new();
    for server in amqp_servers(&config, &node, amqp, &shutdown, &threads)? {
        servers.spawn(server);
    }
    let authentication = login::of_kafka(&config, issuer.as_ref());
    for server in kafka_servers(&config, authentication, &node, kafka, &shutdown, &threads, loggers)? {
        servers.spawn(server);
    }
    banner(&config, &engine, began.elapsed());
    if config.probe {
        let dir = config.data_dir.clone();
        let flush = config.flush;
        tokio::task::spawn_blocking(move || report_flush_time(&dir, flush));
    }

    {
        let mut giving_back = std::pin::pin!(give_back(engine.log()));
        let mut look_at_keys = tokio::time::interval(KEYS_LOOKED_AT);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    reload_certificates(tls.as_ref());
                    issuer.iter_mut().for_each(Issuer::look_now);
                    reload(&config, &node).await;
                }
                _ = look_at_keys.tick(), if tls.is_some() || issuer.is_some() => {
                    reload_certificates(tls.as_ref());
                    issuer.iter_mut().for_each(Issuer::look);
                }
                () = &mut giving_back => {}
            }
        }
    }
    tracing::info!("stopping");
    engine.announce_shutdown();
    let _ = stop.send(true);
    let drained = tokio::time::timeout(GRACE, async { while servers.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!("some connections did not end in time and were cut");
    }
    tokio::task::spawn_blocking(move || engine.stop()).await??;
    tracing::info!("stopped cleanly");
    Ok(ExitCode::SUCCESS)
}

/// Gives memory that a burst has left behind back to the system once the log has been quiet. Never returns.
async fn give_back(log: &bowline_storage::Log) {
    let mut given_at = 0;
    let mut seen = 0;
    loop {
        tokio::time::sleep(GIVE_BACK_AFTER).await;
        let bytes = log.stats().bytes;
        if bytes == seen && given_at != bytes {
            given_at = bytes;
            bowline_model::pool::clear();
            // SAFETY: may be called at any time, on any thread.
            unsafe { libmimalloc_sys::mi_collect(true) };
        }
        seen = bytes;
    }
}

/// Certificates are renewed while the broker runs: their files are read again when they have changed.
fn reload_certificates(tls: Option<&Tls>) {
    match tls.map(Tls::reload) {
        None | Some(Ok(false)) => {}
        Some(Ok(true)) => tracing::info!("TLS certificates read again"),
        Some(Err(error)) => tracing::error!("TLS certificates stay as they are: {error}"),
    }
}

/// SIGHUP: what the definitions say now is added to what there is.
async fn reload(config: &Config, node: &Node) {
    let Some(path) = &config.definitions else {
        tracing::info!("SIGHUP: no definitions file was given (--definitions), nothing to read");
        return;
    };
    match definitions::load(node, path).await {
        Ok(report) => tracing::info!(file = %path.display(), "definitions read again: {report}"),
        Err(error) => tracing::error!("definitions: {error:#}"),
    }
}

fn replica_options(config: &Config) -> bowline_replica::Options {
    bowline_replica::Options {
        data_dir: config.data_dir.clone(),
        shards: config.shards,
        cache_bytes: config.cache_bytes,
        transient_bytes: config.transient_bytes,
        segment_bytes: config.segment_bytes,
        disk_reserve_bytes: config.disk_reserve_bytes,
        relaxed_flush: config.flush == Flush::Relaxed,
        accept_loss: config.accept_loss,
        num_partitions: config.num_partitions,
        compaction_bytes: config.compaction_bytes,
        groups: config.groups.clone(),
        started: config.kafka_configs.clone(),
    }
}

fn amqp_servers(
    config: &Config,
    node: &Node,
    listeners: Vec<Listener>,
    shutdown: &Shutdown,
    threads: &Threads,
) -> anyhow::Result<Vec<impl Future<Output = ()> + Send + 'static>> {
    let options = bowline_front_amqp::Options {
        message_bytes_max: config.message_bytes_max,
        certificate_user: certificate_user(config),
        ..Default::default()
    };
    let limit = Limit::new(connections_max(config)).on(threads.clone());
    let serve = |listener| {
        bowline_front_amqp::serve(listener, node.clone(), options.clone(), limit.clone(), shutdown.clone())
    };
    Ok(listeners.into_iter().map(serve).collect())
}

fn certificate_user(config: &Config) -> CertificateUser {
    match config.tls_user {
        TlsUser::CommonName => CertificateUser::CommonName,
        TlsUser::DistinguishedName => CertificateUser::DistinguishedName,
    }
}

fn kafka_servers(
    config: &Config,
    authentication: Authentication,
    node: &Node,
    listeners: Vec<Listener>,
    shutdown: &Shutdown,
    threads: &Threads,
    loggers: Arc<Loggers>,
) -> anyhow::Result<Vec<impl Future<Output = ()> + Send + 'static>> {
    let options = bowline_front_kafka::Options {
        node_id: config.node_id,
        authentication,
        auto_create: config.auto_create_topics,
        num_partitions: config.num_partitions,
        rebalance_delay_ms: config.groups.initial_rebalance_delay_ms,
        offsets_retention_ms: config.groups.offsets_retention_ms,
        loggers: Some(loggers),
        certificate_user: certificate_user(config),
        acls: config.kafka_acls.clone(),
        telemetry: config.client_metrics_topic.as_ref().map(|name| Arc::new(Telemetry::new(name))),
        ..Default::default()
    };
    let limit = Limit::new(connections_max(config)).on(threads.clone());
    let serve = |listener: Listener| {
        let advertised = match listener.tls {
            Some(_) => config.kafka_tls_advertised.clone(),
            None => config.kafka_advertised.clone(),
        };
        let options = bowline_front_kafka::Options { advertised, ..options.clone() };
        bowline_front_kafka::serve(listener, node.clone(), options, limit.clone(), shutdown.clone())
    };
    Ok(listeners.into_iter().map(serve).collect())
}

async fn bind(protocol: &str, address: Option<&str>, tls: Option<&Tls>) -> anyhow::Result<Vec<Listener>> {
    let Some(address) = address else { return Ok(Vec::new()) };
    let sockets = bowline_net::bind(address)
        .await
        .with_context(|| format!("cannot listen for {protocol} on {address}"))?;
    Ok(sockets.into_iter().map(|socket| Listener { socket, tls: tls.cloned() }).collect())
}

fn banner(config: &Config, engine: &bowline_replica::Engine, took: Duration) {
    let recovered = engine.recovery();
    println!("Bowline {} is ready after {} ms.", env!("CARGO_PKG_VERSION"), took.as_millis());
    for (protocol, address) in [("AMQP 0-9-1", &config.amqp_addr), ("Kafka", &config.kafka_addr)] {
        match address {
            Some(address) => println!("  {protocol:<11} {address}"),
            None => println!("  {protocol:<11} off"),
        }
    }
    for (protocol, address) in [("AMQP, TLS", &config.amqp_tls_addr), ("Kafka, TLS", &config.kafka_tls_addr)]
    {
        if let Some(address) = address {
            println!("  {protocol:<11} {address}");
        }
    }
    println!("  data        {} ({recovered})", config.data_dir.display());
    for loss in &recovered.losses {
        tracing::error!(%loss, "acknowledged data is damaged and left out, as --accept-loss asks");
        println!("  LOST        {loss}");
    }
    if let Some(address) = &config.amqp_addr {
        println!("  try         bowline publish amqp://{address}/ --queue test 'hello'");
        println!("              bowline consume amqp://{address}/ --queue test");
    }
}

fn report_flush_time(dir: &std::path::Path, flush: Flush) {
    match bowline_storage::flush_probe(dir, Duration::from_secs(1)) {
        Ok(probe) => {
            let meaning = match flush {
                Flush::Durable => "every confirm waits for one",
                Flush::Relaxed => {
                    "RELAXED: confirms do not wait for it; a power cut can lose confirmed messages"
                }
            };
            let (p50, p99) = (probe.p50.as_micros(), probe.p99.as_micros());
            println!("  durability  a 4 KiB flush takes {p50} µs here (p99 {p99} µs); {meaning}");
        }
        Err(error) => tracing::warn!(%error, "the flush probe failed"),
    }
}

/// The parts whose messages can be levelled one by one, by their crates.
const LOGGERS: &[&str] = &[
    "bowline",
    "bowline_dead_letter",
    "bowline_front_amqp",
    "bowline_front_kafka",
    "bowline_net",
    "bowline_raft",
    "bowline_replica",
    "bowline_storage",
];

fn init_tracing(config: &Config) -> anyhow::Result<Arc<Loggers>> {
    let filter = EnvFilter::try_new(&config.log_level).context("log-level")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started_with = config.log_level.clone();
    let root = started_with.split(',').find(|part| !part.contains('=')).unwrap_or("info").to_owned();
    let apply = |reload: Box<dyn Fn(EnvFilter) + Send + Sync>| -> bowline_front_kafka::loggers::Apply {
        Box::new(move |levels| {
            let mut directives = started_with.clone();
            for (name, level) in levels {
                let level = if *level == "FATAL" { "ERROR" } else { level };
                match name.as_str() {
                    // What comes later counts.
                    ROOT => directives.push_str(&format!(",{level}")),
                    name => directives.push_str(&format!(",{name}={level}")),
                }
            }
            match EnvFilter::try_new(&directives) {
                Ok(filter) => reload(filter),
                Err(error) => tracing::error!(%error, "the levels of the log stay as they are"),
            }
        })
    };
    let apply = match config.log_format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            apply(Box::new(move |filter| drop(handle.reload(filter))))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            apply(Box::new(move |filter| drop(handle.reload(filter))))
        }
    };
    Ok(Arc::new(Loggers::new(LOGGERS.iter().map(|name| (*name).to_owned()), &root, apply)))
}
