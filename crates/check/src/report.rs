//! The report, for people and for programs.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::{self, Display, Formatter},
    io::{self, Write},
};

use serde::Serialize;

use crate::{
    findings::{Finding, Group, groups},
    kind::Certainty,
    names,
    trials::{Tried, Verdict},
};

/// How many types of a culprit are named without `--verbose`.
const FEW: usize = 5;

/// What is reported.
#[derive(Serialize)]
pub struct Report<'a> {
    /// The version of this format.
    pub format: u32,
    /// What was checked.
    pub target: &'a str,
    /// The file that was read.
    pub program: Cow<'a, str>,
    /// How many functions it has.
    pub functions: usize,
    /// How many types with a destructor.
    pub types: usize,
    /// The functions that panic, without generic arguments. None if the program uses nothing of Tokio that can.
    pub sinks: Vec<String>,
    /// The version of Tokio, if the program says so.
    pub tokio: Option<&'a str>,
    /// Why the report may say too little.
    pub warnings: Vec<String>,
    /// How many calls are not followed, because only the running program knows their target.
    pub unknown_calls: usize,
    pub findings: Vec<&'a Finding>,
    /// The findings that `--deny` does not accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<Vec<&'a Finding>>,
    /// What live values did, with `--try`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trials: Option<Vec<Tried>>,
    /// Findings of named types that no trial was about, with `--try`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untried: Option<Vec<&'a Finding>>,
    #[serde(skip)]
    pub own: &'a [String],
    #[serde(skip)]
    pub is_verbose: bool,
}

impl Report<'_> {
    pub fn print_json(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, self)?;
        writeln!(out)
    }

    pub fn print_text(&self) -> io::Result<()> {
        write!(io::stdout().lock(), "{self}")
    }

    fn is_own(&self, of_type: &str) -> bool {
        names::crate_of(of_type).is_some_and(|name| self.own.iter().any(|own| own == name))
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for group in groups(self.findings.iter().copied()) {
            self.group(f, &group)?;
        }
        let named = |certainty| {
            let of = |it: &&&Finding| it.certainty == certainty && it.is_named;
            let types: BTreeSet<_> =
                self.findings.iter().filter(of).map(|it| it.of_type.as_str()).collect();
            types.len()
        };
        let (will, may) = (named(Certainty::Will), named(Certainty::May));
        writeln!(
            f,
            "{}: {will} types will panic when dropped in the wrong place, {may} may, of {} with a destructor",
            self.target, self.types
        )?;
        if self.sinks.is_empty() {
            writeln!(
                f,
                "nothing in it can: it uses no part of Tokio that looks for a runtime or refuses to block"
            )?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        self.tried(f)?;
        if let Some(denied) = &self.denied {
            self.denied(f, denied)?;
        }
        Ok(())
    }
}

impl Report<'_> {
    fn group(&self, f: &mut Formatter<'_>, group: &Group<'_>) -> fmt::Result {
        let Group { kind, certainty, culprit, findings } = group;
        writeln!(f, "{} {} panic: {culprit}, {}", kind.code(), certainty.word(), kind.place())?;
        writeln!(f, "  why      {}", kind.does())?;
        let mut named: Vec<_> = findings.iter().filter(|it| it.is_named).collect();
        named.sort_by_key(|it| !self.is_own(&it.of_type));
        let shown = if self.is_verbose { named.len() } else { FEW.min(named.len()) };
        for (number, finding) in named.iter().take(shown).enumerate() {
            let title = if number == 0 { "types" } else { "" };
            writeln!(f, "  {title:<8} {}{}", finding.of_type, Chain(&finding.holds))?;
        }
        let (more, without) = (named.len() - shown, findings.len() - named.len());
        if more > 0 {
            writeln!(f, "           and {more} more (--verbose)")?;
        }
        if without > 0 {
            writeln!(
                f,
                "           and {without} closures, futures, wrappers and parts of Tokio with one"
            )?;
        }
        // The type that most likely has something of the reader's own on its way.
        if let Some(first) = named.first().copied().or(findings.first()) {
            writeln!(f, "  way      drop of {}", names::short(&first.of_type))?;
            for place in &first.path {
                write!(f, "           {}", names::short_function(&place.function))?;
                place.at.iter().try_for_each(|at| write!(f, ", from {at}"))?;
                let doubt = Some(&place.doubt).filter(|doubt| !doubt.is_empty());
                doubt.iter().try_for_each(|doubt| write!(f, " ({doubt})"))?;
                writeln!(f)?;
            }
        }
        writeln!(f, "  instead  {}", kind.instead())?;
        writeln!(f, "  more     cargo sundown explain {}\n", kind.code())
    }

    fn tried(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (Some(trials), Some(untried)) = (&self.trials, &self.untried) else { return Ok(()) };
        writeln!(f, "trials:")?;
        for tried in trials.iter().filter(|it| it.verdict != Verdict::Clean) {
            write!(f, "  {}", tried.verdict.words())?;
            if let Some(it) = &tried.predicted {
                write!(f, " {} {}", it.code, it.certainty.word())?;
            }
            write!(f, " {}, dropped {}:", tried.of_type, tried.place.words())?;
            let mut separator = "";
            for state in &tried.states {
                let colon = if state.when.is_empty() { "" } else { ": " };
                write!(f, "{separator} {}{colon}{}", state.when, state.seen)?;
                separator = ";";
            }
            writeln!(f)?;
        }
        let clean = trials.iter().filter(|it| it.verdict == Verdict::Clean).count();
        writeln!(f, "  {clean} with no finding and no panic")?;
        let mut untried: Vec<_> = untried.iter().collect();
        untried.sort_by_key(|it| !self.is_own(&it.of_type));
        let shown = if self.is_verbose { untried.len() } else { FEW.min(untried.len()) };
        for finding in &untried[..shown] {
            writeln!(
                f,
                "  no constructor {} {} {}",
                finding.code,
                finding.certainty.word(),
                finding.of_type
            )?;
        }
        match untried.len() - shown {
            0 => Ok(()),
            more => writeln!(f, "  no constructor for {more} more findings (--verbose)"),
        }
    }

    fn denied(&self, f: &mut Formatter<'_>, denied: &[&Finding]) -> fmt::Result {
        if denied.is_empty() {
            return writeln!(f, "nothing that is not accepted");
        }
        writeln!(f, "not accepted:")?;
        for finding in denied {
            writeln!(f, "  {} {} {}", finding.code, finding.certainty.word(), finding.of_type)?;
        }
        Ok(())
    }
}

/// What a type holds, down to the culprit.
struct Chain<'a>(&'a [String]);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let held = self.0.iter().skip(1);
        held.into_iter().try_for_each(|of_type| write!(f, " → {}", names::short(of_type)))
    }
}
