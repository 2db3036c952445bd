//! The predictions of the check against trials: each drops one live value in one place, in a process of its own.
//!
//! `trials/results.json` has the counts, and `docs/src/check-trials.md` is computed from it. To run the trials again,
//! which builds dozens of crates:
//!
//! ```sh
//! cargo test --manifest-path crates/check/Cargo.toml -- --ignored the_trials_again
//! ```
//!
//! With `SET=held-out`, the other sets keep what they have.
//!
//! `the_page_again` writes the page only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::command::{command, ran};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sundown_core::explain::Cause;

/// How many processes drop a value in each place.
const TRIALS: u32 = 5;

/// The programs of cases. The types of `tuned` and `tuned-2` were looked at while the check was written. Whoever corrects
/// the check because of a type of `held-out` has to move that type.
const SETS: [&str; 3] = ["tuned", "tuned-2", "held-out"];

/// A place and the codes that the check has for it.
pub const PLACES: [(&str, &[&str]); 2] =
    [("off-context", &["SD0001", "SD0012"]), ("in-async", &["SD0005", "SD0006", "SD0009"])];

#[derive(Deserialize, PartialEq, Serialize)]
struct Results {
    trials_per_place: u32,
    /// The version of Tokio, and of the compiler.
    built_with: String,
    types: Vec<Row>,
}

/// What was predicted of a type, and what was seen of its live values.
#[derive(Deserialize, PartialEq, Serialize)]
struct Row {
    set: String,
    #[serde(rename = "crate")]
    of_crate: String,
    #[serde(rename = "type")]
    of_type: String,
    /// `will` or `may` for each place, with the code.
    predicted: BTreeMap<String, Prediction>,
    /// One for each state that a live value was dropped in.
    states: Vec<State>,
}

#[derive(Clone, Deserialize, PartialEq, Serialize)]
struct Prediction {
    certainty: String,
    code: String,
}

#[derive(Deserialize, PartialEq, Serialize)]
struct State {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    when: String,
    /// By place, the control included.
    seen: BTreeMap<String, Seen>,
}

#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
struct Seen {
    /// How many destructors did not return because of a panic, the abort of a second one included.
    panicked: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    hung: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    died: u32,
    /// The first panic: its code, or its message if `explain` does not know it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    panic: String,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Row {
    fn certainty(&self, place: &str) -> Option<&str> {
        self.predicted.get(place).map(|it| it.certainty.as_str())
    }

    fn seen_in<'a>(&'a self, place: &'a str) -> impl Iterator<Item = &'a Seen> {
        self.states.iter().filter_map(move |state| state.seen.get(place))
    }

    /// Whether a live value panics, hangs or dies there, in one of its states at least.
    fn fails(&self, place: &str) -> bool {
        self.seen_in(place).any(Seen::is_failure)
    }

    /// Whether it does so in each trial of each of its states.
    fn always_fails(&self, place: &str) -> bool {
        self.seen_in(place).all(|seen| seen.failures() == TRIALS)
    }

    /// Whether one panics with the code that was predicted.
    fn fails_as_predicted(&self, place: &str) -> bool {
        let is_it = |it: &Prediction| self.seen_in(place).any(|seen| seen.is(&it.code));
        self.predicted.get(place).is_some_and(is_it)
    }

    /// Whether it does so in each trial of each of its states.
    fn always_fails_as_predicted(&self, place: &str) -> bool {
        let is_each = |seen: &Seen| seen.panicked == TRIALS;
        let is_it =
            |it: &Prediction| self.seen_in(place).all(|seen| is_each(seen) && seen.is(&it.code));
        self.predicted.get(place).is_some_and(is_it)
    }
}

impl Seen {
    const fn failures(&self) -> u32 {
        self.panicked + self.hung + self.died
    }

    const fn is_failure(&self) -> bool {
        self.failures() > 0
    }

    fn is(&self, code: &str) -> bool {
        self.panicked > 0 && self.panic == code
    }
}

