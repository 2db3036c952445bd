//! What a stress found out.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use comfy_table::Table;
use lab::statistics::{room_left_by_none, wilson};
use serde::Serialize;

use crate::{
    figures::{self, plural},
    table::{align_right, lines, table, wrapped},
};

/// How many instabilities of one subject are shown in full; JSON has them all.
const SHOWN: usize = 3;

/// What is known of one experiment, or of one executable with tests.
#[derive(Clone, Debug, Serialize)]
pub struct Tally {
    /// What it is called.
    pub name: String,
    /// How often it ran.
    pub runs: u32,
    /// The Wilson interval, at 95 %, of the rate of unstable runs.
    pub interval: [f64; 2],
    /// How long its runs took in all, in seconds.
    pub seconds: f64,
    /// The runs that found something else than they should.
    pub instabilities: Vec<Instability>,
    /// Whether this machine lacks what it needs: then nothing else is known of it.
    #[serde(skip)]
    pub skipped: bool,
}

/// A run that found something else than it should.
#[derive(Clone, Debug, Serialize)]
pub struct Instability {
    /// In which round, from 0.
    pub round: u32,
    /// Its seed.
    pub seed: u64,
    /// What it found.
    pub found: String,
    /// The command that runs it again; under another load, which may matter.
    pub rerun: String,
}

/// Everything that a stress found out.
pub struct Report {
    /// What is known of each subject.
    pub tallies: Vec<Tally>,
    /// The seed from which those of the runs are derived.
    pub seed: u64,
    /// How many threads were busy.
    pub load: u32,
    /// How long it took.
    pub took: Duration,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl Tally {
    /// Nothing is known yet.
    pub fn new(name: String) -> Self {
        let (interval, instabilities) = ([0.0, 1.0], Vec::new());
        Self { name, runs: 0, interval, seconds: 0.0, instabilities, skipped: false }
    }

    /// One more run.
    pub fn add(&mut self, took: Duration, instability: Option<Instability>) {
        self.runs += 1;
        self.seconds += took.as_secs_f64();
        self.instabilities.extend(instability);
        let (low, high) = wilson(self.unstable(), self.runs);
        self.interval = [low, high];
    }

    fn unstable(&self) -> u32 {
        u32::try_from(self.instabilities.len()).unwrap_or(u32::MAX)
    }
}

impl Report {
    /// How many runs were unstable.
    pub fn unstable(&self) -> u32 {
        self.tallies.iter().map(Tally::unstable).sum()
    }

    fn runs(&self) -> u32 {
        self.tallies.iter().map(|tally| tally.runs).sum()
    }

    /// How many rounds there were, in each of which everything ran once.
    fn rounds(&self) -> String {
        let runs = self.tallies.iter().map(|tally| tally.runs);
        let (whole, begun) = (runs.clone().min().unwrap_or(0), runs.max().unwrap_or(0));
        let part = if begun > whole { " and a part of the next" } else { "" };
        format!("{}{part}", plural(whole as usize, "round"))
    }

    /// The report as JSON lines, an object for each subject.
    pub fn json(&self) -> serde_json::Result<String> {
        let lines: serde_json::Result<Vec<_>> =
            self.tallies.iter().map(|tally| Ok(serde_json::to_string(tally)? + "\n")).collect();
        Ok(lines?.concat())
    }

    /// The report for a person.
    pub fn text(&self, width: u16, ruled: bool) -> String {
        let mut text = lines(&self.table(width, ruled)) + "\n\n";
        for tally in self.tallies.iter().filter(|tally| tally.unstable() > 0) {
            text += &instabilities(tally);
        }
        text += &wrapped(&self.conclusion(), width);
        let summary = format!(
            "{}{} in {}, {}, {} busy beside them; seed {}",
            if self.interrupted { "Interrupted. " } else { "" },
            plural(self.runs() as usize, "run"),
            self.rounds(),
            figures::seconds(self.took.as_secs_f64()),
            plural(self.load as usize, "thread"),
            self.seed
        );
        text + &wrapped(&summary, width)
    }

    fn table(&self, width: u16, ruled: bool) -> Table {
        let mut table = table(width, ruled);
        table.set_header(["", "unstable", "95 %", "seconds"]);
        for tally in &self.tallies {
            table.add_row([
                tally.name.clone(),
                format!("{}/{}", tally.unstable(), tally.runs),
                figures::percent(tally.interval),
                format!("{:.1}", tally.seconds),
            ]);
        }
        for column in 1..4 {
            align_right(&mut table, column);
        }
        table
    }

    fn conclusion(&self) -> String {
        let (runs, unstable) = (self.runs(), self.unstable());
        if runs == 0 {
            return "Nothing ran to its end.".to_owned();
        }
        if unstable > 0 {
            return format!("{unstable} of {} were unstable.", plural(runs as usize, "run"));
        }
        // Each is as good as the one that ran least.
        let least = self.tallies.iter().map(|tally| tally.runs).min().unwrap_or(0);
        if least == 0 {
            let none = self.tallies.iter().filter(|tally| tally.runs == 0).count();
            return format!(
                "Nothing was unstable, as far as it ran; {none} of {} did not run once to the end.",
                self.tallies.len()
            );
        }
        format!(
            "Nothing was unstable. That is not never: what differs in up to {} of its runs would get \
             through {} without showing it at least once in twenty times.",
            figures::rate(room_left_by_none(least)),
            plural(least as usize, "run")
        )
    }
}

/// The instabilities of one subject: those that differ from each other, and how to run them again.
fn instabilities(tally: &Tally) -> String {
    let mut seen = BTreeSet::new();
    let differ = tally.instabilities.iter().filter(|it| seen.insert(&it.found));
    let mut text = String::new();
    for instability in differ.take(SHOWN) {
        let _ = writeln!(
            text,
            "{}\n\n  again, in round {}: {}\n",
            instability.found.trim_end(),
            instability.round,
            instability.rerun
        );
    }
    let rest = tally.instabilities.len().saturating_sub(SHOWN);
    if rest > 0 {
        let _ = writeln!(text, "All {} are in --format json\n", tally.instabilities.len());
    }
    text
}
