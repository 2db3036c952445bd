//! The child process of a trial, before and after the experiment's own code.

use std::{
    cell::Cell,
    env,
    fs::File,
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    process::ExitCode,
    sync::OnceLock,
    thread,
};

use rustix::io::fcntl_dupfd_cloexec;

use crate::{
    experiment::Experiment,
    report_pipe::Reporter,
    site,
    trial::{PART, TRIAL, Trial},
};

/// The report pipe. Static, because the panic hook must find it on any thread, at any time.
static REPORTER: OnceLock<Reporter> = OnceLock::new();

/// Runs a trial or a part if this process was started as one.
pub(crate) fn run_if_asked(experiment: &Experiment) -> Option<ExitCode> {
    let mut arguments = env::args().skip(1);
    match arguments.next()?.as_str() {
        TRIAL => Some(trial(experiment, arguments)),
        PART => Some(part(experiment, arguments)),
        _ => None,
    }
}

fn part(experiment: &Experiment, mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let name = arguments.next().unwrap_or_default();
    let Some(part) = experiment.parts.iter().find(|known| known.name == name) else {
        return usage(&format!("the experiment has no part `{name}`"));
    };
    match (part.body)(&arguments.collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trial(experiment: &Experiment, mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let (name, seed) = (arguments.next(), arguments.next().and_then(|seed| seed.parse().ok()));
    let number = arguments.next().and_then(|number| number.parse().ok());
    let variant = experiment.variants.iter().find(|known| Some(&known.name) == name.as_ref());
    let (Some(variant), Some(seed), Some(number)) = (variant, seed, number) else {
        return usage("the lab starts its own trials like this; use --trial");
    };
    let surroundings = take_report_pipe().and_then(|reporter| Ok((reporter, env::current_dir()?)));
    let (reporter, directory) = match surroundings {
        Ok(found) => found,
        Err(error) => return usage(&format!("a trial needs a sandbox ({error}); use --trial")),
    };
    panic::set_hook(Box::new(report_panic));
    let ended = (variant.body)(&Trial {
        directory: &directory,
        variant: &variant.name,
        version: variant.version.as_deref(),
        is_cured: variant.is_derived,
        seed,
        number,
        reporter,
    });
    if let Err(error) = &ended {
        reporter.problem(&format!("error: {error}"));
    }
    reporter.done();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage(what: &str) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::from(2)
}

/// Takes the report pipe from standard input, and replaces standard input by an empty one. The parent
/// passes the pipe as standard input because that needs no unsafe code on either side. Processes that
/// the trial starts do not inherit the pipe.
fn take_report_pipe() -> io::Result<&'static Reporter> {
    let reporter = Reporter::new(fcntl_dupfd_cloexec(io::stdin(), 3)?)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(REPORTER.get_or_init(|| reporter))
}

/// The panic hook: writes the panic to the report pipe and to standard error.
///
/// It replaces the standard library's hook, which always prints a backtrace for the second panic of a
/// thread. To resolve the names for that takes ten times as long as the rest of a trial that aborts.
fn report_panic(info: &PanicHookInfo<'_>) {
    thread_local! {
        // Constant and without a destructor: it remains valid while the thread's other locals are
        // destroyed. Many of the panics that the experiments study happen then.
        static PANICS: Cell<u32> = const { Cell::new(0) };
    }
    let nth = PANICS.get() + 1;
    PANICS.set(nth);
    let message = info.payload_as_str().unwrap_or("(not a text)");
    let site = info.location().map_or_else(
        || "unknown".to_owned(),
        |at| site::normalise(at.file(), at.line(), at.column()),
    );
    let thread = thread::current();
    let name = thread.name().unwrap_or("unnamed");
    // The trial may have closed standard error.
    let _ = writeln!(io::stderr(), "thread '{name}' panicked at {site}:\n{message}");
    if let Some(reporter) = REPORTER.get() {
        reporter.panic(message, site, name, nth);
    }
}
