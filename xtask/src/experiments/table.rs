//! The table of what was found: every variant with its panic sites, then one line per experiment.

use std::fmt::Write as _;

use comfy_table::Table;
use lab::{
    Role,
    results::{ExperimentResult, VariantResult},
};

use super::report::{Finding, State};
use crate::{
    figures, output,
    table::{align_right, lines, table, wrapped},
};

/// What comfy-table puts around a cell, and between two in a ruled table.
const PADDING: usize = 2;
const JUNCTION: usize = 1;

/// Renders all that was found, for a place that is so many columns wide.
pub fn render(findings: &[Finding], width: u16, ruled: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        if let Some(result) = finding.result() {
            let _ = writeln!(text, "{}\n", one(result, width, ruled));
        }
    }
    if !findings.is_empty() {
        let _ = writeln!(text, "{}\n", lines(&experiments(findings, width, ruled)));
    }
    text
}

/// One experiment without its cures, as it is printed where there is no terminal.
pub fn excerpt(result: &ExperimentResult) -> String {
    let mut result = result.clone();
    result.variants.retain(|variant| variant.role != Role::Cure);
    one(&result, output::USUAL_WIDTH, false)
}

/// What one experiment asked, and what it found.
fn one(result: &ExperimentResult, width: u16, ruled: bool) -> String {
    let title = format!("{} {} · {}", result.id, result.name, result.question);
    let verdict = format!("{}: {}", result.verdict, result.hypothesis);
    wrapped(&title, width) + &wrapped(&verdict, width) + &variants(result, width, ruled)
}

/// One experiment's variants. Panic sites stand beside them where they fit; where they do not,
/// numbers stand for them, and the sites below.
fn variants(result: &ExperimentResult, width: u16, ruled: bool) -> String {
    let variants: Vec<_> = result.variants.iter().filter(|variant| variant.trials > 0).collect();
    let rows: Vec<_> = variants.iter().copied().map(cells).collect();
    let header = ["", "variant", "class", "n/N", "95 %", "panics at"];
    let column = |place: usize| {
        let cells = rows.iter().filter_map(|row| row.get(place));
        let longest = cells.flat_map(|cell| cell.lines()).map(|line| line.chars().count()).max();
        let title = header.get(place).map_or(0, |title| title.chars().count());
        longest.unwrap_or(0).max(title) + PADDING + if ruled { JUNCTION } else { 0 }
    };
    let beside: usize = (0..5).map(column).sum();
    let mut sites: Vec<_> = variants.iter().flat_map(|variant| &variant.sites).collect();
    // The standard library's own come last: they say how a process died of the others.
    sites.sort_by_key(|site| (site.starts_with("std"), *site));
    sites.dedup();
    let longest = sites.iter().map(|site| site.chars().count()).max().unwrap_or(0);
    let by_number = beside + longest + PADDING > usize::from(width);

    let mut table = table(width, ruled);
    table.set_header(header);
    for (mut row, variant) in rows.into_iter().zip(&variants) {
        row.push(if by_number { numbers(variant, &sites) } else { variant.sites.join("\n") });
        table.add_row(row);
    }
    align_right(&mut table, 3);
    align_right(&mut table, 4);
    let mut text = lines(&table);
    for (number, site) in (1..).zip(&sites).filter(|_| by_number) {
        let _ = write!(text, "\n [{number}] {site}");
    }
    text
}

/// The numbers that stand for a variant's panic sites: `[1] [2]`.
fn numbers(variant: &VariantResult, sites: &[&String]) -> String {
    let numbered = (1..).zip(sites).filter(|(_, site)| variant.sites.contains(site));
    numbered.map(|(number, _): (u32, _)| format!("[{number}]")).collect::<Vec<_>>().join(" ")
}

fn cells(variant: &VariantResult) -> Vec<String> {
    let count = figures::counted(variant);
    let mut class = variant.class.clone();
    if !variant.predicted && variant.prediction != variant.class {
        let _ = write!(class, "\n(predicted: {})", variant.prediction);
    }
    vec![
        variant.role.to_string(),
        variant.name.clone(),
        class,
        format!("{count}/{}", variant.trials),
        figures::percent(variant.interval),
    ]
}

fn experiments(findings: &[Finding], width: u16, ruled: bool) -> Table {
    let mut table = table(width, ruled);
    table.set_header(["experiment", "hypothesis", "claims", "trials", "seconds", "snapshot"]);
    for finding in findings {
        let mut row = vec![finding.source.title()];
        match finding.result() {
            Some(result) => row.extend([
                match &finding.state {
                    State::Partial(_) => format!("{} (interrupted)", result.verdict),
                    State::Compared(..) | State::Skipped(_) | State::Trouble(_) => {
                        result.verdict.to_string()
                    }
                },
                claims(result),
                trials(result).to_string(),
                format!("{:.1}", result.seconds),
            ]),
            None => {
                let skipped = matches!(finding.state, State::Skipped(_));
                let why = if skipped { "skipped" } else { "no result" };
                row.extend([why, "", "–", "–"].map(str::to_owned));
            }
        }
        row.push(finding.snapshot().to_owned());
        table.add_row(row);
    }
    align_right(&mut table, 3);
    align_right(&mut table, 4);
    table
}

/// `A2 refuted, A4 supported`.
fn claims(result: &ExperimentResult) -> String {
    let claims = result.claims.iter().map(|claim| format!("{} {}", claim.id, claim.verdict));
    claims.collect::<Vec<_>>().join("\n")
}

/// How many trials a result rests on.
pub fn trials(result: &ExperimentResult) -> u64 {
    result.variants.iter().map(|variant| u64::from(variant.trials)).sum()
}
