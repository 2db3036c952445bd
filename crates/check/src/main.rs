//! `cargo sundown check`: finds the destructors in a program that can panic because of Tokio, before they do.
//!
//! The program is built without optimization, so that every function is there under its name, and its machine code is
//! read: [`binary`] has the functions, [`graph`] who calls whom, [`sinks`] where the panics are, [`search`] the ways
//! from every destructor to them, and [`findings`] what that says of each type. [`first_values`] and [`patterns`] read
//! sources as well.

mod answers;
mod baseline;
mod binary;
mod branches;
mod build;
mod code;
mod conditions;
mod constructors;
mod explain;
mod failure;
mod findings;
mod first_values;
mod flags;
mod graph;
mod interrupt;
mod kind;
mod lines;
mod mitigations;
mod names;
mod nearest;
mod output;
mod patterns;
mod report;
mod rustc;
mod search;
mod sinks;
mod sources;
mod trials;
mod vtables;

use std::{env, io::Write as _, process::ExitCode};

use clap::Parser as _;

use crate::{
    baseline::Baseline,
    binary::Binary,
    constructors::Constructors,
    failure::{Failure, Result, Unreadable},
    findings::{Finding, Findings, RUNTIME},
    flags::{Check, Command, Flags, Format},
    graph::Graph,
    lines::Lines,
    report::Report,
};

fn main() -> ExitCode {
    if let Some(code) = rustc::wrapped() {
        return code;
    }
    lab::guardian::serve_if_asked();
    // cargo calls `cargo-sundown sundown check`.
    let mut arguments: Vec<_> = env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == "sundown") {
        arguments.remove(1);
    }
    let done = match Flags::parse_from(arguments).command {
        Command::Check(check) => {
            interrupt::handle().map_err(Failure::Cargo).and_then(|()| run(&check))
        }
        Command::Explain(code) => explain::run(&code),
    };
    done.unwrap_or_else(|failure| {
        tell(format_args!("error: {failure}"));
        failure.exit_code()
    })
}

fn run(check: &Check) -> Result<ExitCode> {
    // What is wrong with these is not worth a build.
    if check.only.iter().any(|only| only.trim().is_empty()) {
        return Err(Failure::Usage(
            "--only needs a part of a type's name, and not nothing".to_owned(),
        ));
    }
    let baseline = match check.deny {
        Some(_) => Baseline::read(check.baseline.as_deref())?,
        None => Baseline::default(),
    };
    let has_none = check.deny.is_some() && check.baseline.is_none();
    if let Some(file) = has_none.then(Baseline::elsewhere).flatten() {
        tell(format_args!(
            "note: there is no {} in this folder; {} is not read, unless you name it by --baseline",
            Baseline::FILE,
            file.display()
        ));
    }
    if check.accept {
        Baseline::can_be_written(check.baseline())?;
    }
    let constructors = check.constructors.as_deref().map(Constructors::read).transpose()?;
    let program = build::program(&check.target)?;
    let binary = Binary::read(&program.path)?;
    progress(
        "Reading",
        format_args!("{} ({} MB)", program.path.display(), binary.size / 1_000_000),
    );
    let graph = Graph::of(&binary);
    progress("Checking", format_args!("{} functions", binary.functions.len()));
    let lines = Lines::of(&program.path);
    let findings = Findings::of(&binary, &graph, &lines, program.built);

    // An all-clear would be worth nothing.
    let has_runtime = findings.types.iter().any(|of_type| of_type == RUNTIME);
    if has_runtime && graph.sinks.iter().all(|(_, sink)| sink.worded.is_some()) {
        return Err(Failure::Unreadable { path: program.path, why: Unreadable::OtherTokio });
    }

    for only in &check.only {
        is_there(only, &findings)?;
    }
    let is_wanted = |finding: &&Finding| {
        let is_named_so = |only: &String| finding.of_type.contains(only.as_str());
        finding.certainty >= check.sure
            && (check.only.is_empty() || check.only.iter().any(is_named_so))
    };
    let wanted: Vec<_> = findings.all.iter().filter(is_wanted).collect();
    if check.accept {
        let count = Baseline::write(check.baseline(), wanted.iter().copied())?;
        progress("Accepted", format_args!("{count} findings in {}", check.baseline().display()));
    }
    let denied = check.deny.map(|sure| {
        let is_new = |it: &&Finding| it.is_named && it.certainty >= sure && !baseline.accepts(it);
        wanted.iter().copied().filter(is_new).collect::<Vec<_>>()
    });
    let is_denied = denied.as_ref().is_some_and(|denied| !denied.is_empty());

    let tried = match (&constructors, &program.source) {
        (Some(constructors), Some(source)) => {
            let trials = build::generated(&constructors.write(source)?, source)?;
            Some(trials::run(&trials, &findings)?)
        }
        _ => None,
    };
    let report = Report {
        format: 1,
        target: &program.title,
        program: program.path.to_string_lossy(),
        functions: binary.functions.len(),
        types: findings.types.len(),
        sinks: graph.sink_paths(),
        tokio: findings.tokio.as_deref(),
        warnings: findings
            .has_tokio
            .then(|| sinks::warning(findings.tokio.as_deref()))
            .flatten()
            .into_iter()
            .collect(),
        unknown_calls: graph.unknown_calls,
        untried: tried.as_deref().map(|tried| trials::untried(&wanted, tried)),
        findings: wanted,
        trials: tried,
        denied,
        own: &program.own,
        is_verbose: check.verbose,
    };
    output::written(match check.format {
        Format::Text => report.print_text(),
        Format::Json => report.print_json(),
    })?;
    Ok(if is_denied { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// That the program has a type of this name at all: no finding says nothing of a type that is not there.
fn is_there(only: &str, findings: &Findings) -> Result<()> {
    if findings.types.iter().any(|of_type| of_type.contains(only)) {
        return Ok(());
    }
    // A type is asked for by its last name, and named by its path.
    let typed = names::short(only);
    let named = findings.types.iter().filter(|of_type| !names::is_anonymous(of_type));
    let paths: Vec<_> = named.map(|of_type| names::without_generics(of_type)).collect();
    let near = paths.iter().map(|path| path.rsplit("::").next().unwrap_or(path));
    let near = nearest::of(&typed, near);
    let path = near.and_then(|near| paths.iter().find(|path| path.ends_with(near)));
    let hint = path.map(|path| format!("; did you mean `{path}`?")).unwrap_or_default();
    Err(Failure::Usage(format!(
        "no type with `{only}` in its name is dropped in this program{hint}"
    )))
}

/// A line on standard error, in the manner of cargo.
fn progress(what: &str, about: std::fmt::Arguments<'_>) {
    tell(format_args!("{what:>12} {about}"));
}

/// Whoever reads standard error may have gone.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
