//! Finds panics and errors in the standard error of a program that has no report pipe.

use std::iter::{self, Peekable};

use crate::site;

/// The maximum length of a signature, in characters.
const LONGEST: usize = 160;

/// A Rust panic that was printed to standard error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Panic {
    /// The thread's name.
    pub thread: String,
    /// The site: `crate-version/src/file.rs:line:col`; only the file in the standard library.
    pub site: String,
    /// The first line of its message.
    pub message: String,
}

/// Finds the panics in standard error, in the order in which they happened, as the standard library prints them, and
/// as color-eyre does. Other text may precede them on their line, such as the date of a log.
#[must_use]
pub fn panics(stderr: &str) -> Vec<Panic> {
    let mut lines = stderr.lines().peekable();
    let mut panics = Vec::new();
    while let Some(line) = lines.next() {
        if without_colours(line).trim_end().ends_with(COLOR_EYRE) {
            panics.extend(panic_of_color_eyre(&mut lines));
            continue;
        }
        let Some((thread, said)) = headline(line) else { continue };
        if let Some((message, place)) = said.strip_prefix('\'').and_then(|it| it.rsplit_once("', "))
        {
            // Before Rust 1.73: panicked at 'message', file:line:col
            panics.extend(panic(thread, place, message));
        } else if let Some(place) = said.trim_end().strip_suffix(':') {
            let message = lines.peek().filter(|line| headline(line).is_none());
            panics.extend(panic(thread, place, message.copied().unwrap_or_default()));
        }
    }
    panics
}

/// The first line of a panic that color-eyre prints. The next is `Message:  …`, and then comes `Location: file:line`.
const COLOR_EYRE: &str = "The application panicked (crashed).";

fn panic_of_color_eyre<'a>(lines: &mut Peekable<impl Iterator<Item = &'a str>>) -> Option<Panic> {
    let message = without_colours(lines.peek()?);
    let message = message.strip_prefix("Message:")?.trim().to_owned();
    let is_location = |line: String| line.strip_prefix("Location:").map(|it| it.trim().to_owned());
    // A message may have many lines.
    let place = lines.take(LINES).find_map(|line| is_location(without_colours(line)))?;
    let (file, line) = place.rsplit_once(':')?;
    let site = site::normalise(file, line.parse().ok()?, 0);
    let site = site.strip_suffix(":0").unwrap_or(&site).to_owned();
    Some(Panic { thread: String::new(), site, message })
}

/// How far to look for the place of a panic.
const LINES: usize = 100;

/// The line without the codes that colour it: `ESC [ … m`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| part.split_once('m').map_or(part, |(_, text)| text));
    iter::once(first).chain(rest).collect()
}

/// Splits a panic's first line into the thread's name and the rest: `thread 'main' (123) panicked at …`.
fn headline(line: &str) -> Option<(&str, &str)> {
    let (_, line) = line.split_once("thread '")?;
    let (thread, said) = line.split_once(" panicked at ")?;
    Some((thread.rsplit_once('\'')?.0, said))
}

fn panic(thread: &str, place: &str, message: &str) -> Option<Panic> {
    let mut parts = place.rsplitn(3, ':');
    let (column, line) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let site = site::normalise(parts.next()?, line, column);
    Some(Panic { thread: thread.to_owned(), site, message: message.trim().to_owned() })
}

/// The beginnings of lines that report an error.
const LEADS: [&str; 8] = [
    "fatal",
    "error",
    "terminate called",
    "assertion",
    "***",
    "==", // sanitizers and valgrind: ==123==ERROR
    "segmentation",
    "aborted",
];

/// The most telling line of standard error: the first that begins like an error, or else the last one.
/// Numbers and identifiers become `#`. `None` if there is no line.
#[must_use]
pub fn signature(stderr: &str) -> Option<String> {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let leads = |line: &&str| {
        let line = line.to_ascii_lowercase();
        LEADS.iter().any(|lead| line.starts_with(lead))
    };
    lines().find(leads).or_else(|| lines().next_back()).map(without_what_varies)
}

/// Replaces numbers, addresses and hexadecimal identifiers by `#`, and truncates the text for a report.
/// Digits within a name stay: `utf8`, `SIGUSR1`.
#[must_use]
pub fn without_what_varies(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let word: &str = rest
            .split_once(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .map_or(rest, |(word, _)| word);
        if word.is_empty() {
            normal.push(character);
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
        } else {
            normal.push_str(if varies(word) { "#" } else { word });
            rest = rest.get(word.len()..).unwrap_or_default();
        }
    }
    match normal.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", normal.get(..end).unwrap_or_default()),
        None => normal,
    }
}

