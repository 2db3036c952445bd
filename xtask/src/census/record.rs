//! The cells: what is committed in docs/results/census, one file for each crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use lab::{
    Observation, Outcome,
    results::{ExperimentResult, VariantResult},
    server::Kind,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::workshop::{self, PACKAGE, Workshop};
use crate::{
    failure::{Context as _, Failure, Result},
    results::{self, Meta},
    sources,
    workspace::{self, Workspace},
};

/// The folder of the committed cells.
pub const FOLDER: &str = "docs/results/census";

/// The folder of the cells of a second run, which are compared with them.
pub const AGAIN: &str = "docs/results/census-again";

/// The answer of a control that makes the other cells of its row worth something; nothing for a question.
pub fn expected(question: &str) -> Option<&'static str> {
    match question {
        "control" => Some("clean"),
        // Without it, an answer of `flush` that nothing arrived could be that of a server that counts nothing.
        "flush-control" => Some("all"),
        _ => None,
    }
}

/// The answer of a trial that could not ask its question.
pub const FAILED: &str = "failed";

/// How many trials a committed cell needs.
pub const TRIALS: u32 = 20;

/// How long a message may be, in characters.
const LONGEST: usize = 400;

/// A row as the program declares it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Declared {
    pub code: String,
    pub package: String,
    /// The version in the lock file, if there are several.
    pub lock: Option<String>,
    pub source: String,
    pub value: String,
    pub call: String,
    pub close: Option<String>,
    pub accepts: Option<String>,
    pub server: Option<String>,
    pub cells: Vec<DeclaredCell>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeclaredCell {
    pub question: String,
    pub about: String,
    pub not_asked: Option<String>,
}

impl Declared {
    pub fn is_called(&self, name: &str) -> bool {
        [&self.package, &self.code].into_iter().any(|it| it == name)
    }
}

/// The cells of a crate, and how they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub package: String,
    #[serde(flatten)]
    pub measured: Measured,
    pub rows: Vec<Row>,
}

/// How a run measured its cells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// When the run started, as RFC 3339 in UTC.
    pub started: String,
    /// The output of `rustc -V`.
    pub rustc: String,
    /// The version of Tokio.
    pub tokio: String,
    pub os: String,
    pub arch: String,
    pub cores: usize,
    /// The real servers that ran, with their versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<String, String>,
    /// What the trials are made of, each with a digest.
    pub sources: BTreeMap<String, String>,
}

/// The cells of one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub code: String,
    pub version: String,
    pub value: String,
    pub call: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    pub cells: Vec<Cell>,
}

/// What one question has for answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    pub question: String,
    pub about: String,
    /// Why it is not asked, or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_asked: Option<String>,
    /// How many trials gave each answer. Two mean that it is a race.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, u32>,
    /// The panics: message and place, each once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub panics: BTreeSet<String>,
    /// What the trials recorded: `says`, `left`, `open`, `arrived`, `parent`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, BTreeSet<String>>,
    /// Why trials could not ask their question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// The run that measured it, if that was not the run of its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// Where a cell is from that a partial run did not ask for again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The version of the crate.
    pub version: String,
    #[serde(flatten)]
    pub measured: Measured,
}

impl Cell {
    pub fn trials(&self) -> u32 {
        self.answers.values().sum()
    }

    /// Whether this is the only answer.
    pub fn is(&self, answer: &str) -> bool {
        self.answers.len() == 1 && self.answers.contains_key(answer)
    }

    /// Whether a later cell shows the same. It does not if it has an answer that this one never had, or lacks one
    /// that at least half of the trials gave here, though it has as many trials as a cell needs. How often the answers
    /// of a race come is not compared: that depends on what else the machine does.
    pub fn agrees(&self, later: &Self) -> bool {
        if self.answers.is_empty() || later.answers.is_empty() {
            return self.answers.is_empty() && later.answers.is_empty();
        }
        let is_new = |answer: &String| !self.answers.contains_key(answer);
        let is_frequent = |count: u32| u64::from(count) * 2 >= u64::from(self.trials());
        let is_lost = |(answer, count): (&String, &u32)| {
            is_frequent(*count) && !later.answers.contains_key(answer)
        };
        let is_lost = later.trials() >= TRIALS && self.answers.iter().any(is_lost);
        !is_lost && !later.answers.keys().any(is_new)
    }

