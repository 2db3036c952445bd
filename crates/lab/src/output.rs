//! Prints the results of an experiment as text.

use std::{
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;

use crate::{
    record::Record,
    results::{Declaration, ExperimentResult, TrialExample, VariantResult},
};

/// A progress bar on standard error, only on a terminal.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(crate) fn of(name: &str, trials: usize) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(trials as u64).with_message(name.to_owned());
        // Without an estimate: some trials take a thousand times as long as others.
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} trials, {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    pub(crate) fn step(&mut self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Prints a result: question and verdicts, then counts and observations.
pub(crate) fn result(
    to: &mut impl Write,
    result: &ExperimentResult,
    terminal: bool,
) -> io::Result<()> {
    writeln!(to, "{} {}: {}\n", result.id, result.name, result.question)?;
    writeln!(to, "Hypothesis: {}", result.hypothesis)?;
    if let Some(first) = &result.first_expected {
        writeln!(to, "First expected: {first}")?;
    }
    writeln!(to, "Verdict: {}", result.verdict)?;
    for claim in &result.claims {
        let what = if claim.finding { "Finding" } else { "Claim" };
        writeln!(to, "\n{what} {}: {}", claim.id, claim.statement)?;
        writeln!(to, "Verdict: {}, because", claim.verdict)?;
        for reason in &claim.reasons {
            writeln!(to, "  {reason}")?;
        }
    }
    writeln!(to, "\n{}", variants(&result.variants, terminal))?;
    for variant in &result.variants {
        observations(to, variant)?;
    }
    unexpected(to, result)?;
    let trials: u32 = result.variants.iter().map(|variant| variant.trials).sum();
    let cut = if result.interrupted { ", interrupted" } else { "" };
    writeln!(to, "\n{trials} trials in {:.1} s, seed {}{cut}", result.seconds, result.seed)
}

fn variants(variants: &[VariantResult], terminal: bool) -> Table {
    let mut table = table(terminal);
    table.set_header(["role", "variant", "class", "n", "95 % interval", "panics at"]);
    for variant in variants.iter().filter(|variant| variant.trials > 0) {
        let [low, high] = variant.interval;
        table.add_row([
            variant.role.to_string(),
            variant.name.clone(),
            variant.class.clone(),
            variant.trials.to_string(),
            format!("{:.0}…{:.0} %", 100.0 * low, 100.0 * high),
            variant.sites.join("\n"),
        ]);
    }
    table
}

fn observations(to: &mut impl Write, variant: &VariantResult) -> io::Result<()> {
    for (name, observation) in &variant.observations {
        writeln!(to, "{}: {name} {observation}", variant.name)?;
    }
    Ok(())
}

/// Prints the trials that contradict the prediction, with the commands that repeat them.
fn unexpected(to: &mut impl Write, result: &ExperimentResult) -> io::Result<()> {
    for variant in &result.variants {
        for example in variant.examples.iter().filter(|example| !example.expected) {
            let (name, prediction) = (&variant.name, &variant.prediction);
            writeln!(to, "\n{name}: {prediction} was predicted, and trial {}:", example.trial)?;
            details(to, example)?;
        }
    }
    Ok(())
}

fn details(to: &mut impl Write, example: &TrialExample) -> io::Result<()> {
    writeln!(to, "  {} ({})", example.outcome, example.ending)?;
    for line in example.panics.iter().chain(&example.problems) {
        writeln!(to, "  {line}")?;
    }
    writeln!(to, "  again: {}", example.rerun)
}

/// Prints all details of one trial.
pub(crate) fn trial(
    to: &mut impl Write,
    variant: &str,
    example: &TrialExample,
    record: &Record,
) -> io::Result<()> {
    writeln!(to, "{variant}, trial {}, its own seed {}", example.trial, example.seed)?;
    details(to, example)?;
    for (name, value) in &record.observations {
        writeln!(to, "  {name}: {value}")?;
    }
    writeln!(
        to,
        "  wall {:.1?}, user {:.1?}, system {:.1?}, peak {} KiB",
        record.wall,
        record.user,
        record.system,
        record.peak_bytes / 1024
    )?;
    if !example.stderr.is_empty() {
        writeln!(to, "its standard error ended:\n{}", example.stderr)?;
    }
    Ok(())
}

/// Prints the standard error of one trial, and how it ended.
pub(crate) fn shown_first(
    to: &mut impl Write,
    variant: &str,
    example: &TrialExample,
) -> io::Result<()> {
    writeln!(to, "{variant}, trial {}:", example.trial)?;
    for line in example.stderr.lines() {
        writeln!(to, "  {line}")?;
    }
    writeln!(to, "  → {} ({})\n", example.outcome, example.ending)
}

/// Prints the declaration of an experiment.
pub(crate) fn declaration(
    to: &mut impl Write,
    declaration: &Declaration,
    terminal: bool,
) -> io::Result<()> {
    writeln!(to, "{} {}: {}\n", declaration.id, declaration.name, declaration.question)?;
    writeln!(to, "Hypothesis: {}", declaration.hypothesis)?;
    if !declaration.claims.is_empty() {
        writeln!(to, "Claims: {}", declaration.claims.join(", "))?;
    }
    let mut table = table(terminal);
    table.set_header(["role", "variant", "predicted", "trials", "what is different"]);
    for variant in &declaration.variants {
        table.add_row([
            variant.role.to_string(),
            variant.name.clone(),
            variant.prediction.clone(),
            variant.trials.to_string(),
            variant.about.clone(),
        ]);
    }
    writeln!(to, "\n{table}")
}

/// Creates an empty table: with lines and as wide as the terminal, or plain.
fn table(terminal: bool) -> Table {
    let mut table = Table::new();
    if terminal {
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if let Ok(size) = tcgetwinsize(io::stdout()) {
            table.set_width(size.ws_col.max(60));
        }
    } else {
        table.load_style(presets::NOTHING);
    }
    table
}
