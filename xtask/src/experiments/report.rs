//! The report of a run: the tables, the differences from the snapshots, and what to do next.

use std::{fmt::Write as _, io, path::PathBuf, process::ExitCode, time::Duration};

use lab::{
    Verdict, interrupt,
    results::{ExperimentResult, Role, Skipped, VariantResult},
};

use super::{
    difference,
    snapshots::{Compared, Snapshots},
};
use crate::{
    figures::{self, plural},
    output::{self, Paper},
    workspace::{Source, Workspace},
};

/// The state of one experiment in a run.
#[derive(Debug)]
pub struct Finding {
    pub source: Source,
    pub state: State,
    /// The result. After an interruption it covers the trials that had ended.
    pub result: Option<ExperimentResult>,
    skipped: Option<Skipped>,
    /// The text below the tables: differences or an error.
    words: String,
}

/// How an experiment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Match,
    Written,
    New,
    Mismatch,
    /// The snapshot cannot be read or written.
    NotCompared,
    /// The threads of its trials were held, and its cures were as predicted, or not.
    CuresHeld,
    CuresFailed,
    /// The same, and it has no cure.
    NoCure,
    Interrupted,
    /// This machine lacks what the experiment needs.
    Skipped,
    NoResult,
}

impl State {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Written => "written",
            Self::New => "new",
            Self::Mismatch => "mismatch",
            Self::NotCompared => "not compared",
            Self::CuresHeld => "cures clean",
            Self::CuresFailed => "a cure failed",
            Self::NoCure => "it has no cure",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
            Self::NoResult => "no result",
        }
    }

    const fn is_compared(self) -> bool {
        matches!(self, Self::Match | Self::Written | Self::New | Self::Mismatch)
    }

    pub const fn is_fine(self) -> bool {
        matches!(self, Self::Match | Self::Written)
    }
}

#[derive(Debug)]
pub struct Report {
    /// The started experiments.
    pub findings: Vec<Finding>,
    /// How many experiments were selected.
    pub planned: usize,
    /// Snapshots without an experiment.
    pub orphans: Vec<PathBuf>,
    pub interrupted: bool,
    /// The seed of the run; shards have several.
    pub seed: Option<u64>,
    /// How long the run took with all that it built.
    pub took: Option<Duration>,
}

impl Finding {
    /// Compares a result with its snapshot.
    pub fn compared(source: &Source, mut result: ExperimentResult, snapshots: &Snapshots) -> Self {
        let found = lab::snapshot::render(&result);
        let compared = match snapshots.compare(source, &found) {
            Ok(compared) => compared,
            // The result is no worse for it.
            Err(failure) => {
                let words = format!("{}: {}\n", source.title(), failure.message());
                let state = State::NotCompared;
                return Self { result: Some(result), words, ..Self::without_result(source, state) };
            }
        };
        result.snapshot = Some(compared.status());
        let (state, words) = match compared {
            Compared::Match => (State::Match, String::new()),
            Compared::Written => (State::Written, String::new()),
            Compared::New => (State::New, difference::new(source, &found)),
            Compared::Mismatch(expected) => {
                (State::Mismatch, difference::between(source, &expected, &found, &result))
            }
        };
        Self { result: Some(result), words, ..Self::without_result(source, state) }
    }

    /// Of a run in which threads were held: looks at the cures alone.
    pub fn held(source: &Source, result: ExperimentResult) -> Self {
        let mut words = String::new();
        let cures = result.variants.iter().filter(|variant| variant.role == Role::Cure);
        let has_cures = cures.clone().any(|cure| cure.trials > 0);
        for it in cures.filter(|variant| !variant.predicted) {
            let (title, failed) = (source.title(), it.trials - it.hits);
            let _ = writeln!(
                words,
                "{title}: {} is not {} in {failed} of {} trials whose threads were held",
                it.name, it.prediction, it.trials
            );
        }
        let state = match words.is_empty() {
            _ if !has_cures => State::NoCure,
            true => State::CuresHeld,
            false => State::CuresFailed,
        };
        Self { result: Some(result), words, ..Self::without_result(source, state) }
    }

    pub fn interrupted(source: &Source, result: Option<ExperimentResult>) -> Self {
        Self { result, ..Self::without_result(source, State::Interrupted) }
    }

    pub fn skipped(source: &Source, skipped: Skipped) -> Self {
        Self { skipped: Some(skipped), ..Self::without_result(source, State::Skipped) }
    }

