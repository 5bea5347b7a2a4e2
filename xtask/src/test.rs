//! `cargo xtask test`: the README's test command. Runs everything, and sets up what it needs below `target/clients`.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Seeds of the simulation in a test run; more on demand with `cargo xtask sim --seeds N`.
const SIM_SEEDS: &str = "300";
/// Seconds a fuzz target runs in a test run.
const FUZZ_SECONDS: &str = "15";
/// Processes for the Python tests, each with a broker of its own. They wait for time more than they compute.
const PYTHON_PROCESSES: &str = "3";

/// One part of the test run.
struct Part {
    name: &'static str,
    run: fn(&Path) -> anyhow::Result<Outcome>,
}

enum Outcome {
    Passed,
    /// A tool that the part needs is not on this machine; it says which.
    Skipped(String),
}

const PARTS: &[Part] = &[
    Part { name: "unit", run: unit },
    Part { name: "sim", run: sim },
    Part { name: "fuzz", run: fuzz },
    Part { name: "binary", run: binary },
    Part { name: "python", run: python },
    Part { name: "node", run: node },
    Part { name: "go", run: go },
    Part { name: "java", run: java },
    Part { name: "lapin", run: lapin },
    Part { name: "ruby", run: ruby },
    Part { name: "php", run: php },
    Part { name: "tools", run: tools },
    Part { name: "kafka-tools", run: kafka_tools },
    Part { name: "verify", run: verify },
];

/// Run only when they are asked for by name: they start a real RabbitMQ or Kafka, and wait a lot.
const ON_DEMAND: &[Part] = &[
    Part { name: "differential", run: differential },
    Part { name: "kafka-differential", run: kafka_differential },
    Part { name: "kafka-ecosystem", run: kafka_ecosystem },
];

/// For `kafka-ecosystem`.
const STREAM_LIBRARIES: [&str; 2] = ["quixstreams==3.28.1", "faust-streaming==0.15.3"];

/// The exit status with which a suite says that what it needs is not on this machine.
const SKIPPED_STATUS: i32 = 77;

/// Runs the parts named, or all.
pub fn run(args: &[String]) -> anyhow::Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lives in the workspace")?.to_owned();
    let parts = || PARTS.iter().chain(ON_DEMAND);
    if let Some(unknown) = args.iter().find(|a| !parts().any(|p| p.name == a.as_str())) {
        let names: Vec<_> = parts().map(|p| p.name).collect();
        bail!("no part `{unknown}`; there are {}", names.join(", "));
    }
    let mut summary = Vec::new();
    let mut failed = 0;
    let on_demand = if args.is_empty() { &[] } else { ON_DEMAND };
    for part in PARTS.iter().chain(on_demand).filter(|p| args.is_empty() || args.iter().any(|a| a == p.name))
    {
        println!("\n=== {} ===", part.name);
        let began = Instant::now();
        let result = (part.run)(&root);
        let seconds = began.elapsed().as_secs();
        summary.push(match result {
            Ok(Outcome::Passed) => format!("{:<12} passed   {seconds} s", part.name),
            Ok(Outcome::Skipped(why)) => format!("{:<12} skipped  {why}", part.name),
            Err(error) => {
                failed += 1;
                format!("{:<12} FAILED   {seconds} s: {error:#}", part.name)
            }
        });
    }
    println!("\n=== summary ===");
    summary.iter().for_each(|line| println!("{line}"));
    if failed > 0 {
        bail!("{failed} of {} parts failed", summary.len());
    }
    Ok(())
}

fn unit(root: &Path) -> anyhow::Result<Outcome> {
    passed(cargo(root).args(["test", "--workspace", "--quiet"]))
}

fn sim(root: &Path) -> anyhow::Result<Outcome> {
    passed(cargo(root).args(["xtask", "sim", "--seeds", SIM_SEEDS]))
}

fn fuzz(root: &Path) -> anyhow::Result<Outcome> {
    passed(cargo(root).args(["xtask", "fuzz", "--seconds", FUZZ_SECONDS]))
}

fn binary(root: &Path) -> anyhow::Result<Outcome> {
    passed(cargo(root).args(["build", "--release", "--package", "bowline"]))
}

