//! `--check`: where pages, contents, committed results, sources and snapshots disagree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{
    bench,
    block::BlockError,
    committed::{Committed, Record},
    contents, excerpt,
    ledger::{self, Ledger},
    links, page, plots,
};
use crate::{
    failure::Failure,
    results::ResultsError,
    snapshot_file,
    workspace::{self, Source, Workspace},
};

/// What brings figures and results into agreement.
const WRITE: &str = "run `cargo xtask notebooks`";

/// Every disagreement, one line each, with what to do about it.
pub fn disagreements(workspace: &Workspace, sources: &[Source]) -> Result<Vec<String>, Failure> {
    let mut check = Check { workspace, lines: Vec::new() };
    let committed = Committed::of(workspace);
    let mut records = BTreeMap::new();
    for source in sources {
        let path = committed.path(source);
        let record = match committed.read(std::slice::from_ref(source)) {
            Ok(mut records) => records.remove(&source.binary),
            Err(error) => {
                let what = match error {
                    ResultsError::CommittedNonsense { error, .. } => {
                        format!("it holds no results of an experiment, or not the whole ({error})")
                    }
                    error => error.to_string(),
                };
                check.say(&path, &what, "take it from git again, or remove it");
                continue;
            }
        };
        match &record {
            None => check.say(&path, "there are no results of the experiment", &run_it(source)),
            Some(record) => {
                check.record(&path, source, record);
                check.snapshot(source, record);
            }
        }
        check.page(source, record.as_ref());
        records.extend(record.map(|record| (source.binary.clone(), record)));
    }
    check.contents(sources);
    check.ledger(sources, &records);
    check.excerpt(&records);
    check.figures(&records)?;
    check.orphans(sources)?;
    check.links()?;
    Ok(check.lines)
}

struct Check<'a> {
    workspace: &'a Workspace,
    lines: Vec<String>,
}

