//! The project's commands: `cargo xtask --help`.

mod bench;
mod build;
mod console;
mod conversation;
mod duration;
mod experiments;
mod failure;
mod figures;
mod loom;
mod notebooks;
mod output;
mod probe;
mod program;
mod results;
mod servers;
mod snapshot_file;
mod stress;
mod table;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::{failure::Failure, workspace::Workspace};

/// The project's commands: the lab's experiments, what is written from them, and the tools beside them.
///
/// Start with `cargo xtask experiments`. Each command has a help of its own.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
enum Command {
    Bench(bench::Options),
    Console(console::Options),
    Experiments(experiments::Options),
    Loom(loom::Options),
    Notebooks(notebooks::Options),
    Probe(probe::Options),
    Servers(servers::Options),
    Stress(stress::Options),
}

/// What every command means by its exit code, unless its help says otherwise.
const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 something failed, or was found to be wrong; \
                          2 the command line makes no sense; 130 interrupted.";

fn main() -> ExitCode {
    lab::guardian::serve_if_asked();
    let command = Command::parse();
    run(&command).unwrap_or_else(|failure| failure.report())
}

fn run(command: &Command) -> Result<ExitCode, Failure> {
    let workspace = Workspace::find()?;
    match command {
        Command::Bench(options) => bench::run(options, &workspace),
        Command::Console(options) => console::run(options, &workspace),
        Command::Experiments(options) => experiments::run(options, &workspace),
        Command::Loom(options) => loom::run(options, &workspace),
        Command::Notebooks(options) => notebooks::run(options, &workspace),
        Command::Probe(options) => probe::run(options, &workspace),
        Command::Servers(options) => servers::run(options),
        Command::Stress(options) => stress::run(options, &workspace),
    }
}
