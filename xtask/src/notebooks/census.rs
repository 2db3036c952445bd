//! The pages of the census: one for each crate, and the one that lists them. All of it comes from the committed cells
//! and from docs/census.toml, which names public issues.

mod patched;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs, io,
};

use serde::Deserialize;

use super::{
    contents::{File, filled},
    markdown,
};
use crate::{
    census::{
        patched::{self as fixes, Patched},
        record::{self, Cell, Record, Row, is_good},
        workshop::{self, PACKAGE},
    },
    explain::Codes,
    failure::{Context as _, Result},
    figures::plural,
    workspace::{self, Workspace},
};

/// The generated block of the overview, and that of the table of contents.
pub const BLOCK: &str = "census";

/// The block of the overview that compares a second run with the committed cells.
const AGAIN_BLOCK: &str = "census-again";

/// The block of the overview with the public issues.
const ISSUES_BLOCK: &str = "census-issues";

const OVERVIEW: &str = "census.md";
const FOLDER: &str = "docs/src/census";
const ISSUES: &str = "docs/census.toml";

/// How much of a panic's message a title has, in characters.
const IN_TITLE: usize = 70;

pub struct Census {
    records: Vec<Record>,
    /// The cells of a second run.
    again: Vec<Record>,
    /// The cells with fixes in place of releases.
    patched: Vec<Patched>,
    /// The crates whose records lack a digest that new ones have.
    unrecorded: BTreeSet<String>,
    issues: Vec<Issue>,
    codes: Codes,
}

/// A public issue. It names the symptom and its crate, and no row: the cells are searched for the symptom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issue {
    /// As its tracker names it: `tokio-rs/tokio#3963`.
    name: String,
    title: String,
    /// What of it the cells show, as a sentence.
    shows: String,
    /// The crate that it is about.
    package: String,
    /// The situation that it describes.
    question: String,
    /// What it says happened.
    answer: String,
    /// A part of the panic or of the error that it quotes.
    message: String,
}

/// A cell with the symptom of an issue.
struct Match<'a> {
    package: &'a str,
    row: &'a Row,
    cell: &'a Cell,
    /// Whether it has the issue's message, too.
    says_so: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Issues {
    #[serde(default)]
    issue: Vec<Issue>,
}

impl Census {
    pub fn read(workspace: &Workspace) -> Result<Self> {
        let issues: Issues = match fs::read_to_string(workspace.path(ISSUES)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Issues::default(),
            text => toml::from_str(&text.context(|| ISSUES)?).context(|| ISSUES)?,
        };
        let records = record::read(workspace)?;
        let codes = if records.is_empty() { Codes::none() } else { Codes::read(workspace)? };
        let lacks = |it: &&Record| !record::unrecorded(workspace.root(), &it.measured).is_empty();
        let unrecorded = records.iter().filter(lacks).map(|it| it.package.clone()).collect();
        let again = record::read_again(workspace)?;
        let patched = fixes::read(workspace)?;
        Ok(Self { records, again, patched, unrecorded, issues: issues.issue, codes })
    }

    /// The block of the table of contents.
    pub fn contents(&self) -> Option<String> {
        (!self.records.is_empty()).then(|| {
            let mut text = format!("- [The census of released crates]({OVERVIEW})\n");
            for record in &self.records {
                let (package, title) = (&record.package, self.title(record));
                let _ = writeln!(text, "  - [{title}](census/{package}.md)");
            }
            text
        })
    }

    /// The pages of the crates, and the overview's block.
    pub fn pages(&self, workspace: &Workspace) -> Vec<File> {
        if self.records.is_empty() {
            return Vec::new();
        }
        let page = |record: &Record| File {
            path: workspace.path(FOLDER).join(format!("{}.md", record.package)),
            text: Ok(self.page(record)),
        };
        let overview = workspace.path("docs/src").join(OVERVIEW);
        let blocks = [
            (BLOCK, self.overview()),
            (AGAIN_BLOCK, self.again()),
            (patched::BLOCK, patched::block(&self.patched, &self.records)),
            (ISSUES_BLOCK, self.issues()),
        ];
        let overview = filled(overview, "", &blocks);
        self.records.iter().map(page).chain([overview]).collect()
    }