/// Predictions and what came of them.
#[derive(Default)]
struct Counts {
    /// `will`, and it panicked with this code in each trial of each state.
    hits: u32,
    /// `will`, and in a state it did not.
    false_alarms: u32,
    /// `may`, and it panicked with this code in each trial of each state.
    may_always: u32,
    /// `may`, and it panicked with this code in some states.
    may_sometimes: u32,
    may_never: u32,
    /// It panicked, hung or died in a state, and something else was said, or nothing.
    missed: u32,
    clean: u32,
    /// What fails in each state.
    always: u32,
    /// What fails in a state at least.
    failures: u32,
    /// What fails in a state at least, and was predicted with its code.
    named: u32,
}

impl Counts {
    fn of<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Self {
        let mut counts = Self::default();
        for (place, _) in PLACES {
            for row in rows.clone() {
                let is_as_predicted = row.fails_as_predicted(place);
                let is_always = row.always_fails_as_predicted(place);
                match (row.certainty(place), is_as_predicted, is_always) {
                    (Some("will"), _, true) => counts.hits += 1,
                    (Some("will"), _, false) => counts.false_alarms += 1,
                    (Some(_), _, true) => counts.may_always += 1,
                    (Some(_), true, false) => counts.may_sometimes += 1,
                    (Some(_), false, false) => counts.may_never += 1,
                    (None, ..) => counts.clean += u32::from(!row.fails(place)),
                }
                counts.missed += u32::from(row.fails(place) && !is_as_predicted);
                counts.always += u32::from(row.always_fails(place));
                counts.failures += u32::from(row.fails(place));
                counts.named += u32::from(is_as_predicted);
            }
        }
        counts
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("trials")
}

fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/check-trials.md")
}

fn results() -> Results {
    let text = fs::read_to_string(folder().join("results.json")).expect("the results");
    serde_json::from_str(&text).expect("results")
}

#[test]
fn the_page_says_what_the_results_say() {
    let page = fs::read_to_string(page_path()).expect("the page");
    assert_eq!(
        page,
        render(&results()),
        "docs/src/check-trials.md is not computed from results.json"
    );
}

#[test]
fn the_results_are_of_enough_types_and_their_controls_are_clean() {
    let results = results();
    let crates: BTreeSet<_> =
        results.types.iter().map(|row| row.of_crate.split(' ').next()).collect();
    assert!(
        results.types.len() >= 40 && crates.len() >= 15,
        "{} of {crates:?}",
        results.types.len()
    );
    for row in &results.types {
        for state in &row.states {
            let control = &state.seen["control"];
            assert_eq!(
                (control.panicked, control.hung, control.died),
                (0, 0, 0),
                "{}",
                row.of_type
            );
        }
    }
    // What is wanted of all: of what can panic 95 % is named, of what always does 95 % is called `will`, and of what is
    // called `will` 90 % always does. A set alone may have less: the page says how much, and docs/src/check.md why.
    let reaches = |counts: &Counts, [named, recall, precision]: [u32; 3]| {
        counts.named * 100 >= counts.failures * named
            && counts.hits * 100 >= counts.always * recall
            && counts.hits * 100 >= (counts.hits + counts.false_alarms) * precision
    };
    assert!(reaches(&Counts::of(results.types.iter()), [95, 95, 90]));
    for set in sets(&results) {
        let counts = Counts::of(results.types.iter().filter(|row| row.set == set));
        // Neither list is empty, or the figures say nothing.
        assert!(counts.always > 0 && counts.clean > 0, "{set}");
        assert!(reaches(&counts, [95, 75, 85]), "{set}");
    }
}

