//! The command line of an experiment.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    ops::ControlFlow,
    process::ExitCode,
    sync::Arc,
    thread,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use serde::Serialize;
use thiserror::Error;

use crate::{
    arguments, child, condition, declaration,
    equipment::{Equipment, Lack, Preparation},
    experiment::Experiment,
    guardian,
    interrupt::{self, Interrupt},
    nearest,
    observation::Value,
    output::{self, Progress},
    results::{Event, Skipped, TrialExample},
    run::{self, Lane, Plan, Run},
    sandbox::{Sandbox, SandboxError},
    seed,
};

/// The options of an experiment.
#[derive(Debug, Parser)]
#[command(
    after_help = "An experiment executes itself once for each trial, in a process group, an empty \
                  directory and an almost empty environment, with a deadline.\n\nExit codes: 0 if \
                  it ran, whatever the verdicts, or was skipped because the machine lacks a \
                  requirement; 1 if the sandbox failed; 2 for a usage error; 130 if interrupted."
)]
struct Arguments {
    /// Run each variant this many times [default: as the variant declares, mostly 20]. A race runs no
    /// fewer trials than it declares, any other variant no fewer than the 5 that a verdict needs
    #[arg(long, value_name = "N", value_parser = arguments::parse_count)]
    trials: Option<u32>,

    /// Run five trials of variants whose outcome is certain, and of races as many as they need
    #[arg(long, conflicts_with = "trials")]
    quick: bool,

    /// The seed of the run, in decimal or as 0x…; the report prints it [default: random]
    #[arg(long, value_name = "SEED", value_parser = seed::parse)]
    seed: Option<u64>,

    /// Run only these variants: names, or patterns in which * matches any text
    #[arg(long, value_name = "VARIANT", value_delimiter = ',')]
    only: Vec<String>,

    /// Run only this trial, from 0, of the variant that --only names, and print all details
    #[arg(long, value_name = "K", requires = "only")]
    trial: Option<u32>,

    /// Run this many trials at a time [default: two per core; more for trials that mostly wait]
    #[arg(long, value_name = "N", value_parser = arguments::parse_count)]
    jobs: Option<u32>,

    /// Run each trial under this program, with arguments; given once for each word, as in `--under strace
    /// --under -f`. The trial's seed is in PROBE_SEED, its number in PROBE_TRIAL
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    under: Vec<OsString>,

    /// Run nothing: list the variants and their predictions
    #[arg(long)]
    list: bool,

    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table on a terminal, plain text in a pipe
    Auto,
    /// A table with lines
    Table,
    /// Plain text
    Text,
    /// One JSON object
    Json,
    /// JSON lines: one when a trial ends, and the result at the end
    Events,
}

/// Who reads the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Person { lines: bool },
    Program { as_it_happens: bool },
}

impl Format {
    fn reader(self) -> Reader {
        match self {
            Self::Auto => Reader::Person { lines: io::stdout().is_terminal() },
            Self::Table => Reader::Person { lines: true },
            Self::Text => Reader::Person { lines: false },
            Self::Json => Reader::Program { as_it_happens: false },
            Self::Events => Reader::Program { as_it_happens: true },
        }
    }
}

/// Why a run has no result.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("experiment {experiment} is not well declared: {what}")]
    Declaration { experiment: String, what: String },
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("{0}")]
    Lack(Lack),
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    #[error("cannot print the result: {0}")]
    Output(#[from] io::Error),
}

impl Experiment {
    /// Runs the command line: the experiment, one trial of it, or the list of its declaration.
    ///
    /// An experiment's `main` consists of this call. In the child process of a trial it runs the trial's
    /// body and returns, so that the process exits normally.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let experiment = self.complete();
        if let Some(ended) = child::run_if_asked(&experiment).or_else(guardian::served) {
            return ended;
        }
        let about = format!("{}\n\nHypothesis: {}", experiment.question, experiment.hypothesis);
        let command = Arguments::command().name(experiment.binary.clone()).about(about);
        let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
            Ok(arguments) => arguments,
            Err(error) => error.exit(),
        };
        match execute(&experiment, &arguments) {
            Ok(code) => ExitCode::from(code),
            // A reader that has seen enough and closed the pipe (`| head`) knows why the run ended.
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::FAILURE
            }
            Err(failure) => {
                eprintln!("error: {failure}");
                ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
            }
        }
    }
}

