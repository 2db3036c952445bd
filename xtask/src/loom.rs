//! `cargo xtask loom`: explores the interleavings of the primitives, and says how many there were.

use std::{
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use lab::{
    guardian::Guardian,
    interrupt::{self, Interrupt},
};
use serde::Serialize;

use crate::{
    build::{self, Artifact},
    conversation::{self, Company, Reply},
    failure::Failure,
    output,
    workspace::Workspace,
};

/// How every model begins its line, and every broken twin.
const MODEL: &str = "model ";
const TWIN: &str = "twin ";

/// Explore the interleavings of the kit's primitives, with loom and with shuttle.
///
/// Builds packages `core` and `state-machine` with `--cfg loom`, in target directories of their own,
/// and runs their models: the shipped source, every order of its atomic steps. A broken twin makes
/// the mistake that the shipped code avoids, and must be caught. Then shuttle tries larger ones of
/// `core` by random schedules. docs/src/loom.md tells more.
///
/// Exits 0 when all models hold and all twins are caught, 1 when not or when they do not build, 2
/// when it does not understand the command line or no test is called so, 130 when it was interrupted.
///
/// The models by hand: RUSTFLAGS="--cfg loom" cargo test -p core -p state-machine --release --test
/// loom --target-dir target/loom
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Only the models whose test's name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// How to print what was explored
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// How to print what was explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table
    Table,
    /// JSON lines, one object per model or twin
    Json,
}

/// How much is kept of what models and twins say on standard error: that of a model which fails is
/// in the middle of the others'.
const STDERR_KEPT: usize = 1 << 20;

/// What is known of a model or a twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Explored {
    name: String,
    kind: Kind,
    /// How many interleavings; of a twin it does not matter.
    interleavings: Option<u64>,
    /// `unbounded`, or what the exploration was bounded by.
    bound: Option<String>,
    /// How long it took, as the model itself says.
    time: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Of the shipped source, and must hold.
    Model,
    /// Broken, and must be caught.
    Twin,
}

/// What runs the models: a test, the packages that have one of that name, and the flags that it is
/// built with.
const CHECKERS: [(&str, &[&str], &str); 2] = [
    ("loom", &["core", "state-machine"], "--cfg loom"),
    ("shuttle", &["core"], "--cfg loom --cfg shuttle"),
];

/// Runs the command.
pub fn run(options: &Options, workspace: &Workspace) -> Result<ExitCode, Failure> {
    let interrupt = Interrupt::install()?;
    let guardian = Guardian::start()?;
    let began = Instant::now();
    let mut executables = Vec::new();
    for checker in CHECKERS {
        executables.extend(build(checker, workspace, &interrupt)?);
    }
    let company = Company { guardian: &guardian, interrupt: &interrupt, kept: STDERR_KEPT };
    let (mut explored, mut held) = (Vec::new(), true);
    for executable in &executables {
        held &= check(executable, options, company, &mut explored)?;
        if interrupt.raised() {
            break;
        }
    }
    if explored.is_empty() && held && !interrupt.raised() {
        return Err(nothing(options));
    }
    explored.sort_by(|one, other| one.name.cmp(&other.name));
    print(&explored, options.format, began.elapsed())?;
    Ok(match held {
        _ if interrupt.raised() => ExitCode::from(interrupt::EXIT_CODE),
        true => ExitCode::SUCCESS,
        false => {
            output::complain("a model failed, or a broken twin was not caught; see above");
            ExitCode::FAILURE
        }
    })
}

fn nothing(options: &Options) -> Failure {
    Failure::Usage(match &options.only {
        Some(name) => format!("no model is called so: there is no `{name}` in any test's name"),
        None => "there is no model in any of the tests".to_owned(),
    })
}

