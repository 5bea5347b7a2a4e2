//! The broker under attack: a child process that can be killed, paused and started again on the same data.
//!
//! This is the only place that knows how a broker is started.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bowline_client::{Address, amqp, kafka};
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};

/// A broker that does not listen after so long will not.
const START_MAX: Duration = Duration::from_secs(60);
const SHUTDOWN_MAX: Duration = Duration::from_secs(30);
/// One attempt; there are many within `START_MAX`.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);

/// What `serve` is told.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub amqp: SocketAddr,
    pub kafka: SocketAddr,
    pub data_dir: PathBuf,
    pub log_file: PathBuf,
    pub extra: Vec<String>,
    /// Protocols that must answer before the broker counts as started.
    pub awaited: Vec<Address>,
    /// Environment, for options that other programs would not know.
    pub environment: Vec<(String, String)>,
}

impl Launch {
    fn command(&self) -> anyhow::Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log_file)?;
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .args(["--amqp-addr", &self.amqp.to_string()])
            .args(["--kafka-addr", &self.kafka.to_string()])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.extra)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }
}

/// The running broker. Dropping it kills the process.
#[derive(Debug)]
pub struct Broker {
    launch: Launch,
    child: Option<Child>,
    /// Lives of the broker so far, for those who must not mix them up.
    incarnation: &'static AtomicU64,
}

impl Broker {
    pub fn new(launch: Launch, incarnation: &'static AtomicU64) -> Broker {
        Broker { launch, child: None, incarnation }
    }

    /// Starts the process. Connections made from now on reach this life; [`await_ready`](Broker::await_ready) tells
    /// when.
    pub fn spawn(&mut self) -> anyhow::Result<u64> {
        let incarnation = self.incarnation.fetch_add(1, Ordering::SeqCst) + 1;
        let child = self.launch.command()?.spawn();
        self.child = Some(child.with_context(|| format!("starting {}", self.launch.program.display()))?);
        Ok(incarnation)
    }

    /// Waits until all protocols answer, and tells how long that took.
    pub fn await_ready(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        for address in &self.launch.awaited {
            // A port may be open before the broker is ready behind it.
            while !answers(address) {
                if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                    bail!("the broker ended while it started: {status}\n{}", self.log_tail());
                }
                if start.elapsed() > START_MAX {
                    bail!("the broker did not answer within {} s\n{}", START_MAX.as_secs(), self.log_tail());
                }
                thread::sleep(POLL);
            }
        }
        Ok(start.elapsed())
    }

    /// The status of a process that has ended by itself.
    pub fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for an orderly end. An error when it does not come, or with a failure.
    pub fn shut_down(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                // The JVM ends with 143 when it has caught SIGTERM and run its shutdown hooks.
                let orderly = status.success() || status.code() == Some(128 + 15);
                return if orderly { Ok(()) } else { bail!("the broker shut down with {status}") };
            }
            if start.elapsed() > SHUTDOWN_MAX {
                child.kill()?;
                child.wait()?;
                bail!("the broker did not shut down within {} s", SHUTDOWN_MAX.as_secs());
            }
            thread::sleep(POLL);
        }
    }

    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(child) = &self.child else { bail!("the broker does not run") };
        let pid = Pid::from_raw(child.id() as i32).context("the broker has no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// The last lines that the broker wrote.
    pub fn log_tail(&self) -> String {
        log_tail(&self.launch.log_file)
    }
}

/// Whether the broker behind that address speaks its protocol.
fn answers(address: &Address) -> bool {
    match address {
        Address::Amqp(address) => {
            let options =
                amqp::ConnectOptions { timeout: ANSWER_MAX, ..amqp::ConnectOptions::new(address.clone()) };
            amqp::Connection::open(&options).is_ok_and(|connection| connection.close().is_ok())
        }
        Address::Kafka(address) => {
            let options =
                kafka::ConnectOptions { timeout: ANSWER_MAX, ..kafka::ConnectOptions::new(address.clone()) };
            kafka::Cluster::connect(&options).is_ok()
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.kill();
    }
}

fn log_tail(path: &Path) -> String {
    const LINES: usize = 15;
    let text =
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// A loopback port that is free now, outside the range from which the kernel takes the ports of outgoing
/// connections: a client that dials a dead broker there could be given that very port and so connect to itself, and
/// the broker could not come back.
pub fn free_port(random: &mut impl Rng) -> anyhow::Result<SocketAddr> {
    const LOWEST: u16 = 10_000;
    const ATTEMPTS: usize = 100;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let outgoing = range.split_whitespace().next().and_then(|low| low.parse::<u16>().ok()).unwrap_or(32_768);
    for _ in 0..ATTEMPTS {
        let port = random.random_range(LOWEST..outgoing.max(LOWEST + 1));
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no free port between {LOWEST} and {outgoing}")
}
