//! `cargo xtask bench`: measures what the kit costs, with its peers beside it.

use std::{
    ffi::OsString,
    process::{Command, ExitCode, ExitStatus},
    thread,
    time::Duration,
};

use clap::Args;
use lab::interrupt::{self, Interrupt};
use thiserror::Error;

use crate::{build::build, failure::Failure, output, workspace::Workspace};

/// How often it is looked whether the bench has ended: seldom, for it is being measured.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Measure what the kit's signals, tasks and teardowns cost, with their peers beside them
///
/// Builds `crates/bench`, which is no member of the workspace because it builds all the peers, in
/// release and in a target directory of its own, and runs it with the options given:
///
///   --only NAME…         only these benches (group, turn, drop, latch, teardown, guard) or subjects
///   --rounds N           how many rounds
///   --n N,…              how many tasks, waiters or connections
///   --runtime FLAVOUR    only on current-thread or on multi-thread
///   --quick              few rounds, no large numbers
///   --slow               slow peers in large numbers as well
///   --format table|json  tables, or JSON lines with one object per figure
///
/// group: spawn until all have registered, and stop until all have ended, per task, for 1 task up to
/// a million, with the bytes of heap for each. turn: what selecting on the signal adds to a turn of
/// a loop. drop: what becomes of the tasks when what holds them is dropped without a shutdown.
/// latch: register, fire and wake, for 1 waiter up to a hundred thousand. teardown: a pool of SQLite
/// connections, from the drop until all are closed. guard: a handle of a session beside an `Arc`.
///
/// All subjects are measured in one process, in interleaved rounds; medians are shown, ratios to a
/// floor written by hand, and processor time beside wall time. No time is ever asserted: this exits
/// 0 whatever the figures are, 1 when the benches cannot be built, 2 when it does not understand the
/// command line, 130 when it was interrupted. `cargo xtask bench -- --help` is the bench's own help.
///
/// The tables and pictures of the notebook's page on benchmarks are written from figures as JSON:
///
///   cargo xtask bench --only latch --format json > docs/results/bench/latch.jsonl
///   cargo xtask notebooks
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// Options of the bench
    #[arg(
        value_name = "OPTION",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        num_args = 0..
    )]
    options: Vec<OsString>,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
enum BenchError {
    #[error("crates/bench was built, and cargo does not say where")]
    NotFound,
}

/// Runs the command.
pub fn run(options: &Options, workspace: &Workspace) -> Result<ExitCode, Failure> {
    let interrupt = Interrupt::install()?;
    output::note("building crates/bench with the peers, in release; minutes the first time");
    let manifest = workspace.root().join("crates/bench/Cargo.toml").display().to_string();
    let target = workspace.target()?.join("bench").display().to_string();
    let arguments = ["build", "--release", "--locked", "--bins", "--manifest-path", &manifest];
    let arguments = [&arguments[..], &["--target-dir", &target]].concat();
    let built = build("the benches", &arguments, "", workspace, &interrupt)?;
    let program = built.into_iter().find(|artifact| artifact.is("bin"));
    let program = program.ok_or(BenchError::NotFound)?.executable;
    let mut bench = Command::new(program).args(&options.options).spawn()?;
    loop {
        if let Some(status) = bench.try_wait()? {
            return Ok(match interrupt.raised() {
                true => ExitCode::from(interrupt::EXIT_CODE),
                false => code(status),
            });
        }
        // Whoever stops this with a signal to it alone stops the bench as well.
        if interrupt.raised() {
            let _ = bench.kill();
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The bench's exit code, or 1 where it has none.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
