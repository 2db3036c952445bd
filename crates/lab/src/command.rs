//! The command line of an experiment.

use std::{
    collections::BTreeMap,
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
    record::Record,
    results::{Event, Skipped, TrialExample},
    run::{self, Lane, Plan},
    sandbox::{Sandbox, SandboxError},
    seed,
};

/// The options of an experiment.
#[derive(Debug, Parser)]
#[command(
    after_help = "An experiment is its own sandbox: it executes itself once for each trial, in a \
                  process group, an empty directory and an almost empty environment, with a \
                  deadline.\n\nExit codes: 0 it ran, whatever the verdicts; 1 the sandbox failed; \
                  2 usage; 130 interrupted. An experiment that is skipped, because the machine \
                  lacks what it needs, says so and exits with 0."
)]
struct Arguments {
    /// Trials of each variant [default: what the variant declares, mostly 20]. A race gets no fewer
    /// than it declares, anything else no fewer than the 5 that a verdict needs
    #[arg(long, value_name = "N", value_parser = arguments::parse_count)]
    trials: Option<u32>,

    /// Five trials where the outcome is certain; races keep theirs
    #[arg(long, conflicts_with = "trials")]
    quick: bool,

    /// The seed of the run, decimal or 0x…; printed, so that a run can be repeated [default: at random]
    #[arg(long, value_name = "SEED", value_parser = seed::parse)]
    seed: Option<u64>,

    /// Only these variants: names, or patterns in which * stands for any text
    #[arg(long, value_name = "VARIANT", value_delimiter = ',')]
    only: Vec<String>,

    /// Only this trial, from 0, of the one variant named by --only, and all that is known of it
    #[arg(long, value_name = "K", requires = "only")]
    trial: Option<u32>,

    /// Trials at a time [default: two for each core, and beside these more of those that mostly wait]
    #[arg(long, value_name = "N", value_parser = arguments::parse_count)]
    jobs: Option<u32>,

    /// List the variants and what is predicted of them, and run nothing
    #[arg(long)]
    list: bool,

    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
}

/// How to print the result.
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
    /// JSON lines: one for each trial as it ends, and the result in the end
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

/// Why there is no result.
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
    /// Does what the command line asks for: runs the experiment, or one trial of it, or lists what it
    /// declares.
    ///
    /// This is the whole of an experiment's `main`. In the child process of a trial it runs the trial's
    /// body and returns, so that the process ends as any program does.
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
    let run = Run { experiment, plan, equipment, sandbox: &sandbox, interrupt: &interrupt };
    let interrupted = match arguments.trial {
        Some(_) => run.alone(reader),
        None => run.all(reader),
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

/// All that is known of the trial that `--trial` names, for a program to read.
#[derive(Serialize)]
struct OneTrial<'a> {
    variant: &'a str,
    #[serde(flatten)]
    example: &'a TrialExample,
    observations: BTreeMap<&'a str, &'a Value>,
}

/// What is run, and with what.
struct Run<'a> {
    experiment: &'a Experiment,
    plan: Plan,
    equipment: Equipment,
    sandbox: &'a Sandbox,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// Runs the trials and prints the result. Returns whether the run was interrupted.
    fn all(&self, reader: Reader) -> Result<bool, Failure> {
        let Self { experiment, plan, equipment, sandbox, interrupt } = self;
        let mut progress = Progress::of(&experiment.name, plan.len());
        let mut stdout = io::stdout().lock();
        let mut printed = Ok(());
        let mut shown_first = BTreeMap::new();
        let result =
            run::run(experiment, plan, equipment, sandbox, interrupt, |variant, record| {
                progress.step();
                let place = experiment.shown_first.iter().position(|name| *name == variant.name);
                if let Some(place) = place.filter(|_| record.trial == 0) {
                    let example = run::example(experiment, plan.seed, variant, record);
                    shown_first.insert(place, (variant.name.clone(), example));
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

    /// Runs one trial and prints all that is known of it. Returns whether it was interrupted.
    fn alone(&self, reader: Reader) -> Result<bool, Failure> {
        let Self { experiment, plan, equipment, sandbox, interrupt } = self;
        let mut printed = Ok(());
        let result =
            run::run(experiment, plan, equipment, sandbox, interrupt, |variant, record| {
                let example = run::example(experiment, plan.seed, variant, record);
                printed = print_one(&variant.name, &example, record, reader);
                ControlFlow::Continue(())
            })?;
        printed?;
        Ok(result.interrupted)
    }
}

fn print_one(
    variant: &str,
    example: &TrialExample,
    record: &Record,
    reader: Reader,
) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match reader {
        Reader::Person { .. } => output::trial(&mut stdout, variant, example, record),
        Reader::Program { .. } => {
            let observations = record.observations.iter().map(|(name, value)| (&**name, value));
            let observations = observations.collect();
            print_json(&mut stdout, &OneTrial { variant, example, observations })
        }
    }
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
    for pattern in only {
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
