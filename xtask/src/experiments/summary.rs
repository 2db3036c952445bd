//! The paragraph below the table: what matched, what did not, where the results are, what next.

use std::fmt::Write as _;

use lab::Verdict;

use super::{
    report::{Finding, Report, State},
    shown,
    snapshots::Comparison,
};
use crate::{figures::plural, workspace::Workspace};

/// Renders the paragraph.
pub fn render(report: &Report, workspace: &Workspace) -> String {
    let mut text = String::new();
    if report.planned == 0 {
        text.push_str("There was no experiment to run.\n");
    }
    if report.interrupted {
        let ran = report.findings.iter().filter(|finding| is_compared(finding)).count();
        let _ = writeln!(
            text,
            "Interrupted: {ran} of {} ran to the end.",
            plural(report.planned, "experiment")
        );
    }
    let compared: Vec<_> = report.findings.iter().filter(|finding| is_compared(finding)).collect();
    if !compared.is_empty() {
        let _ = writeln!(text, "{}", matches(&compared));
    }
    for (what, called) in [
        (is_new as fn(&Finding) -> bool, "Without a snapshot"),
        (is_mismatch, "Not as the snapshot says"),
        (is_trouble, "Without a result"),
    ] {
        let titles: Vec<_> =
            report.findings.iter().filter(|it| what(it)).map(|it| it.source.title()).collect();
        if !titles.is_empty() {
            let _ = writeln!(text, "{called} (see above): {}.", titles.join(", "));
        }
    }
    let skipped: Vec<_> = report.skipped().collect();
    for skipped in &skipped {
        let _ = writeln!(text, "{skipped}");
    }
    if !skipped.is_empty() {
        let _ = writeln!(
            text,
            "{} skipped: their snapshots and pages stay as they are.",
            plural(skipped.len(), "experiment")
        );
    }
    for orphan in &report.orphans {
        let path = shown(orphan, workspace);
        let _ =
            writeln!(text, "{path} is the snapshot of an experiment that is no more: remove it.");
    }
    let seed = report.seed.map(|seed| format!(", seed {seed}"));
    let seed = seed.unwrap_or_default();
    let results = shown(&report.results, workspace);
    let _ = writeln!(text, "Full results: {results}{seed}");
    let _ = writeln!(text, "{}", next(report));
    text
}

fn matches(compared: &[&Finding]) -> String {
    let fine = compared.iter().filter(|finding| finding.is_fine()).count();
    let mut verdicts = Vec::new();
    for verdict in [Verdict::Supported, Verdict::Refuted, Verdict::Inconclusive] {
        let results = compared.iter().filter_map(|finding| finding.result());
        let count = results.filter(|result| result.verdict == verdict).count();
        if count > 0 {
            verdicts.push(format!("{count} {verdict}"));
        }
    }
    let matches = match compared.len() {
        1 if fine == 1 => "The experiment found what its snapshot says".to_owned(),
        1 => "The experiment did not find what a snapshot says".to_owned(),
        all if fine == all => format!("All {all} experiments found what their snapshots say"),
        all => format!("{fine} of {all} experiments found what their snapshots say"),
    };
    format!("{matches}. Hypotheses: {}.", verdicts.join(", "))
}

fn next(report: &Report) -> &'static str {
    if report.interrupted {
        "Next: run the rest with `cargo xtask experiments`, or some of them with `--only`."
    } else if report.findings.iter().any(|it| is_new(it) || is_mismatch(it)) {
        "Next: where the difference is meant, `cargo xtask experiments --accept`;\n\
         where it is not, run the experiment alone: `cargo run -p experiments --bin NAME`."
    } else if report.findings.iter().any(is_trouble) {
        "Next: run what has no result alone: `cargo run -p experiments --bin NAME`."
    } else {
        "Next: `cargo xtask notebooks` writes the results into docs/, where each experiment has\n\
         a page that says what they mean."
    }
}

const fn is_trouble(finding: &Finding) -> bool {
    matches!(finding.state, State::Trouble(_))
}

const fn is_compared(finding: &Finding) -> bool {
    matches!(finding.state, State::Compared(..))
}

const fn is_new(finding: &Finding) -> bool {
    matches!(finding.state, State::Compared(_, Comparison::New(_)))
}

const fn is_mismatch(finding: &Finding) -> bool {
    matches!(finding.state, State::Compared(_, Comparison::Mismatch(_)))
}