fn execute(experiment: &Experiment, arguments: &Arguments) -> Result<u8, Failure> {
    declaration::check(experiment)
        .map_err(|what| Failure::Declaration { experiment: experiment.binary.clone(), what })?;
    let (planned, reader) = (planned(experiment, arguments)?, arguments.format.reader());
    if arguments.list {
        let declared = declaration::of(experiment, &planned);
        let mut stdout = io::stdout().lock();
        match reader {
            Reader::Person { lines } => output::declaration(&mut stdout, &declared, lines)?,
            Reader::Program { .. } => print_json(&mut stdout, &declared)?,
        }
        return Ok(0);
    }
    let trials = match arguments.trial {
        Some(trial) => vec![(the_only_one(&planned)?, trial)],
        None => run::interleave(&planned),
    };
    let cores = thread::available_parallelism().map_or(1, Into::into);
    let lanes = match arguments.jobs {
        Some(jobs) => vec![Lane { jobs: jobs as usize, trials }],
        None => run::in_lanes(experiment, trials, cores),
    };
    let plan = Plan { lanes, seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..)) };
    let interrupt = Interrupt::install().map_err(Failure::Signals)?;
    let sandbox = Arc::new(Sandbox::open_in_memory()?);
    let equipment = match prepare(experiment, reader, &sandbox, &interrupt) {
        Ok(equipment) => equipment,
        Err(Lack::Missing { what, remedy }) => {
            let (id, name) = (experiment.id.clone(), experiment.name.clone());
            skip(&Skipped { id, name, missing: what, remedy }, reader)?;
            return Ok(0);
        }
        Err(Lack::Interrupted) => return Ok(interrupt::EXIT_CODE),
        Err(broken) => return Err(Failure::Lack(broken)),
    };
    let (under, sandbox, interrupt) = (&*arguments.under, &*sandbox, &interrupt);
    let run = Run { experiment, plan, equipment, under, sandbox, interrupt };
    let interrupted = match arguments.trial {
        Some(_) => alone(&run, reader),
        None => all(&run, reader),
    };
    drop(run);
    sandbox.close()?;
    Ok(if interrupted? { interrupt::EXIT_CODE } else { 0 })
}

/// Finds what the experiment needs, and makes it ready.
fn prepare(
    experiment: &Experiment,
    reader: Reader,
    sandbox: &Arc<Sandbox>,
    interrupt: &Interrupt,
) -> Result<Equipment, Lack> {
    let say = |doing: &str| {
        if reader == (Reader::Program { as_it_happens: true }) {
            let event = Event::Preparing { doing: doing.to_owned() };
            // If nobody reads this any more, the trials will find out.
            let _ = print_json(&mut io::stdout().lock(), &event);
        } else {
            eprintln!("{doing}");
        }
    };
    let preparation = Preparation { sandbox, interrupt, say: &say };
    experiment.needs.iter().try_fold(Equipment::new(), |equipment, need| {
        if interrupt.raised() {
            return Err(Lack::Interrupted);
        }
        Ok(equipment.and(need(&preparation)?))
    })
}

fn skip(skipped: &Skipped, reader: Reader) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match reader {
        Reader::Person { .. } => writeln!(stdout, "{skipped}"),
        Reader::Program { as_it_happens: false } => print_json(&mut stdout, skipped),
        Reader::Program { as_it_happens: true } => {
            print_json(&mut stdout, &Event::Skipped { skipped: skipped.clone() })
        }
    }
}