    /// Where cells, versions, trials and issues do not agree, one line each.
    pub fn wrong(&self, workspace: &Workspace) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for record in &self.records {
            let file = format!("{}/{}.json", record::FOLDER, record.package);
            let again = format!("run `cargo xtask census --only {} --accept`", record.package);
            let locked = workshop::versions(&workspace.path(PACKAGE), &record.package)?;
            if let Some(row) = record.rows.iter().find(|row| !locked.contains(&row.version)) {
                let version = &row.version;
                lines.push(format!(
                    "{file}: {PACKAGE}/Cargo.lock has no version {version}: {again}"
                ));
            }
            let now = |name: &str| record::digest_now(workspace.root(), name);
            for (source, digest) in &record.measured.sources {
                if now(source).as_ref() != Some(digest) {
                    lines.push(format!("{file}: the cells are older than {source}: {again}"));
                }
            }
            for row in &record.rows {
                let cells = row.cells.iter().filter(|cell| !cell.answers.is_empty());
                for cell in cells {
                    let name = format!("{}/{}", row.code, cell.question);
                    let kept = cell.kept.as_ref();
                    if let Some(kept) = kept.filter(|kept| kept.version != row.version) {
                        let (then, version) = (&kept.version, &row.version);
                        lines.push(format!(
                            "{file}: {name} was measured with {then}, and its row is of {version}: {again}"
                        ));
                    }
                    for (source, digest) in kept.iter().flat_map(|kept| &kept.measured.sources) {
                        if now(source).as_ref() != Some(digest) {
                            lines.push(format!("{file}: {name} is older than {source}: {again}"));
                        }
                    }
                    if cell.trials() < record::TRIALS && !cell.is("skipped") {
                        let (trials, least) = (cell.trials(), record::TRIALS);
                        lines.push(format!(
                            "{file}: {name} has {trials} trials, and a cell needs {least}: {again}"
                        ));
                    }
                }
            }
        }
        for again in &self.again {
            let package = &again.package;
            let before = self.records.iter().find(|it| it.package == *package);
            if !before.is_some_and(|it| record::is_same_code(it, again)) {
                lines.push(format!(
                    "{}/{package}.json: the second run is of other code than the committed cells: \
                     run `cargo xtask census --only {package} --again`",
                    record::AGAIN
                ));
            }
        }
        lines.extend(patched::wrong(&self.patched, &self.records, workspace));
        for issue in self.issues.iter().filter(|issue| self.found(issue).is_empty()) {
            let Issue { name, package, question, answer, .. } = issue;
            lines.push(format!(
                "{ISSUES}: {name} is not found again: no row of {package} answers `{question}` with `{answer}` and its message"
            ));
        }
        let known: BTreeSet<_> =
            self.records.iter().map(|it| format!("{}.md", it.package)).collect();
        for file in workspace::names(&workspace.path(FOLDER))? {
            if !known.contains(&file) {
                lines.push(format!("{FOLDER}/{file}: it belongs to no cells: remove it"));
            }
        }
        Ok(lines)
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.records.iter().flat_map(|record| &record.rows)
    }

    /// The second run against the committed cells.
    fn again(&self) -> String {
        let (mut count, mut same, mut lines) = (0, 0, String::new());
        let mut days = BTreeSet::new();
        for again in &self.again {
            let (day, _) = again.measured.started.split_once('T').unwrap_or_default();
            days.insert(day);
            let before = self.records.iter().find(|it| it.package == again.package);
            for row in &again.rows {
                let old = before.and_then(|it| it.rows.iter().find(|it| it.code == row.code));
                for cell in row.cells.iter().filter(|cell| !cell.answers.is_empty()) {
                    let mut old = old.into_iter().flat_map(|row| &row.cells);
                    let old = old.find(|it| it.question == cell.question);
                    count += 1;
                    if old.is_some_and(|old| old.agrees(cell)) {
                        same += 1;
                    } else {
                        let old = old.map_or_else(|| "not committed".to_owned(), Cell::to_string);
                        let (code, question) = (&row.code, &cell.question);
                        let _ =
                            writeln!(lines, "- `{code}/{question}`: {old}; the second time {cell}");
                    }
                }
            }
        }
        if count == 0 {
            return "No second run of the committed cells is recorded.\n".to_owned();
        }
        let asked = self.rows().flat_map(|row| &row.cells).filter(|it| !it.answers.is_empty());
        let (asked, days) = (asked.count(), days.into_iter().collect::<Vec<_>>().join(" and "));
        let mut text = format!(
            "On {days}, {count} of the {asked} cells were asked a second time: {same} of {count} are as committed.\n"
        );
        if !lines.is_empty() {
            let _ = write!(text, "\n{lines}");
        }
        text
    }

    /// Every cell with an issue's symptom, of whatever crate.
    fn matches<'a>(&'a self, issue: &Issue) -> Vec<Match<'a>> {
        let mut matches = Vec::new();
        for record in &self.records {
            for row in &record.rows {
                let is_it = |cell: &&Cell| {
                    cell.question == issue.question && cell.answers.contains_key(&issue.answer)
                };
                if let Some(cell) = row.cells.iter().find(is_it) {
                    let mut texts = cell.panics.iter().chain(cell.details.values().flatten());
                    let says_so = texts.any(|text| text.contains(&issue.message));
                    matches.push(Match { package: &record.package, row, cell, says_so });
                }
            }
        }
        matches
    }

    /// The cells of the issue's own crate that have its symptom and its message.
    fn found<'a>(&'a self, issue: &Issue) -> Vec<Match<'a>> {
        let is_it = |it: &Match<'_>| it.says_so && it.package == issue.package;
        self.matches(issue).into_iter().filter(is_it).collect()
    }

    /// The issues, each with all the cells that have its symptom.
    fn issues(&self) -> String {
        let mut text = String::new();
        let rows = self.rows().count();
        for issue in &self.issues {
            let Issue { name, title, shows, package, question, answer, message } = issue;
            let matches = self.matches(issue);
            let crates: BTreeSet<_> = matches.iter().map(|it| it.package).collect();
            let says_so = matches.iter().filter(|it| it.says_so).count();
            let _ = writeln!(
                text,
                "**{name}**, \"{title}\" ({package}). {shows} The symptom is `{question}`: {}. {} of {rows} rows, of {}, \
                 {} it; {says_so} of them with \"{}\". {}\n",
                bold(answer),
                matches.len(),
                plural(crates.len(), "crate"),
                if matches.len() == 1 { "has" } else { "have" },
                markdown::cell(message),
                if self.found(issue).is_empty() {
                    format!("**None of these is of {package}.**")
                } else {
                    format!("{package} is among these.")
                },
            );
            text.push_str("| row | version | answer | its message | the issue's crate |\n| --- | --- | --- | --- | --- |\n");
            for Match { package: of, row, cell, says_so } in matches {
                let yes = |it| if it { "yes" } else { "no" };
                let (code, version, answer) = (&row.code, &row.version, short(cell));
                let (says_so, own) = (yes(says_so), yes(of == package));
                let _ = writeln!(
                    text,
                    "| [{code}](census/{of}.md) | {version} | {answer} | {says_so} | {own} |"
                );
            }
            text.push('\n');
        }
        text
    }

    /// What a search for the crate and its panic finds: the crate, and the message that most cells have.
    fn title(&self, record: &Record) -> String {
        let cells = || record.rows.iter().flat_map(|row| &row.cells);
        let mut messages = BTreeMap::<String, usize>::new();
        for message in cells().flat_map(|cell| &cell.panics).map(|it| message(it)) {
            *messages.entry(message).or_default() += 1;
        }
        // Of several, the first in the order of the alphabet.
        let most = messages.iter().max_by(|one, other| one.1.cmp(other.1).then(other.0.cmp(one.0)));
        let package = &record.package;
        let mut hung = cells()
            .filter(|cell| cell.answers.contains_key("hangs"))
            .map(|cell| cell.question.as_str());
        match most {
            Some((message, _)) => format!("{package} panics: {}", shortened(message)),
            None => {
                // Although its runtime runs on.
                let loses = cells().any(|cell| {
                    cell.question == "flush-alive"
                        && ["none", "part"].iter().any(|it| cell.answers.contains_key(*it))
                });
                let loses = loses.then_some("can lose what it accepted when it is closed");
                let hangs = hung.next().map(|first| match first {
                    "fork" if hung.all(|it| it == "fork") => "hangs in a forked child",
                    _ => "hangs",
                });
                let faults: Vec<_> = [loses, hangs].into_iter().flatten().collect();
                match &*faults {
                    [] => format!("{package} does not panic"),
                    faults => format!("{package} {}, and does not panic", faults.join(", ")),
                }
            }
        }
    }

    fn page(&self, record: &Record) -> String {
        let Record { package, measured, .. } = record;
        let record::Measured { tokio, rustc, os, arch, started, .. } = measured;
        let (day, _) = started.split_once('T').unwrap_or((started, ""));
        let mut text = format!("# {}\n\n", markdown::cell(&self.title(record)));
        let _ = writeln!(
            text,
            "<!-- Generated by `cargo xtask notebooks` from {}/{package}.json. -->\n",
            record::FOLDER
        );
        let versions: BTreeSet<_> = record.rows.iter().map(|row| row.version.as_str()).collect();
        let versions = versions.into_iter().collect::<Vec<_>>().join(" and ");
        let servers = measured.servers.iter().map(|(name, version)| format!(", {name} {version}"));
        let _ = writeln!(
            text,
            "{package} {versions} with Tokio {tokio}, on {os} {arch}, {rustc}{}, {day}. [The census](../{OVERVIEW}) \
             says what the questions and the answers mean. To ask again: `cargo xtask census --only {package}`.\n",
            servers.collect::<String>()
        );
        for row in &record.rows {
            self.row(&mut text, row);
        }
        self.panics(&mut text, record);
        self.found_again(&mut text, record);
        text.trim_end().to_owned() + "\n"
    }

    fn row(&self, text: &mut String, row: &Row) {
        let Row { code, version, value, call, .. } = row;
        let _ = writeln!(text, "## `{code}` {version}\n");
        let mut facts = format!("The value is {value}. One use: {call}.");
        if let Some(close) = &row.close {
            let _ = write!(facts, " Its own close is {}.", quoted(close));
        }
        if let Some(accepts) = &row.accepts {
            let _ = write!(facts, " It accepts {accepts}.");
        }
        let _ = writeln!(text, "{facts}\n");
        text.push_str("| question | what a trial does | answer | n of N | |\n| --- | --- | --- | --: | --- |\n");
        for cell in &row.cells {
            let (question, about) = (&cell.question, markdown::cell(&cell.about));
            let detail = markdown::cell(&self.detail(cell));
            let trials = cell.trials();
            let answers = cell.worst_first();
            if answers.is_empty() {
                let _ = writeln!(text, "| `{question}` | {about} | not asked | | {detail} |");
                continue;
            }
            let words = answers.iter().map(|(answer, _)| bold(answer));
            let counts = answers.iter().map(|(_, count)| format!("{count} of {trials}"));
            let (words, counts): (Vec<_>, Vec<_>) = (words.collect(), counts.collect());
            let (words, counts) = (words.join(", "), counts.join(", "));
            let _ = writeln!(text, "| `{question}` | {about} | {words} | {counts} | {detail} |");
        }
        text.push('\n');
    }

    /// What more there is to a cell: codes, errors, what is left.
    fn detail(&self, cell: &Cell) -> String {
        let mut parts = Vec::new();
        if let Some(because) = &cell.not_asked {
            parts.push(because.clone());
        }
        if let Some(record::Kept { version, measured }) = &cell.kept {
            let (day, _) = measured.started.split_once('T').unwrap_or((&measured.started, ""));
            parts.push(format!("measured on {day} with {version}"));
        }
        let codes: BTreeSet<_> =
            cell.panics.iter().filter_map(|it| self.codes.of(&message(it))).collect();
        parts.extend(codes.into_iter().map(|code| format!("[{code}](../explain/{code}.md)")));
        for (name, texts) in &cell.details {
            let texts: Vec<_> =
                texts.iter().map(|it| format!("`{}`", it.replace('`', "'"))).collect();
            let texts = texts.join(", ");
            parts.push(match name.as_str() {
                "says" => format!("error: {texts}"),
                "left" => format!("left: {texts}"),
                "open" => format!("before the close: {texts}"),
                "arrived" => format!("arrived: {texts}"),
                "parent" if texts == "`works`" => continue,
                "parent" => format!("afterwards in the parent: {texts}"),
                other => format!("{other}: {texts}"),
            });
        }
        parts.join("; ")
    }

    /// The panics in full, for who searches for one.
    fn panics(&self, text: &mut String, record: &Record) {
        let mut panics = BTreeMap::<&str, Vec<String>>::new();
        for row in &record.rows {
            for cell in &row.cells {
                for panic in &cell.panics {
                    panics
                        .entry(panic)
                        .or_default()
                        .push(format!("`{}/{}`", row.code, cell.question));
                }
            }
        }
        if panics.is_empty() {
            return;
        }
        text.push_str("## The panics\n\n");
        for (panic, cells) in panics {
            let code = self.codes.of(&message(panic));
            let code = code.map(|code| format!(": [{code}](../explain/{code}.md)"));
            let (code, cells) = (code.unwrap_or_default(), cells.join(", "));
            let _ = writeln!(text, "In {cells}{code}\n\n```text,wrap\n{panic}\n```\n");
        }
    }

    fn found_again(&self, text: &mut String, record: &Record) {
        let mut lines = String::new();
        for issue in self.issues.iter().filter(|issue| issue.package == record.package) {
            let Issue { name, title, shows, .. } = issue;
            let found = self.found(issue);
            let cells = found.iter().map(|it| format!("`{}/{}`", it.row.code, it.cell.question));
            let cells: Vec<_> = cells.collect();
            if !cells.is_empty() {
                let cells = cells.join(", ");
                let _ = writeln!(lines, "- **{name}**, \"{title}\": {cells}. {shows}");
            }
        }
        if !lines.is_empty() {
            let _ = writeln!(text, "## Public issues that show here\n\n{lines}");
        }
    }

    /// The table of all cells.
    fn overview(&self) -> String {
        let questions: Vec<_> = self
            .rows()
            .next()
            .map(|row| row.cells.iter().map(|cell| cell.question.as_str()).collect())
            .unwrap_or_default();
        let questions: Vec<_> =
            questions.into_iter().filter(|it| record::expected(it).is_none()).collect();
        let head: Vec<_> = questions.iter().map(|it| format!("`{it}`")).collect();
        let mut text = format!("| row | version | {} |\n", head.join(" | "));
        let _ = writeln!(text, "| --- | --- |{}", " --- |".repeat(questions.len()));
        for record in &self.records {
            for row in &record.rows {
                let cell = |question: &&str| {
                    let cell = row.cells.iter().find(|it| it.question == **question);
                    cell.map_or_else(|| "?".to_owned(), short)
                };
                let cells: Vec<_> = questions.iter().map(cell).collect();
                let (code, version, cells) = (&row.code, &row.version, cells.join(" | "));
                let _ = writeln!(
                    text,
                    "| [{code}](census/{}.md) | {version} | {cells} |",
                    record.package
                );
            }
        }
        let cells: Vec<_> = self.rows().flat_map(|row| &row.cells).collect();
        let asked = cells.iter().filter(|cell| !cell.answers.is_empty()).count();
        let trials: u32 = cells.iter().map(|cell| cell.trials()).sum();
        let races = cells.iter().filter(|cell| cell.answers.len() > 1).count();
        let run = cells.iter().filter(|cell| !cell.answers.is_empty() && !cell.is("skipped"));
        let controls: Vec<_> =
            run.filter_map(|cell| Some(cell.is(record::expected(&cell.question)?))).collect();
        let with = |answers: &[&str]| {
            let has = |record: &&Record| {
                let mut cells = record.rows.iter().flat_map(|row| &row.cells);
                cells.any(|cell| answers.iter().any(|answer| cell.answers.contains_key(*answer)))
            };
            self.records.iter().filter(has).count()
        };
        let _ = writeln!(
            text,
            "\n{}, {}, {asked} cells of {} trials; {races} of the cells are races. {} panic or abort in at least one \
             cell, {} hang in one. {} of {} controls answer as they must.",
            plural(self.records.len(), "crate"),
            plural(self.rows().count(), "row"),
            trials,
            with(&["panics", "aborts"]),
            with(&["hangs"]),
            controls.iter().filter(|is_expected| **is_expected).count(),
            controls.len(),
        );
        if !self.unrecorded.is_empty() {
            let all = self.unrecorded.len() == self.records.len();
            let names = self.unrecorded.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                text,
                "\nThe records of {} were written before digests of all shared code and of the locked versions were: \
                 whether these have changed since is not checked for them.",
                if all { format!("all {} crates", self.records.len()) } else { names },
            );
        }
        text
    }
}