#[test]
fn a_trial_that_hung_died_or_panicked_otherwise_was_missed() {
    let row = |predicted: &[(&str, &str)], states: Vec<Seen>| {
        let of_place = |(certainty, code): &(&str, &str)| {
            let (certainty, code) = ((*certainty).to_owned(), (*code).to_owned());
            ("off-context".to_owned(), Prediction { certainty, code })
        };
        // The other place is clean.
        let states = states.into_iter().map(|seen| {
            let seen = [("off-context", seen), ("in-async", Seen::default())];
            let seen = seen.map(|(place, seen)| (place.to_owned(), seen));
            State { when: String::new(), seen: BTreeMap::from(seen) }
        });
        Row {
            set: "tuned".to_owned(),
            of_crate: "a 1.0.0".to_owned(),
            of_type: "a::A".to_owned(),
            predicted: predicted.iter().map(of_place).collect(),
            states: states.collect(),
        }
    };
    let clean = Seen::default;
    let panicked = || Seen { panicked: 5, panic: "SD0001".to_owned(), ..Seen::default() };
    let once = || Seen { panicked: 1, ..panicked() };
    let hung = || Seen { hung: 5, ..Seen::default() };
    let died = || Seen { died: 5, ..Seen::default() };
    let (will, may, other) = ([("will", "SD0001")], [("may", "SD0001")], [("will", "SD0012")]);
    for (row, expected) in [
        (row(&will, vec![panicked()]), [1, 0, 0, 0, 0, 0, 1, 1, 1, 1]),
        (row(&will, vec![panicked(), panicked()]), [1, 0, 0, 0, 0, 0, 1, 1, 1, 1]),
        (row(&will, vec![panicked(), clean()]), [0, 1, 0, 0, 0, 0, 1, 0, 1, 1]),
        (row(&will, vec![once()]), [0, 1, 0, 0, 0, 0, 1, 0, 1, 1]),
        (row(&may, vec![once()]), [0, 0, 0, 1, 0, 0, 1, 0, 1, 1]),
        (row(&may, vec![panicked()]), [0, 0, 1, 0, 0, 0, 1, 1, 1, 1]),
        (row(&may, vec![clean(), panicked()]), [0, 0, 0, 1, 0, 0, 1, 0, 1, 1]),
        (row(&may, vec![clean()]), [0, 0, 0, 0, 1, 0, 1, 0, 0, 0]),
        (row(&other, vec![panicked()]), [0, 1, 0, 0, 0, 1, 1, 1, 1, 0]),
        (row(&will, vec![hung()]), [0, 1, 0, 0, 0, 1, 1, 1, 1, 0]),
        (row(&may, vec![died()]), [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]),
        (row(&[], vec![hung(), clean()]), [0, 0, 0, 0, 0, 1, 1, 0, 1, 0]),
        (row(&[], vec![died()]), [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]),
        (row(&[], vec![clean()]), [0, 0, 0, 0, 0, 0, 2, 0, 0, 0]),
    ] {
        let it = Counts::of([&row].into_iter());
        let said = [it.hits, it.false_alarms, it.may_always, it.may_sometimes, it.may_never];
        let seen = [it.missed, it.clean, it.always, it.failures, it.named];
        assert_eq!([said, seen].concat(), expected);
    }
}

/// The sets that were run.
fn sets(results: &Results) -> Vec<&'static str> {
    SETS.into_iter().filter(|set| results.types.iter().any(|row| row.set == *set)).collect()
}

#[test]
#[ignore = "writes the page, and is needed only when its words have changed"]
fn the_page_again() {
    fs::write(page_path(), render(&results())).expect("written");
}

#[test]
#[ignore = "builds dozens of crates, and runs a process for every trial"]
fn the_trials_again() {
    let compiler = Command::new("rustc").arg("--version").output().expect("rustc").stdout;
    let compiler = String::from_utf8_lossy(&compiler);
    let compiler = compiler.split_whitespace().nth(1).unwrap_or("?").to_owned();
    let tokio = versioned(SETS[0], "tokio").replace("tokio", "Tokio");
    let built_with = format!("{tokio}, Rust {compiler}");
    let only = std::env::var("SET").ok();
    let is_kept = |set: &str| only.as_ref().is_some_and(|only| only != set);
    let kept = results().types.into_iter().filter(|row| is_kept(&row.set)).collect();
    let mut results = Results { trials_per_place: TRIALS, built_with, types: kept };
    for set in SETS.into_iter().filter(|set| !is_kept(set)) {
        results.types.extend(rows(set));
        let place = |row: &Row| SETS.iter().position(|set| *set == row.set);
        results.types.sort_by_key(place);
        // After each set: the next one may take long to build.
        let mut text = serde_json::to_string_pretty(&results).expect("JSON");
        text.push('\n');
        fs::write(folder().join("results.json"), text).expect("written");
        fs::write(page_path(), render(&results)).expect("written");
    }
}

