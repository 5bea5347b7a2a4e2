//! Messages on standard output: lines, or JSON documents.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use super::Args;
use crate::json::put_bytes;

/// Where consumed messages go.
pub struct Output {
    out: BufWriter<Stdout>,
    json: bool,
    quiet: bool,
    received: u64,
    progress: ProgressBar,
}

impl Output {
    pub fn new(args: &Args) -> Output {
        // A moving counter would tear the lines apart that it counts.
        let visible = args.quiet || !io::stdout().is_terminal();
        Output {
            out: BufWriter::with_capacity(64 << 10, io::stdout()),
            json: args.json,
            quiet: args.quiet,
            received: 0,
            progress: if visible { progress_bar(args.count) } else { ProgressBar::hidden() },
        }
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    /// Writes a message; `about` gives what JSON says beside the body.
    pub fn message(&mut self, body: &[u8], about: impl FnOnce() -> Map<String, Value>) -> io::Result<()> {
        self.received += 1;
        if self.quiet {
            return Ok(());
        }
        if self.json {
            let mut document = about();
            put_bytes(&mut document, "body", body);
            serde_json::to_writer(&mut self.out, &Value::Object(document))?;
        } else {
            self.out.write_all(body)?;
        }
        self.out.write_all(b"\n")
    }

    /// Hands everything to the operating system: only then may messages be acknowledged.
    pub fn flush(&mut self) -> io::Result<()> {
        self.progress.set_position(self.received);
        self.out.flush()
    }

    /// The number of messages received.
    pub fn finish(mut self) -> io::Result<u64> {
        self.progress.finish_and_clear();
        self.out.flush()?;
        Ok(self.received)
    }
}

fn progress_bar(count: Option<u64>) -> ProgressBar {
    let template = match count {
        Some(_) => "[{bar:30}] {human_pos}/{human_len} {per_sec} {eta}",
        None => "{spinner} {human_pos} {per_sec} {elapsed_precise}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    count.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style.progress_chars("=> "))
}