/// The message of a panic, without its thread and its place: of `main: no context (lib.rs:1:2)`.
fn message(panic: &str) -> String {
    let (_, rest) = panic.split_once(": ").unwrap_or(("", panic));
    let (message, _) = rest.rsplit_once(" (").unwrap_or((rest, ""));
    message.to_owned()
}

fn shortened(message: &str) -> String {
    match message.char_indices().nth(IN_TITLE) {
        Some((end, _)) => {
            let cut = message.get(..end).unwrap_or(message);
            format!("{}…", cut.rsplit_once(' ').map_or(cut, |(whole, _)| whole))
        }
        None => message.to_owned(),
    }
}

fn quoted(close: &str) -> String {
    if close.contains("::") && !close.contains('`') {
        format!("`{close}`")
    } else {
        close.to_owned()
    }
}

fn bold(answer: &str) -> String {
    if is_good(answer) { answer.to_owned() } else { format!("**{answer}**") }
}

/// A cell of the overview.
fn short(cell: &Cell) -> String {
    let trials = cell.trials();
    let answers = cell.worst_first();
    match &answers[..] {
        [] => "–".to_owned(),
        [(answer, _)] => bold(answer),
        several => {
            let parts =
                several.iter().map(|(it, count)| format!("{} {count} of {trials}", bold(it)));
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}
