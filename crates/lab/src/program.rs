//! A program that a trial becomes, and the rule that judges how it ends.

use std::{fmt, process::Command};

use serde::{Deserialize, Serialize};

/// The variable in which the program finds the number of its report pipe's descriptor.
pub(crate) const REPORT: &str = "LAB_REPORT";

/// A program that a trial [becomes](crate::Trial::becomes), with what is expected of its end.
///
/// The exit code of a foreign program is not enough. The trial is clean only if the program
/// ends by itself with the expected exit code, if its standard error shows no Rust panic and none of
/// the texts that it must not contain, and if its last line on standard output is the expected one. A
/// panic on standard error makes the trial `panicked`; anything else makes it `failed`.
///
/// The program may report like any trial. It finds the number of a descriptor in `LAB_REPORT`, and
/// writes one line of JSON at a time to it, in a single `write` each:
///
/// ```json
/// {"observation":{"name":"tasks","value":{"integer":3}}}
/// {"problem":"a row was lost"}
/// {"leaving":123456789}
/// ```
///
/// A program that is ended by a signal has the observation `says`: what it said on standard error.
///
/// Values are `integer`, `nanoseconds`, `flag` or `text`. `leaving` is the time by the system's
/// `CLOCK_MONOTONIC`, in nanoseconds, at which the program has finished its work and only has to exit. The
/// observation `exit_took` is the time from then until the process has ended.
#[derive(Debug)]
pub struct Program {
    pub(crate) command: Command,
    pub(crate) rule: Rule,
}

/// How a program is expected to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) exit_code: i32,
    last_line: Option<String>,
    complaints: Vec<String>,
    fatal: Vec<String>,
    #[serde(default)]
    is_silent: bool,
}

impl Program {
    /// Creates a program that is expected to end with exit code 0. It runs in the trial's surroundings, with
    /// the command's own additions.
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

    /// Expects this to be the last line on standard output.
    #[must_use]
    pub fn ends_with(mut self, line: &str) -> Self {
        self.rule.last_line = Some(line.to_owned());
        self
    }

    /// Expects this text on standard error. May be called for several texts.
    #[must_use]
    pub fn complains(mut self, of: &str) -> Self {
        self.rule.complaints.push(of.to_owned());
        self
    }

    /// Expects this text not to be on standard error. May be called for several texts.
    #[must_use]
    pub fn never_says(mut self, text: &str) -> Self {
        self.rule.fatal.push(text.to_owned());
        self
    }

    /// Expects nothing on standard error.
    #[must_use]
    pub const fn is_silent(mut self) -> Self {
        self.rule.is_silent = true;
        self
    }
}

impl Rule {
    /// What a program says on standard error that a signal has ended: `nothing`, the fatal text, or `something else`.
    /// `None` if no fatal text is looked for.
    pub(crate) fn says(&self, stderr: &str) -> Option<String> {
        if self.fatal.is_empty() {
            return None;
        }
        // The most exact of them.
        let said = self.fatal.iter().filter(|fatal| stderr.contains(*fatal));
        let fatal = said.max_by_key(|fatal| fatal.len());
        let other = || if stderr.trim().is_empty() { "nothing" } else { "something else" };
        Some(fatal.map_or_else(|| other().to_owned(), Clone::clone))
    }

    /// Returns what is wrong with a program that exited.
    pub(crate) fn problems(&self, code: i32, stdout: &str, stderr: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if code != self.exit_code {
            problems.push(format!("it ended with exit code {code}, and not {}", self.exit_code));
        }
        if let Some(expected) = &self.last_line {
            let last = stdout.lines().map(str::trim_end).rfind(|line| !line.is_empty());
            if last != Some(expected) {
                let last = last.unwrap_or("nothing");
                problems.push(format!("its last line should be `{expected}`, and was `{last}`"));
            }
        }
        for complaint in self.complaints.iter().filter(|it| !stderr.contains(*it)) {
            problems.push(format!("it does not say `{complaint}` on standard error"));
        }
        for fatal in self.fatal.iter().filter(|it| stderr.contains(*it)) {
            problems.push(format!("it says `{fatal}` on standard error"));
        }
        if let Some(line) = stderr.lines().find(|line| self.is_silent && !line.trim().is_empty()) {
            problems.push(format!("it says `{line}` on standard error, and should say nothing"));
        }
        problems
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.get_program().display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_before_a_signal_is_told_apart() {
        let program = Program::new(Command::new("python3")).never_says("Fatal Python error");
        assert_eq!(program.rule.says("Fatal Python error: it\n").unwrap(), "Fatal Python error");
        let rule = program.never_says("Fatal Python error: it").rule;
        assert_eq!(rule.says(" \n").unwrap(), "nothing");
        assert_eq!(
            rule.says("Fatal Python error: it, at exit\n").unwrap(),
            "Fatal Python error: it"
        );
        assert_eq!(rule.says("Fatal Python error: another\n").unwrap(), "Fatal Python error");
        assert_eq!(rule.says("a log line\n").unwrap(), "something else");
        let rule = Program::new(Command::new("python3")).rule;
        assert_eq!(rule.says("a log line\n"), None);
    }

    #[test]
    fn a_silent_program_may_say_nothing() {
        let rule = Program::new(Command::new("python3")).is_silent().rule;
        assert!(rule.problems(0, "", "\n").is_empty());
        assert!(rule.problems(0, "", "Event loop is closed\n").concat().contains("Event loop"));
    }

    #[test]
    fn only_the_expected_end_has_no_problem() {
        let program = Program::new(Command::new("python3"))
            .exits_with(3)
            .ends_with("last")
            .complains("ValueError")
            .never_says("Fatal Python error");
        let (said, complained) = ("first\nlast\n\n", "ValueError: 3\n");
        assert!(program.rule.problems(3, said, complained).is_empty());
        for (code, stdout, stderr, problem) in [
            (0, said, complained, "exit code 0, and not 3"),
            (3, "first\n", complained, "its last line should be `last`, and was `first`"),
            (3, "last\nmore\n", complained, "and was `more`"),
            (3, "", complained, "and was `nothing`"),
            (3, said, "", "it does not say `ValueError`"),
            (3, said, "ValueError\nFatal Python error: x", "it says `Fatal Python error`"),
        ] {
            let problems = program.rule.problems(code, stdout, stderr);
            assert!(problems.concat().contains(problem), "{problems:?}");
        }
    }
}
