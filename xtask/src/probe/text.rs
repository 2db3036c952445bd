//! The text form of a probe's report.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use lab::{
    Outcome,
    probe::{Arm, Comparison, FailureKind, Report},
    statistics::wilson,
};

use crate::{
    figures::{self, plural},
    output::Paper,
};

/// How many kinds of failure are shown. JSON has them all.
const KINDS: usize = 10;

/// What the kit says of blocking work that it could not end.
const BLOCKED: &str = "blocks its thread, and nothing can interrupt it";

/// What each stack of gdb's begins with.
const FRAME: &str = "\n#0 ";

/// What stands in the place of the stacks if gdb was stopped before it had them.
const TOO_LONG: &str = "gdb took longer than";

/// What gdb shows in the place of a function's name that it does not have.
const NO_NAME: &str = " in ?? ()";

/// How many threads of a trial that hangs are shown.
const THREADS: usize = 12;

pub fn render(report: &Report, paper: Paper) -> String {
    let mut text = String::new();
    let names: &[&str] = if report.commands.len() > 1 { &["A: ", "B: "] } else { &[""] };
    for (arm, name) in report.commands.iter().zip(names) {
        let _ = writeln!(text, "{name}{}\n", arm.command);
        text += &command(arm, report.until_failure, paper);
        text.push('\n');
    }
    if let (Some(comparison), [one, other]) = (&report.comparison, &report.commands[..]) {
        text += &paper.sentence(&comparison_sentence(comparison, one, other));
        text.push('\n');
    }
    let trials: u32 = report.commands.iter().map(|arm| arm.trials).sum();
    let interrupted = if report.interrupted { "Interrupted. " } else { "" };
    let load = match report.load {
        0 => String::new(),
        threads => format!(", with {}", plural(threads as usize, "CPU-load thread")),
    };
    let provoked = match &*report.provoked {
        "" => String::new(),
        options => format!(", with {options}"),
    };
    text + &paper.sentence(&format!(
        "{interrupted}{} in {}, {} at a time, at most {} each{load}{provoked}; seed {}",
        plural(trials as usize, "trial"),
        figures::seconds(report.seconds),
        report.jobs,
        figures::seconds(report.timeout_seconds),
        report.seed
    ))
}

fn command(arm: &Arm, until_failure: bool, paper: Paper) -> String {
    if arm.trials == 0 {
        return "No trial ended.\n".to_owned();
    }
    let mut text = outcomes(arm, paper) + "\n" + &paper.sentence(&failure_rate(arm, until_failure));
    for kind in arm.kinds.iter().take(KINDS) {
        text += &failure_kind(kind, &arm.kept);
    }
    match arm.kinds.len().saturating_sub(KINDS) {
        0 => {}
        1 => text.push_str("\n1 more kind of failure: see --format json\n"),
        more => {
            let _ = writeln!(text, "\n{more} more kinds of failure: see --format json");
        }
    }
    text.push('\n');
    if let Some(spread) = arm.clean_wall_micros {
        let time = |micros: u64| format!("{:.1?}", Duration::from_micros(micros));
        let [least, median, most] =
            [spread.min, spread.median, spread.max].map(|it| time(it.unsigned_abs()));
        let slowest =
            arm.slowest.iter().map(|it| format!("trial {} {}", it.trial, time(it.micros)));
        text += &paper.sentence(&format!(
            "The clean trials took {least} · {median} · {most} (least, median, most). Slowest: {}.",
            slowest.collect::<Vec<_>>().join(", ")
        ));
    }
    for left in &arm.left {
        text += &paper.sentence(&format!(
            "{} left {} behind.",
            plural(left.trials as usize, "trial"),
            left.what
        ));
    }
    if arm.ended_before_signal > 0 {
        text += &paper.sentence(&format!(
            "{} ended before the first signal was due, and got none.",
            plural(arm.ended_before_signal as usize, "trial"),
        ));
    }
    if arm.stderr_truncated > 0 {
        let whose = match arm.stderr_truncated {
            1 => "1 trial's".to_owned(),
            trials => format!("{trials} trials'"),
        };
        text += &paper.sentence(&format!(
            "{whose} stderr was truncated; of the dropped part, only the panics were seen."
        ));
    }
    let _ = writeln!(
        text,
        "Output of failed trials and of the slowest clean ones: {}",
        arm.kept.display()
    );
    if let Some(error) = &arm.keep_error {
        let _ = writeln!(text, "Some output was not saved: {error}");
    }
    text
}

