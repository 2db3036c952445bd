//! `cargo xtask console`: keeps an experiment running after its shutdown, for tokio-console.

use std::{
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode, Stdio},
};

use lab::interrupt::{self, Interrupt};
use rustix::process::Signal;

use crate::{
    build::build,
    child,
    experiments::selection,
    failure::{Context as _, Failure, Result},
    flags, output,
    workspace::{self, Workspace},
};

/// The suffix of the examples that can be kept running: `09_watched`.
const WATCHED: &str = "_watched";

pub fn run(flags: &flags::Console, workspace: &Workspace) -> Result<ExitCode> {
    let example = example(&flags.experiment, workspace)?;
    let interrupt = Interrupt::install()?;
    let port = free(flags.port)?;
    output::note("building with Tokio's instrumentation: minutes the first time");
    let target = workspace.target()?.join("console").display().to_string();
    let arguments = ["build", "--package", "experiments", "--features", "console"];
    let arguments = [&arguments[..], &["--example", &example, "--target-dir", &target]].concat();
    let built = build(&example, &arguments, "--cfg tokio_unstable", workspace, &interrupt)?;
    let program = built.iter().find(|artifact| artifact.target.name == example);
    let program = program.ok_or_else(|| {
        Failure::Failed(format!("cargo does not say where it has built {example}"))
    })?;
    let after = flags.time.map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string());
    let mut child = Command::new(&program.executable)
        .args([&flags.variant, &port.to_string(), &flags.before.as_millis().to_string(), &after])
        // A terminal's Ctrl-C must not reach the child directly: `wait` passes it on.
        .process_group(0)
        // The child exits when this pipe closes, and the pipe closes however this process ends.
        .stdin(Stdio::piped())
        .spawn()?;
    let status = child::wait(&mut child, &interrupt, Signal::TERM)?;
    Ok(match interrupt.raised() {
        true => ExitCode::from(interrupt::EXIT_CODE),
        false => child::exit_code(status),
    })
}

/// The example of the experiment with this number or name.
fn example(experiment: &str, workspace: &Workspace) -> Result<String> {
    let sources = workspace.experiments()?;
    let source = sources.iter().find(|source| selection::is_called(source, experiment));
    let number = source.map_or(experiment, |source| &source.id);
    let files = workspace::names(&workspace.path("experiments/examples"))?;
    let examples = files.iter().filter_map(|file| file.strip_suffix(".rs"));
    let numbers: Vec<_> = examples.filter_map(|name| name.strip_suffix(WATCHED)).collect();
    if numbers.contains(&number) {
        return Ok(format!("{number}{WATCHED}"));
    }
    Err(Failure::Usage(format!(
        "experiment `{experiment}` cannot be kept running; these can: {}",
        numbers.join(", ")
    )))
}

/// Returns the port if no other process listens on it; for 0, a free port.
fn free(port: u16) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let address = listener.and_then(|listener| listener.local_addr());
    let address = address.context(|| {
        format!("cannot listen on port {port} of this machine (`--port 0` takes a free one)")
    })?;
    Ok(address.port())
}
