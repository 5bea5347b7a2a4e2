//! RabbitMQ's definitions: a whole topology as JSON, in both directions.
//!
//! Importing adds what is missing and changes what may change (users, permissions, policies, vhosts' metadata); it
//! removes nothing, and doing it twice is doing it once. What cannot be taken over is told one by one.
//!
//! `read` turns JSON into commands, `write` the topology into JSON; this file carries the commands to a node.

mod read;
mod write;

use anyhow::Context;
use bowline_model::Token;
use bowline_model::event::Event;
use bowline_model::meta::{Command, MetaRequest};
use bowline_replica::Node;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// An answer that takes longer than this will not come.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Commands under way at a time.
const BATCH: usize = 1000;
/// Of a definitions file, octets.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Reads RabbitMQ's definitions (`rabbitmqctl export_definitions`, or the management page's download) into the data
/// directory of a node that is not running.
#[derive(clap::Args)]
#[command(after_help = "\
Exit status: 0 if everything was taken over, 1 if something could not be; it is listed.

Example:
  bowline import definitions.json --data-dir /var/lib/bowline")]
pub struct ImportArgs {
    /// The definitions, JSON.
    file: PathBuf,
    /// The data directory; created if missing.
    #[arg(long, env = "BOWLINE_DATA_DIR", value_name = "DIR", default_value = "bowline-data")]
    data_dir: PathBuf,
}

/// Writes the definitions of a node that is not running, in the form that RabbitMQ imports.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  bowline export --data-dir /var/lib/bowline > definitions.json")]
pub struct ExportArgs {
    /// The data directory.
    #[arg(long, env = "BOWLINE_DATA_DIR", value_name = "DIR", default_value = "bowline-data")]
    data_dir: PathBuf,
    /// Write to this file instead of to the standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What came of an import.
#[derive(Default, Debug)]
pub struct Report {
    pub accepted: usize,
    /// What it was, and why it was refused.
    pub refused: Vec<(String, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} taken over or there already, {} refused", self.accepted, self.refused.len())
    }
}

pub fn import(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let report = offline(&args.data_dir, |runtime, node| runtime.block_on(load(node, &args.file)))?;
    println!("{report}");
    for (what, why) in &report.refused {
        println!("  {what}: {why}");
    }
    Ok(if report.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn export(args: ExportArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.data_dir.is_dir(), "{} is not a directory", args.data_dir.display());
    let json = offline(&args.data_dir, |_, node| Ok(write::definitions(&node.topology())))?;
    let text = serde_json::to_string_pretty(&json)?;
    match &args.output {
        Some(path) => {
            std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?
        }
        None => println!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the node without listening anywhere, does `work`, and stops it.
fn offline<T>(
    data_dir: &Path,
    work: impl FnOnce(&tokio::runtime::Runtime, &Node) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = bowline_replica::Options {
        data_dir: data_dir.to_owned(),
        shards: None,
        cache_bytes: 8 << 20,
        transient_bytes: 8 << 20,
        segment_bytes: 64 << 20,
        disk_reserve_bytes: 64 << 20,
        relaxed_flush: false,
        accept_loss: false,
        num_partitions: 1,
        compaction_bytes: bowline_replica::compact::KEYS_BYTES,
        groups: Default::default(),
        started: Vec::new(),
    };
    let (node, engine) = bowline_replica::start(options)?;
    let result = work(&runtime, &node);
    drop(node);
    engine.stop()?;
    result
}

/// Reads a file of definitions and carries them to the node. What is refused is logged and reported.
///
/// # Errors
/// The file cannot be read or is not of the right form; the node does not answer.
pub async fn load(node: &Node, path: &Path) -> anyhow::Result<Report> {
    let name = || format!("definitions {}", path.display());
    let bytes = std::fs::metadata(path).with_context(name)?.len();
    anyhow::ensure!(bytes <= FILE_BYTES_MAX, "{} is larger than {FILE_BYTES_MAX} bytes", path.display());
    let text = std::fs::read_to_string(path).with_context(name)?;
    let json = serde_json::from_str(&text).with_context(name)?;
    let current = |user: &str| {
        let topology = node.topology();
        let password = topology.user(user)?.spec.password.clone()?;
        Some(read::Known { password, has_scram: topology.scram_users().contains_key(user) })
    };
    let steps = read::commands(&json, &current, &mut random).with_context(name)?;
    let mut report = Report::default();
    for step in steps {
        for batch in step.chunks(BATCH) {
            propose(node, batch, &mut report).await?;
        }
    }
    for (what, why) in &report.refused {
        tracing::warn!(%what, %why, "a definition cannot be taken over");
    }
    Ok(report)
}

/// Proposes commands that do not depend on one another, and waits for all answers.
pub async fn propose(node: &Node, commands: &[Command], report: &mut Report) -> anyhow::Result<()> {
    let mut link = node.connect();
    for (number, command) in commands.iter().enumerate() {
        link.ask_meta(Token(number as u64), MetaRequest::Propose(command.clone()));
    }
    link.flush();
    let mut left = commands.len();
    let mut events = Vec::new();
    while left > 0 {
        tokio::time::timeout(ANSWER_MAX, link.wait()).await.context("the node does not answer")?;
        link.take(&mut events);
        for event in events.drain(..) {
            let Event::Meta { token, result } = event else { continue };
            left -= 1;
            match result {
                Ok(_) => report.accepted += 1,
                Err(rejection) => {
                    let what = commands.get(token.0 as usize).map(named).unwrap_or_default();
                    report.refused.push((what, rejection.text));
                }
            }
        }
    }
    Ok(())
}

/// What a command is about, for reports.
fn named(command: &Command) -> String {
    match command {
        Command::VhostPut(spec) => format!("vhost '{}'", spec.name),
        Command::UserPut(spec) => format!("user '{}'", spec.name),
        Command::PermissionPut(spec) => format!("permissions of '{}' in vhost '{}'", spec.user, spec.vhost),
        Command::TopicPermissionPut(spec) => {
            format!("topic permissions of '{}' in vhost '{}'", spec.user, spec.vhost)
        }
        Command::ScramAlter { user, .. } => format!("SCRAM credentials of user '{user}'"),
        Command::PolicyPut(spec) => format!("policy '{}' in vhost '{}'", spec.name, spec.vhost),
        Command::LimitsPut { scope, .. } => format!("limits of {scope:?}"),
        Command::ParameterPut { component, name, .. } => format!("parameter '{component}/{name}'"),
        Command::QueueDeclare(spec) => format!("queue '{}' in vhost '{}'", spec.name, spec.vhost),
        Command::TopicCreate(spec) => format!("stream '{}' in vhost '{}'", spec.name, spec.vhost),
        Command::ExchangeDeclare(spec) => format!("exchange '{}' in vhost '{}'", spec.name, spec.vhost),
        Command::Bind(binding) => format!("binding from '{}' to {:?}", binding.source, binding.destination),
        other => format!("{other:?}"),
    }
}

/// Random octets, for salts and ids. RandomState draws its keys from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    use std::hash::{BuildHasher, Hasher};
    let mut out = [0; N];
    for chunk in out.chunks_mut(8) {
        let word = std::collections::hash_map::RandomState::new().build_hasher().finish().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    out
}

#[cfg(test)]
mod tests;
