//! What a run shows while it goes on: a line for each experiment that ends, and below them on a terminal
//! what is being done. Without a terminal, an occasional line says that.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Instant,
};

use console::truncate_str;

use super::{
    estimate::Estimate,
    line::{LEGEND, Pages},
    report::{Finding, State},
};
use crate::{
    figures::plural,
    flags::{self, Format},
    output::{self, Paper, Progress},
    workspace::{Source, Workspace},
};

/// What precedes the words in the line of the bar.
const BAR: &str = "{bar:8} {pos:>2}/{len} {elapsed_precise}  {msg}";
const BAR_WIDTH: usize = 26;

pub struct Screen<'a> {
    format: Format,
    pages: Pages<'a>,
    progress: Progress,
    estimate: RefCell<Estimate>,
    /// When an experiment ended last.
    since: Cell<Instant>,
    /// Whether something was built since then.
    is_building: Cell<bool>,
    /// What cargo did last.
    status: RefCell<String>,
    /// What was shown last of each that runs, and when: by the id.
    last: RefCell<BTreeMap<String, (String, Instant)>>,
    /// How many trials of those that run have ended, and how many there are: by the id.
    running: RefCell<BTreeMap<String, (u64, u64)>>,
}

impl<'a> Screen<'a> {
    pub fn open(sources: &[Source], flags: &flags::Experiments, workspace: &'a Workspace) -> Self {
        let count = plural(sources.len(), "experiment");
        let more = if flags.is_quick() { " (--full: more trials)" } else { "" };
        let paper = Paper::stderr();
        let head = paper.sentence(&format!("{count}, each trial in a process of its own{more}"));
        output::note(&(head + &paper.sentence(LEGEND)));
        Self {
            format: flags.format,
            pages: Pages(workspace),
            progress: Progress::start(Some(sources.len() as u64), BAR),
            estimate: RefCell::new(Estimate::of(sources, workspace)),
            since: Cell::new(Instant::now()),
            is_building: Cell::new(false),
            status: RefCell::new("building".to_owned()),
            last: RefCell::default(),
            running: RefCell::default(),
        }
    }

    /// Nothing runs, because cargo builds what runs next. It says what it does at the moment, or nothing new.
    pub fn building(&self, status: Option<String>) {
        self.is_building.set(true);
        if let Some(status) = status {
            self.says(status.clone());
            *self.status.borrow_mut() = status;
        }
        self.progress.line(|| self.status.borrow().clone());
    }

    pub fn starts(&self, source: &Source) {
        self.does(source, source.title());
    }

    /// So many trials of an experiment have ended.
    pub fn trials(&self, source: &Source, ended: u64, all: u64, is_building: bool) {
        self.running.borrow_mut().insert(source.id.clone(), (ended, all));
        self.is_building.set(self.is_building.get() || is_building);
        let rest = match is_building {
            true => Some("building the others".to_owned()),
            false => self.estimate.borrow().rest(&self.running.borrow()).map(|rest| rest + " left"),
        };
        let rest = rest.map_or_else(String::new, |rest| format!(" · {rest}"));
        let said = format!("{} {ended}/{all}{rest}", source.title());
        self.progress.line(|| said.clone());
        self.does(source, said);
    }

    /// An experiment prepares what its trials need.
    pub fn prepares(&self, source: &Source, doing: &str) {
        self.progress.note(doing);
        self.does(source, doing.to_owned());
    }

    /// Nothing has happened for a while.
    pub fn waits(&self) {
        let last = self.last.borrow();
        let Some((doing, since)) = last.values().min_by_key(|(_, since)| *since) else { return };
        let seconds = since.elapsed().as_secs();
        if seconds > 0 {
            self.progress.line(|| format!("{doing}, for {seconds} s so far"));
        }
    }

    /// An experiment will not run.
    pub fn leaves_out(&self, source: &Source) {
        self.estimate.borrow_mut().left_out(source);
    }

    pub fn note(&self, text: &str) {
        self.progress.note(text);
    }

    /// An experiment has ended. Those that are left out are listed at the end of the run.
    pub fn ended(&self, finding: &Finding) {
        self.progress.step();
        self.running.borrow_mut().remove(&finding.source.id);
        self.last.borrow_mut().remove(&finding.source.id);
        let mut estimate = self.estimate.borrow_mut();
        if finding.state == State::Skipped {
            estimate.left_out(&finding.source);
            return;
        }
        let since = self.since.replace(Instant::now());
        estimate.ended(&finding.source, since.elapsed(), self.is_building.replace(false));
        self.progress.above(|| match self.format {
            Format::Text => {
                let (paper, colours) = (Paper::stdout(), console::colors_enabled());
                output::print(&(self.pages.line(finding, paper.width, colours) + "\n"));
            }
            // Standard output has the JSON lines.
            Format::Json => {
                let (paper, colours) = (Paper::stderr(), console::colors_enabled_stderr());
                output::note(&self.pages.line(finding, paper.width, colours));
            }
        });
    }

    fn does(&self, source: &Source, doing: String) {
        self.last.borrow_mut().insert(source.id.clone(), (doing.clone(), Instant::now()));
        self.says(doing);
    }

    fn says(&self, text: String) {
        let room = usize::from(Paper::stderr().width).saturating_sub(BAR_WIDTH + 1);
        self.progress.message(truncate_str(&text, room, "…").into_owned());
    }
}
