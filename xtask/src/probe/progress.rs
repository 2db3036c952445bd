//! What is shown while a probe goes on: a bar on a terminal, now and then a line elsewhere.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::trial::Trial;
use crate::{figures::plural, output};

/// How often the bar is drawn though no trial has ended, for the clock in it.
const TICK: Duration = Duration::from_millis(500);

/// How often there is a line where there is no bar.
const LINE: Duration = Duration::from_secs(10);

const BAR: &str = "{bar:24} {pos}/{len} trials, {msg}  {elapsed} gone, about {eta} to go";
const ENDLESS: &str = "{spinner} {pos} trials, {msg}  {elapsed} gone";

/// The progress of a probe.
pub struct Progress {
    bar: Option<ProgressBar>,
    ended: usize,
    failed: usize,
    line_at: Instant,
}

impl Progress {
    /// Of so many trials, or of nobody knows how many.
    pub fn start(trials: Option<usize>) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = trials.map_or_else(ProgressBar::no_length, |it| ProgressBar::new(it as u64));
            let template = if trials.is_some() { BAR } else { ENDLESS };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message("0 failed");
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, ended: 0, failed: 0, line_at: Instant::now() + LINE }
    }

    /// A trial ended. The first that fails in a way of its own is worth a line.
    pub fn trial(&mut self, trial: &Trial, is_news: bool) {
        self.ended += 1;
        self.failed += usize::from(trial.way.is_failure());
        let news = format!("trial {}: {}", trial.number, trial.way);
        let (ended, failed) = (plural(self.ended, "trial"), self.failed);
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(format!("{failed} failed"));
                if is_news {
                    bar.println(news);
                }
            }
            None if is_news => output::note(&news),
            None if Instant::now() > self.line_at => {
                self.line_at = Instant::now() + LINE;
                output::note(&format!("{ended}, {failed} failed"));
            }
            None => {}
        }
    }

    /// The probe ended.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