/// Checks a program of cases, and runs all its cases.
fn rows(set: &str) -> Vec<Row> {
    let manifest = folder().join("Cargo.toml");
    let check = |more: &[String]| {
        let mut command = command();
        command.args(["--locked", "--bin", set, "--format", "json", "--manifest-path"]);
        let ran = ran(command.arg(&manifest).args(more));
        assert!(ran.is_success(), "the check of {set}: {}", ran.stderr);
        ran.json()
    };
    let program = check(&[])["program"].as_str().expect("a program").to_owned();
    let listed = Command::new(&program).output().expect("the program of cases");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let cases: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).expect("a case")).collect();
    // Fails if a type is not in the program under this name: no finding would say nothing.
    let only = cases.iter().flat_map(|case| ["--only".to_owned(), text(case, "type")]);
    let report = check(&only.collect::<Vec<_>>());

    let mut rows: Vec<Row> = Vec::new();
    for case in &cases {
        let (of_crate, of_type) = (versioned(set, &text(case, "crate")), text(case, "type"));
        let number = case["number"].to_string();
        eprintln!("{set} {number}: {of_type}");
        let places = ["control"].into_iter().chain(PLACES.map(|(place, _)| place));
        let seen = places.map(|place| (place.to_owned(), seen(&program, &number, place, &of_type)));
        let state = State { when: text(case, "when"), seen: seen.collect() };
        let is_it = |row: &&mut Row| row.of_type == of_type && row.of_crate == of_crate;
        if let Some(row) = rows.iter_mut().find(is_it) {
            row.states.push(state);
            continue;
        }
        let predicted = PLACES
            .iter()
            .filter_map(|(place, codes)| {
                Some(((*place).to_owned(), predicted(&report, &of_type, codes)?))
            })
            .collect();
        rows.push(Row { set: set.to_owned(), of_crate, of_type, predicted, states: vec![state] });
    }
    rows
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// The surest finding of a type with one of these codes.
fn predicted(report: &Value, of_type: &str, codes: &[&str]) -> Option<Prediction> {
    let findings = report["findings"].as_array().expect("findings").iter();
    let of_this = findings.filter(|it| it["type"] == of_type);
    let with_code =
        of_this.filter(|it| it["code"].as_str().is_some_and(|code| codes.contains(&code)));
    let predictions =
        with_code.map(|it| Prediction { certainty: text(it, "certainty"), code: text(it, "code") });
    // `will` is behind `may` in the alphabet.
    predictions.max_by(|one, other| one.certainty.cmp(&other.certainty))
}

/// A crate with the version that the program of cases depends on. `named` may begin the version, if it depends on
/// several: `deadpool 0.12`.
fn versioned(set: &str, named: &str) -> String {
    let (name, start) = named.split_once(' ').unwrap_or((named, ""));
    let lock = fs::read_to_string(folder().join("Cargo.lock")).expect("a lock file");
    let lock: Lock = toml::from_str(&lock).expect("a lock file");
    let versions_of = |name: &str| {
        let named = lock.package.iter().filter(|it| it.name == name);
        named.map(|it| it.version.clone()).collect::<Vec<_>>()
    };
    let program = lock.package.iter().find(|it| it.name == set).expect(set);
    // An entry is a name, and the version if the lock file has several.
    let entries = program.dependencies.iter().filter_map(|it| match it.split_once(' ') {
        Some((of, version)) => (of == name).then(|| vec![version.to_owned()]),
        None => (it == name).then(|| versions_of(name)),
    });
    let mut versions: Vec<_> = entries.flatten().filter(|it| it.starts_with(start)).collect();
    let version = versions.pop().unwrap_or_else(|| panic!("{set} does not depend on {named}"));
    assert!(versions.is_empty(), "{set} depends on several versions of {named}");
    format!("{name} {version}")
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    #[serde(default)]
    dependencies: Vec<String>,
}

#[test]
fn every_crate_of_the_results_has_the_version_that_is_locked() {
    for Row { set, of_crate, .. } in results().types {
        assert_eq!(versioned(&set, &of_crate), of_crate);
    }
}

