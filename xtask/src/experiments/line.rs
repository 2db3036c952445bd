//! The line of an experiment: what it found, and in how many trials.

use std::{fs, ops::Add};

use console::{StyledObject, measure_text_width, style, truncate_str};
use lab::{Role, Verdict, results::ExperimentResult};

use super::report::{Finding, State};
use crate::{
    finding,
    workspace::{Source, Workspace},
};

/// Says what the counts in a line mean.
pub const LEGEND: &str =
    "failed n/N: of the trials expected to fail · cured: with the kit, none failed";

/// What the pages say that each experiment finds.
#[derive(Clone, Copy)]
pub struct Pages<'a>(pub &'a Workspace);

impl Pages<'_> {
    /// An experiment is called by what it finds, as long as it finds it.
    fn called(self, source: &Source, is_found: bool) -> String {
        let page = self.0.path("docs/src").join(source.page());
        let page = fs::read_to_string(page).unwrap_or_default();
        let finding = finding::of(&page, source).filter(|_| is_found);
        finding.map_or_else(|| source.name(), str::to_owned)
    }

    /// The line of an experiment in a run: `✓ 01 No context, no clean drop · failed 80/80 · cured`.
    pub fn line(self, finding: &Finding, width: u16, in_colour: bool) -> String {
        let Finding { source, state, result, .. } = finding;
        let is_found = state.is_fine() && result.as_ref().is_some_and(is_supported);
        let mark = match state {
            State::Match | State::Written | State::CuresHeld => style("✓").green(),
            State::New => style("+").yellow(),
            State::Mismatch | State::NotCompared | State::CuresFailed | State::NoResult => {
                style("✗").red()
            }
            State::NoCure | State::Interrupted | State::Skipped => style("–").dim(),
        };
        let mark: StyledObject<_> = mark.force_styling(in_colour);
        let mut parts = Vec::new();
        match state {
            State::Match => {}
            State::CuresHeld => parts.push("threads held, cures clean".to_owned()),
            State::CuresFailed => parts.push("threads held, a cure failed".to_owned()),
            State::Written => parts.push("snapshot written".to_owned()),
            State::New => parts.push("no snapshot yet (--accept writes it)".to_owned()),
            State::Mismatch => parts.push("differs from its snapshot".to_owned()),
            State::NotCompared
            | State::NoCure
            | State::Interrupted
            | State::Skipped
            | State::NoResult => {
                parts.push(state.word().to_owned());
            }
        }
        parts.extend(result.iter().flat_map(counts));
        fitted(&mark.to_string(), &source.id, &self.called(source, is_found), &parts, width)
    }

    /// The line of a committed result.
    pub fn of_result(self, source: &Source, result: &ExperimentResult, width: u16) -> String {
        let called = self.called(source, is_supported(result));
        fitted("✓", &source.id, &called, &counts(result), width)
    }
}

fn is_supported(result: &ExperimentResult) -> bool {
    result.verdict == Verdict::Supported
}

/// The name is shortened if the line is too long, not the counts.
fn fitted(mark: &str, id: &str, called: &str, parts: &[String], width: u16) -> String {
    let begin = format!("{mark} {id} ");
    let end: String = parts.iter().map(|part| format!(" · {part}")).collect();
    let used = measure_text_width(&begin) + measure_text_width(&end);
    let room = usize::from(width).saturating_sub(used);
    begin + &truncate_str(called, room, "…") + &end
}

fn counts(result: &ExperimentResult) -> Vec<String> {
    let of = |role| {
        let variants = result.variants.iter().filter(|variant| variant.role == role);
        variants
            .map(|it| Trials { bad: it.trials.saturating_sub(it.outcomes.clean), all: it.trials })
            .fold(Trials::default(), Add::add)
    };
    let mut parts = Vec::new();
    // Of a part of the trials there is no verdict.
    if !is_supported(result) && !result.interrupted {
        parts.push(result.verdict.to_string());
    }
    let Trials { bad, all } = of(Role::Hazard);
    if all > 0 {
        parts.push(format!("failed {bad}/{all}"));
    }
    match of(Role::Cure) {
        Trials { all: 0, .. } => {}
        Trials { bad: 0, .. } if result.interrupted => {}
        Trials { bad: 0, .. } => parts.push("cured".to_owned()),
        Trials { bad, all } => parts.push(format!("cures failed {bad}/{all}")),
    }
    parts
}

#[derive(Default)]
struct Trials {
    bad: u32,
    all: u32,
}

impl Add for Trials {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { bad: self.bad + other.bad, all: self.all + other.all }
    }
}

#[cfg(test)]
mod tests {
    use super::fitted;

    #[test]
    fn a_line_fits_and_keeps_its_counts() {
        let parts = ["failed 80/80".to_owned(), "cured".to_owned()];
        let line = |width| fitted("✓", "01", "Waiting only chooses the last owner", &parts, width);
        assert_eq!(line(80), "✓ 01 Waiting only chooses the last owner · failed 80/80 · cured");
        assert_eq!(line(40), "✓ 01 Waiting onl… · failed 80/80 · cured");
        assert!(line(40).chars().count() <= 40, "{}", line(40));
        assert_eq!(line(0), "✓ 01 … · failed 80/80 · cured");
    }
}
