//! `cargo xtask servers`: starts the servers that the experiments' real clients talk to.

use std::{
    process::{Command, ExitCode},
    sync::Arc,
    thread,
};

use lab::{
    Lack,
    guardian::Guardian,
    interrupt::Interrupt,
    sandbox::Sandbox,
    server::{Kind, Server},
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    child,
    failure::{Context as _, Failure, Result},
    flags::{self, Format},
    output,
};

pub fn run(flags: &flags::Servers) -> Result<ExitCode> {
    if let Some(program) = flags.command.first() {
        child::find(program)?;
    }
    let interrupt = Interrupt::install()?;
    let sandbox = Arc::new(Sandbox::open()?);
    let ran =
        start(flags, &sandbox, &interrupt).and_then(|servers| match flags.command.is_empty() {
            true => serve(&servers, flags.format, &interrupt),
            false => run_command(&servers, flags, &interrupt),
        });
    sandbox.close()?;
    ran
}

fn start(
    flags: &flags::Servers,
    sandbox: &Arc<Sandbox>,
    interrupt: &Interrupt,
) -> Result<Vec<Server>> {
    let chosen = |kind: &Kind| {
        let name = match kind {
            Kind::Etcd => flags::Server::Etcd,
            Kind::Redis => flags::Server::Redis,
            Kind::Nats => flags::Server::Nats,
            Kind::Postgres => flags::Server::Postgres,
        };
        flags.only.is_empty() || flags.only.contains(&name)
    };
    let start = |kind| match Server::start(kind, sandbox, interrupt) {
        Err(Lack::Interrupted) => Err(Failure::Interrupted),
        started => Ok(started?),
    };
    Kind::ALL.into_iter().filter(chosen).map(start).collect()
}

/// Prints where the servers listen, and waits for Ctrl-C.
fn serve(servers: &[Server], format: Format, interrupt: &Interrupt) -> Result<ExitCode> {
    let lines = servers.iter().map(|it| format!("{}={}\n", it.kind().variable(), it.address()));
    let objects = servers.iter().map(|it| {
        json!({
            "server": it.program(),
            "version": it.version(),
            "address": it.address(),
            "variable": it.kind().variable(),
        })
    });
    output::print(&match format {
        Format::Text => lines.collect(),
        Format::Json => serde_json::to_string(&objects.collect::<Vec<_>>())? + "\n",
    });
    output::note("The servers run until Ctrl-C.");
    while !interrupt.raised() {
        if let Some(server) = servers.iter().find(|server| server.has_ended()) {
            let (kind, address) = (server.kind(), server.address());
            return Err(Failure::Failed(format!("{kind} at {address} has ended by itself")));
        }
        thread::sleep(child::TICK);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command while the servers run, and returns its exit code.
fn run_command(
    servers: &[Server],
    flags: &flags::Servers,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    let Some((program, arguments)) = flags.command.split_first() else {
        return Ok(ExitCode::SUCCESS);
    };
    // The guardian finds the command by its mark if this process is killed.
    let guardian = Guardian::start()?;
    let mut command = Command::new(program);
    command.args(arguments);
    command.envs(servers.iter().map(|it| (it.kind().variable(), it.address().to_string())));
    guardian.mark(&mut command);
    let mut child = command.spawn().context(|| format!("cannot start `{}`", program.display()))?;
    Ok(child::exit_code(child::wait(&mut child, interrupt, Signal::TERM)?))
}
