//! Where figures go: tables or JSON lines to standard output, progress to standard error.

use std::io::{self, Write as _};

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use crate::{figure::Figure, options::Format};

/// Prints a line to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints figures, and keeps them for tables.
pub struct Output {
    format: Format,
    all: Vec<Figure>,
    /// How many of them have been printed.
    printed: usize,
}

impl Output {
    /// An output without figures.
    pub const fn new(format: Format) -> Self {
        Self { format, all: Vec::new(), printed: 0 }
    }

    /// Takes a figure: as JSON it is printed at once.
    pub fn figure(&mut self, figure: Figure) -> io::Result<()> {
        if self.format == Format::Json {
            print(&(serde_json::to_string(&figure)? + "\n"))?;
        }
        self.all.push(figure);
        Ok(())
    }

    /// Prints what has not been printed: a table for each case, with a row for each subject.
    pub fn tables(&mut self) -> io::Result<()> {
        let waiting = self.all.get(self.printed..).unwrap_or_default();
        self.printed = self.all.len();
        if self.format == Format::Json {
            return Ok(());
        }
        for figures in waiting.chunk_by(|one, other| title(one) == title(other)) {
            if let [first, ..] = figures {
                print(&format!("{}\n{}\n\n", title(first), table(figures)))?;
            }
        }
        Ok(())
    }
}

fn title(figure: &Figure) -> String {
    let Figure { bench, case, n, runtime, .. } = figure;
    format!("{bench}, {case}, {n}, {runtime}")
}

fn table(figures: &[Figure]) -> String {
    let all = ["ns", "cpu", "×floor", "sundown/it", "bytes", "what becomes of them"];
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
    match column {
        "ns" => figure.ns.map(nanoseconds),
        "cpu" => figure.cpu_ns.map(nanoseconds),
        "×floor" => figure.ratio_to_floor.map(|ratio| format!("{ratio:.2}")),
        "sundown/it" => figure.ratio_of_sundown.map(|ratio| format!("{ratio:.2}")),
        "bytes" => figure.bytes.map(|bytes| format!("{bytes:.0}")),
        _ => figure.observed.clone(),
    }
}

fn nanoseconds(ns: f64) -> String {
    if ns.abs() < 100.0 { format!("{ns:.1}") } else { format!("{ns:.0}") }
}

/// Prints to standard output. A reader who has seen enough and closed the pipe is no error.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
