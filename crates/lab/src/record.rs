//! One trial, as its parent knows it afterwards.

use std::{fmt, time::Duration};

use crate::{
    observation::Value,
    outcome::Outcome,
    program,
    report::{self, Panic, Report},
    sandbox::{Ended, Ending},
};

/// How much of a trial's standard error a report shows, in bytes.
const STDERR: usize = 2000;

/// What the time is called from the moment at which a program said that it leaves, until it is gone.
const EXIT_TOOK: &str = "exit_took";

/// SIGABRT, which has this number on every Unix.
const SIGABRT: i32 = 6;

/// One trial.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) trial: u32,
    pub(crate) seed: u64,
    pub(crate) outcome: Outcome,
    pub(crate) ending: Ending,
    pub(crate) panics: Vec<Panic>,
    pub(crate) problems: Vec<String>,
    pub(crate) observations: Vec<(String, Value)>,
    pub(crate) stderr: String,
    pub(crate) wall: Duration,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) peak_bytes: u64,
}

impl Record {
    /// Makes a record of what the sandbox returned.
    pub(crate) fn of(trial: u32, seed: u64, ended: &Ended) -> Self {
        let mut report = report::read(&ended.report.bytes, ended.report.is_cut());
        let outcome = match report.program.take() {
            Some(rule) => {
                let (stdout, stderr) = (ended.stdout.text(), ended.stderr.text());
                program::judge(&rule, ended.ending, &stdout, &stderr, &mut report)
            }
            None => classify(ended.ending, &mut report),
        };
        if let Some(leaving) = report.leaving {
            let took = Value::Nanoseconds(ended.at.saturating_sub(leaving));
            report.observations.push((EXIT_TOOK.to_owned(), took));
        }
        Self {
            trial,
            seed,
            outcome,
            ending: ended.ending,
            panics: report.panics,
            problems: report.problems,
            observations: report.observations,
            stderr: ended.stderr.tail(STDERR),
            wall: ended.wall,
            user: ended.usage.utime,
            system: ended.usage.stime,
            peak_bytes: ended.usage.maxrss,
        }
    }

    /// How it ended, in words.
    pub(crate) fn ending(&self) -> String {
        let panics = match self.panics.len() {
            0 => String::new(),
            1 => " after a panic".to_owned(),
            n => format!(" after {n} panics"),
        };
        format!("{}{panics}", self.ending)
    }
}

impl Ending {
    /// What an ending comes to, given whether a panic was seen. A program that was interrupted has
    /// not ended by itself, and counts with those that were still running.
    #[must_use]
    pub const fn outcome(self, panicked: bool) -> Outcome {
        match self {
            Self::DeadlinePassed | Self::Interrupted => Outcome::Hung,
            Self::Signalled(SIGABRT) => Outcome::Aborted,
            Self::Signalled(_) => Outcome::Signalled,
            Self::Exited(_) if panicked => Outcome::Panicked,
            Self::Exited(0) => Outcome::Clean,
            Self::Exited(_) => Outcome::Failed,
        }
    }
}

/// What a trial's ending and its report come to. What is wrong with a report becomes a problem.
fn classify(ending: Ending, report: &mut Report) -> Outcome {
    match ending.outcome(!report.panics.is_empty()) {
        Outcome::Clean if !report.done => {
            report.problems.push("it ended before its body did, or closed the report pipe".into());
        }
        Outcome::Failed if report.problems.is_empty() => {
            report.problems.push(format!("it ended with {ending}"));
        }
        Outcome::Clean | Outcome::Failed => {}
        worse => return worse,
    }
    if report.problems.is_empty() { Outcome::Clean } else { Outcome::Failed }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(number) => match signal_name(*number) {
                Some(name) => f.write_str(name),
                None => write!(f, "signal {number}"),
            },
            Self::DeadlinePassed => f.write_str("killed at its deadline"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// The names of the signals by which trials end.
fn signal_name(number: i32) -> Option<&'static str> {
    use signal_hook::consts::{
        SIGBUS, SIGFPE, SIGILL, SIGINT, SIGKILL, SIGPIPE, SIGSEGV, SIGTERM, SIGTRAP,
    };
    let names = [
        (SIGABRT, "SIGABRT"),
        (SIGBUS, "SIGBUS"),
        (SIGFPE, "SIGFPE"),
        (SIGILL, "SIGILL"),
        (SIGINT, "SIGINT"),
        (SIGKILL, "SIGKILL"),
        (SIGPIPE, "SIGPIPE"),
        (SIGSEGV, "SIGSEGV"),
        (SIGTERM, "SIGTERM"),
        (SIGTRAP, "SIGTRAP"),
    ];
    names.into_iter().find_map(|(known, name)| (known == number).then_some(name))
}

impl fmt::Display for Panic {
    /// `main: no reactor running (deadpool-runtime-0.1.4/src/lib.rs:101:22), while unwinding`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.thread, self.message, self.site)?;
        if self.while_unwinding { f.write_str(", while unwinding") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ending: Ending, lines: &str) -> (Outcome, Vec<String>) {
        let mut report = report::read(lines.as_bytes(), false);
        (classify(ending, &mut report), report.problems)
    }

    const PANIC: &str =
        "{\"panic\":{\"message\":\"m\",\"site\":\"s\",\"thread\":\"t\",\"nth\":1}}\n";
    const DONE: &str = "\"done\"\n";
    const PROBLEM: &str = "{\"problem\":\"a row was lost\"}\n";

    #[test]
    fn only_a_trial_that_said_it_is_done_can_be_clean() {
        assert_eq!(outcome(Ending::Exited(0), DONE).0, Outcome::Clean);
        let (found, problems) = outcome(Ending::Exited(0), "");
        assert_eq!(found, Outcome::Failed);
        assert!(problems[0].contains("before its body did"), "{problems:?}");
    }

    #[test]
    fn a_panic_counts_whatever_the_exit_code() {
        for code in [0, 1, 101] {
            let lines = [PANIC, PROBLEM, DONE].concat();
            assert_eq!(outcome(Ending::Exited(code), &lines).0, Outcome::Panicked);
        }
    }

    #[test]
    fn what_ended_the_process_comes_before_what_it_said() {
        let lines = [PANIC, DONE].concat();
        assert_eq!(outcome(Ending::Signalled(6), &lines).0, Outcome::Aborted);
        assert_eq!(outcome(Ending::Signalled(11), &lines).0, Outcome::Signalled);
        assert_eq!(outcome(Ending::DeadlinePassed, &lines).0, Outcome::Hung);
    }

    #[test]
    fn a_failed_check_and_a_bad_exit_code_fail() {
        assert_eq!(outcome(Ending::Exited(0), &[PROBLEM, DONE].concat()).0, Outcome::Failed);
        let (found, problems) = outcome(Ending::Exited(3), DONE);
        assert_eq!((found, problems[0].as_str()), (Outcome::Failed, "it ended with exit code 3"));
        assert_eq!(outcome(Ending::Exited(0), "nonsense\n").0, Outcome::Failed);
    }
}
