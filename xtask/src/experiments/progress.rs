//! What is shown while a run goes on: a bar on a terminal, a line per experiment elsewhere.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    report::{Finding, State},
    table,
};
use crate::{figures, output, workspace::Source};

/// How often the bar is drawn though no trial has ended, for the clock in it.
const TICK: Duration = Duration::from_millis(500);

const BAR: &str = "{msg:26} {bar:24} {pos}/{len} trials  {elapsed} gone, about {eta} to go";

/// The progress of a run.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// How many trials should have ended by the end of the current experiment.
    until: std::cell::Cell<u64>,
}

impl Progress {
    /// Of a run that is going to make so many trials.
    pub fn start(trials: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(trials);
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, until: std::cell::Cell::new(0) }
    }

    /// An experiment begins.
    pub fn begin(&self, source: &Source, trials: u64) {
        self.until.set(self.until.get() + trials);
        if let Some(bar) = &self.bar {
            bar.set_message(source.title());
        }
    }

    /// Something is made ready that the experiment needs.
    pub fn preparing(&self, doing: &str) {
        match &self.bar {
            Some(bar) => bar.println(doing),
            None => output::note(doing),
        }
    }

    /// A trial ended.
    pub fn trial(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// An experiment ended.
    pub fn finished(&self, finding: &Finding) {
        match &self.bar {
            // Though it may have made fewer trials than it had said.
            Some(bar) => bar.set_position(self.until.get()),
            None => output::note(&line(finding)),
        }
    }

    /// The run ended.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(finding: &Finding) -> String {
    let title = finding.source.title();
    match finding.result() {
        Some(result) => format!(
            "{title}: {} in {} trials, {}, snapshot {}",
            result.verdict,
            table::trials(result),
            figures::seconds(result.seconds),
            finding.snapshot()
        ),
        None if matches!(finding.state, State::Skipped(_)) => format!("{title}: skipped"),
        None => format!("{title}: no result"),
    }
}
