//! `cargo xtask loom`: explores the interleavings of the primitives, and reports how many there are.

use std::{
    ops::ControlFlow,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use lab::{
    guardian::Guardian,
    interrupt::{self, Interrupt},
};
use serde::Serialize;

use crate::{
    build::{Artifact, build},
    child,
    failure::{Failure, Result},
    flags::{self, Format},
    output::{self, Paper},
    workspace::Workspace,
};

/// A checker: the name of its test, the packages that have such a test, and the compiler flags.
const CHECKERS: [(&str, &[&str], &str); 2] = [
    ("loom", &["core", "state-machine"], "--cfg loom"),
    ("shuttle", &["core"], "--cfg loom --cfg shuttle"),
];

/// The beginnings of the lines of models and of broken twins.
const MODEL: &str = "model ";
const TWIN: &str = "twin ";

/// How much of the standard error of all models is kept, in bytes. The model that fails may be in the
/// middle.
const STDERR_KEPT: usize = 1 << 20;

/// An explored model or twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Explored {
    name: String,
    kind: Kind,
    /// Absent for a twin.
    interleavings: Option<u64>,
    /// `unbounded`, or the bound of the exploration.
    bound: Option<String>,
    /// How long it took, as the model prints it.
    time: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// The shipped source: the model must hold.
    Model,
    /// A broken copy: the checker must catch it.
    Twin,
}

pub fn run(flags: &flags::Loom, workspace: &Workspace) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let guardian = Guardian::start()?;
    let began = Instant::now();
    let mut executables = Vec::new();
    for (test, packages, rustflags) in CHECKERS {
        let target = workspace.target()?.join(test).display().to_string();
        let mut arguments = vec!["test", "--no-run", "--release", "--test", test];
        arguments.extend(packages.iter().flat_map(|package| ["--package", package]));
        arguments.extend(["--target-dir", &target]);
        let what = format!("the models of {test}");
        executables.extend(build(&what, &arguments, rustflags, workspace, &interrupt)?);
    }
    let (mut explored, mut all_hold) = (Vec::new(), true);
    for executable in executables.iter().filter(|it| it.is_test()) {
        all_hold &= explore(executable, flags, &guardian, &interrupt, &mut explored)?;
        if interrupt.raised() {
            break;
        }
    }
    if explored.is_empty() && all_hold && !interrupt.raised() {
        return Err(Failure::Usage(match &flags.only {
            Some(name) => format!("there is no test of a model with `{name}` in its name"),
            None => "none of the tests has a model".to_owned(),
        }));
    }
    explored.sort_by(|one, other| one.name.cmp(&other.name));
    match flags.format {
        Format::Text => {
            output::print(&table(&explored));
            output::print(&format!("{:.0} s with the build\n", began.elapsed().as_secs_f64()));
        }
        Format::Json => {
            for model in &explored {
                output::print(&(serde_json::to_string(model)? + "\n"));
            }
        }
    }
    if interrupt.raised() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    if !all_hold {
        output::complain("a model failed, or a broken twin was not caught: see above");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the models of one executable, and returns whether all held.
fn explore(
    executable: &Artifact,
    flags: &flags::Loom,
    guardian: &Guardian,
    interrupt: &Interrupt,
    explored: &mut Vec<Explored>,
) -> Result<bool> {
    // Run in the folder of their package, as cargo does.
    let package = executable.manifest_path.parent().unwrap_or(Path::new("."));
    let mut command = Command::new(&executable.executable);
    command.arg("--nocapture").args(&flags.only).current_dir(package);
    let ended = child::listen(command, guardian, interrupt, STDERR_KEPT, |line| {
        if let Some(model) = parse(&String::from_utf8_lossy(line)) {
            output::note(&format!("{} ({})", model.name, model.time));
            explored.push(model);
        }
        ControlFlow::Continue(())
    })?;
    let hold = ended.status.success();
    // Print standard error only on a failure: caught twins print their panics too.
    if !hold && !ended.interrupted {
        output::note(&ended.stderr);
    }
    Ok(hold)
}

/// Reads `model NAME: 13 interleavings, unbounded, 1.2ms` and `twin NAME: caught, 1.2ms`.
fn parse(line: &str) -> Option<Explored> {
    // With --nocapture, `test … ` may precede it.
    let at = line.find(MODEL).or_else(|| line.find(TWIN))?;
    let line = line.get(at..)?;
    let (kind, rest) = match line.strip_prefix(MODEL) {
        Some(rest) => (Kind::Model, rest),
        None => (Kind::Twin, line.strip_prefix(TWIN)?),
    };
    let (name, found) = rest.rsplit_once(": ")?;
    let (name, mut found) = (name.to_owned(), found.split(", "));
    let first = found.next()?;
    let (interleavings, bound) = match kind {
        Kind::Twin if first == "caught" => (None, None),
        Kind::Twin => return None,
        Kind::Model => {
            let count = first.strip_suffix(" interleavings")?.parse().ok()?;
            (Some(count), found.next().map(str::to_owned))
        }
    };
    Some(Explored { name, kind, interleavings, bound, time: found.next()?.to_owned() })
}

fn table(explored: &[Explored]) -> String {
    let row = |it: &Explored| {
        let count = it.interleavings.map_or_else(|| "caught".to_owned(), |it| it.to_string());
        let bound = it.bound.clone().unwrap_or_else(|| "broken twin".to_owned());
        vec![it.name.clone(), count, bound, it.time.clone()]
    };
    let header = ["model", "interleavings", "explored", "time"];
    let table = Paper::stdout().table(&header, explored.iter().map(row).collect(), &[1, 3]);
    let models = explored.iter().filter(|it| it.kind == Kind::Model).count();
    let all: u64 = explored.iter().filter_map(|model| model.interleavings).sum();
    let twins = explored.len() - models;
    format!(
        "{table}\n{models} models explored in {all} interleavings, {twins} broken twins caught; "
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_models_and_twins_are_read() {
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
