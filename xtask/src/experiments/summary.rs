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
    if report.planned == 0 {
        return "There was no experiment to run.\n".to_owned();
    }
    let mut text = String::new();
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

fn next(report: &Report) -> String {
    let only_differences = report.findings.iter().any(|it| is_new(it) || is_mismatch(it));
    if report.interrupted {
        "Next: run the rest with `cargo xtask experiments`, or some of them with `--only`."
            .to_owned()
    } else if only_differences {
        "Next: where the difference is meant, `cargo xtask experiments --accept`; where it is not, \
         \nrun the experiment alone: `cargo run -p experiments --bin NAME`."
            .to_owned()
    } else if report.findings.iter().any(is_trouble) {
        "Next: run what has no result alone: `cargo run -p experiments --bin NAME`.".to_owned()
    } else {
        "Next: `cargo xtask notebooks` writes the results into docs/, where each experiment has a \
         page\nthat says what they mean."
            .to_owned()
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