fn python(root: &Path) -> anyhow::Result<Outcome> {
    let tests = root.join("tests/clients/python");
    if !available("python3") {
        return Ok(Outcome::Skipped("no python3".into()));
    }
    let pytest = pytest(root)?;
    // By files: what a file says of its broker as a whole holds then too.
    let parallel = ["--numprocesses", PYTHON_PROCESSES, "--dist", "loadfile"];
    let mut run = Command::new(pytest);
    run.args(["-q", "--timeout", "120"]).args(parallel).current_dir(tests);
    passed(clients(&mut run, root))
}

/// Where pytest is, in an environment with everything that the Python tests need.
fn pytest(root: &Path) -> anyhow::Result<PathBuf> {
    let env = root.join("target/clients/python");
    let pytest = env.join("bin/pytest");
    if !pytest.exists() {
        sh(Command::new("python3").args(["-m", "venv"]).arg(&env))?;
        sh(Command::new(env.join("bin/pip"))
            .args(["install", "--quiet", "--requirement"])
            .arg(root.join("tests/clients/python/requirements.txt")))?;
    }
    Ok(pytest)
}

fn node(root: &Path) -> anyhow::Result<Outcome> {
    if !available("npm") {
        return Ok(Outcome::Skipped("no npm".into()));
    }
    let dir = copy_for_install(root, "node")?;
    sh(Command::new("npm").args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(&dir))?;
    passed(clients(Command::new("npm").arg("test").current_dir(&dir), root))
}

fn go(root: &Path) -> anyhow::Result<Outcome> {
    if !available("go") {
        return Ok(Outcome::Skipped("no go".into()));
    }
    let dir = copy_for_install(root, "go")?;
    passed(clients(
        Command::new("go").args(["test", "-count=1", "-timeout", "300s", "./..."]).current_dir(&dir),
        root,
    ))
}

fn java(root: &Path) -> anyhow::Result<Outcome> {
    if !available("mvn") {
        return Ok(Outcome::Skipped("no mvn".into()));
    }
    let dir = copy_for_install(root, "java")?;
    passed(clients(Command::new("mvn").args(["-q", "-B", "test"]).current_dir(&dir), root))
}

