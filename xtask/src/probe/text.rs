//! The report of a probe, for a person.

use std::{fmt::Write as _, time::Duration};

use lab::{
    Outcome,
    probe::{Arm, Comparison, FailedWay, Report},
    statistics::wilson,
};

use crate::{
    figures::{self, plural},
    output::Paper,
};

/// How many ways to fail are shown. JSON has them all.
const WAYS: usize = 10;

pub fn render(report: &Report, paper: Paper) -> String {
    let mut text = String::new();
    let names: &[&str] = if report.commands.len() > 1 { &["A: ", "B: "] } else { &[""] };
    for (arm, name) in report.commands.iter().zip(names) {
        let _ = writeln!(text, "{name}{}\n", arm.command);
        text += &of_command(arm, report.until_failure, paper);
        text.push('\n');
    }
    if let (Some(comparison), [one, other]) = (&report.comparison, &report.commands[..]) {
        text += &paper.sentence(&compared(comparison, one, other));
        text.push('\n');
    }
    let trials: u32 = report.commands.iter().map(|arm| arm.trials).sum();
    let interrupted = if report.interrupted { "Interrupted. " } else { "" };
    let load = match report.load {
        0 => String::new(),
        threads => format!(", {} busy beside them", plural(threads as usize, "thread")),
    };
    text + &paper.sentence(&format!(
        "{interrupted}{} in {}, {} at a time, at most {} each{load}; seed {}",
        plural(trials as usize, "trial"),
        figures::seconds(report.seconds),
        report.jobs,
        figures::seconds(report.timeout_seconds),
        report.seed
    ))
}

fn of_command(arm: &Arm, until_failure: bool, paper: Paper) -> String {
    if arm.trials == 0 {
        return "No trial ended.\n".to_owned();
    }
    let mut text = outcomes(arm, paper) + "\n" + &paper.sentence(&failed(arm, until_failure));
    for way in arm.ways.iter().take(WAYS) {
        text += &of_way(way);
    }
    if arm.ways.len() > WAYS {
        let _ = writeln!(text, "\nand {} more ways, in --format json", arm.ways.len() - WAYS);
    }
    text.push('\n');
    if let Some(spread) = arm.clean_wall_micros {
        let time = |micros: u64| format!("{:.1?}", Duration::from_micros(micros));
        let [least, median, most] =
            [spread.min, spread.median, spread.max].map(|it| time(it.unsigned_abs()));
        let slowest =
            arm.slowest.iter().map(|it| format!("trial {} {}", it.trial, time(it.micros)));
        text += &paper.sentence(&format!(
            "The clean ones took {least} · {median} · {most} (least, median, most). Slowest: {}.",
            slowest.collect::<Vec<_>>().join(", ")
        ));
    }
    if arm.not_read_in_full > 0 {
        text += &paper.sentence(&format!(
            "{} printed so much to standard error that its middle was dropped: a panic there was not \
             seen.",
            plural(arm.not_read_in_full as usize, "trial")
        ));
    }
    let _ = writeln!(text, "Output of failed trials and of the slowest: {}", arm.kept.display());
    if let Some(error) = &arm.not_kept {
        let _ = writeln!(text, "Not all of it could be kept: {error}");
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

/// What the count of failures says, and what it does not.
fn failed(arm: &Arm, until_failure: bool) -> String {
    let Arm { trials, failed, .. } = arm;
    match arm.room_left_by_none {
        Some(room) => format!(
            "None of {} failed. That is not never: the true rate of failure could still be as high as \
             {} (95 % confidence).",
            plural(*trials as usize, "trial"),
            figures::rate(room)
        ),
        None if until_failure => format!(
            "{failed} of {trials} failed, which ended the probe. Trials that stop at a failure give no \
             rate: for a rate, run a number of trials that is fixed beforehand."
        ),
        None => format!(
            "{failed} of {trials} failed: {}, and {} with 95 % confidence.",
            figures::rate(f64::from(*failed) / f64::from(*trials)),
            figures::percent(arm.interval)
        ),
    }
}

fn of_way(FailedWay { way, trials, first, .. }: &FailedWay) -> String {
    let mut text = format!("\n{trials} × {way}\n");
    for panic in &way.panics {
        let _ = writeln!(text, "    panics at {}: {}", panic.site, panic.message);
    }
    match &way.says {
        Some(says) => {
            let _ = writeln!(text, "    says: {says}");
        }
        None if way.panics.is_empty() => text.push_str("    says nothing on standard error\n"),
        None => {}
    }
    let _ = writeln!(text, "    again: {}", first.rerun);
    text
}

fn compared(comparison: &Comparison, one: &Arm, other: &Arm) -> String {
    let Comparison { difference, interval: [low, high], p, differ } = comparison;
    let points = |rate: f64| format!("{:+.1}", rate * 100.0);
    let p = if *p < 0.0001 { "less than 0.0001".to_owned() } else { format!("{p:.4}") };
    let details = format!(
        "A failed in {} of {}, B in {} of {}. (Fisher's exact test, two-sided: p = {p}; A minus B: {} \
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
            format!("The rates were not shown to differ. They may differ all the same. {details}")
        }
    }
}
