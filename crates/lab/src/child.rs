//! The inside of a trial: what the child process does before and after the experiment's own code.

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

use crate::{experiment::Experiment, report::Reporter, site, trial::Trial};

/// The argument that turns an experiment into the child process of one trial. The variant's name
/// and the trial's seed follow.
pub(crate) const ARGUMENT: &str = "__trial";

/// The argument that turns an experiment into one of its parts. The part's name and its arguments
/// follow.
pub(crate) const PART: &str = "__part";

/// The report pipe: the panic hook must find it from any thread, at any time.
static REPORTER: OnceLock<Reporter> = OnceLock::new();

/// Runs the part, if this process was started for one.
pub(crate) fn run_part_if_asked(experiment: &Experiment) -> Option<ExitCode> {
    let mut arguments = env::args().skip(1);
    arguments.next().filter(|first| first == PART)?;
    let name = arguments.next();
    let Some(part) = experiment.parts.iter().find(|known| Some(&known.name) == name.as_ref())
    else {
        eprintln!("error: the experiment has no part '{}'", name.unwrap_or_default());
        return Some(ExitCode::from(2));
    };
    let arguments: Vec<_> = arguments.collect();
    Some(match (part.body)(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Runs the trial, if this process was started for one.
pub(crate) fn run_if_asked(experiment: &Experiment) -> Option<ExitCode> {
    let mut arguments = env::args().skip(1);
    arguments.next().filter(|first| first == ARGUMENT)?;
    let (variant, seed) = (arguments.next(), arguments.next().and_then(|seed| seed.parse().ok()));
    let variant = experiment.variants.iter().find(|known| Some(&known.name) == variant.as_ref());
    let (Some(variant), Some(seed)) = (variant, seed) else {
        eprintln!("error: this is how the lab runs a trial of its own; use --trial");
        return Some(ExitCode::from(2));
    };
    let (reporter, directory) = match take_report_pipe().and_then(|r| Ok((r, env::current_dir()?)))
    {
        Ok(found) => found,
        Err(error) => {
            eprintln!("error: a trial needs the sandbox around it ({error}); use --trial");
            return Some(ExitCode::from(2));
        }
    };
    panic::set_hook(Box::new(report_panic));
    let trial = Trial { directory: &directory, variant, seed, reporter };
    let ended = (variant.body)(&trial);
    if let Err(error) = &ended {
        reporter.problem(&format!("error: {error}"));
    }
    reporter.done();
    Some(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes the report pipe over from standard input, where the parent put it because that needs no
/// unsafe code on either side, and leaves an empty input in its place. A process that the trial
/// starts does not inherit it.
fn take_report_pipe() -> io::Result<&'static Reporter> {
    let reporter = Reporter::new(fcntl_dupfd_cloexec(io::stdin(), 3)?)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(REPORTER.get_or_init(|| reporter))
}

/// A panic hook that reports the panic, and writes it to standard error as well.
///
/// It takes the place of the standard library's, which for the second panic of a thread prints a
/// backtrace that nobody can switch off: finding the names for it takes ten times as long as all the
/// rest of a trial that aborts.
fn report_panic(info: &PanicHookInfo<'_>) {
    thread_local! {
        // Constant and without a destructor: it is there even while the thread's other locals are
        // being destroyed, which is when the panics happen that are studied here.
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
    // The trial may have closed it.
    let _ = writeln!(io::stderr(), "thread '{name}' panicked at {site}:\n{message}");
    if let Some(reporter) = REPORTER.get() {
        reporter.panic(message, site, name, nth);
    }
}