/// A workspace of its own: what lapin needs stays out of ours.
fn lapin(root: &Path) -> anyhow::Result<Outcome> {
    let mut cargo = cargo(root);
    cargo.args(["test", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(root.join("tests/clients/lapin/Cargo.toml"));
    cargo.arg("--target-dir").arg(root.join("target/clients/lapin"));
    passed(clients(&mut cargo, root))
}

/// bunny.
fn ruby(root: &Path) -> anyhow::Result<Outcome> {
    if !debian("ruby", "/usr/share/rubygems-integration/all/specifications/bunny-*", &["ruby", "ruby-bunny"])?
    {
        return Ok(Outcome::Skipped("no ruby with bunny, and no apt-get to install it".into()));
    }
    passed(clients(
        Command::new("ruby").arg("test_bunny.rb").current_dir(root.join("tests/clients/ruby")),
        root,
    ))
}

/// php-amqplib.
fn php(root: &Path) -> anyhow::Result<Outcome> {
    if !debian("php", "/usr/share/php/PhpAmqpLib", &["php-cli", "php-amqplib"])? {
        return Ok(Outcome::Skipped("no php with php-amqplib, and no apt-get to install it".into()));
    }
    let quiet = ["-d", "error_reporting=8191", "test.php"];
    passed(clients(Command::new("php").args(quiet).current_dir(root.join("tests/clients/php")), root))
}

/// rabbitmq-c, by its command line tools.
fn tools(root: &Path) -> anyhow::Result<Outcome> {
    if !available("python3") || !debian("amqp-publish", "/", &["amqp-tools"])? {
        return Ok(Outcome::Skipped("no amqp-tools, and no apt-get to install them".into()));
    }
    let mut run = Command::new(pytest(root)?);
    run.args(["-q", "--timeout", "120", "-p", "conftest"]);
    run.env("PYTHONPATH", "../python").current_dir(root.join("tests/clients/tools"));
    passed(clients(&mut run, root))
}

/// Kafka's own command line tools, out of its published jars.
fn kafka_tools(root: &Path) -> anyhow::Result<Outcome> {
    kafka_jars(root, "test_kafka_tools.py")
}

/// What is built upon Kafka: Streams, Connect, MirrorMaker, kcat, Quix Streams, Faust.
fn kafka_ecosystem(root: &Path) -> anyhow::Result<Outcome> {
    debian("kcat", "/", &["kcat"])?;
    // Apart from the other Python tests: both pin versions of the clients that those use.
    let env = root.join("target/clients/streams");
    if !env.exists() && available("python3") {
        sh(Command::new("python3").args(["-m", "venv"]).arg(&env))?;
        sh(Command::new(env.join("bin/pip")).args(["install", "--quiet"]).args(STREAM_LIBRARIES))?;
    }
    kafka_jars(root, "test_ecosystem.py")
}

fn kafka_jars(root: &Path, tests: &str) -> anyhow::Result<Outcome> {
    if !available("python3") || !available("mvn") || !available("java") {
        return Ok(Outcome::Skipped("no python3, mvn or java".into()));
    }
    let dir = copy_for_install(root, "kafka-tools")?;
    let fetch =
        ["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libs"];
    sh(Command::new("mvn").args(fetch).current_dir(&dir))?;
    let mut run = Command::new(pytest(root)?);
    run.args(["-q", "--timeout", "240", "-p", "conftest", tests]);
    run.env("PYTHONPATH", "../python").env("KAFKA_LIBS", dir.join("libs"));
    run.env("STREAMS_PYTHON", root.join("target/clients/streams/bin/python"));
    passed(clients(run.current_dir(root.join("tests/clients/kafka-tools")), root))
}

fn verify(root: &Path) -> anyhow::Result<Outcome> {
    let seconds = ["verify", "--kills", "10", "--seed", "1"];
    passed(Command::new(root.join("target/release/bowline")).args(seconds))
}

/// The same conversations with RabbitMQ and with Bowline: `tests/differential`.
fn differential(root: &Path) -> anyhow::Result<Outcome> {
    if !available("python3") {
        return Ok(Outcome::Skipped("no python3".into()));
    }
    compared(root, "tests/differential", "no rabbitmq-server")
}

/// The same conversations with Kafka and with Bowline: `tests/kafka-differential`.
fn kafka_differential(root: &Path) -> anyhow::Result<Outcome> {
    if !available("python3") {
        return Ok(Outcome::Skipped("no python3".into()));
    }
    compared(root, "tests/kafka-differential", "no Java, or no Kafka")
}

fn compared(root: &Path, suite: &str, missing: &str) -> anyhow::Result<Outcome> {
    let mut run = Command::new("python3");
    run.arg("run.py").arg("--program").arg(root.join("target/release/bowline"));
    let status = run.current_dir(root.join(suite)).status().context("starting python3")?;
    match status.code() {
        Some(0) => Ok(Outcome::Passed),
        Some(SKIPPED_STATUS) => Ok(Outcome::Skipped(missing.into())),
        _ => bail!("Bowline answers what the other does not, and no rule knows why: {status}"),
    }
}

/// Package managers write beside what they install; give them a copy below `target`.
fn copy_for_install(root: &Path, language: &str) -> anyhow::Result<PathBuf> {
    let from = root.join("tests/clients").join(language);
    let to = root.join("target/clients").join(language);
    std::fs::create_dir_all(&to)?;
    sh(Command::new("cp").arg("-r").arg(from.join(".")).arg(&to))?;
    Ok(to)
}

/// Tells client tests where the binary is.
fn clients<'a>(command: &'a mut Command, root: &Path) -> &'a mut Command {
    command.env("BOWLINE_BIN", root.join("target/release/bowline"))
}

fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    cargo
}

fn available(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Whether a program and a file of a library (the last part of its name may end in `*`) are there, once Debian's
/// packages are installed if need be and may be.
fn debian(program: &str, library: &str, packages: &[&str]) -> anyhow::Result<bool> {
    let there = || available(program) && exists(library);
    // Only root may install; anybody else finds out quickly.
    if !there() && available("apt-get") {
        let mut install = Command::new("apt-get");
        install.args(["install", "--yes", "-qq", "--no-install-recommends"]).args(packages);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        let updated = Command::new("apt-get").args(["update", "-qq"]).status()?.success();
        if !updated || !install.status()?.success() {
            println!("could not install {}", packages.join(", "));
        }
    }
    Ok(there())
}

fn exists(path: &str) -> bool {
    let Some((dir, beginning)) = path.strip_suffix('*').and_then(|path| path.rsplit_once('/')) else {
        return Path::new(path).exists();
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(beginning))
}

fn passed(command: &mut Command) -> anyhow::Result<Outcome> {
    sh(command)?;
    Ok(Outcome::Passed)
}

fn sh(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