impl Check<'_> {
    fn say(&mut self, path: &Path, what: &str, remedy: &str) {
        self.lines.push(format!("{}: {what}: {remedy}", self.workspace.shown(path)));
    }

    fn record(&mut self, path: &Path, source: &Source, record: &Record) {
        let title = format!("{} {}", record.experiment.id, record.experiment.name);
        if title != source.title() {
            self.say(path, &format!("it holds the results of {title}"), &run_it(source));
        }
        if record.experiment.interrupted {
            self.say(path, "the run was interrupted", &run_it(source));
        }
        if Record::of(&record.meta, &record.experiment) != *record {
            self.say(path, "it holds paths of the machine that it was made on", WRITE);
        }
    }

    fn snapshot(&mut self, source: &Source, record: &Record) {
        let path = self.workspace.snapshots().join(format!("{}.snap", source.binary));
        let found = lab::snapshot::render(&record.experiment);
        match snapshot_file::read(&path) {
            Ok(None) => self.say(&path, "there is no such snapshot", &accept_it(source)),
            Err(error) => self.say(&path, &error.to_string(), "make it readable"),
            Ok(Some(expected)) if snapshot_file::agree(&expected, &found) => {}
            Ok(Some(_)) => {
                self.say(&path, "it is not what the committed results say", &run_it(source));
            }
        }
    }

    fn page(&mut self, source: &Source, record: Option<&Record>) {
        let path = page::path(self.workspace, source);
        let Ok(text) = fs::read_to_string(&path) else {
            self.say(&path, "there is no such page", WRITE);
            return;
        };
        let title = page::title(source);
        if text.lines().next() != Some(&title) {
            self.say(&path, &format!("its first line is not `{title}`"), "put it right");
        }
        if let Some(wrong) = page::wrong_headings(&text) {
            self.say(&path, &wrong, "put them right");
        }
        if text.contains(page::MISSING_PROSE) {
            self.say(&path, "a part of it is not written yet", "write it and remove the comment");
        }
        for wrong in record.map(|it| page::wrong_blocks(&text, source, it)).unwrap_or_default() {
            self.say(&path, &wrong, WRITE);
        }
    }

    fn contents(&mut self, sources: &[Source]) {
        let path = contents::path(self.workspace);
        match fs::read_to_string(&path) {
            Err(_) => self.say(&path, "there is no table of contents", WRITE),
            Ok(text) => {
                if let Some(wrong) = contents::wrong(&text, sources) {
                    self.say(&path, &wrong, WRITE);
                }
            }
        }
    }

    fn ledger(&mut self, sources: &[Source], records: &BTreeMap<String, Record>) {
        let (claims, path) = (ledger::source(self.workspace), ledger::path(self.workspace));
        let ledger = match Ledger::read(&claims) {
            Ok(ledger) => ledger,
            Err(error) => {
                self.lines.push(error.to_string());
                return;
            }
        };
        for wrong in ledger.wrong(records) {
            self.lines.push(format!("{}: {wrong}", self.workspace.shown(&claims)));
        }
        match fs::read_to_string(&path) {
            Err(_) => self.say(&path, "there is no ledger of claims", WRITE),
            Ok(page) => self.block(&path, &page, ledger.written(&page, sources, records)),
        }
    }

    fn excerpt(&mut self, records: &BTreeMap<String, Record>) {
        let Some(record) = records.get(excerpt::BINARY) else { return };
        let path = excerpt::path(self.workspace);
        match fs::read_to_string(&path) {
            Err(_) => self.say(&path, "there is no README", "write one"),
            Ok(readme) => self.block(&path, &readme, excerpt::written(&readme, record)),
        }
    }

    /// The figures of the benches, and the pictures.
    fn figures(&mut self, records: &BTreeMap<String, Record>) -> Result<(), Failure> {
        let figures = bench::read(self.workspace)?;
        let path = bench::path(self.workspace);
        if let Ok(page) = fs::read_to_string(&path) {
            self.block(&path, &page, bench::written(&page, &figures));
        }
        let plots = plots::all(records, &figures)?;
        let folder = plots::folder(self.workspace);
        for (path, what) in plots::wrong(&folder, &workspace::names(&folder)?, &plots) {
            self.say(&path, what, WRITE);
        }
        Ok(())
    }

    /// A page that should be as it would be written.
    fn block(&mut self, path: &Path, page: &str, written: Result<String, BlockError>) {
        match written {
            Ok(written) if written == page => {}
            Ok(_) => self.say(path, "it is not what the committed results say", WRITE),
            Err(error) => self.say(path, &error.to_string(), "put the block back"),
        }
    }

    /// What belongs to an experiment that is no more.
    fn orphans(&mut self, sources: &[Source]) -> Result<(), Failure> {
        let known: BTreeSet<_> = sources.iter().map(|source| source.binary.as_str()).collect();
        let (docs, snapshots) = (self.workspace.docs(), self.workspace.snapshots());
        let (pages, results) = (docs.join("src"), docs.join("results"));
        let mut orphans = Vec::new();
        for name in Committed::of(self.workspace).names()? {
            orphans.push((results.join(format!("{name}.json")), name));
        }
        for file in workspace::names(&pages)? {
            orphans.extend(page::experiment(&file).map(|name| (pages.join(file), name)));
        }
        for file in workspace::names(&snapshots)? {
            let name = file.strip_suffix(".snap").map(str::to_owned);
            orphans.extend(name.map(|name| (snapshots.join(file), name)));
        }
        for (path, _) in orphans.iter().filter(|(_, name)| !known.contains(name.as_str())) {
            self.say(path, "it belongs to an experiment that is no more", "remove it");
        }
        Ok(())
    }

    fn links(&mut self) -> Result<(), Failure> {
        for (path, what) in links::wrong(self.workspace)? {
            self.lines.push(format!("{}: {what}", self.workspace.shown(&path)));
        }
        Ok(())
    }
}

fn run_it(source: &Source) -> String {
    format!("run `cargo xtask experiments --only {}` and `cargo xtask notebooks`", source.id)
}

fn accept_it(source: &Source) -> String {
    format!("run `cargo xtask experiments --only {} --accept`", source.id)
}
