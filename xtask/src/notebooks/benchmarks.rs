//! The committed figures of the benches: the output of `cargo xtask bench --format json`, one file for
//! each bench.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

use serde::Deserialize;

use crate::{
    failure::{Context as _, Result},
    figures::in_short,
    workspace::{self, Workspace},
};

/// A figure: the measurement of one subject in one case, at one size, on one runtime.
#[derive(Clone, Debug, Deserialize)]
pub struct Figure {
    pub bench: String,
    pub case: String,
    pub n: u32,
    pub runtime: String,
    pub subject: String,
    pub rounds: u32,
    pub ns: Option<f64>,
    pub ns_quartiles: Option<[f64; 2]>,
    pub ratio_to_floor: Option<f64>,
    pub ratio_to_floor_quartiles: Option<[f64; 2]>,
    pub bytes: Option<f64>,
    pub observed: Option<String>,
}

/// The committed figures.
pub fn read(workspace: &Workspace) -> Result<Vec<Figure>> {
    let folder = workspace.path("docs/results/bench");
    let mut figures = Vec::new();
    for file in workspace::names(&folder)? {
        let path = folder.join(file);
        let unreadable = || format!("cannot read the figures in {}", path.display());
        for line in fs::read_to_string(&path).context(unreadable)?.lines() {
            figures.push(serde_json::from_str(line).context(unreadable)?);
        }
    }
    Ok(figures)
}

/// The tables of the page on benchmarks.
pub fn blocks(figures: &[Figure]) -> [(&'static str, String); 2] {
    [("groups", groups(figures)), ("teardowns", teardowns(figures))]
}

/// The subjects of the bench `teardown`: their names in the figures, and in words.
pub const TEARDOWNS: [(&str, &str); 6] = [
    ("floor", "floor"),
    ("sundown", "`Session::close`"),
    ("sundown-teardown", "`teardown`"),
    ("drop", "`drop`"),
    ("drop-and-runtime", "drop, then the runtime"),
    ("drop-and-sleep", "drop, then sleep 100 ms"),
];

/// Replaces a table if the bench has not run.
const NONE: &str = "*There are no figures.*";

/// The table of group costs, as multiples of the floor.
fn groups(figures: &[Figure]) -> String {
    let ours: Vec<_> =
        figures.iter().filter(|it| it.bench == "group" && it.subject == "sundown").collect();
    if ours.is_empty() {
        return NONE.to_owned();
    }
    let sizes: BTreeSet<_> = ours.iter().map(|it| it.n).collect();
    let mut text = header(sizes.iter().map(|n| in_short(f64::from(*n))));
    let mut row = |name: &str, cell: &dyn Fn(u32) -> Option<String>| {
        let cells: Vec<_> = sizes.iter().map(|n| cell(*n).unwrap_or_else(|| "–".into())).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    };
    for (runtime, threads) in
        [("current-thread", "one thread"), ("multi-thread", "several threads")]
    {
        for case in ["spawn", "stop"] {
            row(&format!("{case}, {threads}"), &|n| {
                let here = |it: &&&Figure| it.n == n && it.case == case && it.runtime == runtime;
                ours.iter().find(here).and_then(|it| ratio(it))
            });
        }
    }
    row("bytes per task", &|n| {
        let here =
            |it: &&&Figure| it.n == n && it.case == "spawn" && it.runtime == "current-thread";
        Some(format!("{:.0}", ours.iter().find(here)?.bytes?))
    });
    text + &format!("\nMedians of {}; the pictures show quartiles.\n", rounds(&ours))
}

/// The table of teardown costs, as multiples of the floor, and how often a log was left.
fn teardowns(figures: &[Figure]) -> String {
    // The other cases are not of a pool.
    let is_of_pool =
        |it: &&Figure| it.bench == "teardown" && ["clean", "dirty"].contains(&it.case.as_str());
    let all: Vec<_> = figures.iter().filter(is_of_pool).collect();
    if all.is_empty() {
        return NONE.to_owned();
    }
    let cases: BTreeSet<_> = all.iter().map(|it| (it.case.as_str(), it.n)).collect();
    // Only the first size of a case has the name of the case above it.
    let first = |case, n| cases.iter().find(|it| it.0 == case).is_some_and(|it| it.1 == n);
    let mut text = header(cases.iter().map(|&(case, n)| match first(case, n) {
        true => format!("{case}, {n}"),
        false => n.to_string(),
    }));
    for (subject, name) in TEARDOWNS {
        let cell = |(case, n): &(&str, u32)| {
            let here = |it: &&&Figure| it.subject == subject && it.case == *case && it.n == *n;
            let figure = all.iter().find(here)?;
            let took = match subject {
                "floor" => format!("{:.2} ms", figure.ns? / 1e6),
                _ => ratio(figure)? + "×",
            };
            let left = figure.observed.as_deref().and_then(|it| it.strip_prefix("log left "));
            Some(match left.filter(|_| *case == "dirty") {
                Some(left) => format!("{took}, left {}", left.split(' ').next()?),
                None => took,
            })
        };
        let cells: Vec<_> =
            cases.iter().map(|case| cell(case).unwrap_or_else(|| "–".into())).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text + &format!("\nMedians of {}; the pictures show quartiles.\n", rounds(&all))
}

fn header(columns: impl Iterator<Item = String>) -> String {
    let columns: Vec<_> = columns.collect();
    format!("| | {} |\n| --- |{}\n", columns.join(" | "), " --: |".repeat(columns.len()))
}

/// `1.30`; a large ratio has no decimals.
fn ratio(figure: &Figure) -> Option<String> {
    let ratio = figure.ratio_to_floor?;
    let decimals = if ratio < 10.0 { 2 } else { 0 };
    Some(format!("{ratio:.decimals$}"))
}

/// The sentence below a table: how many rounds it has.
fn rounds(figures: &[&Figure]) -> String {
    let counts: BTreeMap<_, ()> = figures.iter().map(|it| (it.rounds, ())).collect();
    let counts: Vec<_> = counts.keys().map(u32::to_string).collect();
    format!("{} interleaved rounds", counts.join(" and "))
}
