//! The trials of findings: each drops one live value in one place, in a process of its own. They decide.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    path::Path,
    time::Duration,
};

use lab::{
    interrupt::Interrupt,
    sandbox::{Ended, Ending, Sandbox, Sandboxed, Surroundings},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sundown_core::explain::Cause;

use crate::{
    failure::{Failure, Result},
    findings::{Finding, Findings},
    kind::{Certainty, Kind, Place},
};

/// How many processes drop the value in each place.
const TRIALS: u32 = 5;

/// How long making and dropping one value may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A type in one place: what was predicted, and what its live values did.
#[derive(Serialize)]
pub struct Tried {
    pub verdict: Verdict,
    #[serde(rename = "type")]
    pub of_type: String,
    pub place: Place,
    pub predicted: Option<Predicted>,
    /// One for each state that a live value was dropped in.
    pub states: Vec<State>,
}

/// What the trials say of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Predicted, and it panicked so.
    Confirmed,
    /// Predicted, and it did not.
    NotConfirmed,
    /// Not predicted, and it panicked.
    Missed,
    /// Not predicted, and it did not panic.
    Clean,
    /// The value panicked, hung or died in the right place, too, so the trials say nothing.
    ControlFailed,
    /// The program never drops such a type, so nothing was predicted.
    NotInProgram,
}

impl Verdict {
    pub const fn words(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::NotConfirmed => "not confirmed",
            Self::Missed => "missed",
            Self::Clean => "clean",
            Self::ControlFailed => "control failed",
            Self::NotInProgram => "not in the program",
        }
    }
}

#[derive(Clone, Copy, Serialize)]
pub struct Predicted {
    pub code: &'static str,
    pub certainty: Certainty,
}

/// A state that live values were dropped in.
#[derive(Serialize)]
pub struct State {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub when: String,
    pub seen: Seen,
    pub control: Seen,
}

/// What the processes of one value and place did.
#[derive(Clone, Default, Serialize)]
pub struct Seen {
    pub trials: u32,
    /// How many destructors did not return because of a panic, an abort by a second one included.
    pub panicked: u32,
    pub hung: u32,
    pub died: u32,
    /// The codes of the first panics, or their messages if they have no code.
    pub panics: Vec<String>,
}

impl Seen {
    pub const fn is_clean(&self) -> bool {
        self.panicked + self.hung + self.died == 0
    }
}

impl Display for Seen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return write!(f, "{} of {} clean", self.trials, self.trials);
        }
        let counts = [(self.panicked, "panicked"), (self.hung, "hung"), (self.died, "died")];
        let mut separator = "";
        for (count, word) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} of {} {word}", self.trials)?;
            separator = ", ";
        }
        match self.panics.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.panics.join(", ")),
        }
    }
}

/// A value that the program of trials makes.
#[derive(Deserialize)]
struct Case {
    number: usize,
    #[serde(rename = "type")]
    of_type: String,
    when: String,
}

/// Runs the program of trials: all its values in all places.
pub fn run(program: &Path, findings: &Findings) -> Result<Vec<Tried>> {
    let sandbox = Sandbox::open()?;
    let listed = end_of(&sandbox, program, &[])?;
    let cases: Vec<Case> =
        lines(&listed).filter_map(|line| serde_json::from_value(line).ok()).collect();

    let mut tried: BTreeMap<(String, Place), Vec<State>> = BTreeMap::new();
    for case in cases {
        crate::progress("Dropping", format_args!("{}", case.of_type));
        let control = seen(&sandbox, program, &case, "control")?;
        for place in Place::ALL {
            let seen = seen(&sandbox, program, &case, place.word())?;
            let state = State { when: case.when.clone(), seen, control: control.clone() };
            tried.entry((case.of_type.clone(), place)).or_default().push(state);
        }
    }
    let tried = tried.into_iter().map(|((of_type, place), states)| {
        let is_it = |it: &&Finding| it.of_type == of_type && it.kind.trial_place() == place;
        let of_this: Vec<_> = findings.all.iter().filter(is_it).collect();
        let is_there = findings.types.contains(&of_type);
        let verdict = verdict(&of_this, is_there, &states);
        let surest = of_this.iter().max_by_key(|it| it.certainty);
        let predicted = surest.map(|it| Predicted { code: it.code, certainty: it.certainty });
        Tried { verdict, of_type, place, predicted, states }
    });
    let mut tried: Vec<_> = tried.collect();
    tried.sort_by_key(|it| it.verdict);
    Ok(tried)
}

