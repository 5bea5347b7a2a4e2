//! A Bowline of the tests' own, or what runs already: BOWLINE_BIN names the binary; BOWLINE_AMQP=host:port points the
//! tests at a running broker (any RabbitMQ) instead.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A name no other test uses.
pub fn unique(what: &str) -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros();
    format!("lapin-{what}-{since}-{}", SERIAL.fetch_add(1, Ordering::Relaxed))
}

pub struct Broker {
    amqp: String,
    dir: PathBuf,
    process: Option<Child>,
}

impl Broker {
    /// Starts one, or takes the one named.
    pub fn new() -> Broker {
        match std::env::var("BOWLINE_AMQP") {
            Ok(amqp) => Broker { amqp, dir: PathBuf::new(), process: None },
            Err(_) => {
                let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
                let amqp = socket.local_addr().expect("it is bound").to_string();
                drop(socket);
                let dir = std::env::temp_dir().join(unique("data"));
                let mut broker = Broker { amqp, dir, process: None };
                broker.start();
                broker
            }
        }
    }

    /// Whether it is ours to kill.
    pub fn is_own(&self) -> bool {
        self.process.is_some()
    }

    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.amqp)
    }

    fn start(&mut self) {
        let binary = std::env::var_os("BOWLINE_BIN").expect("BOWLINE_BIN or BOWLINE_AMQP");
        let mut command = Command::new(binary);
        command.args([
            "serve",
            "--no-probe",
            "--log-level",
            "warn",
            "--kafka-addr",
            "none",
            "--amqp-addr",
            &self.amqp,
        ]);
        command.arg("--data-dir").arg(&self.dir).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped"));
        // The first line is printed when the listener is up.
        let mut first = String::new();
        lines.read_line(&mut first).expect("a line");
        assert!(first.contains("is ready"), "{first}");
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        self.process = Some(process);
    }

    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.start();
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is our child");
            process.wait().expect("it is our child");
        }
    }
}

impl Default for Broker {
    fn default() -> Broker {
        Broker::new()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
