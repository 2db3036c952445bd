//! A trial that becomes another program, and the rule by which that program is judged.

use std::{fmt, process::Command};

use serde::{Deserialize, Serialize};

use crate::{
    outcome::Outcome,
    report::{Panic, Report, SECOND},
    sandbox::Ending,
    stderr,
};

/// The variable in which the program finds the number of its report pipe's descriptor.
pub(crate) const REPORT: &str = "LAB_REPORT";

/// A program that a trial [becomes](crate::Trial::becomes), with what is expected of its end.
///
/// The exit code alone tells too little of a program that is not ours. It is clean only where it
/// ends by itself with the exit code that is expected of it, nothing on its standard error tells of a
/// Rust panic or says one of the things that it must not say, and what it prints ends with the line
/// that it prints last. A panic on standard error makes the trial `panicked`, anything else `failed`.
///
/// The program may report like any trial: it finds the number of a descriptor in `LAB_REPORT` and
/// writes one line of JSON at a time to it, in a single `write` each:
///
/// ```json
/// {"observation":{"name":"tasks","value":{"integer":3}}}
/// {"problem":"a row was lost"}
/// {"leaving":123456789}
/// ```
///
/// Values are `integer`, `nanoseconds`, `flag` or `text`. `leaving` is the time by the system's
/// `CLOCK_MONOTONIC`, in nanoseconds, at which the program has nothing left to do but to end; from it
/// until the process is gone is recorded as `exit_took`.
#[derive(Debug)]
pub struct Program {
    pub(crate) command: Command,
    pub(crate) rule: Rule,
}

/// What is expected of a program's end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    exit_code: i32,
    last_line: Option<String>,
    complaints: Vec<String>,
    fatal: Vec<String>,
}

impl Program {
    /// A program that should end with exit code 0. Its surroundings are the trial's, and what the
    /// command adds to them.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self { command, rule: Rule::default() }
    }

    /// Expects this exit code.
    #[must_use]
    pub const fn exits_with(mut self, code: i32) -> Self {
        self.rule.exit_code = code;
        self
    }

    /// Expects this to be the last line on its standard output.
    #[must_use]
    pub fn ends_with(mut self, line: &str) -> Self {
        self.rule.last_line = Some(line.to_owned());
        self
    }

    /// Expects this somewhere on its standard error. May be said of several texts.
    #[must_use]
    pub fn complains(mut self, of: &str) -> Self {
        self.rule.complaints.push(of.to_owned());
        self
    }

    /// Expects this nowhere on its standard error. May be said of several texts.
    #[must_use]
    pub fn never_says(mut self, text: &str) -> Self {
        self.rule.fatal.push(text.to_owned());
        self
    }
}

/// What a program's end comes to.
pub(crate) fn judge(
    rule: &Rule,
    ending: Ending,
    stdout: &str,
    stderr: &str,
    report: &mut Report,
) -> Outcome {
    // The trial's own, from before it became a program, stand on standard error as well.
    report.panics.clear();
    for panic in stderr::panics(stderr) {
        let stderr::Panic { thread, site, message } = panic;
        let earlier = report.panics.iter().filter(|earlier| earlier.thread == thread).count();
        let nth = u32::try_from(earlier + 1).unwrap_or(u32::MAX);
        let while_unwinding = message == SECOND;
        report.panics.push(Panic { message, site, thread, nth, while_unwinding });
    }
    let code = match (ending, ending.outcome(!report.panics.is_empty())) {
        (Ending::Exited(code), Outcome::Clean | Outcome::Failed) => code,
        (_, worse) => return worse,
    };
    let problems = &mut report.problems;
    if code != rule.exit_code {
        problems.push(format!("it ended with exit code {code}, and not {}", rule.exit_code));
    }
    if let Some(expected) = &rule.last_line {
        let last = stdout.lines().map(str::trim_end).rfind(|line| !line.is_empty());
        if last != Some(expected) {
            let last = last.unwrap_or("nothing");
            problems.push(format!("its last line should be `{expected}`, and it printed `{last}`"));
        }
    }
    for complaint in rule.complaints.iter().filter(|it| !stderr.contains(*it)) {
        problems.push(format!("it does not say `{complaint}` on standard error"));
    }
    for fatal in rule.fatal.iter().filter(|it| stderr.contains(*it)) {
        problems.push(format!("it says `{fatal}` on standard error"));
    }
    if problems.is_empty() { Outcome::Clean } else { Outcome::Failed }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.get_program().display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANIC: &str = "thread 'tokio-rt-worker' panicked at src/lib.rs:2:5:\nit's over\n";

    fn judged(ending: Ending, stdout: &str, stderr: &str) -> (Outcome, Report) {
        let program = Program::new(Command::new("python3"))
            .exits_with(3)
            .ends_with("last")
            .complains("ValueError")
            .never_says("Fatal Python error");
        let mut report = Report::default();
        (judge(&program.rule, ending, stdout, stderr, &mut report), report)
    }

    #[test]
    fn only_the_end_that_is_expected_is_clean() {
        let (code, said, complained) = (Ending::Exited(3), "first\nlast\n\n", "ValueError: 3\n");
        assert_eq!(judged(code, said, complained).0, Outcome::Clean);
        for (ending, stdout, stderr, problem) in [
            (Ending::Exited(0), said, complained, "exit code 0, and not 3"),
            (code, "first\n", complained, "its last line should be `last`, and it printed `first`"),
            (code, "last\nmore\n", complained, "it printed `more`"),
            (code, "", complained, "it printed `nothing`"),
            (code, said, "", "it does not say `ValueError`"),
            (code, said, "ValueError\nFatal Python error: x", "it says `Fatal Python error`"),
        ] {
            let (outcome, report) = judged(ending, stdout, stderr);
            assert_eq!(outcome, Outcome::Failed, "{problem}");
            assert!(report.problems.concat().contains(problem), "{:?}", report.problems);
        }
    }

    #[test]
    fn a_panic_on_standard_error_counts_whatever_the_exit_code() {
        for code in [0, 3] {
            let (outcome, report) = judged(Ending::Exited(code), "last", &PANIC.repeat(2));
            assert_eq!(outcome, Outcome::Panicked);
            let panics: Vec<_> = report.panics.iter().map(|it| (&*it.site, it.nth)).collect();
            assert_eq!(panics, [("src/lib.rs:2:5", 1), ("src/lib.rs:2:5", 2)]);
        }
    }

    #[test]
    fn what_ended_the_process_comes_before_what_it_said() {
        assert_eq!(judged(Ending::Signalled(6), "last", PANIC).0, Outcome::Aborted);
        assert_eq!(judged(Ending::Signalled(11), "last", "").0, Outcome::Signalled);
        assert_eq!(judged(Ending::DeadlinePassed, "last", "").0, Outcome::Hung);
    }
}
