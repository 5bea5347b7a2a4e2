//! `cargo xtask sim [--seeds N] [--from S] [--steps M] [--seed S --trace] [--sabotage NAME|all]`: the simulation, on
//! all cores (see `docs/simulation.md`).
//!
//! Built like the tests: optimised enough for hundreds of seeds a second and core, and with every debug assertion of
//! the broker awake. Planted bugs inside the broker need its switches, which only this verb turns on.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn run(args: &[String]) -> anyhow::Result<()> {
    let program = build(args.iter().any(|arg| arg == "--sabotage"))?;
    let status = Command::new(&program).args(args).status().context("starting the simulation")?;
    if !status.success() {
        bail!("the simulation failed: {status}");
    }
    Ok(())
}

/// Builds the program; where it is.
fn build(sabotage: bool) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--bin", "sim"]);
    if sabotage {
        command.args(["--package", "bowline-sim", "--features", "sabotage"]);
    } else {
        // With the features that the whole workspace has: so what the tests have built is good for this too.
        command.arg("--workspace");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lives in the workspace")?;
    let status = command.current_dir(root).status().context("starting cargo")?;
    if !status.success() {
        bail!("the simulation does not build: {status}");
    }
    Ok(crate::target_dir(root).join("debug/sim"))
}
