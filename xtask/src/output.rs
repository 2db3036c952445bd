//! Prints: results to standard output, everything else to standard error.
//!
//! A pipe whose reader has had enough (`| head`) is not an error; a full disk or a closed stream is.

use std::{
    cell::Cell,
    env, fs,
    io::{self, IsTerminal as _, Write as _},
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    sync::OnceLock,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets::NOTHING};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::fs::{OFlags, fcntl_getfl, fstat};

/// The first error of standard output.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints text to standard output, as it is. If that fails, the command goes on, and [`lost`] says so.
pub fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let written = if was_closed(&stdout) {
        Err(io::Error::other("it is closed"))
    } else {
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => drop(LOST.set(error)),
        _ => {}
    }
}

/// Why something that was printed has not arrived.
pub fn lost() -> Option<&'static io::Error> {
    LOST.get()
}

/// Whether this process was started without standard output. Rust's standard library then opens
/// `/dev/null` in its place, for reading and writing; a shell opens it for writing alone.
fn was_closed(stdout: impl AsFd) -> bool {
    let is_open_to_both = fcntl_getfl(&stdout).is_ok_and(|flags| flags.contains(OFlags::RDWR));
    let null = fs::metadata("/dev/null").map(|null| null.rdev());
    is_open_to_both && fstat(&stdout).is_ok_and(|it| null.is_ok_and(|null| it.st_rdev == null))
}

/// Prints a line to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints an error to standard error.
pub fn complain(message: &str) {
    note(&format!("error: {message}"));
}

/// Lays out tables and sentences for a width.
#[derive(Clone, Copy)]
pub struct Paper {
    pub width: u16,
    /// Whether a table has a line below its header.
    pub ruled: bool,
}

impl Paper {
    /// For standard output.
    pub fn stdout() -> Self {
        Self { width: width(io::stdout()), ruled: io::stdout().is_terminal() }
    }

    /// For standard error.
    pub fn stderr() -> Self {
        Self { width: width(io::stderr()), ruled: io::stderr().is_terminal() }
    }

    /// Lays out a table. The columns in `numbers` are right-aligned.
    pub fn table(self, header: &[&str], rows: Vec<Vec<String>>, numbers: &[usize]) -> String {
        let rule = LineStyle::none().fill('─').junction('─');
        let mut table = Table::new();
        table.load_style(if self.ruled { NOTHING.header_separator(rule) } else { NOTHING });
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(self.width);
        table.set_header(header).add_rows(rows);
        for column in numbers {
            if let Some(column) = table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// Breaks a sentence into lines that fit. All but the first are indented.
    pub fn sentence(self, sentence: &str) -> String {
        let (mut text, mut column) = (String::new(), 0);
        // Keep the percent sign on the line of its number.
        for word in sentence.replace(" %", "\u{a0}%").split(' ') {
            let length = word.chars().count();
            if column == 0 {
                column = length;
            } else if column + 1 + length <= usize::from(self.width) {
                text.push(' ');
                column += 1 + length;
            } else {
                text.push_str("\n    ");
                column = 4 + length;
            }
            text.push_str(&word.replace('\u{a0}', " "));
        }
        text + "\n"
    }
}

/// The columns of a terminal, which `COLUMNS` may set otherwise; the usual ones of a pipe.
fn width(stream: impl AsFd) -> u16 {
    /// Narrower lines say nothing.
    const LEAST: u16 = 40;
    let given = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let size = || rustix::termios::tcgetwinsize(stream).ok().map(|size| size.ws_col);
    let columns = given.filter(|columns| *columns > 0).or_else(size);
    columns.filter(|columns| *columns > 0).map_or(80, |columns| columns.max(LEAST))
}

/// How often the progress bar is redrawn, for its clock.
const TICK: Duration = Duration::from_millis(500);

/// Without a bar, when to print the first line, and how often to print another.
const FIRST_LINE: Duration = Duration::from_secs(1);
const LINE: Duration = Duration::from_secs(10);

/// Progress on standard error: a bar on a terminal, otherwise an occasional line.
pub struct Progress {
    bar: Option<ProgressBar>,
    line_at: Cell<Instant>,
}

impl Progress {
    /// Starts a bar with an indicatif template.
    pub fn start(length: Option<u64>, template: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, line_at: Cell::new(Instant::now() + FIRST_LINE) }
    }

    pub fn message(&self, text: String) {
        self.on_bar(|bar| bar.set_message(text));
    }

    pub fn step(&self) {
        self.on_bar(|bar| bar.inc(1));
    }

    /// Prints a line, above the bar.
    pub fn note(&self, text: &str) {
        self.above(|| note(text));
    }

    /// Prints something above the bar.
    pub fn above(&self, printing: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(printing),
            None => printing(),
        }
    }

    /// Without a bar, prints a line, but not more often than every [`LINE`].
    pub fn line(&self, text: impl FnOnce() -> String) {
        if self.bar.is_none() && Instant::now() > self.line_at.get() {
            self.line_at.set(Instant::now() + LINE);
            note(&text());
        }
    }

    fn on_bar(&self, change: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &self.bar {
            change(bar);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.on_bar(ProgressBar::finish_and_clear);
    }
}
