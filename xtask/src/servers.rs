//! `cargo xtask servers`: the servers that the real clients of the experiments talk to.

use std::{
    ffi::OsString,
    fmt::Write as _,
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitCode, ExitStatus},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use lab::{
    guardian::Guardian,
    interrupt::{self, Interrupt},
    sandbox::Sandbox,
    server::{self, Server, ServerError},
};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use thiserror::Error;

use crate::{failure::Failure, output, program};

/// How often it is looked whether anything has ended.
const TICK: Duration = Duration::from_millis(50);

/// How long a command may take to stop when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Start the servers that real clients talk to: etcd, and Redis or Valkey.
///
/// Each listens on a free port of 127.0.0.1 and keeps its data in a temporary directory. The
/// addresses are printed once all of them answer: a line each, as `VARIABLE=host:port`, or JSON. They
/// run until Ctrl-C, or until the command after `--` has ended, which finds the addresses in its
/// environment, and then they are stopped and their directories removed. They are killed too if this
/// command is.
///
/// Experiments 62 and 63 need none of this: they start servers of their own, in the same way.
///
/// Exits 0 after Ctrl-C, 1 when a server is missing (it says what to install) or ends by itself, 2
/// when it does not understand the command line or there is no such command, and with a command as
/// that does.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Only these servers [default: all]
    #[arg(long, value_name = "SERVER", value_enum, value_delimiter = ',')]
    only: Vec<Name>,

    /// How to print where they listen
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// A command to run beside them, and its arguments. Nothing is printed then
    #[arg(value_name = "COMMAND", last = true, num_args = 0..)]
    command: Vec<OsString>,
}

/// A server, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The key-value store
    Etcd,
    /// Redis or Valkey, whichever there is
    Redis,
}

/// How to print where they listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line each: VARIABLE=host:port
    Text,
    /// JSON: a list of {server, version, address, variable}
    Json,
}

/// Why they do not run any more.
#[derive(Debug, Error)]
enum ServersError {
    #[error("{0} at {1} has ended by itself")]
    Ended(server::Kind, SocketAddr),
    #[error("cannot start {}: {error}", program.display())]
    Command { program: OsString, error: std::io::Error },
}

/// What is told of a server.
#[derive(Debug, Serialize)]
struct Told {
    server: String,
    version: String,
    address: SocketAddr,
    variable: &'static str,
}

impl From<Name> for server::Kind {
    fn from(name: Name) -> Self {
        match name {
            Name::Etcd => Self::Etcd,
            Name::Redis => Self::Redis,
        }
    }
}

/// Runs the command.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    options.command.first().map(|program| program::find(program)).transpose()?;
    let interrupt = Interrupt::install()?;
    let sandbox = Arc::new(Sandbox::open()?);
    let ran = start(options, &sandbox, &interrupt).and_then(|servers| {
        let code = match options.command.split_first() {
            Some((program, arguments)) => beside(&servers, program, arguments, &interrupt),
            None => serve(&servers, options.format, &interrupt),
        };
        drop(servers);
        code
    });
    sandbox.close()?;
    ran
}

fn start(
    options: &Options,
    sandbox: &Arc<Sandbox>,
    interrupt: &Interrupt,
) -> Result<Vec<Server>, Failure> {
    let all = server::Kind::ALL.to_vec();
    let kinds: Vec<_> = options.only.iter().copied().map(server::Kind::from).collect();
    let kinds = if kinds.is_empty() { all } else { kinds };
    let start = |kind| match Server::start(kind, sandbox, interrupt) {
        Err(ServerError::Interrupted) => Err(Failure::Interrupted("nothing had begun")),
        started => Ok(started?),
    };
    kinds.into_iter().map(start).collect()
}

/// Says where the servers listen, and waits until it is told to stop.
fn serve(servers: &[Server], format: Format, interrupt: &Interrupt) -> Result<ExitCode, Failure> {
    output::print(&match format {
        Format::Text => text(servers),
        Format::Json => json(servers)?,
    });
    output::note("The servers run until Ctrl-C.");
    while !interrupt.raised() {
        all_run(servers)?;
        thread::sleep(TICK);
    }
    Ok(ExitCode::SUCCESS)
}

fn all_run(servers: &[Server]) -> Result<(), ServersError> {
    match servers.iter().find(|server| server.has_ended()) {
        Some(server) => Err(ServersError::Ended(server.kind(), server.address())),
        None => Ok(()),
    }
}

fn text(servers: &[Server]) -> String {
    servers.iter().fold(String::new(), |mut text, server| {
        let _ = writeln!(text, "{}={}", server.kind().variable(), server.address());
        text
    })
}

fn json(servers: &[Server]) -> serde_json::Result<String> {
    let told = servers.iter().map(|server| Told {
        server: server.program().to_owned(),
        version: server.version().to_owned(),
        address: server.address(),
        variable: server.kind().variable(),
    });
    Ok(serde_json::to_string(&told.collect::<Vec<_>>())? + "\n")
}

/// Runs a command beside the servers, and ends as it does.
fn beside(
    servers: &[Server],
    program: &OsString,
    arguments: &[OsString],
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    // Finds the command by its mark if this process is killed.
    let guardian = Guardian::start()?;
    let mut command = Command::new(program);
    command.args(arguments);
    command.envs(servers.iter().map(|it| (it.kind().variable(), it.address().to_string())));
    guardian.mark(&mut command);
    let start = |error| ServersError::Command { program: program.clone(), error };
    let mut child = command.spawn().map_err(start)?;
    let mut asked_to_stop = None::<Instant>;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(ExitCode::from(code(status)));
        }
        if interrupt.raised() {
            let since = *asked_to_stop.get_or_insert_with(|| {
                // On a terminal Ctrl-C has reached it already; a second signal does not hurt.
                if let Some(process) = Pid::from_raw(child.id().cast_signed()) {
                    let _ = kill_process(process, Signal::TERM);
                }
                Instant::now()
            });
            if since.elapsed() > GRACE {
                child.kill()?;
            }
        }
        thread::sleep(TICK);
    }
}

/// The exit code of a command, as a shell tells it.
fn code(status: ExitStatus) -> u8 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(by_signal).unwrap_or_else(|| interrupt::EXIT_CODE.into());
    u8::try_from(code).unwrap_or(1)
}
