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
    child, condition, count,
    equipment::{Equipment, Lack, Preparation},
    experiment::Experiment,
    guardian,
    interrupt::{self, Interrupt},
    nearest,
    observation::Value,
    output::{self, Progress},
    record::Record,
    results::{
        Declaration, Event, ExperimentResult, Role, Skipped, TrialExample, VariantDeclaration,
    },
    run::{self, Lane, Plan},
    sandbox::{Sandbox, SandboxError},
    seed,
    variant::Variant,
};

/// What may be asked of an experiment.
#[derive(Debug, Parser)]
#[command(
    after_help = "An experiment is its own sandbox: it executes itself once for each trial, in a \
                  process group, an empty directory and an almost empty environment, with a \
                  deadline.\n\nExit codes: 0 it ran, whatever the verdicts; 1 the sandbox failed; \
                  2 usage; 130 interrupted. An \
                  experiment that is skipped, because the machine lacks what it needs, says so and \
                  exits 0."
)]
struct Arguments {
    /// Trials of each variant [default: what the variant declares, mostly 20]. A race gets no fewer
    /// than it declares, anything else no fewer than the 5 below which no verdict is drawn
    #[arg(long, value_name = "N", value_parser = count::parse)]
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

    /// Trials at a time [default: two for each core, and beside these more of what mostly waits]
    #[arg(long, value_name = "N", value_parser = count::parse)]
    jobs: Option<u32>,

    /// List the variants and what is predicted of them, and run nothing
    #[arg(long)]
    list: bool,

    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
}

/// How to print what was found.
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

/// Why nothing was found out.
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

/// Does what the command line asks for.
pub(crate) fn run(experiment: &Experiment) -> ExitCode {
    let ended = child::run_if_asked(experiment)
        .or_else(|| child::run_part_if_asked(experiment))
        .or_else(guardian::served);
    if let Some(ended) = ended {
        return ended;
    }
    let about = format!("{}\n\nHypothesis: {}", experiment.question, experiment.hypothesis);
    let command = Arguments::command().name(experiment.binary.clone()).about(about);
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match execute(experiment, &arguments) {
        Ok(code) => code,
        // A reader who has seen enough and closed the pipe (`| head`) knows why the run has ended.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::FAILURE
        }
        Err(failure) => {
            let code = if matches!(failure, Failure::Usage(_)) { 2 } else { 1 };
            eprintln!("error: {failure}");
            ExitCode::from(code)
        }
    }
}