    /// The answer that a table shows: the worst one first.
    pub fn worst_first(&self) -> Vec<(&str, u32)> {
        let mut answers: Vec<_> = self.answers.iter().map(|(it, n)| (it.as_str(), *n)).collect();
        answers.sort_by_key(|(answer, _)| (is_good(answer), *answer));
        answers
    }
}

/// Whether nothing is wrong if a trial answers so. An error is an answer that a program can handle.
pub fn is_good(answer: &str) -> bool {
    ["clean", "over", "all", "works", "error", "at-once", "nothing-to-see", "skipped"]
        .contains(&answer)
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.answers.is_empty() {
            return f.write_str("not asked");
        }
        let trials = self.trials();
        let parts = self.worst_first().into_iter().map(|(it, n)| format!("{it} {n} of {trials}"));
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// The committed cells, in the order of the names of the crates.
pub fn read(workspace: &Workspace) -> Result<Vec<Record>> {
    read_in(workspace, FOLDER)
}

/// The cells of the second run.
pub fn read_again(workspace: &Workspace) -> Result<Vec<Record>> {
    read_in(workspace, AGAIN)
}

pub(super) fn read_in<T: DeserializeOwned>(workspace: &Workspace, folder: &str) -> Result<Vec<T>> {
    let path = workspace.path(folder);
    let mut records = Vec::new();
    for file in workspace::names(&path)? {
        let unreadable = || format!("{folder}/{file}");
        let text = fs::read_to_string(path.join(&file)).context(unreadable)?;
        records.push(serde_json::from_str(&text).context(unreadable)?);
    }
    Ok(records)
}

/// Writes the cells that were found into the committed ones. Cells that were not asked for stay. Returns how many files
/// were written.
pub fn write(workspace: &Workspace, found: Vec<Record>, committed: Vec<Record>) -> Result<usize> {
    let count = found.len();
    for mut record in found {
        if let Some(before) = committed.iter().find(|it| it.package == record.package) {
            keep(&mut record, before);
        }
        write_in(workspace, FOLDER, &record.package, &record)?;
    }
    Ok(count)
}

/// Writes the cells of a second run.
pub fn write_again(workspace: &Workspace, found: &[Record]) -> Result<()> {
    found.iter().try_for_each(|record| write_in(workspace, AGAIN, &record.package, record))
}

/// Refuses a second run of what has changed since the first.
pub fn can_repeat(
    workspace: &Workspace,
    shop: &Workshop,
    chosen: &[Declared],
    committed: &[Record],
) -> Result<()> {
    for declared in chosen {
        let package = &declared.package;
        let now = digests(workspace.root(), &declared.source);
        let versions = shop.versions(package)?;
        let is_current = |record: &Record| {
            record.package == *package
                && record.measured.sources == now
                && record.rows.iter().all(|row| versions.contains(&row.version))
                && is_same_code(record, record)
        };
        if !committed.iter().any(is_current) {
            return Err(Failure::Failed(format!(
                "the committed cells of {package} are of other code: run `cargo xtask census --only {package} --accept` first"
            )));
        }
    }
    Ok(())
}

/// Whether two runs had the same code and the same release, for all of their cells.
pub fn is_same_code(one: &Record, other: &Record) -> bool {
    let is_same_row = |row: &Row| {
        let its = one.rows.iter().find(|it| it.code == row.code && it.version == row.version);
        its.is_some_and(|it| {
            let mut kept = it.cells.iter().filter_map(|cell| cell.kept.as_ref());
            kept.all(|kept| {
                kept.version == row.version && kept.measured.sources == other.measured.sources
            })
        })
    };
    one.measured.sources == other.measured.sources && other.rows.iter().all(is_same_row)
}

pub(super) fn write_in<T: Serialize>(
    workspace: &Workspace,
    folder: &str,
    package: &str,
    record: &T,
) -> Result<()> {
    let path = workspace.path(folder).join(format!("{package}.json"));
    results::write_whole(&path, &results::json(record)?)
        .context(|| format!("cannot write {}", path.display()))
}

/// Keeps the rows and cells that a partial run did not ask for. Each says how it was measured: it may be older than the
/// code and the release that the rest of the record is about.
fn keep(record: &mut Record, before: &Record) {
    let kept = |cell: &Cell, version: &str| {
        let how = || Kept { version: version.to_owned(), measured: before.measured.clone() };
        // Nothing was measured where nothing was asked.
        let kept = (!cell.answers.is_empty()).then(|| cell.kept.clone().unwrap_or_else(how));
        Cell { kept, ..cell.clone() }
    };
    for old in &before.rows {
        let all = || old.cells.iter().map(|cell| kept(cell, &old.version)).collect();
        match record.rows.iter_mut().find(|row| row.code == old.code) {
            None => record.rows.push(Row { cells: all(), ..old.clone() }),
            Some(row) => {
                let cells = std::mem::replace(&mut row.cells, all());
                for cell in cells {
                    match row.cells.iter_mut().find(|it| it.question == cell.question) {
                        Some(place) => *place = cell,
                        None => row.cells.push(cell),
                    }
                }
            }
        }
    }
    record.rows.sort_by(|one, other| one.code.cmp(&other.code));
}

/// Adds the trials of the committed cells to those that were found, if they asked the same of the same release.
pub fn add(found: &mut [Record], committed: &[Record]) -> Result<()> {
    for record in found {
        let Some(before) = committed.iter().find(|it| it.package == record.package) else {
            continue;
        };
        let changed = || {
            let package = &record.package;
            Failure::Failed(format!(
                "the trials of {package} have changed since its cells were written: accept them without --add"
            ))
        };
        if before.measured.sources != record.measured.sources {
            return Err(changed());
        }
        for row in &mut record.rows {
            let old =
                before.rows.iter().find(|it| it.code == row.code && it.version == row.version);
            for cell in &mut row.cells {
                let old =
                    old.and_then(|row| row.cells.iter().find(|it| it.question == cell.question));
                let Some(old) = old else { continue };
                let is_other = |kept: &Kept| {
                    kept.measured.sources != before.measured.sources || kept.version != row.version
                };
                if old.kept.as_ref().is_some_and(is_other) {
                    return Err(changed());
                }
                for (answer, count) in &old.answers {
                    *cell.answers.entry(answer.clone()).or_default() += count;
                }
                cell.panics.extend(old.panics.iter().cloned());
                for (name, texts) in &old.details {
                    cell.details.entry(name.clone()).or_default().extend(texts.iter().cloned());
                }
            }
        }
    }
    Ok(())
}

/// Makes the cells of what the program counted.
pub fn of(
    rows: &[Declared],
    questions: &[String],
    result: &ExperimentResult,
    shop: &Workshop,
    workspace: &Workspace,
) -> Result<Vec<Record>> {
    let meta = Meta::now(workspace, result.seed, false, None);
    let mut records = BTreeMap::<String, Record>::new();
    for declared in rows {
        let versions = shop.versions(&declared.package)?;
        let version = match &declared.lock {
            None => versions.first(),
            Some(lock) => versions.iter().find(|it| is_same_series(it, lock)),
        };
        let version = version.cloned().ok_or_else(|| {
            Failure::Failed(format!("{PACKAGE}/Cargo.lock has no {}", declared.package))
        })?;
        let mut cells = Vec::new();
        for asked in declared.cells.iter().filter(|cell| questions.contains(&cell.question)) {
            let name = format!("{}/{}", declared.code, asked.question);
            let variant = result.variants.iter().find(|it| it.name == name && it.trials > 0);
            let mut cell = match variant {
                Some(variant) => cell(variant),
                None => Cell { not_asked: asked.not_asked.clone(), ..Cell::default() },
            };
            cell.question.clone_from(&asked.question);
            cell.about.clone_from(&asked.about);
            cells.push(cell);
        }
        let record = records.entry(declared.package.clone()).or_insert_with(|| Record {
            package: declared.package.clone(),
            measured: Measured {
                started: meta.started.clone(),
                rustc: meta.rustc.clone(),
                os: meta.os.clone(),
                arch: meta.arch.clone(),
                cores: meta.cores,
                ..Measured::default()
            },
            rows: Vec::new(),
        });
        record.measured.tokio = shop.versions("tokio")?.pop().unwrap_or_default();
        record.measured.sources.extend(digests(workspace.root(), &declared.source));
        record.measured.servers.extend(asked(declared.server.as_deref(), &result.equipment));
        record.rows.push(Row {
            code: declared.code.clone(),
            version,
            value: declared.value.clone(),
            call: declared.call.clone(),
            close: declared.close.clone(),
            accepts: declared.accepts.clone(),
            server: declared.server.clone(),
            cells,
        });
    }
    Ok(records.into_values().collect())
}

/// Of the programs that ran, those of the server that a row has asked: a run starts all that the machine has.
fn asked(server: Option<&str>, ran: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let kind = Kind::ALL.into_iter().find(|kind| server == Some(kind.name()));
    let programs = kind.map_or(&[][..], Kind::programs);
    let ran = ran.iter().filter(|(program, _)| programs.contains(&program.as_str()));
    ran.map(|(program, version)| (program.clone(), version.clone())).collect()
}

/// Whether a release may replace another without a change of the manifest: `0.12.4` and `0.12.3`.
fn is_same_series(one: &str, other: &str) -> bool {
    let series = |version: &str| {
        let mut parts = version.split('.');
        let major = parts.next().unwrap_or_default().to_owned();
        let minor = parts.next().unwrap_or_default().to_owned();
        if major == "0" { (major, minor) } else { (major, String::new()) }
    };
    series(one) == series(other)
}

/// The files that all trials are made of.
const SHARED: [&str; 5] =
    ["src/look.rs", "src/question.rs", "src/server.rs", "src/subject.rs", "src/trial.rs"];

/// The digests of what the trials of a row are made of: its own file, the modules that it names, what all rows share,
/// and the locked versions of what these use.
pub fn digests(root: &Path, source: &str) -> BTreeMap<String, String> {
    let package = root.join(PACKAGE);
    let named = sources::modules_of(&package.join(source));
    let files = named.iter().map(String::as_str).chain(SHARED).chain([source]);
    let files: BTreeSet<_> = files.collect();
    let digest =
        |file: &&str| Some((format!("{PACKAGE}/{file}"), sources::of_file(&package.join(file))?));
    let mut digests: BTreeMap<_, _> = files.iter().filter_map(digest).collect();
    let text: String =
        files.iter().filter_map(|it| fs::read_to_string(package.join(it)).ok()).collect();
    // Without a lock file there are no cells either.
    if let Ok(Some(used)) = workshop::used(&package, &text) {
        digests.insert(locked(source), used);
    }
    digests
}

/// The name of the digest of the locked versions.
fn locked(source: &str) -> String {
    format!("{PACKAGE}/Cargo.lock, for {source}")
}

/// What a record does not say of how it was measured, because it is older than that digest.
pub fn unrecorded(root: &Path, measured: &Measured) -> BTreeSet<String> {
    let is_own = |it: &&str| it.starts_with("src/subjects/");
    let below = measured.sources.keys().filter_map(|it| it.strip_prefix(PACKAGE));
    let own = below.map(|it| it.trim_start_matches('/')).filter(is_own);
    let now = own.flat_map(|source| digests(root, source).into_keys());
    now.filter(|it| !measured.sources.contains_key(it)).collect()
}

/// The digest of this name now.
pub fn digest_now(root: &Path, name: &str) -> Option<String> {
    let source = match name.split_once(", for ") {
        Some((_, source)) => source,
        None => name.strip_prefix(PACKAGE)?.trim_start_matches('/'),
    };
    digests(root, source).remove(name)
}

fn cell(variant: &VariantResult) -> Cell {
    let mut cell = Cell::default();
    for (outcome, answer) in [
        (Outcome::Panicked, "panics"),
        (Outcome::Aborted, "aborts"),
        (Outcome::Signalled, "signalled"),
        (Outcome::Hung, "hangs"),
        (Outcome::Failed, FAILED),
    ] {
        count(&mut cell, answer, variant.outcomes.count(outcome));
    }
    for (name, observation) in &variant.observations {
        let texts: Vec<_> = match observation {
            Observation::Count { values } => {
                values.iter().map(|(text, count)| (text.clone(), *count)).collect()
            }
            Observation::Integer(spread) | Observation::Nanoseconds(spread) => {
                let range = if spread.min == spread.max {
                    spread.min.to_string()
                } else {
                    format!("{}–{}", spread.min, spread.max)
                };
                vec![(range, 0)]
            }
        };
        match name.as_str() {
            "answer" => {
                texts.iter().for_each(|(answer, counted)| count(&mut cell, answer, *counted));
            }
            "missing" => cell.not_asked = texts.into_iter().next().map(|(text, _)| text),
            _ => {
                let texts = texts.into_iter().map(|(text, _)| text).collect();
                cell.details.insert(name.clone(), texts);
            }
        }
    }
    for example in &variant.examples {
        cell.panics.extend(example.panics.iter().map(|it| shortened(it)));
        if example.outcome == Outcome::Failed {
            cell.problems.extend(example.problems.iter().map(|it| shortened(it)));
        }
    }
    cell.problems.sort();
    cell.problems.dedup();
    // A trial that panicked or hung after its answer has two, and nothing says which of them counts.
    if cell.trials() != variant.trials {
        cell.problems.push(format!("{} answers of {} trials", cell.trials(), variant.trials));
        count(&mut cell, FAILED, 1);
    }
    cell
}

fn count(cell: &mut Cell, answer: &str, counted: u32) {
    if counted > 0 {
        *cell.answers.entry(answer.to_owned()).or_default() += counted;
    }
}

/// A message on one line, without the ids of tasks, which differ from trial to trial.
fn shortened(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts = text.split("Id(");
    let first = parts.next().unwrap_or_default().to_owned();
    let without =
        |part: &str| format!("Id({}", part.trim_start_matches(|it: char| it.is_ascii_digit()));
    let text = first + &parts.map(without).collect::<String>();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(&text)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(answers: &[(&str, u32)]) -> Cell {
        let answers = answers.iter().map(|(answer, count)| ((*answer).to_owned(), *count));
        Cell { answers: answers.collect(), ..Cell::default() }
    }

    #[test]
    fn a_certain_cell_agrees_with_the_same_answer_alone() {
        let certain = cell(&[("panics", 20)]);
        assert!(certain.agrees(&cell(&[("panics", 5)])));
        assert!(!certain.agrees(&cell(&[("clean", 20)])));
        assert!(!certain.agrees(&cell(&[("panics", 19), ("clean", 1)])));
        assert!(!certain.agrees(&cell(&[])));
    }

    #[test]
    fn a_race_differs_by_a_new_answer_or_by_a_frequent_one_that_is_gone() {
        let race = cell(&[("panics", 3), ("clean", 17)]);
        assert!(race.agrees(&cell(&[("clean", 20)])));
        assert!(race.agrees(&cell(&[("clean", 10), ("panics", 10)])));
        assert!(!race.agrees(&cell(&[("clean", 19), ("hangs", 1)])));
        assert!(!race.agrees(&cell(&[])));
        assert!(!race.agrees(&cell(&[("panics", 20)])));
        // So few trials can miss what half of all trials give.
        assert!(race.agrees(&cell(&[("panics", 5)])));
        let even = cell(&[("panics", 10), ("clean", 10)]);
        assert!(!even.agrees(&cell(&[("panics", 20)])));
        assert!(!even.agrees(&cell(&[("clean", 20)])));
        assert_eq!(race.to_string(), "panics 3 of 20, clean 17 of 20");
    }

    fn record(digest: &str, version: &str, cells: Vec<Cell>) -> Record {
        let sources = BTreeMap::from([("trial.rs".to_owned(), digest.to_owned())]);
        let row = serde_json::json!({
            "code": "pool", "version": version, "value": "", "call": "", "cells": cells
        });
        Record {
            package: "pool".to_owned(),
            measured: Measured { sources, ..Measured::default() },
            rows: vec![serde_json::from_value(row).unwrap()],
        }
    }

    #[test]
    fn a_kept_cell_keeps_the_digests_and_the_version_that_it_was_measured_with() {
        let of = |question: &str| Cell { question: question.to_owned(), ..cell(&[("clean", 20)]) };
        let unasked = Cell { question: "flush".to_owned(), ..Cell::default() };
        let first = record("old", "1.0.0", vec![of("control"), of("fork"), unasked]);
        let mut second = record("new", "1.1.0", vec![of("fork")]);
        keep(&mut second, &first);
        let cells = &second.rows[0].cells;
        let kept = cells[0].kept.clone().unwrap();
        assert_eq!((&*kept.version, &kept.measured), ("1.0.0", &first.measured));
        assert_eq!((&cells[1].kept, &cells[2].kept), (&None, &None));
        // Again: it is still as old as it was, and is not added to.
        let mut third = record("newest", "1.1.0", vec![of("fork")]);
        keep(&mut third, &second);
        assert_eq!(third.rows[0].cells[0].kept, Some(kept));
        let again = record("newest", "1.1.0", vec![of("control")]);
        assert!(add(&mut [again], &[third]).is_err());
        let text = serde_json::to_string(&second).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), second);
    }

    #[test]
    fn a_trial_with_two_answers_makes_its_cell_doubtful() {
        let variant = |trials: u32, works: u32| {
            let outcomes = serde_json::json!({
                "clean": trials - 1, "panicked": 0, "aborted": 0, "signalled": 0, "hung": 1, "failed": 0
            });
            let text = serde_json::json!({
                "name": "a/fork", "role": "control", "about": "", "prediction": "", "predicted": true,
                "trials": trials, "outcomes": outcomes, "class": "", "hits": trials, "interval": [0.0, 1.0],
                "sites": [], "resources": null, "examples": [],
                "observations": {"answer": {"kind": "count", "values": {"works": works}}}
            });
            super::cell(&serde_json::from_value(text).unwrap())
        };
        assert_eq!(variant(20, 19), cell(&[("hangs", 1), ("works", 19)]));
        let doubtful = variant(20, 20);
        assert_eq!(doubtful.answers.get(FAILED), Some(&1));
        assert_eq!(doubtful.problems, ["21 answers of 20 trials"]);
    }

    #[test]
    fn what_all_trials_share_and_the_locked_versions_age_the_cells() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(PACKAGE).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let lock = |own: &str, its: &str, other: &str| {
            let of = |name: &str, version: &str, needs: &str| {
                format!(
                    "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"registry\"\n{needs}"
                )
            };
            let needs = "dependencies = [\"its 1.0.0\"]\n";
            let all = [of("its", its, ""), of("a-pool", own, needs), of("other", other, "")];
            write("Cargo.lock", &all.concat().replace("its 1.0.0", &format!("its {its}")));
        };
        SHARED.iter().for_each(|it| write(it, "fn it() {}"));
        write("src/subjects/pool.rs", "use a_pool::Pool;");
        write("Cargo.toml", "[dependencies]\na-pool = \"=1.0.0\"\nother = \"=1.0.0\"\n");
        lock("1.0.0", "1.0.0", "1.0.0");
        let now = || digests(root.path(), "src/subjects/pool.rs");
        let first = now();
        assert_eq!(first.len(), 7, "{first:?}");
        let measured = Measured { sources: first.clone(), ..Measured::default() };
        assert!(unrecorded(root.path(), &measured).is_empty());
        for (name, digest) in &first {
            assert_eq!(digest_now(root.path(), name).as_ref(), Some(digest));
        }
        let changed = || -> Vec<_> {
            let now = now();
            first.iter().filter(|it| now.get(it.0) != Some(it.1)).map(|it| it.0.clone()).collect()
        };
        let locked = [locked("src/subjects/pool.rs")];
        lock("1.0.0", "1.0.0", "2.0.0");
        assert_eq!(changed(), [""; 0]);
        lock("1.0.0", "1.0.1", "1.0.0");
        assert_eq!(changed(), locked);
        lock("1.0.1", "1.0.0", "1.0.0");
        assert_eq!(changed(), locked);
        lock("1.0.0", "1.0.0", "1.0.0");
        write(
            "Cargo.toml",
            "[dependencies]\na-pool = { version = \"=1.0.0\", features = [\"x\"] }\n",
        );
        assert_eq!(changed(), locked);
        write("Cargo.toml", "[dependencies]\na-pool = \"=1.0.0\"\n");
        write("src/question.rs", "fn other() {}");
        assert_eq!(changed(), [format!("{PACKAGE}/src/question.rs")]);
        // An older record says less, and that is seen.
        let mut older = measured;
        older.sources.remove(&locked[0]);
        assert_eq!(unrecorded(root.path(), &older), BTreeSet::from(locked));
        // A module counts where it is named. Others have no digest of it.
        assert!(!now().contains_key(&format!("{PACKAGE}/src/real.rs")));
        write("src/real.rs", "pub fn with() {}");
        write("src/subjects/pool.rs", "use a_pool::Pool;\nuse crate::{look, real::with};");
        let first = now();
        assert_eq!(first.len(), 8, "{first:?}");
        write("src/real.rs", "pub fn with() { other() }");
        let name = format!("{PACKAGE}/src/real.rs");
        assert_ne!(digest_now(root.path(), &name).as_ref(), first.get(&name));
        let changed = now().into_iter().filter(|it| first.get(&it.0) != Some(&it.1));
        assert_eq!(changed.map(|it| it.0).collect::<Vec<_>>(), [name]);
    }

    #[test]
    fn a_control_has_one_answer_and_a_question_has_none() {
        assert_eq!(expected("control"), Some("clean"));
        assert_eq!(expected("flush-control"), Some("all"));
        assert_eq!(expected("flush"), None);
    }

    #[test]
    fn a_record_names_only_the_server_that_its_rows_asked() {
        let pairs = [("nats-server", "2"), ("postgres", "15"), ("valkey-server", "8")];
        let ran = pairs.map(|(program, version)| (program.to_owned(), version.to_owned()));
        let of = |server| asked(server, &ran.clone().into()).into_keys().collect::<Vec<_>>();
        assert_eq!(of(Some("PostgreSQL")), ["postgres"]);
        assert_eq!(of(Some("Redis")), ["valkey-server"]);
        assert!(of(None).is_empty());
    }

    #[test]
    fn the_same_panic_of_two_trials_is_one() {
        let of = |id| shortened(&format!("main: cancelled\nId({id}) (lib.rs:1:2)"));
        assert_eq!(of(7), "main: cancelled Id() (lib.rs:1:2)");
        assert_eq!(of(7), of(4027));
    }

    #[test]
    fn a_release_belongs_to_the_row_of_its_series() {
        assert!(is_same_series("0.12.4", "0.12.3"));
        assert!(!is_same_series("0.13.0", "0.12.3"));
        assert!(is_same_series("1.9.0", "1.2.3"));
    }
}
