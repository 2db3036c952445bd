//! Where figures go: tables or JSON lines to standard output, progress to standard error.

use std::io::{self, Write as _};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets::NOTHING};

use crate::figure::Figure;

/// How to print the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables
    Table,
    /// JSON lines, one object per figure
    Json,
}

/// Prints a line to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints figures: as JSON lines, or as a table for each case with a row for each subject.
pub fn print(format: Format, figures: &[Figure]) -> io::Result<()> {
    let mut text = String::new();
    match format {
        Format::Json => {
            for figure in figures {
                text += &(serde_json::to_string(figure)? + "\n");
            }
        }
        Format::Table => {
            for figures in figures.chunk_by(|one, other| title(one) == title(other)) {
                text += &format!("{}\n{}\n\n", title(&figures[0]), table(figures));
            }
        }
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn title(figure: &Figure) -> String {
    let Figure { bench, case, n, runtime, .. } = figure;
    format!("{bench}, {case}, {n}, {runtime}")
}

fn table(figures: &[Figure]) -> String {
    let all = ["ns", "cpu", "×floor", "sundown/it", "bytes", "what happens to them"];
    // No empty columns.
    let is_used = |column: &&str| figures.iter().any(|figure| cell(figure, column).is_some());
    let columns: Vec<_> = all.into_iter().filter(is_used).collect();
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([""].iter().chain(&columns));
    for figure in figures {
        let cells = columns.iter().map(|column| cell(figure, column).unwrap_or_default());
        table.add_row([figure.subject.to_owned()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn cell(figure: &Figure, column: &str) -> Option<String> {
    let nanoseconds =
        |ns: f64| if ns.abs() < 100.0 { format!("{ns:.1}") } else { format!("{ns:.0}") };
    match column {
        "ns" => figure.ns.map(nanoseconds),
        "cpu" => figure.cpu_ns.map(nanoseconds),
        "×floor" => figure.ratio_to_floor.map(|ratio| format!("{ratio:.2}")),
        "sundown/it" => figure.ratio_of_sundown.map(|ratio| format!("{ratio:.2}")),
        "bytes" => figure.bytes.map(|bytes| format!("{bytes:.0}")),
        _ => figure.observed.clone(),
    }
}
