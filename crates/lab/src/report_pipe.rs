//! The report pipe. Through it a trial reports its panics, observations and problems as they happen.
//!
//! Each line is one JSON object of at most [`LINE`] bytes, so that a single `write` is atomic:
//! the threads of a trial do not mix their lines. The lines written before an abort survive it.

use std::{
    io::{self, Write as _},
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
};

use rustix::{
    fs::{FileType, Stat, fstat},
    io::{FdFlags, fcntl_getfd, fcntl_setfd},
};
use serde::{Deserialize, Serialize};

use crate::{observation::Value, program::Rule};

/// The most bytes of one line. Linux writes up to 4096 bytes at once. POSIX and macOS guarantee 512, and
/// there a longer line stays whole as long as one thread writes at a time.
const LINE: usize = 4096;

/// The most bytes of a text within a line: four of them, escaped, still fit.
const TEXT: usize = 200;
const MESSAGE: usize = 1200;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Line {
    /// A thread panicked.
    Panic(Panic),
    /// The trial recorded an observation.
    Observation { name: String, value: Value },
    /// A check did not hold, or the body returned an error.
    Problem(String),
    /// The body returned, or declared itself done.
    Done,
    /// The trial becomes another program, which this rule judges.
    Program(Rule),
    /// The time at which the program has finished its work and only has to exit.
    Leaving(i64),
}

/// A panic, as the hook saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Panic {
    /// The panic's message.
    pub(crate) message: String,
    /// The site, without paths of this machine.
    pub(crate) site: String,
    /// The thread's name.
    pub(crate) thread: String,
    /// Which panic of its thread, from 1.
    pub(crate) nth: u32,
    /// Whether the thread was already unwinding. The hook cannot know that; see [`read`].
    #[serde(default)]
    pub(crate) while_unwinding: bool,
}

/// The message of the standard library's own panic, after a destructor has panicked during unwinding.
pub(crate) const SECOND: &str = "panic in a destructor during cleanup";

/// The child's end of the report pipe.
#[derive(Debug)]
pub(crate) struct Reporter {
    pipe: OwnedFd,
    /// Its device and inode.
    file: (u64, u64),
}

impl Reporter {
    /// Takes over a pipe. Returns an error if it is something else.
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&pipe)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
            return Err(io::Error::other("not a pipe"));
        }
        Ok(Self { pipe, file: file(&stat) })
    }

    /// Whether the descriptor is still the pipe. A trial may have closed it and opened a file that got
    /// the same number; the report must not go into that file.
    fn is_still_the_pipe(&self) -> bool {
        fstat(&self.pipe).is_ok_and(|stat| file(&stat) == self.file)
    }

    /// Writes one line. Ignores a closed pipe: the parent then notices that [`Line::Done`] is missing.
    pub(crate) fn line(&self, line: &Line) {
        let Ok(mut json) = serde_json::to_vec(line) else { return };
        json.push(b'\n');
        if json.len() <= LINE && self.is_still_the_pipe() {
            let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.pipe, &json));
        }
    }

    pub(crate) fn panic(&self, message: &str, site: String, thread: &str, nth: u32) {
        let (message, thread) = (cut(message, MESSAGE), cut(thread, TEXT));
        self.line(&Line::Panic(Panic { message, site, thread, nth, while_unwinding: false }));
    }

    pub(crate) fn observation(&self, name: &str, value: Value) {
        let value = match value {
            Value::Text(text) => Value::Text(cut(&text, TEXT)),
            other => other,
        };
        self.line(&Line::Observation { name: cut(name, TEXT), value });
    }

    pub(crate) fn problem(&self, what: &str) {
        self.line(&Line::Problem(cut(what, MESSAGE)));
    }

    /// Lets the program that this process is about to become write to the pipe, and returns its
    /// descriptor.
    pub(crate) fn pass_on(&self) -> io::Result<RawFd> {
        if !self.is_still_the_pipe() {
            return Err(io::Error::other("the report pipe was closed"));
        }
        fcntl_setfd(&self.pipe, fcntl_getfd(&self.pipe)? - FdFlags::CLOEXEC)?;
        Ok(self.pipe.as_raw_fd())
    }

    pub(crate) fn done(&self) {
        self.line(&Line::Done);
        // What a trial printed must come out before it ends.
        let _ = io::stdout().flush();
    }
}

/// The device and the inode, of which only equality matters.
#[allow(clippy::unnecessary_cast, reason = "the types differ from system to system")]
const fn file(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// The text, cut at a character so that JSON needs about this many bytes for it.
fn cut(text: &str, most: usize) -> String {
    let mut kept = String::new();
    let mut bytes = 0;
    for character in text.chars() {
        // Control characters take six bytes in JSON; quotes and backslashes two.
        bytes += if character < ' ' { 6 } else { character.len_utf8().max(2) };
        if bytes > most {
            kept.push('…');
            break;
        }
        kept.push(character);
    }
    kept
}

/// A report, as the parent reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) panics: Vec<Panic>,
    pub(crate) observations: Vec<(String, Value)>,
    pub(crate) problems: Vec<String>,
    pub(crate) done: bool,
    pub(crate) program: Option<Rule>,
    pub(crate) leaving: Option<i64>,
}

