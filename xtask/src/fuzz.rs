//! `cargo xtask fuzz [--seconds N] [TARGET…]`: libFuzzer on stable Rust, over the targets of `fuzz/`.
//!
//! The compiler instruments for coverage by the flags below; libFuzzer itself is C++ that `libfuzzer-sys` compiles (it
//! needs a C++ compiler). No sanitizers: those need nightly. What is found is written to `target/fuzz/artifacts`, and
//! inputs that reach new code to `target/fuzz/corpus`; `fuzz/corpus` holds the small committed seeds and is only read.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGETS: &[&str] =
    &["amqp", "kafka", "batches", "records", "blocks", "amqp_session", "dead_letters", "sasl"];

/// Seconds a target runs if not told.
const SECONDS: u64 = 60;

/// Memory that a target may use, all in all. Every decoder is bounded far below.
const RSS_MIB_MAX: u32 = 1024;

/// Seconds that one input may take before it counts as a hang.
const INPUT_SECONDS_MAX: u32 = 10;

/// How much of the log is shown when something was found.
const FAILURE_LINES: usize = 60;

/// Longest input, bytes.
const INPUT_BYTES_MAX: u32 = 16 << 10;

const COVERAGE_FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

pub fn run(args: &[String]) -> anyhow::Result<()> {
    let (seconds, targets) = parse(args)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lives in the workspace")?;
    let binaries = build(root, &targets)?;
    let mut found = Vec::new();
    for target in &targets {
        println!("--- fuzz {target}: {seconds} s");
        if let Some(artifacts) = fuzz(root, &binaries.join(target), target, seconds)? {
            found.push(format!("{target}: see {}", artifacts.display()));
        }
    }
    if !found.is_empty() {
        bail!("the fuzzer found something:\n{}", found.join("\n"));
    }
    Ok(())
}

fn parse(args: &[String]) -> anyhow::Result<(u64, Vec<&'static str>)> {
    let mut seconds = SECONDS;
    let mut targets = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            let value = args.next().context("--seconds needs a number")?;
            seconds = value.parse().with_context(|| format!("`{value}` is not a number of seconds"))?;
        } else if let Some(target) = TARGETS.iter().find(|t| *t == arg) {
            targets.push(*target);
        } else {
            bail!("no fuzz target `{arg}`; there are {}. Options: --seconds N", TARGETS.join(", "));
        }
    }
    if targets.is_empty() {
        targets = TARGETS.to_vec();
    }
    Ok((seconds, targets))
}

/// Builds the targets with coverage; the folder with the binaries.
fn build(root: &Path, targets: &[&str]) -> anyhow::Result<PathBuf> {
    let host = host_triple()?;
    let dir = crate::target_dir(root).join("fuzz");
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--manifest-path"]).arg(root.join("fuzz/Cargo.toml"));
    // With an explicit target, build scripts and procedural macros stay uninstrumented.
    cargo.args(["--target", &host, "--target-dir"]).arg(&dir);
    for target in targets {
        cargo.args(["--bin", target]);
    }
    cargo.env("RUSTFLAGS", COVERAGE_FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    let status = cargo.status().context("starting cargo")?;
    if !status.success() {
        bail!("the fuzz targets do not build (a C++ compiler is needed): {status}");
    }
    Ok(dir.join(host).join("release"))
}

/// Runs one target; where its findings are, if it has any.
fn fuzz(root: &Path, binary: &Path, target: &str, seconds: u64) -> anyhow::Result<Option<PathBuf>> {
    let scratch = crate::target_dir(root).join("fuzz");
    let corpus = scratch.join("corpus").join(target);
    let artifacts = scratch.join("artifacts").join(target);
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&artifacts)?;
    let log = scratch.join(format!("{target}.log"));
    let mut command = Command::new(binary);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={RSS_MIB_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=1"])
        // New inputs go to the first folder.
        .arg(&corpus)
        .arg(root.join("fuzz/corpus").join(target))
        .stderr(std::fs::File::create(&log)?);
    let status = command.status().with_context(|| format!("starting {}", binary.display()))?;
    report(&log, status.success())?;
    Ok((!status.success()).then_some(artifacts))
}

/// libFuzzer is talkative: a line if all is well, the end of its log (panic message, artifact's path) if not.
fn report(log: &Path, passed: bool) -> anyhow::Result<()> {
    let text = std::fs::read(log)?;
    let text = String::from_utf8_lossy(&text);
    if passed {
        let stat = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or(" ?").trim().to_owned()
        };
        println!(
            "    {} inputs, {} a second, {} new, {} MiB at most",
            stat("stat::number_of_executed_units:"),
            stat("stat::average_exec_per_sec:"),
            stat("stat::new_units_added:"),
            stat("stat::peak_rss_mb:"),
        );
    } else {
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(FAILURE_LINES)..].iter().for_each(|line| println!("    {line}"));
    }
    Ok(())
}

/// The triple of the compiler's own machine.
fn host_triple() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("starting rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc tells no host")?;
    Ok(host.to_owned())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
