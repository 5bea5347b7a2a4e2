//! Chores of the repository, one verb each: `cargo xtask <verb> [options]`.
//!
//! Every verb is a module with `pub fn run(args: &[String]) -> anyhow::Result<()>`; add a row to
//! `VERBS` to make it reachable.

mod codegen;
#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod edges;
mod fuzz;
mod sim;
mod test;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// What a verb's module offers: it gets the arguments that follow its name.
type Verb = fn(&[String]) -> Result<()>;

const VERBS: &[(&str, &str, Verb)] = &[
    (
        "codegen",
        "write the Kafka message codecs from schema/kafka.json (--check: only compare)",
        codegen::run,
    ),
    ("fuzz", "feed the decoders arbitrary bytes ([--seconds N] [TARGET])", fuzz::run),
    (
        "sim",
        "simulate seeds ([--seeds N] [--from S] [--steps M] [--seed S --trace] [--sabotage NAME|all])",
        sim::run,
    ),
    ("test", "run the tests, all or the parts named", test::run),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = args.first() else {
        print_usage();
        return Ok(());
    };
    match VERBS.iter().find(|(verb, _, _)| verb == name) {
        Some((_, _, run)) => run(&args[1..]),
        None => {
            print_usage();
            bail!("unknown verb {name:?}")
        }
    }
}

/// Where cargo builds.
fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn print_usage() {
    println!("usage: cargo xtask <verb> [options]");
    for (name, purpose, _) in VERBS {
        println!("  {name:<10} {purpose}");
    }
}
