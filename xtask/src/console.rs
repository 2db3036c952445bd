//! `cargo xtask console`: an experiment held open, for tokio-console to look at its tasks.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use lab::interrupt::{self, Interrupt};
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use crate::{
    build, duration,
    experiments::selection,
    failure::Failure,
    output,
    workspace::{self, Workspace},
};

/// How the examples are called that can be watched: `09_watched`.
const WATCHED: &str = "_watched";

/// What can be held open of 09. The example knows them as well; here they are known before it is
/// built.
const VARIANTS: [&str; 6] = [
    "old/background",
    "old/timeout-too-short",
    "old/drop",
    "current/background",
    "current/timeout-too-short",
    "current/drop",
];

/// How often it is looked whether it has ended, or Ctrl-C came.
const TICK: Duration = Duration::from_millis(50);

/// How long it may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(5);

/// Hold an experiment open after the shutdown, and look at its tasks with tokio-console
///
/// Builds the experiment with Tokio's instrumentation (`--cfg tokio_unstable` and
/// console-subscriber, which takes minutes the first time, in a target directory of its own),
/// begins the situation of one of its variants, shuts the runtime down after `--before`, and holds
/// the process open after that, until Ctrl-C or for `--for`. Meanwhile, in another terminal:
///
///   cargo install --locked tokio-console
///   tokio-console http://127.0.0.1:6669
///
/// It shows what is there before the shutdown and what is left after it. Page 09 of the notebook and
/// its chapter on watching tasks say what to look for.
///
/// Exits 0 when the time is up, 1 when it cannot be built or the port is taken, 2 when it does not
/// understand the command line, 130 after Ctrl-C; nothing stays behind.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The experiment, by its number or name: one that can be held open, which is 09
    #[arg(value_name = "EXPERIMENT")]
    experiment: String,

    /// Which generation of the pool, and which way to shut down
    #[arg(long, value_name = "NAME", default_value = VARIANTS[0], value_parser = VARIANTS)]
    variant: String,

    /// How long the runtime lives before it is shut down: seconds, or as in 1m30s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    before: Duration,

    /// How long to hold it open after the shutdown, likewise [default: until Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    time: Option<Duration>,

    /// The port for tokio-console on this machine; 0 takes one that is free, and prints it
    #[arg(long, value_name = "PORT", default_value_t = 6669)]
    port: u16,
}

/// Why there is nothing to look at.
#[derive(Debug, Error)]
enum ConsoleError {
    #[error(
        "there is nobody to listen on port {port} of this machine: {source}; take another by --port, or --port 0"
    )]
    Port { port: u16, source: io::Error },
    #[error("{0} was built, and cargo does not say where")]
    NotFound(String),
}

/// Runs the command.
pub fn run(options: &Options, workspace: &Workspace) -> Result<ExitCode, Failure> {
    let example = example(&options.experiment, workspace)?;
    let interrupt = Interrupt::install()?;
    let port = free(options.port)?;
    output::note("building with Tokio's instrumentation; minutes the first time");
    let target = workspace.target()?.join("console");
    let target = target.display().to_string();
    let arguments = [
        "build",
        "--package",
        "experiments",
        "--features",
        "console",
        "--example",
        &example,
        "--target-dir",
        &target,
    ];
    let flags = "--cfg tokio_unstable";
    let built = build::build(&example, &arguments, flags, workspace, &interrupt)?;
    let program = built.iter().find(|artifact| artifact.target.name == example);
    let program = program.ok_or_else(|| ConsoleError::NotFound(example.clone()))?;
    let after = options.time.map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string());
    let child = Command::new(&program.executable)
        .args([
            &options.variant,
            &port.to_string(),
            &options.before.as_millis().to_string(),
            &after,
        ])
        .process_group(0)
        // It ends when this ends, which it does when we are gone, however we went.
        .stdin(Stdio::piped())
        .spawn()?;
    watch(child, &interrupt)
}

/// The example of this number or name, among those that can be watched.
fn example(experiment: &str, workspace: &Workspace) -> Result<String, Failure> {
    let sources = workspace.experiments()?;
    let source = sources.iter().find(|source| selection::is_called(source, experiment));
    let number = source.map_or(experiment, |source| &source.id);
    let files = workspace::names(&workspace.root().join("experiments/examples"))?;
    let examples = files.iter().filter_map(|file| file.strip_suffix(".rs"));
    let numbers: Vec<_> = examples.filter_map(|name| name.strip_suffix(WATCHED)).collect();
    if numbers.contains(&number) {
        return Ok(format!("{number}{WATCHED}"));
    }
    Err(Failure::Usage(format!(
        "experiment `{experiment}` cannot be held open; these can: {}",
        numbers.join(", ")
    )))
}

/// The port, if nobody has it; of 0, one that nobody has.
fn free(port: u16) -> Result<u16, ConsoleError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|it| it.port()).map_err(|source| ConsoleError::Port { port, source })
}

/// Waits for the end, and passes Ctrl-C on, which in a group of its own it does not get itself.
fn watch(mut child: Child, interrupt: &Interrupt) -> Result<ExitCode, Failure> {
    let mut told: Option<Instant> = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupt.raised() {
            let process = Pid::from_raw(child.id().cast_signed());
            match (told, process) {
                // Once: at a second signal it would leave without tidying up.
                (None, Some(process)) => {
                    told = Some(Instant::now());
                    let _ = kill_process(process, Signal::TERM);
                }
                (Some(told), _) if told.elapsed() <= GRACE => {}
                _ => child.kill()?,
            }
        }
        thread::sleep(TICK);
    };
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(match code {
        _ if interrupt.raised() => ExitCode::from(interrupt::EXIT_CODE),
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    })
}
