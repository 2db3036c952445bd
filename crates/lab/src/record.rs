//! The parent's record of a trial. Its outcome follows from how the process ended and what it reported.

use std::{fmt, time::Duration};

use crate::{
    observation::Value,
    outcome::{Ending, Outcome},
    report_pipe::{self, Panic, Report},
    sandbox::Ended,
    stderr,
};

/// How much of a trial's standard error a report shows, in bytes.
const STDERR: usize = 2000;

/// The observation of how long a program took to end after it reported that it was leaving.
const EXIT_TOOK: &str = "exit_took";

/// The observation of what a program said on standard error that a signal has ended.
const SAYS: &str = "says";

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
        let mut report = report_pipe::read(&ended.report.bytes, ended.report.is_cut());
        if report.program.is_some() {
            read_panics(&mut report, &ended.stderr.text());
        }
        let outcome = outcome(ended, &mut report);
        if let (Some(rule), Ending::Signalled(_)) = (&report.program, ended.ending) {
            let says = rule.says(&ended.stderr.text());
            report.observations.extend(says.map(|it| (SAYS.to_owned(), Value::Text(it))));
        }
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

/// Reads the panics from standard error, because another program does not report them. Standard error
/// also has the panics of the trial before it became that program, so those in the report are discarded.
fn read_panics(report: &mut Report, stderr: &str) {
    report.panics.clear();
    for stderr::Panic { thread, site, message } in stderr::panics(stderr) {
        let earlier = report.panics.iter().filter(|earlier| earlier.thread == thread).count();
        let nth = u32::try_from(earlier + 1).unwrap_or(u32::MAX);
        let while_unwinding = message == report_pipe::SECOND;
        report.panics.push(Panic { message, site, thread, nth, while_unwinding });
    }
}

/// The outcome of a trial. Adds to its problems what is wrong with its report, or with how the program
/// that it became has ended.
fn outcome(ended: &Ended, report: &mut Report) -> Outcome {
    let ending = ended.ending;
    let outcome = match (ending, ending.outcome(!report.panics.is_empty()), &report.program) {
        (Ending::Exited(code), Outcome::Clean | Outcome::Failed, Some(rule)) => {
            let (stdout, stderr) = (ended.stdout.text(), ended.stderr.text());
            report.problems.extend(rule.problems(code, &stdout, &stderr));
            Outcome::Clean
        }
        (_, Outcome::Clean, None) if !report.done => {
            let early = "it ended before its body did, or closed the report pipe";
            report.problems.push(early.to_owned());
            Outcome::Clean
        }
        (_, Outcome::Failed, None) if report.problems.is_empty() => {
            report.problems.push(format!("it ended with {ending}"));
            Outcome::Failed
        }
        (_, outcome, _) => outcome,
    };
    match outcome {
        Outcome::Clean if !report.problems.is_empty() => Outcome::Failed,
        outcome => outcome,
    }
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
    use std::process::Command;

    use wait4::ResourceUsage;

    use super::*;
    use crate::{capture::Captured, program::Program, report_pipe::Line};

    const PANIC: &str = r#"{"panic":{"message":"m","site":"s","thread":"t","nth":1}}"#;
    const DONE: &str = r#""done""#;
    const PROBLEM: &str = r#"{"problem":"a row was lost"}"#;

    fn record(ending: Ending, report: &[&str], stderr: &str) -> Record {
        let report = report.iter().map(|line| format!("{line}\n")).collect::<String>();
        let ended = Ended {
            ending,
            stdout: Captured::default(),
            stderr: Captured::of(stderr),
            report: Captured::of(&report),
            wall: Duration::ZERO,
            at: 0,
            usage: ResourceUsage { utime: Duration::ZERO, stime: Duration::ZERO, maxrss: 0 },
            left: Vec::new(),
            threads: Vec::new(),
            stacks: String::new(),
        };
        Record::of(0, 0, &ended)
    }

    /// The order in which outcomes win. What misbehaving trials are counted as is tested in `tests/lab`.
    #[test]
    fn what_ended_the_process_comes_before_a_panic_and_a_panic_before_a_problem() {
        let rule = Program::new(Command::new("sh")).exits_with(3).rule;
        let program = serde_json::to_string(&Line::Program(rule)).unwrap();
        let said = "thread 'tokio-rt-worker' panicked at src/lib.rs:2:5:\nit's over\n".repeat(2);
        for (ending, outcome) in [
            (Ending::Signalled(6), Outcome::Aborted),
            (Ending::Signalled(11), Outcome::Signalled),
            (Ending::DeadlinePassed, Outcome::Hung),
            (Ending::Exited(0), Outcome::Panicked),
            (Ending::Exited(3), Outcome::Panicked),
        ] {
            assert_eq!(record(ending, &[PANIC, PROBLEM, DONE], "").outcome, outcome);
            let found = record(ending, &[&program, PROBLEM], &said);
            assert_eq!(found.outcome, outcome);
            let panics: Vec<_> = found.panics.iter().map(|it| (&*it.site, it.nth)).collect();
            assert_eq!(panics, [("src/lib.rs:2:5", 1), ("src/lib.rs:2:5", 2)]);
        }
        assert_eq!(record(Ending::Exited(0), &[PROBLEM, DONE], "").outcome, Outcome::Failed);
        assert_eq!(record(Ending::Exited(0), &[DONE], "").outcome, Outcome::Clean);
    }
}
