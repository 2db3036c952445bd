//! `cargo xtask bench`: measures the cost of the kit and its peers.

use std::process::{Command, ExitCode};

use lab::interrupt::{self, Interrupt};
use rustix::process::Signal;

use crate::{
    build::build,
    child,
    failure::{Failure, Result},
    flags, output,
    workspace::Workspace,
};

pub fn run(flags: &flags::Bench, workspace: &Workspace) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    output::note("building crates/bench with the peers, in release: minutes the first time");
    let manifest = workspace.path("crates/bench/Cargo.toml").display().to_string();
    let target = workspace.target()?.join("bench").display().to_string();
    let arguments = ["build", "--release", "--locked", "--bins", "--manifest-path", &manifest];
    let arguments = [&arguments[..], &["--target-dir", &target]].concat();
    let built = build("the benches", &arguments, "", workspace, &interrupt)?;
    let bench = built.into_iter().find(|artifact| artifact.is("bin")).ok_or_else(|| {
        Failure::Failed("cargo does not say where it has built crates/bench".to_owned())
    })?;
    let mut bench = Command::new(bench.executable).args(&flags.options).spawn()?;
    let status = child::wait(&mut bench, &interrupt, Signal::INT)?;
    Ok(match interrupt.raised() {
        true => ExitCode::from(interrupt::EXIT_CODE),
        false => child::exit_code(status),
    })
}
