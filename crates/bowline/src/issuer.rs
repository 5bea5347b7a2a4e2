//! Keys of an issuer of tokens, out of a file or from an address, and looked at again while the broker runs.

use crate::config::{KeysAt, Tokens};
use anyhow::Context;
use bowline_sasl::jwt::{Keys, Rules, Verifier};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};
use ureq::tls::{RootCerts, TlsConfig};

/// A key set is never larger, bytes.
const KEYS_BYTES_MAX: u64 = 1 << 20;
/// Clocks of issuers may be so far off, milliseconds.
const SKEW_MS: i64 = 30_000;
/// An address is asked again after so long.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// And after so long if a token wants a key that is not known, or if the last answer was of no use. Invented tokens
/// make us ask no more often.
const ASKED_SOON_AFTER: Duration = Duration::from_secs(10);
/// An address that does not answer is given up after so long.
const ANSWER_WAITED_FOR: Duration = Duration::from_secs(5);
/// How often an answer may say that the keys are elsewhere.
const REDIRECTS_MAX: u32 = 3;

/// Whoever issues tokens: whether one is good, by the newest keys.
pub struct Issuer {
    verifier: Arc<Verifier>,
    source: Source,
}

enum Source {
    File {
        path: PathBuf,
        stamp: Stamp,
    },
    /// A thread asks; a word to it makes it ask at once. It ends when this goes.
    Address(SyncSender<()>),
}

/// A file's time and size.
type Stamp = Option<(SystemTime, u64)>;

impl Issuer {
    /// Waits for the keys. A file has to be good. An address need not answer yet: tokens are turned away until it does.
    pub fn load(tokens: &Tokens) -> anyhow::Result<Issuer> {
        let rules =
            Rules { issuer: tokens.issuer.clone(), audience: tokens.audience.clone(), skew_ms: SKEW_MS };
        match &tokens.keys {
            KeysAt::File(path) => {
                let (stamp, keys) = (stamp(path), read(path)?);
                let source = Source::File { path: path.clone(), stamp };
                Ok(Issuer { verifier: Arc::new(Verifier::new(rules, keys)), source })
            }
            KeysAt::Address(url) => {
                let verifier = Arc::new(Verifier::new(rules, Keys::none()));
                let mut asker = Asker::new(url, verifier.clone());
                let (wake, woken) = mpsc::sync_channel(1);
                asker.ask();
                std::thread::Builder::new().name("issuer".into()).spawn(move || asker.run(&woken))?;
                Ok(Issuer { verifier, source: Source::Address(wake) })
            }
        }
    }

    pub fn verifier(&self) -> Arc<Verifier> {
        self.verifier.clone()
    }

    /// Reads the file again if it has changed. What cannot be used leaves the keys as they are.
    pub fn look(&mut self) {
        let Source::File { path, stamp: seen } = &mut self.source else { return };
        let stamp = stamp(path);
        if stamp != *seen {
            *seen = stamp;
            took(&self.verifier, read(path));
        }
    }

    /// As [`Issuer::look`], and asks an address at once.
    pub fn look_now(&mut self) {
        self.look();
        if let Source::Address(wake) = &self.source {
            // Full: it has been told already.
            let _ = wake.try_send(());
        }
    }
}

/// Whether the answer was of use.
fn took(verifier: &Verifier, keys: anyhow::Result<Keys>) -> bool {
    match keys {
        Ok(keys) => {
            let known = keys.len();
            if verifier.replace(keys) {
                tracing::info!(keys = known, "token keys read again");
            }
            true
        }
        Err(error) => {
            tracing::error!("token keys stay as they are: {error:#}");
            false
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

fn read(path: &Path) -> anyhow::Result<Keys> {
    let name = || format!("token keys {}", path.display());
    let bytes = std::fs::metadata(path).with_context(name)?.len();
    anyhow::ensure!(bytes <= KEYS_BYTES_MAX, "{} is larger than {KEYS_BYTES_MAX} bytes", path.display());
    Keys::parse(&std::fs::read(path).with_context(name)?).with_context(name)
}

/// Asks an address for its keys (RFC 7517, section 5).
struct Asker {
    url: String,
    agent: ureq::Agent,
    verifier: Arc<Verifier>,
    asked: Instant,
    answered: bool,
}

impl Asker {
    fn new(url: &str, verifier: Arc<Verifier>) -> Asker {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(ANSWER_WAITED_FOR))
            .max_redirects(REDIRECTS_MAX)
            // One question in minutes: a connection of its own each, so that none goes stale.
            .max_idle_connections(0)
            .user_agent("bowline")
            .build();
        Asker { url: url.to_owned(), agent: config.into(), verifier, asked: Instant::now(), answered: false }
    }

    /// Until nobody can wake it any more.
    fn run(mut self, woken: &Receiver<()>) {
        loop {
            let due = match woken.recv_timeout(ASKED_SOON_AFTER) {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => {
                    !self.answered
                        || self.verifier.missed_a_key()
                        || self.asked.elapsed() >= ASKED_AGAIN_AFTER
                }
            };
            if due {
                self.ask();
            }
        }
    }

    fn ask(&mut self) {
        self.asked = Instant::now();
        let answer = self.fetch().with_context(|| format!("token keys {}", self.url));
        self.answered = took(&self.verifier, answer);
    }

    fn fetch(&self) -> anyhow::Result<Keys> {
        let mut answer = self.agent.get(&self.url).header("accept", "application/json").call()?;
        let json = answer.body_mut().with_config().limit(KEYS_BYTES_MAX).read_to_vec()?;
        Ok(Keys::parse(&json)?)
    }
}
