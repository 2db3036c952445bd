//! What is shown while a stress goes on: a bar on a terminal, now and then a line elsewhere.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{end::End, report::Instability};
use crate::{figures::plural, output};

/// How often the bar is drawn though nothing has happened, for the clock in it.
const TICK: Duration = Duration::from_millis(500);

/// How often there is a line where there is no bar.
const LINE: Duration = Duration::from_secs(10);

const BAR: &str = "{bar:24} {elapsed} of {len} s  {msg}";

const BAR_OF_ROUNDS: &str = "{bar:24} {elapsed}, round {pos} of {len}  {msg}";

/// The progress of a stress.
pub struct Progress {
    bar: Option<ProgressBar>,
    end: End,
    began: Instant,
    line_at: Instant,
    runs: usize,
    unstable: usize,
}

impl Progress {
    /// Of a stress that is to go on until then.
    pub fn start(end: End) -> Self {
        let (length, style) = match end {
            End::Time(time) => (time.as_secs().max(1), BAR),
            End::Rounds(rounds) => (rounds.into(), BAR_OF_ROUNDS),
        };
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(length);
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        let began = Instant::now();
        Self { bar, end, began, line_at: began + LINE, runs: 0, unstable: 0 }
    }

    /// A run begins, or goes on, in this round, from 0.
    pub fn at(&self, name: &str, round: u32) {
        if let Some(bar) = &self.bar {
            bar.set_position(match self.end {
                End::Time(_) => self.began.elapsed().as_secs(),
                End::Rounds(_) => u64::from(round) + 1,
            });
            bar.set_message(format!("{}, {} unstable: {name}", self.runs(), self.unstable));
        }
    }

    /// A run ended.
    pub fn ran(&mut self, instability: Option<&Instability>) {
        self.runs += 1;
        if self.bar.is_none() && Instant::now() > self.line_at {
            self.line_at = Instant::now() + LINE;
            let (runs, elapsed) = (self.runs(), self.began.elapsed().as_secs());
            output::note(&format!("{runs}, {} unstable, after {elapsed} s", self.unstable));
        }
        let Some(Instability { found, rerun, .. }) = instability else { return };
        self.unstable += 1;
        let text = format!("{}\n  again: {rerun}\n", found.trim_end());
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(&text)),
            None => output::note(&text),
        }
    }

    fn runs(&self) -> String {
        plural(self.runs, "run")
    }

    /// It is over.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
