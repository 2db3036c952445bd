//! The picture of experiment 03: the share of failed trials, by the length of the wait.

use std::{collections::BTreeSet, time::Duration};

use lab::{Outcome, results::VariantResult, statistics};
use plotters::style::RGBColor;

use super::chart::{self, Axis, DrawError, OTHERS, OURS, Point, Series};
use crate::notebooks::committed::Record;

/// The places where a trial waits: their names in the variants, and in words.
const PLACES: [(&str, &str); 4] = [
    ("drop-then-wait", "drop, wait, shut down"),
    ("down-then-wait", "shut down, wait, drop"),
    ("init-task", "a start-up task has a clone: wait, drop"),
    ("ui-frame", "the user interface has one: drop, wait, shut down"),
];

/// The compared arms: their names in the variants, in words, their colours, and their offsets from the
/// mark of a wait.
const ARMS: [(&str, &str, RGBColor, f64); 4] = [
    ("old", "deadpool 0.12", OTHERS[0], -0.24),
    ("current", "deadpool 0.13", OTHERS[1], -0.08),
    ("old/kit", "0.12 and the kit", OURS, 0.08),
    ("current/kit", "0.13 and the kit", OTHERS[3], 0.24),
];

/// The picture, if there are such variants.
pub fn draw(record: &Record) -> Option<Result<String, DrawError>> {
    let trials: Vec<_> = record.experiment.variants.iter().filter_map(Waited::of).collect();
    let waits: BTreeSet<_> = trials.iter().map(|it| it.wait).collect();
    let waits: Vec<_> = waits.into_iter().collect();
    (!trials.is_empty()).then(|| picture(&trials, &waits))
}

/// A variant: the trials of one arm that waited in one place for one time.
struct Waited<'a> {
    arm: &'a str,
    place: &'a str,
    wait: Duration,
    failed: f64,
    interval: [f64; 2],
}

impl<'a> Waited<'a> {
    /// From a variant like `old/kit/drop-then-wait/10ms`.
    fn of(variant: &'a VariantResult) -> Option<Self> {
        let (before, wait) = variant.name.rsplit_once('/')?;
        let (arm, place) = before.rsplit_once('/')?;
        let known = ARMS.iter().any(|it| it.0 == arm) && PLACES.iter().any(|it| it.0 == place);
        let wait = humantime::parse_duration(wait).ok().filter(|_| known && variant.trials > 0)?;
        let failed = variant.trials - variant.outcomes.count(Outcome::Clean);
        let (low, high) = statistics::wilson(failed, variant.trials);
        Some(Self {
            arm,
            place,
            wait,
            failed: f64::from(failed) / f64::from(variant.trials) * 100.0,
            interval: [low * 100.0, high * 100.0],
        })
    }
}

/// `0`, `10 ms`, `1 s`.
fn in_words(wait: Duration) -> String {
    match wait.as_millis() {
        0 => "0".to_owned(),
        milliseconds @ ..1_000 => format!("{milliseconds} ms"),
        _ => format!("{} s", wait.as_secs_f64()),
    }
}

fn picture(trials: &[Waited<'_>], waits: &[Duration]) -> Result<String, DrawError> {
    let marks = (0..).zip(waits);
    let x = Axis {
        from: -0.5,
        to: waits.len() as f64 - 0.5,
        marks: marks.map(|(at, wait): (u32, _)| (f64::from(at), in_words(*wait))).collect(),
        describes: "wait",
    };
    let y = Axis { from: -4.0, ..Axis::from_zero(100.0, "trials that failed, %") };
    chart::picture("Failure against sleep: 95 % intervals (Wilson)", 600, |area| {
        let (charts, names) = area.split_vertically(530);
        for (panel, (place, title)) in charts.split_evenly((2, 2)).iter().zip(PLACES) {
            let series = ARMS.map(|(arm, name, color, beside)| {
                let here = trials.iter().filter(|it| it.place == place && it.arm == arm);
                let point = |it: &Waited<'_>| {
                    let at = waits.iter().position(|wait| *wait == it.wait).unwrap_or_default();
                    Point { x: at as f64 + beside, y: it.failed, interval: it.interval }
                };
                Series {
                    name: name.to_owned(),
                    color,
                    points: here.map(point).collect(),
                    joined: false,
                }
            });
            chart::panel(panel, title, [&x, &y], &series)?;
        }
        chart::names(&names, &ARMS.map(|(_, name, color, _)| (name, color)))
    })
}
