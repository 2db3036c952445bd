//! The table of what was found: every variant with its panic sites, then one line per experiment.

use std::fmt::Write as _;

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, presets::NOTHING,
};
use lab::results::{ExperimentResult, VariantResult};

use super::report::{Finding, State};
use crate::figures;

/// What is left to the panic sites beside the other columns, at least, before they are broken.
const GAP: usize = 2;

/// Renders all that was found, for a place that is so many columns wide.
pub fn render(findings: &[Finding], width: u16, ruled: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        if let Some(result) = finding.result() {
            let _ = writeln!(text, "{} · {}", finding.source.title(), result.question);
            let _ = writeln!(text, "{}\n", lines(&variants(result, width, ruled)));
        }
    }
    if !findings.is_empty() {
        let _ = writeln!(text, "{}\n", lines(&experiments(findings, width, ruled)));
    }
    text
}

fn table(width: u16, ruled: bool) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(if ruled { NOTHING.header_separator(rule) } else { NOTHING });
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width);
    table
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn variants(result: &ExperimentResult, width: u16, ruled: bool) -> Table {
    let rows: Vec<_> = result.variants.iter().map(cells).collect();
    let mut table = table(width, ruled);
    let header = ["", "variant", "class", "n of N", "95 %", "panics at"];
    let column = |place: usize| {
        let cells = rows.iter().filter_map(|row| row.get(place));
        let longest = cells.flat_map(|cell| cell.lines()).map(|line| line.chars().count()).max();
        longest.unwrap_or(0).max(header.get(place).map_or(0, |title| title.chars().count())) + GAP
    };
    let beside: usize = (0..5).map(column).sum();
    let left = usize::from(width).saturating_sub(beside + GAP);
    table.set_header(header);
    for (mut row, variant) in rows.into_iter().zip(&result.variants) {
        row.push(sites(variant, left));
        table.add_row(row);
    }
    for column in [3, 4] {
        align_right(&mut table, column);
    }
    // What is known by heart is not broken: only sites give way, and names where that is not enough.
    for column in [0, 2, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn cells(variant: &VariantResult) -> Vec<String> {
    let (_, count) = figures::counted(variant);
    let mut class = variant.class.clone();
    if !variant.predicted && variant.prediction != variant.class {
        let _ = write!(class, "\n(predicted: {})", variant.prediction);
    }
    vec![
        variant.role.to_string(),
        variant.name.clone(),
        class,
        format!("{count} of {}", variant.trials),
        figures::percent(variant.interval),
    ]
}

/// The panic sites, one per line; each in two parts, after the crate, where it would not fit.
fn sites(variant: &VariantResult, width: usize) -> String {
    let fits = variant.sites.iter().all(|site| site.chars().count() <= width);
    let site = |site: &String| match site.split_once('/') {
        Some((krate, path)) if !fits => format!("{krate}/\n  {path}"),
        _ => site.clone(),
    };
    variant.sites.iter().map(site).collect::<Vec<_>>().join("\n")
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
                    State::Compared(..) | State::Trouble(_) => result.verdict.to_string(),
                },
                claims(result),
                trials(result).to_string(),
                format!("{:.1}", result.seconds),
            ]),
            None => row.extend(["no result", "", "–", "–"].map(str::to_owned)),
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
