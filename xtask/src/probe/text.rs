//! What a probe found out, for a person.

use std::{fmt::Write as _, time::Duration};

use lab::{Outcome, statistics::wilson};

use super::report::{Arm, Comparison, FailedWay, Report};
use crate::{
    figures::{self, plural},
    table::{align_right, lines, table, wrapped},
};

/// How many ways to fail are shown; JSON has them all.
const WAYS: usize = 10;

/// What commands are called when there are two.
const NAMES: [&str; 2] = ["A", "B"];

/// Renders a report, for a place that is so many columns wide.
pub fn render(report: &Report, width: u16, ruled: bool) -> String {
    let mut text = String::new();
    let several = report.commands.len() > 1;
    for (arm, name) in report.commands.iter().zip(NAMES) {
        let name = if several { format!("{name}: ") } else { String::new() };
        text += &format!("{name}{}\n\n", arm.command);
        text += &of_arm(arm, report.until_failure, width, ruled);
        text.push('\n');
    }
    if let (Some(comparison), [one, other]) = (&report.comparison, &report.commands[..]) {
        text += &wrapped(&compared(comparison, one, other), width);
        text.push('\n');
    }
    let cut = if report.interrupted { "Interrupted. " } else { "" };
    let trials: u32 = report.commands.iter().map(|arm| arm.trials).sum();
    let _ = writeln!(
        text,
        "{cut}{} in {}, {} at a time, {} each at the most; seed {}",
        plural(trials as usize, "trial"),
        figures::seconds(report.seconds),
        report.jobs,
        figures::seconds(report.timeout_seconds),
        report.seed
    );
    text
}

fn of_arm(arm: &Arm, until_failure: bool, width: u16, ruled: bool) -> String {
    if arm.trials == 0 {
        return "No trial ended.\n".to_owned();
    }
    let mut text = outcomes(arm, width, ruled) + "\n\n";
    text += &wrapped(&failed(arm, until_failure), width);
    for way in arm.ways.iter().take(WAYS) {
        text += &of_way(way);
    }
    if arm.ways.len() > WAYS {
        let _ = writeln!(text, "\nand {} more ways, in --format json", arm.ways.len() - WAYS);
    }
    text.push('\n');
    if let Some(spread) = arm.clean_wall_micros {
        let slowest: Vec<_> = arm
            .slowest
            .iter()
            .map(|slow| format!("trial {} {:.1?}", slow.trial, Duration::from_micros(slow.micros)))
            .collect();
        let time = |micros: i64| format!("{:.1?}", Duration::from_micros(micros.unsigned_abs()));
        let sentence = format!(
            "The clean ones took {} · {} · {} (least, median, most). Slowest: {}.",
            time(spread.min),
            time(spread.median),
            time(spread.max),
            slowest.join(", ")
        );
        text += &wrapped(&sentence, width);
    }
    if arm.not_read_in_full > 0 {
        let sentence = format!(
            "{} printed so much to standard error that the middle of it was not kept: a panic \
             there was not seen.",
            plural(arm.not_read_in_full as usize, "trial")
        );
        text += &wrapped(&sentence, width);
    }
    let _ = writeln!(text, "What the odd and the slowest printed: {}", arm.kept.display());
    text
}

fn outcomes(arm: &Arm, width: u16, ruled: bool) -> String {
    let mut table = table(width, ruled);
    table.set_header(["outcome", "n/N", "95 %"]);
    for outcome in Outcome::ALL {
        let count = arm.outcomes.count(outcome);
        if count > 0 || outcome == Outcome::Clean {
            let (low, high) = wilson(count, arm.trials);
            let share = format!("{count}/{}", arm.trials);
            table.add_row([outcome.to_string(), share, figures::percent([low, high])]);
        }
    }
    align_right(&mut table, 1);
    align_right(&mut table, 2);
    lines(&table)
}

/// What the count of failures says, and what it does not.
fn failed(arm: &Arm, until_failure: bool) -> String {
    let Arm { trials, failed, .. } = arm;
    match arm.room_left_by_none {
        Some(room) => format!(
            "None of {} failed. That is not never: a command that fails in up to {} of its runs \
             would get through as many without a failure at least once in twenty times.",
            plural(*trials as usize, "trial"),
            figures::rate(room)
        ),
        None if until_failure => format!(
            "{failed} of {trials} failed, and that was the end. Trials that go on until one fails \
             tell no rate: for that, run a number that is fixed beforehand."
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
    let share = |arm: &Arm| format!("{} of {}", arm.failed, arm.trials);
    let counts = format!("A failed in {}, B in {}", share(one), share(other));
    let points = |rate: f64| format!("{:+.1}", rate * 100.0);
    let test = format!(
        "Fisher's exact test, two-sided: p = {}; A less B: {} percentage points, 95 %: {} to {}",
        probability(*p),
        points(*difference),
        points(*low),
        points(*high)
    );
    if *differ {
        let (worse, better) = if *difference > 0.0 { ("A", "B") } else { ("B", "A") };
        format!("The rates differ: {worse} fails more often than {better}. {counts}. ({test})")
    } else {
        format!(
            "The rates were not shown to differ, which is not to say that they are the same. \
             {counts}. ({test})"
        )
    }
}

fn probability(p: f64) -> String {
    if p < 0.0001 { "less than 0.0001".to_owned() } else { format!("{p:.4}") }
}