/// Whether a word is a number, with or without a unit, or a hexadecimal identifier.
fn varies(word: &str) -> bool {
    let identifier = word.len() >= 8
        && word.bytes().all(|byte| byte.is_ascii_hexdigit())
        && word.bytes().any(|byte| byte.is_ascii_digit());
    word.starts_with(|first: char| first.is_ascii_digit()) || identifier
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_found_as_every_version_of_rust_prints_them() {
        let stderr = "\
            starting\n\
            thread 'main' (4711) panicked at /home/me/.cargo/registry/src/index-1/tokio-1.54.1/src/a.rs:7:3:\n\
            there is no reactor running\n\
            note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\
            2026-11-21 thread '<unnamed>' panicked at src/lib.rs:2:5:\n\
            it's over\n\
            thread 'tokio-rt-worker' panicked at 'no, it's not', src/old.rs:9:9\n\
            thread 'main' panicked at /rustc/0123/library/core/src/panicking.rs:233:5:\n\
            panic in a destructor during cleanup\n";
        let found: Vec<_> =
            panics(stderr).into_iter().map(|it| (it.thread, it.site, it.message)).collect();
        let expected = [
            ("main", "tokio-1.54.1/src/a.rs:7:3", "there is no reactor running"),
            ("<unnamed>", "src/lib.rs:2:5", "it's over"),
            ("tokio-rt-worker", "src/old.rs:9:9", "no, it's not"),
            ("main", "std: core/src/panicking.rs", "panic in a destructor during cleanup"),
        ];
        assert_eq!(found, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    }

    #[test]
    fn panics_are_found_as_color_eyre_prints_them() {
        let stderr = "starting\n\
            \x1b[31mThe application panicked (crashed).\x1b[0m\n\
            Message:  \x1b[36mit is lost\n\
            for good\x1b[0m\n\
            Location: \x1b[35msrc/main.rs\x1b[0m:\x1b[35m7\x1b[0m\n\
            The application panicked (crashed).\n\
            Message:  again\n\
            Location: /home/me/.cargo/registry/src/index-1/tokio-1.54.1/src/a.rs:9\n";
        let found: Vec<_> = panics(stderr).into_iter().map(|it| (it.site, it.message)).collect();
        let expected = [("src/main.rs:7", "it is lost"), ("tokio-1.54.1/src/a.rs:9", "again")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_line_about_a_panic_is_not_a_panic() {
        for line in [
            "The application panicked (crashed).",
            "The application panicked (crashed).\nMessage: lost\n",
            "the thread 'main' panicked at noon",
            "thread main panicked at src/a.rs:1:2:",
            "panicked at src/a.rs:1:2:",
            "thread 'main' panicked at src/a.rs:",
        ] {
            assert_eq!(panics(line), [], "{line}");
        }
    }

    #[test]
    fn a_panic_at_the_very_end_is_a_panic() {
        let [panic] = &panics("thread 'main' panicked at a.rs:1:2:")[..] else { panic!() };
        assert_eq!((panic.site.as_str(), panic.message.as_str()), ("a.rs:1:2", ""));
    }

    #[test]
    fn a_signature_has_no_numbers() {
        for (stderr, expected) in [
            (
                "Traceback\n  File \"a.py\", line 3\nValueError: at 0x7f3a in 12.5s\n",
                "ValueError: at # in #.#",
            ),
            (
                "Fatal Python error: PyGILState_Release: 140\n\nThread 1:\n  <no frame>\n",
                "Fatal Python error: PyGILState_Release: #",
            ),
            ("==123==ERROR: AddressSanitizer: heap\nmore", "==#==ERROR: AddressSanitizer: heap"),
            ("request 3f2a9c01-77aa: utf8 SIGUSR1 deadbeef", "request #-#: utf8 SIGUSR1 deadbeef"),
        ] {
            assert_eq!(signature(stderr).as_deref(), Some(expected));
        }
        assert_eq!(signature("\n \n"), None);
        assert!(signature(&"é".repeat(1000)).unwrap().chars().count() <= LONGEST + 1);
    }
}
