//! The project's commands: `cargo xtask --help`.

mod bench;
mod book;
mod build;
mod census;
mod child;
mod console;
mod experiments;
mod explain;
mod failure;
mod figures;
mod finding;
mod flags;
#[cfg(fuzzing)]
pub mod fuzzing;
mod loom;
mod notebooks;
mod output;
mod package;
mod probe;
mod results;
mod servers;
mod sources;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{failure::Failure, flags::Command, workspace::Workspace};

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    lab::guardian::serve_if_asked();
    if let Some(code) = chaos::served() {
        return code;
    }
    let command = Command::parse();
    let code = run(&command).unwrap_or_else(|failure| failure.report());
    match output::lost() {
        // Whatever the result is, nobody has got it.
        Some(error) => {
            output::complain(&format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        None => code,
    }
}

fn run(command: &Command) -> Result<ExitCode, Failure> {
    let workspace = Workspace::find()?;
    match command {
        Command::Bench(flags) => bench::run(flags, &workspace),
        Command::Book(flags) => book::run(flags, &workspace),
        Command::Census(flags) => census::run(flags, &workspace),
        Command::Console(flags) => console::run(flags, &workspace),
        Command::Experiments(flags) => experiments::run(flags, &workspace),
        Command::Explain(flags) => explain::run(flags, &workspace),
        Command::Loom(flags) => loom::run(flags, &workspace),
        Command::Notebooks(flags) => notebooks::run(flags, &workspace),
        Command::Package(flags) => package::run(flags, &workspace),
        Command::Probe(flags) => probe::run(flags, &workspace),
        Command::Servers(flags) => servers::run(flags),
    }
}
