//! `cargo xtask loom`: explores the interleavings of the primitives, and says how many there were.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use lab::interrupt::{self, Interrupt};
use serde::Serialize;
use thiserror::Error;

use crate::{failure::Failure, output, workspace::Workspace};

/// How every model begins its line, and every broken twin.
const MODEL: &str = "model ";
const TWIN: &str = "twin ";

/// Explore the interleavings of the kit's primitives, with loom and with shuttle.
///
/// Builds packages `core` and `state-machine` with `--cfg loom`, in a target directory of its own,
/// and runs their models: the shipped source, every order of its atomic steps. A broken twin makes
/// the mistake that the shipped code avoids, and must be caught. Then shuttle tries larger ones of
/// `core` by random schedules. Exits 0 when all models hold and all twins are caught, 1 when not. The
/// models by hand: RUSTFLAGS="--cfg loom" cargo test -p core -p state-machine --release --test loom
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

/// Why there is no answer.
#[derive(Debug, Error)]
enum LoomError {
    #[error("cannot start cargo: {0}")]
    NotStarted(std::io::Error),
    #[error("no model was explored: is there one that --only names?")]
    Nothing,
}

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
    let began = Instant::now();
    let (mut explored, mut held) = (Vec::new(), true);
    for (test, packages, flags) in CHECKERS {
        held &= check(test, packages, flags, options, workspace, &interrupt, &mut explored)?;
        if interrupt.raised() {
            break;
        }
    }
    if explored.is_empty() && held {
        return Err(LoomError::Nothing.into());
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

/// Runs the models of one checker, and says whether all held.
fn check(
    test: &str,
    packages: &[&str],
    flags: &str,
    options: &Options,
    workspace: &Workspace,
    interrupt: &Interrupt,
    explored: &mut Vec<Explored>,
) -> Result<bool, Failure> {
    let given = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut cargo = workspace
        .cargo()
        .args(["test", "--no-fail-fast", "--release", "--test", test])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .arg("--target-dir")
        .arg(workspace.target()?.join(test))
        .args(["--", "--nocapture"])
        .args(&options.only)
        .env("RUSTFLAGS", format!("{given} {flags}").trim())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LoomError::NotStarted)?;

    // What twins say when they are caught belongs to nobody, unless something fails.
    let stderr = cargo.stderr.take();
    let noise = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.map(|mut stderr| stderr.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    for line in cargo.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        if let Some(model) = line.ok().and_then(|line| parse(&line)) {
            output::note(&format!("{} ({})", model.name, model.time));
            explored.push(model);
        }
        if interrupt.raised() {
            let _ = cargo.kill();
        }
    }
    let held = cargo.wait()?.success();
    let noise = noise.join().unwrap_or_default();
    if !held && !interrupt.raised() {
        output::note(&noise);
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
