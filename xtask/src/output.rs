//! Where words go: results to standard output, everything else to standard error.
//!
//! A reader who has seen enough and closed the pipe (`| head`) is no reason to fail.

use std::io::{self, IsTerminal as _, Write as _};

/// How wide text is where there is no terminal to ask.
pub const USUAL_WIDTH: u16 = 100;

/// Prints text to standard output, as it is.
pub fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints a line to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints an error to standard error.
pub fn complain(message: &str) {
    note(&format!("error: {message}"));
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// How wide standard output is: the terminal's width, or a width that suits a mail or a log.
pub fn width() -> u16 {
    rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| size.ws_col)
        .filter(|columns| *columns > 0)
        .unwrap_or(USUAL_WIDTH)
}