    pub fn trouble(source: &Source, trouble: &impl ToString) -> Self {
        let words = format!("{} {}\n", source.title(), trouble.to_string());
        Self { words, ..Self::without_result(source, State::NoResult) }
    }

    fn without_result(source: &Source, state: State) -> Self {
        let (source, words) = (source.clone(), String::new());
        Self { source, state, result: None, skipped: None, words }
    }

    /// Prints the result, or why the experiment was skipped, as one line of JSON.
    pub fn print_json(&self) -> io::Result<()> {
        let line = match (&self.result, &self.skipped) {
            (Some(result), _) => serde_json::to_string(result)?,
            (None, Some(skipped)) => serde_json::to_string(skipped)?,
            (None, None) => return Ok(()),
        };
        output::print(&(line + "\n"));
        Ok(())
    }
}

impl Report {
    pub fn results(&self) -> impl Iterator<Item = &ExperimentResult> {
        self.findings.iter().filter_map(|finding| finding.result.as_ref())
    }

    pub fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.findings.iter().filter_map(|finding| finding.skipped.as_ref())
    }

    fn count(&self, is: impl Fn(State) -> bool) -> usize {
        self.findings.iter().filter(|finding| is(finding.state)).count()
    }

    /// The binary of the first experiment in such a state.
    fn first(&self, is: impl Fn(State) -> bool) -> &str {
        let mut found = self.findings.iter().filter(|finding| is(finding.state));
        found.next().map_or("NAME", |finding| &finding.source.binary)
    }

    /// The text below the lines and tables: differences, counts, the path of the results, what to do next.
    pub fn text(&self, results: &str, paper: Paper, workspace: &Workspace) -> String {
        let mut text = String::new();
        for finding in self.findings.iter().filter(|finding| !finding.words.is_empty()) {
            let _ = writeln!(text, "{}", finding.words);
        }
        if self.planned == 0 {
            text.push_str("There was no experiment to run.\n");
        }
        let compared = self.count(State::is_compared);
        if self.interrupted {
            let planned = plural(self.planned, "experiment");
            let _ = writeln!(text, "Interrupted: {compared} of {planned} ran to the end.");
        }
        if compared > 0 {
            text += &self.matches(compared, paper);
        }
        text += &self.held(paper);
        text += &self.left_out(paper);
        for orphan in &self.orphans {
            let path = workspace.shown(orphan);
            let _ = writeln!(text, "{path} belongs to no experiment: remove it.");
        }
        let seed = self.seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
        let took =
            self.took.map(|it| humantime::format_duration(Duration::from_secs(it.as_secs())));
        let took = took.map_or_else(String::new, |took| format!(", {took}"));
        text += &paper.sentence(&format!("Full results: {results}{seed}{took}"));
        let next = self.next();
        text + &next.lines().map(|line| paper.sentence(line)).collect::<String>()
    }

    /// What the trials show whose threads were held.
    fn held(&self, paper: Paper) -> String {
        let [clean, failed] =
            [State::CuresHeld, State::CuresFailed].map(|state| self.count(|it| it == state));
        if clean + failed == 0 {
            return String::new();
        }
        let cures = |result: &ExperimentResult| {
            let cures = result.variants.iter().filter(|variant| variant.role == Role::Cure);
            cures.map(|cure| cure.trials as usize).sum::<usize>()
        };
        let trials = plural(self.results().map(cures).sum(), "trial");
        paper.sentence(&format!(
            "Threads were held back in every trial. The cures of {clean} of {} were as predicted, in {trials} \
             altogether. The other rates are not the natural ones.",
            plural(clean + failed, "experiment")
        ))
    }

    /// The experiments that did not run, by the reason.
    fn left_out(&self, paper: Paper) -> String {
        let mut groups = Vec::<(&str, Vec<&Skipped>)>::new();
        for it in self.skipped() {
            match groups.iter_mut().find(|(missing, _)| *missing == it.missing) {
                Some((_, skipped)) => skipped.push(it),
                None => groups.push((&it.missing, vec![it])),
            }
        }
        let mut text = String::new();
        for (missing, skipped) in groups {
            let ids = skipped.iter().map(|it| it.id.as_str()).collect::<Vec<_>>();
            let (title, remedy) = match skipped[..] {
                [one] => (format!("{} {}", one.id, one.name), one.remedy.clone()),
                [first, ..] if first.remedy == asking_for(&first.id) => {
                    (ids.join(" "), asking_for(&ids.join(",")))
                }
                _ => (ids.join(" "), skipped.first().map_or("", |it| &it.remedy).to_owned()),
            };
            let why = format!("skipped: {title}: {missing}");
            text += &match why.chars().count() + remedy.chars().count() + 3 {
                it if it <= paper.width.into() => format!("{why} ({remedy})\n"),
                // A command is easier to copy in one piece.
                _ => paper.sentence(&why) + "    " + &remedy + "\n",
            };
        }
        match self.skipped().count() {
            0 => {}
            count => {
                let count = plural(count, "experiment");
                let kept = "their snapshots and pages stay as they are";
                let could_run = self.skipped().any(|it| it.remedy == asking_for(&it.id));
                let all = if could_run { " (--all runs all)" } else { "" };
                text += &paper.sentence(&format!("{count} skipped{all}: {kept}."));
            }
        }
        text
    }

    fn matches(&self, compared: usize, paper: Paper) -> String {
        let fine = self.count(State::is_fine);
        let matches = match compared {
            1 if fine == 1 => "The experiment found what its snapshot says".to_owned(),
            1 => "The experiment differs from its snapshot, or has none yet".to_owned(),
            all if fine == all => format!("All {all} experiments found what their snapshots say"),
            all => format!("{fine} of {all} experiments found what their snapshots say"),
        };
        // Most hypotheses are findings that are found again: only the others are news.
        let compared = self.findings.iter().filter(|finding| finding.state.is_compared());
        let results = compared.filter_map(|finding| finding.result.as_ref());
        let others = results.filter(|result| result.verdict != Verdict::Supported);
        let others: Vec<_> =
            others.map(|it| format!("{} {} ({})", it.id, it.name, it.verdict)).collect();
        let matches = paper.sentence(&format!("{matches}."));
        match others.is_empty() {
            true => matches,
            false => {
                let others = format!("Hypotheses that did not hold: {}.", others.join(", "));
                matches + &paper.sentence(&others)
            }
        }
    }

    fn next(&self) -> String {
        let compared: Vec<_> = self.findings.iter().filter(|it| it.state.is_compared()).collect();
        if self.interrupted {
            "Next: `cargo xtask experiments` runs all again, and with `--only` some of them.".into()
        } else if self.count(|state| matches!(state, State::New | State::Mismatch)) > 0 {
            format!(
                "Next: if the difference is right, the same command with `--accept`;\n\
                 if not, run the experiment alone: `cargo run --bin {}`.",
                self.first(|state| matches!(state, State::New | State::Mismatch))
            )
        } else if self.count(|state| matches!(state, State::NoResult | State::CuresFailed)) > 0 {
            format!(
                "Next: run what has no result, or whose cure failed, alone:\n`cargo run --bin {}`.",
                self.first(|state| matches!(state, State::NoResult | State::CuresFailed))
            )
        } else if self.count(|state| state == State::Written) > 0 {
            "Next: `cargo xtask notebooks` writes the results into docs/.".into()
        } else if let [one] = compared[..] {
            format!(
                "Next: docs/src/{} says what this means (--verbose: the counts).",
                one.source.page()
            )
        } else {
            "Next: docs/src/start-here.md explains in two pages why this happens.\n\
             Each experiment has a page in docs/src; --verbose prints its counts."
                .into()
        }
    }

    /// Prints the differences and errors to standard error, and returns the exit code.
    pub fn complain(&self) -> ExitCode {
        let mut is_fine = self.orphans.is_empty();
        for (state, what) in [
            (State::New, "without a snapshot"),
            (State::Mismatch, "not as the snapshot says"),
            (State::NotCompared, "not compared with a snapshot"),
            (State::CuresFailed, "a cure fails if threads are held"),
            (State::NoResult, "without a result"),
        ] {
            let findings = self.findings.iter().filter(|finding| finding.state == state);
            let titles: Vec<_> = findings.map(|finding| finding.source.title()).collect();
            if !titles.is_empty() {
                is_fine = false;
                output::complain(&format!("{what}: {}", titles.join(", ")));
            }
        }
        match is_fine && self.count(|state| state == State::Interrupted) == 0 {
            _ if self.interrupted => ExitCode::from(interrupt::EXIT_CODE),
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

/// The command that runs experiments which a run of all leaves out.
pub fn asking_for(ids: &str) -> String {
    format!("cargo xtask experiments --only {ids}")
}

/// The variants of every experiment with their panic sites, and then a line for each experiment.
pub fn tables(findings: &[Finding], paper: Paper) -> String {
    let mut text = String::new();
    for result in findings.iter().filter_map(|finding| finding.result.as_ref()) {
        let _ = writeln!(text, "{}\n", one(result, paper).trim_end());
    }
    if !findings.is_empty() {
        let header = ["experiment", "hypothesis", "claims", "trials", "seconds", "snapshot"];
        let rows = findings.iter().map(experiment).collect();
        let _ = writeln!(text, "{}", paper.table(&header, rows, &[3, 4]));
    }
    text
}

fn experiment(finding: &Finding) -> Vec<String> {
    let (title, state) = (finding.source.title(), finding.state);
    let word = if state.is_compared() { state.word() } else { "–" }.to_owned();
    let Some(result) = &finding.result else {
        return vec![title, state.word().into(), String::new(), "–".into(), "–".into(), word];
    };
    let interrupted = if state == State::Interrupted { " (interrupted)" } else { "" };
    let claims = result.claims.iter().map(|claim| format!("{} {}", claim.id, claim.verdict));
    vec![
        title,
        format!("{}{interrupted}", result.verdict),
        claims.collect::<Vec<_>>().join("\n"),
        trials(result).to_string(),
        format!("{:.1}", result.seconds),
        word,
    ]
}

/// The number of trials of a result.
pub fn trials(result: &ExperimentResult) -> u64 {
    result.variants.iter().map(|variant| u64::from(variant.trials)).sum()
}

/// The question and the verdicts of one experiment.
fn one(result: &ExperimentResult, paper: Paper) -> String {
    let title = format!("{} {} · {}", result.id, result.name, result.question);
    let verdict = format!("{}: {}", result.verdict, result.hypothesis);
    paper.sentence(&title) + &paper.sentence(&verdict) + &variants(result, paper)
}

/// The table of one experiment's variants. The last column has the panic sites if they fit; otherwise it
/// has numbers, and the sites follow below the table.
fn variants(result: &ExperimentResult, paper: Paper) -> String {
    /// The padding that comfy-table adds to a cell.
    const PADDING: usize = 2;
    let variants: Vec<_> = result.variants.iter().filter(|variant| variant.trials > 0).collect();
    let mut rows: Vec<_> = variants.iter().copied().map(cells).collect();
    let header = ["", "variant", "class", "n/N", "95 %", "panics at"];
    let width = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let columns = (0..5).zip(header).map(|(place, title)| {
        let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| width(cell));
        cells.max().unwrap_or(0).max(width(title)) + PADDING + usize::from(paper.ruled)
    });
    let used: usize = columns.sum();
    let mut sites: Vec<_> = variants.iter().flat_map(|variant| &variant.sites).collect();
    // The standard library's sites come last: they follow from the others.
    sites.sort_by_key(|site| (site.starts_with("std"), *site));
    sites.dedup();
    let longest = sites.iter().map(|site| width(site)).max().unwrap_or(0);
    let fit = used + longest + PADDING <= usize::from(paper.width);
    for (row, variant) in rows.iter_mut().zip(&variants) {
        let numbered = (1..).zip(&sites).filter(|(_, site)| variant.sites.contains(site));
        let numbers = numbered.map(|(number, _): (u32, _)| format!("[{number}]"));
        row.push(match fit {
            true => variant.sites.join("\n"),
            false => numbers.collect::<Vec<_>>().join(" "),
        });
    }
    let mut text = paper.table(&header, rows, &[3, 4]);
    for (number, site) in (1..).zip(sites).filter(|_| !fit) {
        let _ = writeln!(text, " [{number}] {site}");
    }
    text
}

fn cells(variant: &VariantResult) -> Vec<String> {
    let VariantResult { role, name, class, prediction, predicted, hits, trials, .. } = variant;
    let prediction = match !predicted && prediction != class {
        true => format!("\n(predicted: {prediction})"),
        false => String::new(),
    };
    vec![
        role.to_string(),
        name.clone(),
        format!("{class}{prediction}"),
        format!("{hits}/{trials}"),
        figures::percent(variant.interval),
    ]
}