fn execute(experiment: &Experiment, arguments: &Arguments) -> Result<ExitCode, Failure> {
    check(experiment)?;
    let planned = planned(experiment, arguments)?;
    if arguments.list {
        list(&declaration(experiment, &planned), arguments.format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let trials = match arguments.trial {
        Some(trial) => vec![(the_only_one(&planned)?, trial)],
        None => run::interleave(&planned),
    };
    let lanes = match arguments.jobs {
        Some(jobs) => vec![Lane { jobs: jobs as usize, trials }],
        None => run::in_lanes(experiment, trials, cores()),
    };
    let interrupt = Interrupt::install().map_err(Failure::Signals)?;
    let sandbox = Arc::new(Sandbox::open_in_memory()?);
    let equipment = match prepare(experiment, arguments.format, &sandbox, &interrupt) {
        Ok(equipment) => equipment,
        Err(Lack::Missing { what, remedy }) => {
            let (id, name) = (experiment.id.clone(), experiment.name.clone());
            skip(&Skipped { id, name, missing: what, remedy }, arguments.format)?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(Lack::Interrupted) => return Ok(ExitCode::from(interrupt::EXIT_CODE)),
        Err(broken) => return Err(Failure::Lack(broken)),
    };
    let run = Run {
        experiment,
        plan: Plan { lanes, seed },
        equipment,
        sandbox: &sandbox,
        interrupt: &interrupt,
    };
    let code = match arguments.trial {
        Some(_) => run.alone(arguments.format),
        None => run.all(arguments.format),
    };
    drop(run);
    sandbox.close()?;
    code
}

/// Finds what the experiment needs, and makes it ready.
fn prepare(
    experiment: &Experiment,
    format: Format,
    sandbox: &Arc<Sandbox>,
    interrupt: &Interrupt,
) -> Result<Equipment, Lack> {
    let say = |doing: &str| match format {
        Format::Events => {
            let event = Event::Preparing { doing: doing.to_owned() };
            // Whoever reads this may be gone; the trials will find out.
            let _ = print_json(&mut io::stdout().lock(), &event);
        }
        Format::Auto | Format::Table | Format::Text | Format::Json => eprintln!("{doing}"),
    };
    let preparation = Preparation { sandbox, interrupt, say: &say };
    experiment.needs.iter().try_fold(Equipment::new(), |equipment, need| {
        if interrupt.raised() {
            return Err(Lack::Interrupted);
        }
        Ok(equipment.and((need.0)(&preparation)?))
    })
}

fn skip(skipped: &Skipped, format: Format) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match format {
        Format::Events => print_json(&mut stdout, &Event::Skipped { skipped: skipped.clone() }),
        Format::Json => print_json(&mut stdout, skipped),
        Format::Auto | Format::Table | Format::Text => writeln!(stdout, "{skipped}"),
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

impl<'a> OneTrial<'a> {
    fn of(variant: &'a str, example: &'a TrialExample, record: &'a Record) -> Self {
        let observations = record.observations.iter().map(|(name, value)| (&**name, value));
        Self { variant, example, observations: observations.collect() }
    }
}

/// What is run, on what.
struct Run<'a> {
    experiment: &'a Experiment,
    plan: Plan,
    equipment: Equipment,
    sandbox: &'a Sandbox,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    fn trials(
        &self,
        on_trial: impl FnMut(&Variant, &Record) -> ControlFlow<()>,
    ) -> Result<ExperimentResult, SandboxError> {
        let Self { experiment, plan, equipment, sandbox, interrupt } = self;
        run::run(experiment, plan, equipment, sandbox, interrupt, on_trial)
    }

    /// Runs the trials and prints what they come to.
    fn all(&self, format: Format) -> Result<ExitCode, Failure> {
        let mut progress = Progress::of(&self.experiment.name, self.plan.len());
        let mut stdout = io::stdout().lock();
        let mut printed = Ok(());
        let mut told = Vec::new();
        let result = self.trials(|variant, record| {
            progress.step();
            if record.trial == 0 && self.experiment.told.contains(&variant.name) {
                let example = run::example(self.experiment, self.plan.seed, variant, record);
                let place = self.experiment.told.iter().position(|told| *told == variant.name);
                told.push((place, variant.name.clone(), example));
            }
            if format == Format::Events {
                let (variant, trial) = (variant.name.clone(), record.trial);
                let event = Event::Trial { variant, trial, outcome: record.outcome };
                printed = print_json(&mut stdout, &event);
            }
            // Whoever reads this may be gone.
            if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        progress.finish();
        printed?;
        let interrupted = result.interrupted;
        if !matches!(format, Format::Events | Format::Json) {
            told.sort_by_key(|(place, ..)| *place);
            for (_, variant, example) in &told {
                output::told(&mut stdout, variant, example)?;
            }
        }
        match format {
            Format::Events => print_json(&mut stdout, &Event::Result { result: Box::new(result) })?,
            Format::Json => print_json(&mut stdout, &result)?,
            Format::Table => output::result(&mut stdout, &result, true)?,
            Format::Text => output::result(&mut stdout, &result, false)?,
            Format::Auto => {
                let terminal = stdout.is_terminal();
                output::result(&mut stdout, &result, terminal)?;
            }
        }
        Ok(if interrupted { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::SUCCESS })
    }

    /// Runs one trial and shows all that is known of it.
    fn alone(&self, format: Format) -> Result<ExitCode, Failure> {
        let mut shown = Ok(());
        let result = self.trials(|variant, record| {
            let example = run::example(self.experiment, self.plan.seed, variant, record);
            let (name, mut stdout) = (&variant.name, io::stdout().lock());
            shown = match format {
                Format::Json | Format::Events => {
                    print_json(&mut stdout, &OneTrial::of(name, &example, record))
                }
                Format::Auto | Format::Table | Format::Text => {
                    output::trial(&mut stdout, name, &example, record)
                }
            };
            ControlFlow::Continue(())
        })?;
        shown?;
        let code = if result.interrupted { interrupt::EXIT_CODE } else { 0 };
        Ok(ExitCode::from(code))
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

fn print_json(to: &mut impl io::Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// How many trials each variant gets; none, where `--only` leaves it out.
fn planned(experiment: &Experiment, arguments: &Arguments) -> Result<Vec<u32>, Failure> {
    let names: Vec<_> = experiment.variants.iter().map(|variant| &*variant.name).collect();
    for pattern in &arguments.only {
        if !names.iter().any(|name| condition::fits(pattern, name)) {
            let nearest = nearest::of(pattern, names.iter().copied())
                .map_or(String::new(), |name| format!("; did you mean '{name}'?"));
            return Err(Failure::Usage(format!(
                "{} has no variant '{pattern}'{nearest} (--list names them)",
                experiment.binary
            )));
        }
    }
    let asked = arguments.trials;
    let is_chosen = |name: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|p| condition::fits(p, name))
    };
    let trials = experiment.variants.iter().map(|variant| {
        if is_chosen(&variant.name) { variant.planned(asked, arguments.quick) } else { 0 }
    });
    Ok(trials.collect())
}

/// The position of the one variant that was chosen.
fn the_only_one(planned: &[u32]) -> Result<usize, Failure> {
    let mut chosen = planned.iter().enumerate().filter(|(_, trials)| **trials > 0);
    match (chosen.next(), chosen.next()) {
        (Some((at, _)), None) => Ok(at),
        _ => Err(Failure::Usage("--trial runs one trial of one variant: name it by --only".into())),
    }
}

/// Whether the declaration makes sense: a mistake in it must not turn into a verdict.
fn check(experiment: &Experiment) -> Result<(), Failure> {
    let wrong =
        |what: String| Err(Failure::Declaration { experiment: experiment.binary.clone(), what });
    let number = experiment.id.len() == 2 && experiment.id.bytes().all(|b| b.is_ascii_digit());
    if !number {
        return wrong("its name does not begin with two digits and an underscore".to_owned());
    }
    if experiment.question.is_empty() || experiment.hypothesis.is_empty() {
        return wrong("it has no question or no hypothesis".to_owned());
    }
    let mut names: Vec<_> = experiment.variants.iter().map(|variant| &*variant.name).collect();
    names.sort_unstable();
    if let Some([twice, _]) = names.array_windows().find(|[one, other]| one == other) {
        return wrong(format!("two variants are called '{twice}'"));
    }
    let role = |role| experiment.variants.iter().any(|variant| variant.role == role);
    if experiment.kit_claim.is_some() && !(role(Role::Cure) && role(Role::Hazard)) {
        return wrong("it claims a cure, and has no cure, or no hazard beside it".to_owned());
    }
    if let Some(told) = experiment.told.iter().find(|told| !names.contains(&told.as_str())) {
        return wrong(format!("it tells of '{told}', which is none of its variants"));
    }
    for claim in &experiment.claims {
        for pattern in claim.supported.patterns().into_iter().chain(claim.refuted.patterns()) {
            if !weighed(experiment).any(|name| condition::fits(pattern, name)) {
                let id = &claim.id;
                return wrong(format!("claim {id} speaks of '{pattern}', which fits no variant"));
            }
        }
    }
    Ok(())
}

/// The names of the variants that the claims of others may speak of.
fn weighed(experiment: &Experiment) -> impl Iterator<Item = &str> {
    let apart = experiment.kit_claim.is_some();
    let variants = experiment.variants.iter();
    variants.filter(move |variant| !(apart && variant.role == Role::Cure)).map(|it| &*it.name)
}

fn declaration(experiment: &Experiment, planned: &[u32]) -> Declaration {
    let variants = experiment.variants.iter().zip(planned).filter(|(_, trials)| **trials > 0);
    let kit = experiment.kit_claim.iter().map(|_| run::KIT);
    let claims = experiment.claims.iter().map(|claim| &*claim.id).chain(kit);
    Declaration {
        id: experiment.id.clone(),
        name: experiment.name.clone(),
        binary: experiment.binary.clone(),
        question: experiment.question.clone(),
        hypothesis: experiment.hypothesis.clone(),
        claims: claims.map(str::to_owned).collect(),
        variants: variants
            .map(|(variant, trials)| VariantDeclaration {
                name: variant.name.clone(),
                role: variant.role,
                about: variant.about.clone(),
                prediction: variant.prediction.to_string(),
                trials: *trials,
            })
            .collect(),
    }
}

fn list(declaration: &Declaration, format: Format) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match format {
        Format::Json | Format::Events => print_json(&mut stdout, declaration)?,
        Format::Table => output::declaration(&mut stdout, declaration, true)?,
        Format::Text => output::declaration(&mut stdout, declaration, false)?,
        Format::Auto => {
            let terminal = stdout.is_terminal();
            output::declaration(&mut stdout, declaration, terminal)?;
        }
    }
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control;

    #[test]
    fn an_experiment_tells_of_none_but_its_own_variants() {
        let experiment = |told| {
            Experiment::new("90_telling")
                .question("?")
                .hypothesis("!")
                .variants([control("it", |_| Ok(()))])
                .tells(told)
        };
        assert!(check(&experiment("it")).is_ok());
        let refused = check(&experiment("another")).unwrap_err().to_string();
        assert!(refused.contains("'another', which is none of its variants"), "{refused}");
    }
}