/// Runs the trials and prints the result. Returns whether the run was interrupted.
fn all(run: &Run<'_>, reader: Reader) -> Result<bool, Failure> {
    let experiment = run.experiment;
    let mut progress = Progress::of(&experiment.name, run.plan.len());
    let mut stdout = io::stdout().lock();
    let mut printed = Ok(());
    let mut shown_first = BTreeMap::new();
    let result = run.trials(|variant, record| {
        progress.step();
        let place = experiment.shown_first.iter().position(|name| *name == variant.name);
        if let Some(place) = place.filter(|_| record.trial == 0) {
            shown_first.insert(place, (variant.name.clone(), run.example(variant, record)));
        }
        if reader == (Reader::Program { as_it_happens: true }) {
            let (variant, trial) = (variant.name.clone(), record.trial);
            let event = Event::Trial { variant, trial, outcome: record.outcome };
            printed = print_json(&mut stdout, &event);
        }
        // Nobody may be reading any more.
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    progress.finish();
    printed?;
    let interrupted = result.interrupted;
    match reader {
        Reader::Person { lines } => {
            for (variant, example) in shown_first.values() {
                output::shown_first(&mut stdout, variant, example)?;
            }
            output::result(&mut stdout, &result, lines)?;
        }
        Reader::Program { as_it_happens: false } => print_json(&mut stdout, &result)?,
        Reader::Program { as_it_happens: true } => {
            print_json(&mut stdout, &Event::Result { result: Box::new(result) })?;
        }
    }
    Ok(interrupted)
}

/// All that is known of the trial that `--trial` names, for a program to read.
#[derive(Serialize)]
struct OneTrial<'a> {
    variant: &'a str,
    #[serde(flatten)]
    example: &'a TrialExample,
    observations: BTreeMap<&'a str, &'a Value>,
}

/// Runs one trial and prints all that is known of it. Returns whether it was interrupted.
fn alone(run: &Run<'_>, reader: Reader) -> Result<bool, Failure> {
    let mut printed = Ok(());
    let result = run.trials(|variant, record| {
        let (variant, example) = (&variant.name, &run.example(variant, record));
        let mut stdout = io::stdout().lock();
        printed = match reader {
            Reader::Person { .. } => output::trial(&mut stdout, variant, example, record),
            Reader::Program { .. } => {
                let observations = record.observations.iter().map(|(name, value)| (&**name, value));
                let observations = observations.collect();
                print_json(&mut stdout, &OneTrial { variant, example, observations })
            }
        };
        ControlFlow::Continue(())
    })?;
    printed?;
    Ok(result.interrupted)
}

fn print_json(to: &mut impl io::Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// How many trials each variant gets; none if `--only` leaves it out.
fn planned(experiment: &Experiment, arguments: &Arguments) -> Result<Vec<u32>, Failure> {
    let Arguments { trials, quick, only, .. } = arguments;
    let names = || experiment.variants.iter().map(|variant| &*variant.name);
    for pattern in only.iter().flat_map(|pattern| pattern.split('|')) {
        if !names().any(|name| condition::fits(pattern, name)) {
            let nearest = nearest::of(pattern, names())
                .map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            return Err(Failure::Usage(format!(
                "{} has no variant `{pattern}`{nearest} (--list names them)",
                experiment.binary
            )));
        }
    }
    let is_chosen =
        |name: &str| only.is_empty() || only.iter().any(|pattern| condition::fits(pattern, name));
    let planned = experiment
        .variants
        .iter()
        .map(|variant| if is_chosen(&variant.name) { variant.planned(*trials, *quick) } else { 0 });
    Ok(planned.collect())
}

/// The position of the one variant that was chosen.
fn the_only_one(planned: &[u32]) -> Result<usize, Failure> {
    let mut chosen = planned.iter().enumerate().filter(|(_, trials)| **trials > 0);
    match (chosen.next(), chosen.next()) {
        (Some((at, _)), None) => Ok(at),
        _ => Err(Failure::Usage("--trial runs one trial of one variant: name it by --only".into())),
    }
}