/// Drops the value in this place, in a process each time.
fn seen(program: &str, number: &str, place: &str, of_type: &str) -> Seen {
    let mut seen = Seen::default();
    for _ in 0..TRIALS {
        let mut child = Command::new(program)
            .args([number, place])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a trial");
        let limit = Instant::now() + Duration::from_secs(60);
        let status = loop {
            match child.try_wait().expect("a child") {
                Some(status) => break Some(status),
                None if Instant::now() > limit => break None,
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        let Some(status) = status else {
            child.kill().expect("killed");
            child.wait().expect("an end");
            seen.hung += 1;
            continue;
        };
        // The lines fit into the pipe.
        let output = child.wait_with_output().expect("an output").stdout;
        let lines: Vec<Value> = String::from_utf8_lossy(&output)
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let made = lines.iter().any(|line| line["made"] == of_type);
        assert!(
            made,
            "{of_type} was not made: {output:?}",
            output = String::from_utf8_lossy(&output)
        );
        let panic = lines.iter().find(|line| line["panic"].is_string());
        let unwound = lines.iter().find_map(|line| line["unwound"].as_bool());
        match (unwound, panic) {
            (Some(false), _) => continue,
            (Some(true), _) | (None, Some(_)) => seen.panicked += 1,
            (None, None) => {
                eprintln!("{of_type} {place}: {status}");
                seen.died += 1;
            }
        }
        if let Some(panic) = panic.filter(|_| seen.panic.is_empty()) {
            let (message, at) = (text(panic, "panic"), text(panic, "at"));
            let file = at.split(".rs:").next().map(|file| format!("{file}.rs")).unwrap_or_default();
            seen.panic = Cause::of(&message, &file, None)
                .map_or_else(|| message.clone(), |cause| cause.code().to_owned());
        }
    }
    seen
}

/// The page.
fn render(results: &Results) -> String {
    let mut page = String::new();
    let _ = render_to(&mut page, results);
    page
}

fn render_to(page: &mut String, results: &Results) -> std::fmt::Result {
    let crates: BTreeSet<_> =
        results.types.iter().map(|row| row.of_crate.split(' ').next()).collect();
    writeln!(
        page,
        "# Checked against trials\n\n\
         <!-- Computed from crates/check/trials/results.json by crates/check/tests/it/trials.rs. -->\n\n\
         Does a type panic when [`cargo sundown check`](check.md) says so? {} types of {} released crates were \
         predicted, and then tried: a process makes a live value and drops it off context, or in async code, \
         {} times each. As a control, it also drops one on a thread with a context and outside async code; no \
         control panicked. The check reads the same program that the trials run ({}).\n",
        results.types.len(),
        crates.len(),
        results.trials_per_place,
        results.built_with,
    )?;
    let sets = sets(results);
    writeln!(
        page,
        "A prediction is about one type in one place. *will* says that a value panics there in every state that is \
         alive and not empty; *may*, that it panics in some. So where a type has several such states, a value was \
         dropped in each: *always* is a type that panicked in every trial of all of them, *sometimes* one that did not. A state that \
         nobody thought of was not tried. A prediction is right only if the value panicked with the code of the \
         prediction. A type that hung, died or panicked with another code in a state was missed.\n\n\
         Where a live value needs a server, the program of trials answers in its place; types that need more of one \
         are not here. The types of *tuned* and *tuned-2* were looked at while the check was written, or it was corrected \
         because of them: 77 of *tuned* and all of *tuned-2* were held out before. Those of *held-out* were not, and it \
         was not. But where it said *may* of one of these that always panicked, somebody looked for another state, and added \
         it; where it said *will*, nobody did ([more](check.md#which-conditions-count)). Some were chosen because their destructors spawn or block, so the shares of what panics say nothing of \
         crates in general.\n\n\
         | set | types | `will`: always | not always | `may`: always | sometimes | never | missed | nothing said, and clean |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    )?;
    let all = || sets.iter().copied().chain((sets.len() > 1).then_some("all"));
    let rows = |set| results.types.iter().filter(move |row| set == "all" || row.set == set);
    for set in all() {
        let it = Counts::of(rows(set));
        let counts = [it.hits, it.false_alarms, it.may_always, it.may_sometimes, it.may_never];
        let counts = [&counts[..], &[it.missed, it.clean]].concat();
        let cells = counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        writeln!(page, "| {set} | {} | {cells} |", rows(set).count())?;
    }
    writeln!(
        page,
        "\n- *recall of `will`*: how many of the types that always panic are called `will`.\n\
         - *recall of both*: how many of the types that panic in a state are called `will` or `may`.\n\
         - *precision of `will`*: how many of the types that are called `will` always panic.\n\n\
         `at least` is the lower end of the 95 % interval (Wilson): a few panics cannot show a high recall.\n\n\
         | set | recall of `will` | recall of both | precision of `will` |\n\
         | --- | ---: | ---: | ---: |"
    )?;
    for set in all() {
        let counts = Counts::of(rows(set));
        writeln!(
            page,
            "| {set} | {} | {} | {} |",
            share(counts.hits, counts.always),
            share(counts.named, counts.failures),
            share(counts.hits, counts.hits + counts.false_alarms),
        )?;
    }
    let of_will = |row: &&Row| PLACES.iter().any(|(place, _)| row.certainty(place) == Some("will"));
    let will: Vec<_> = results.types.iter().filter(of_will).collect();
    let is_written_for_them = |row: &&&Row| {
        // As a crate, a set has its name.
        SETS.iter().any(|set| row.of_type.contains(&format!("{}::", set.replace('-', "_"))))
    };
    writeln!(
        page,
        "\nOf {} types that are called `will` somewhere, {} have a part that was written for the trials, such as a \
         strategy for `Backdrop`. That part may be what panics.",
        will.len(),
        will.iter().filter(is_written_for_them).count(),
    )?;
    for set in sets {
        writeln!(page, "\n## Set `{set}`\n")?;
        writeln!(
            page,
            "| crate | type | off context: predicted | seen | in async code: predicted | seen |\n\
             | --- | --- | --- | --- | --- | --- |"
        )?;
        for row in results.types.iter().filter(|row| row.set == set) {
            write!(page, "| {} | `{}`", row.of_crate, short(&row.of_type))?;
            for (place, _) in PLACES {
                write!(page, " | {}", verdict(row, place))?;
                let seen = row.states.iter().map(|state| {
                    let seen = state.seen.get(place).cloned().unwrap_or_default();
                    let when = Some(&state.when).filter(|when| !when.is_empty());
                    when.map(|when| format!("{when}: ")).unwrap_or_default()
                        + &seen_as(&seen, results.trials_per_place)
                });
                write!(page, " | {}", seen.collect::<Vec<_>>().join("; "))?;
            }
            writeln!(page, " |")?;
        }
    }
    Ok(())
}

/// A prediction, in bold if the trials say otherwise. `may` is right where nothing happened, too.
fn verdict(row: &Row, place: &str) -> String {
    let said = match row.predicted.get(place) {
        Some(it) => format!("{} {}", it.certainty, it.code),
        None => "–".to_owned(),
    };
    let is_right = match row.certainty(place) {
        Some("will") => row.always_fails_as_predicted(place),
        Some(_) => row.fails_as_predicted(place) || !row.fails(place),
        None => !row.fails(place),
    };
    if is_right { said } else { format!("**{said}**") }
}

fn seen_as(seen: &Seen, trials: u32) -> String {
    let mut words = vec![];
    if seen.panicked > 0 {
        words.push(format!("{} of {trials} {}", seen.panicked, seen.panic.replace('|', "\\|")));
    }
    if seen.hung > 0 {
        words.push(format!("{} of {trials} hung", seen.hung));
    }
    if seen.died > 0 {
        words.push(format!("{} of {trials} died", seen.died));
    }
    if words.is_empty() { "clean".to_owned() } else { words.join(", ") }
}

/// A share in percent, with its counts and the lower end of its interval.
fn share(part: u32, whole: u32) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => {
            let percent = 100.0 * f64::from(part) / f64::from(whole);
            let (low, _) = lab::statistics::wilson(part, whole);
            format!("{percent:.0} % ({part} of {whole}; at least {:.0} %)", 100.0 * low)
        }
    }
}

/// A type without the modules, short enough for a cell.
pub fn short(of_type: &str) -> String {
    let mut short = String::new();
    for word in
        of_type.split_inclusive(|char: char| !(char.is_alphanumeric() || "_:".contains(char)))
    {
        short.push_str(word.rsplit("::").next().unwrap_or(word));
    }
    let short = short.replace('|', "\\|");
    match short.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &short[..end]),
        None => short,
    }
}
