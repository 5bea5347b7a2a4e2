//! `cargo xtask sim [--seeds N] [--from S] [--steps M] [--seed S --trace] [--sabotage NAME|all]`: the simulation, on all
//! cores (see `docs/simulation.md`).
//!
//! Built like the tests: optimised enough for hundreds of seeds a second and core, and with every debug assertion of
//! the broker awake. Planted bugs inside the broker need its switches, which only this verb turns on.

use anyhow::{Context, bail};
use std::process::Command;

pub fn run(args: &[String]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "-p", "bowline-sim", "--bin", "sim"]);
    if args.iter().any(|arg| arg == "--sabotage") {
        command.args(["--features", "sabotage"]);
    }
    let status = command.arg("--").args(args).status().context("starting cargo")?;
    if !status.success() {
        bail!("the simulation failed: {status}");
    }
    Ok(())
}