/// Builds the models of one checker.
fn build(
    (test, packages, flags): (&str, &[&str], &str),
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Vec<Artifact>, Failure> {
    let target = workspace.target()?.join(test).display().to_string();
    let mut arguments = vec!["test", "--no-run", "--release", "--test", test];
    arguments.extend(packages.iter().flat_map(|package| ["--package", package]));
    arguments.extend(["--target-dir", &target]);
    let called = format!("the models of {test}");
    let built = build::build(&called, &arguments, flags, workspace, interrupt)?;
    Ok(built.into_iter().filter(Artifact::is_test).collect())
}

/// Runs the models of one executable, and says whether all held.
fn check(
    executable: &Artifact,
    options: &Options,
    company: Company<'_>,
    explored: &mut Vec<Explored>,
) -> Result<bool, Failure> {
    // As cargo runs them: in the folder of their package.
    let package = executable.manifest_path.parent().unwrap_or(Path::new("."));
    let mut command = Command::new(&executable.executable);
    command.arg("--nocapture").args(&options.only).current_dir(package);
    let ended = conversation::hold(command, company, |line| {
        if let Some(model) = parse(&String::from_utf8_lossy(line)) {
            output::note(&format!("{} ({})", model.name, model.time));
            explored.push(model);
        }
        Reply::Continue
    })?;
    let held = ended.status.success();
    // What twins say when they are caught belongs to nobody, unless something fails.
    if !held && !ended.interrupted {
        output::note(&ended.stderr);
    }
    Ok(held)
}

/// Understands `model NAME: 13 interleavings, unbounded, 1.2ms` and `twin NAME: caught, 1.2ms`.
fn parse(line: &str) -> Option<Explored> {
    // With --nocapture a test's line may follow the words `test … `.
    let at = line.find(MODEL).or_else(|| line.find(TWIN))?;
    let line = line.get(at..)?;
    let (kind, rest) = match line.strip_prefix(MODEL) {
        Some(rest) => (Kind::Model, rest),
        None => (Kind::Twin, line.strip_prefix(TWIN)?),
    };
    let (name, found) = rest.rsplit_once(": ")?;
    let (name, mut found) = (name.to_owned(), found.split(", "));
    let (interleavings, bound) = match kind {
        Kind::Twin => (found.next().filter(|word| *word == "caught").map(|_| None)?, None),
        Kind::Model => {
            let count = found.next()?.strip_suffix(" interleavings")?.parse().ok()?;
            (Some(count), found.next().map(str::to_owned))
        }
    };
    Some(Explored { name, kind, interleavings, bound, time: found.next()?.to_owned() })
}

fn print(explored: &[Explored], format: Format, took: Duration) -> Result<(), Failure> {
    if format == Format::Json {
        for model in explored {
            output::print(&(serde_json::to_string(model)? + "\n"));
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["model", "interleavings", "explored", "time"]);
    for Explored { name, interleavings, bound, time, .. } in explored {
        let count = interleavings.map_or_else(|| "caught".to_owned(), |count| count.to_string());
        let bound = bound.clone().unwrap_or_else(|| "broken twin".to_owned());
        table.add_row([name.clone(), count, bound, time.clone()]);
    }
    for column in [1, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let models = explored.iter().filter(|model| model.kind == Kind::Model);
    let (count, twins) = (models.clone().count(), explored.len() - models.clone().count());
    let all: u64 = models.filter_map(|model| model.interleavings).sum();
    output::print(&format!(
        "{}\n\n{count} models explored in {all} interleavings, {twins} broken twins caught; \
         {:.0} s with the build\n",
        table.trim_fmt(),
        took.as_secs_f64()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_models_and_twins_are_understood() {
        let model = parse("test a ... model latch, fired: 13 interleavings, unbounded, 1.2ms");
        let model = model.unwrap();
        assert_eq!((model.name.as_str(), model.interleavings), ("latch, fired", Some(13)));
        assert_eq!(model.bound.as_deref(), Some("unbounded"));
        let bounded = parse("model a: 7 interleavings, at most 3 preemptions, 2s").unwrap();
        assert_eq!(bounded.bound.as_deref(), Some("at most 3 preemptions"));
        let twin = parse("twin two flags: caught, 3ms").unwrap();
        assert_eq!((twin.kind, twin.interleavings), (Kind::Twin, None));
        assert_eq!(twin.time, "3ms");
    }

    #[test]
    fn other_lines_are_not() {
        for line in ["test a ... ok", "model", "model a: many interleavings, unbounded, 1s", ""] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