fn verdict(findings: &[&Finding], is_in_program: bool, states: &[State]) -> Verdict {
    let panicked =
        |code: &str| states.iter().any(|state| state.seen.panics.iter().any(|panic| panic == code));
    if states.iter().any(|state| !state.control.is_clean()) {
        Verdict::ControlFailed
    } else if !is_in_program {
        Verdict::NotInProgram
    } else if findings.iter().any(|it| panicked(it.code)) {
        Verdict::Confirmed
    } else if states.iter().any(|state| !state.seen.is_clean()) {
        Verdict::Missed
    } else if findings.is_empty() {
        Verdict::Clean
    } else {
        Verdict::NotConfirmed
    }
}

/// Findings of named types that no trial was about.
pub fn untried<'a>(findings: &[&'a Finding], tried: &[Tried]) -> Vec<&'a Finding> {
    let is_tried = |it: &Finding| {
        tried.iter().any(|of| of.of_type == it.of_type && of.place == it.kind.trial_place())
    };
    findings.iter().copied().filter(|it| it.is_named && !is_tried(it)).collect()
}

/// Drops the value in this place, in a process each time.
fn seen(sandbox: &Sandbox, program: &Path, case: &Case, place: &str) -> Result<Seen> {
    let mut seen = Seen { trials: TRIALS, ..Seen::default() };
    for _ in 0..TRIALS {
        let ended = end_of(sandbox, program, &[&case.number.to_string(), place])?;
        let lines: Vec<_> = lines(&ended).collect();
        if !lines.iter().any(|line| line["made"].is_string()) {
            let why = ended.stderr.text() + &ended.stdout.text();
            return Err(Failure::NotMade {
                of_type: case.of_type.clone(),
                why: why.trim().to_owned(),
            });
        }
        let panic = lines.iter().find(|line| line["panic"].is_string());
        let unwound = lines.iter().find_map(|line| line["unwound"].as_bool());
        match (unwound, panic) {
            // It may have hung or been killed after its end; that is not the destructor's.
            (Some(false), _) => continue,
            (Some(true), _) | (None, Some(_)) => seen.panicked += 1,
            (None, None) if ended.ending == Ending::DeadlinePassed => seen.hung += 1,
            (None, None) => seen.died += 1,
        }
        let name = panic.map(name);
        seen.panics.extend(name.filter(|name| !seen.panics.contains(name)));
    }
    Ok(seen)
}

/// The code of a panic, or its message if it has none.
fn name(panic: &Value) -> String {
    let text = |key: &str| panic[key].as_str().unwrap_or_default();
    let (message, at) = (text("panic"), text("at"));
    let file = at.split_once(".rs:").map(|(file, _)| format!("{file}.rs")).unwrap_or_default();
    Cause::of(message, &file, None).map_or_else(|| message.to_owned(), |it| it.code().to_owned())
}

fn lines(ended: &Ended) -> impl Iterator<Item = Value> {
    let text = ended.stdout.text();
    let lines: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    lines.into_iter()
}

fn end_of(sandbox: &Sandbox, program: &Path, arguments: &[&str]) -> Result<Ended> {
    let command = Sandboxed {
        program,
        arguments: arguments.iter().map(Into::into).collect(),
        surroundings: Surroundings::Bare { variables: &[] },
        deadline: LIMIT,
    };
    // Ctrl-C ends this process, and the sandbox's guardian ends the trial.
    Ok(sandbox.run(&command, &Interrupt::by_hand())?)
}

impl Kind {
    /// The place of trials in which it goes wrong.
    pub const fn trial_place(self) -> Place {
        match self {
            Self::Context | Self::Local => Place::OffContext,
            Self::Runtime | Self::Block | Self::InPlace => Place::InAsync,
        }
    }
}