/// Reads a report. A line that cannot be read is a problem of the trial.
///
/// A panic hook cannot see whether its thread is already unwinding. The standard library says so
/// afterwards, with a panic of its own, and that one marks the panic before it on the same thread.
pub(crate) fn read(bytes: &[u8], truncated: bool) -> Report {
    let mut report = Report::default();
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n').enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let last = lines.peek().is_none();
        if last && line.is_empty() {
            break;
        }
        match serde_json::from_str(line) {
            Ok(Line::Panic(panic)) => report.add_panic(panic),
            Ok(Line::Observation { name, value }) => {
                report.observations.retain(|(earlier, _)| *earlier != name);
                report.observations.push((name, value));
            }
            Ok(Line::Problem(what)) => report.problems.push(what),
            Ok(Line::Done) => report.done = true,
            Ok(Line::Program(rule)) => report.program = Some(rule),
            Ok(Line::Leaving(moment)) => report.leaving = Some(moment),
            Err(_) => {
                let shown = cut(line, 60);
                report.problems.push(format!(
                    "the report pipe is not readable from line {} on: {shown:?}",
                    at + 1
                ));
                break;
            }
        }
    }
    if truncated {
        report.problems.push("the report was too long, and was cut".to_owned());
    }
    report
}

impl Report {
    fn add_panic(&mut self, mut panic: Panic) {
        if panic.message == SECOND {
            panic.while_unwinding = true;
            let before = self.panics.iter_mut().rev().find(|earlier| {
                earlier.thread == panic.thread
                    && earlier.nth.checked_add(1) == Some(panic.nth)
                    && earlier.nth > 1
            });
            if let Some(before) = before {
                before.while_unwinding = true;
            }
        }
        self.panics.push(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trial may write anything into its pipe.
    #[test]
    fn the_largest_number_of_a_panic_has_none_after_it() {
        let panic = |nth: u32, message: &str| {
            format!(
                r#"{{"panic":{{"message":"{message}","nth":{nth},"site":"a.rs:1:2","thread":"main"}}}}"#
            )
        };
        let text = [panic(u32::MAX, "first"), panic(2, SECOND)].join("\n");
        let report = read(text.as_bytes(), false);
        assert_eq!(report.panics.len(), 2, "{:?}", report.problems);
        assert!(!report.panics[0].while_unwinding && report.panics[1].while_unwinding);
    }

    fn pipe() -> (io::PipeReader, Reporter) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, Reporter::new(writer.into()).unwrap())
    }

    fn written(reader: io::PipeReader, reporter: Reporter) -> Report {
        drop(reporter);
        read(io::read_to_string(reader).unwrap().as_bytes(), false)
    }

    #[test]
    fn of_two_observations_with_one_name_the_later_counts() {
        let (reader, reporter) = pipe();
        reporter.observation("open", Value::from(3));
        reporter.observation("open", Value::from(4));
        let report = written(reader, reporter);
        assert_eq!(report.observations, [("open".to_owned(), Value::from(4))]);
    }

    #[test]
    fn the_longest_message_still_fits_into_one_line() {
        let (reader, reporter) = pipe();
        let hostile = "\u{1}\"\\ü".repeat(5000);
        reporter.panic(&hostile, "a.rs:1:2".to_owned(), &hostile, 1);
        let report = written(reader, reporter);
        assert_eq!(report.panics.len(), 1, "{report:?}");
        assert!(report.problems.is_empty());
        assert!(report.panics[0].message.ends_with('…'));
    }

    #[test]
    fn what_cannot_be_read_is_a_problem_of_the_trial() {
        let report = read(b"\"done\"\n\xff\xfe what is this?\n\"done\"\n", false);
        assert!(report.done);
        assert!(report.problems[0].contains("line 2"), "{report:?}");
        let cut_off = read(b"{\"problem\":\"a row", false);
        assert!(cut_off.problems[0].contains("line 1"), "{cut_off:?}");
    }

    #[test]
    fn nothing_is_written_into_what_is_not_the_pipe() {
        let file = tempfile::tempfile().unwrap();
        assert!(Reporter::new(file.try_clone().unwrap().into()).is_err());
        // The same descriptor, of another file: what remains when a trial closed the pipe.
        let (_reader, writer) = io::pipe().unwrap();
        let mut reporter = Reporter::new(writer.into()).unwrap();
        reporter.pipe = file.try_clone().unwrap().into();
        reporter.done();
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