fn outcomes(arm: &Arm, paper: Paper) -> String {
    let rows = Outcome::ALL.into_iter().filter_map(|outcome| {
        let count = arm.outcomes.count(outcome);
        let (low, high) = wilson(count, arm.trials);
        let share = format!("{count}/{}", arm.trials);
        (count > 0 || outcome == Outcome::Clean)
            .then(|| vec![outcome.to_string(), share, figures::percent([low, high])])
    });
    paper.table(&["outcome", "n/N", "95 %"], rows.collect(), &[1, 2])
}

/// The failure rate, and what the trials do not show about it.
fn failure_rate(arm: &Arm, until_failure: bool) -> String {
    let Arm { trials, failed, .. } = arm;
    match arm.failure_rate_upper_bound {
        Some(bound) => format!(
            "None of {} failed. This does not prove that it never fails: the true failure rate could \
             still be as high as {} (95 % confidence).",
            plural(*trials as usize, "trial"),
            figures::rate(bound)
        ),
        None if until_failure => format!(
            "{failed} of {trials} failed, which ended the probe. A run that stops at the first failure \
             gives no rate; use --trials N."
        ),
        None => format!(
            "{failed} of {trials} failed: {}, and {} with 95 % confidence.",
            figures::rate(f64::from(*failed) / f64::from(*trials)),
            figures::percent(arm.interval)
        ),
    }
}

pub(super) fn failure_kind(kind: &FailureKind, folder: &Path) -> String {
    let FailureKind { end, trials, first, threads, kept } = kind;
    let mut text = format!("\n{trials} × {end}\n");
    for panic in &end.panics {
        let _ = writeln!(text, "    panics at {}: {}", panic.site, panic.message);
    }
    match &end.stderr_line {
        Some(line) => {
            let _ = writeln!(text, "    stderr: {line}");
        }
        None if end.panics.is_empty() => text.push_str("    no stderr\n"),
        None => {}
    }
    let stderr = |kept| folder.join(format!("trial-{kept:04}/stderr"));
    let is_blocked = |kept| fs::read_to_string(stderr(kept)).is_ok_and(|it| it.contains(BLOCKED));
    // The process has ended by itself, so its threads are gone.
    if threads.is_empty() && kept.first().copied().is_some_and(is_blocked) {
        text.push_str("    to see where its threads are: --timeout, shorter than its own limit\n");
    }
    for thread in threads.iter().take(THREADS) {
        let _ = writeln!(text, "    {thread}");
    }
    if threads.len() > THREADS {
        let _ = writeln!(text, "    and {} more threads", threads.len() - THREADS);
    }
    if let (false, Some(kept)) = (threads.is_empty(), kept.first()) {
        let _ = writeln!(text, "    all of them: trial-{kept:04}/threads");
        let path = folder.join(format!("trial-{kept:04}/threads"));
        let stacks = fs::read_to_string(path).unwrap_or_else(|_| FRAME.to_owned());
        if stacks.contains(TOO_LONG) {
            text.push_str(
                "    functions are missing: gdb took too long, as it does on a busy machine\n",
            );
        } else if !stacks.contains(FRAME) {
            text.push_str("    no functions: gdb is not installed or may not attach\n");
        } else if threads.iter().all(|it| it.called_by.is_none()) && stacks.contains(NO_NAME) {
            text.push_str(
                "    no functions: no symbols of a Rust program are there (it was stripped, or \
                 replaced since it began, or is none)\n",
            );
        }
    }
    let _ = writeln!(text, "    rerun: {}", first.rerun);
    text
}

fn comparison_sentence(comparison: &Comparison, one: &Arm, other: &Arm) -> String {
    let Comparison { difference, interval: [low, high], p, differ } = comparison;
    let points = |rate: f64| format!("{:+.1}", rate * 100.0);
    let p = if *p < 0.0001 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") };
    let details = format!(
        "A failed in {} of {}, B in {} of {}. (Fisher's exact test, two-sided: {p}; A minus B: {} \
         percentage points, 95 %: {} to {})",
        one.failed,
        one.trials,
        other.failed,
        other.trials,
        points(*difference),
        points(*low),
        points(*high)
    );
    match (*differ, *difference > 0.0) {
        (true, true) => format!("The rates differ: A fails more often than B. {details}"),
        (true, false) => format!("The rates differ: B fails more often than A. {details}"),
        (false, _) => {
            format!(
                "No significant difference. This does not show that the rates are equal. {details}"
            )
        }
    }
}
