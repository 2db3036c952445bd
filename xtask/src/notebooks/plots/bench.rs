//! The pictures of the benches: groups and latches with their peers, and teardowns with a sleep.

use std::collections::{BTreeMap, BTreeSet};

use super::chart::{self, Axis, DrawError, INK, OTHERS, OURS, Point, Series};
use crate::{
    figures,
    notebooks::benchmarks::{Figure, TEARDOWNS},
};

/// The width of the names, in pixels.
const NAMES: u32 = 200;

/// A median and its quartiles.
type Middle = (f64, [f64; 2]);

/// A picture's selection of a bench's figures.
struct View {
    bench: &'static str,
    sizes: &'static str,
    values: &'static str,
    value: fn(&Figure) -> Option<Middle>,
    /// What is drawn, in this order and in the same colors in all pictures; no more than can be told apart. The files
    /// of figures have more.
    subjects: [&'static str; 6],
}

const VIEWS: [View; 3] = [
    View {
        bench: "group",
        sizes: "tasks",
        values: "× floor",
        value: ratio,
        subjects: [
            "sundown",
            "floor",
            "tokio-util",
            "async-shutdown",
            "swansong",
            "tokio-graceful-shutdown",
        ],
    },
    View {
        bench: "latch",
        sizes: "waiters",
        values: "× floor",
        value: ratio,
        subjects: ["sundown", "floor", "cancellation-token", "notify", "event-listener", "watch"],
    },
    View {
        bench: "teardown",
        sizes: "connections",
        values: "ms until all is closed",
        value: |figure| {
            let [low, high] = figure.ns_quartiles?;
            Some((figure.ns? / 1e6, [low / 1e6, high / 1e6]))
        },
        subjects: [
            "sundown",
            "floor",
            "sundown-teardown",
            "drop",
            "drop-and-runtime",
            "drop-and-sleep",
        ],
    },
];

fn ratio(figure: &Figure) -> Option<Middle> {
    figure.ratio_to_floor.zip(figure.ratio_to_floor_quartiles)
}

/// Draws the pictures, each with the name of its file. A case with figures of one size only gets no picture.
pub fn draw(figures: &[Figure]) -> Vec<(String, Result<String, DrawError>)> {
    let mut drawn = Vec::new();
    for view in &VIEWS {
        let mut cases = BTreeMap::<_, Vec<_>>::new();
        for figure in figures.iter().filter(|figure| figure.bench == view.bench) {
            cases.entry((&figure.case, &figure.runtime)).or_default().push(figure);
        }
        for ((case, runtime), figures) in cases {
            let lines = lines(view, &figures);
            if !lines.is_empty() {
                let name = format!("{}-{case}-{runtime}.svg", view.bench);
                let title = title(view.bench, case, runtime);
                drawn.push((name, picture(view, &title, &lines)));
            }
        }
    }
    drawn
}

fn title(bench: &str, case: &str, runtime: &str) -> String {
    let what = match (bench, case) {
        ("group", "spawn") => "Spawning a task until it is registered",
        ("group", "stop") => "Stopping a task until it has ended",
        ("latch", "bare") => "A waiter polled by hand",
        ("latch", "tasks") => "A waiter in a task",
        ("teardown", "clean") => "Closing a pool: nothing left to write",
        ("teardown", "dirty") => "Closing a pool: 300 rows in the log",
        _ => return format!("{bench}, {case}, {runtime}: medians and quartiles"),
    };
    let on = match (bench, runtime) {
        ("group" | "latch", "current-thread") => ", one thread",
        ("group" | "latch", "multi-thread") => ", several threads",
        _ => "",
    };
    format!("{what}{on}: medians and quartiles")
}

/// Makes a line for each subject.
fn lines(view: &View, figures: &[&Figure]) -> Vec<Series> {
    let mut others = OTHERS.into_iter().cycle();
    let mut lines = Vec::new();
    for subject in view.subjects {
        let of = figures.iter().filter(|figure| figure.subject == subject);
        let mut points: Vec<_> = of
            .filter_map(|figure| {
                let (value, quartiles) = (view.value)(figure)?;
                let point = Point {
                    x: f64::from(figure.n).log10(),
                    y: value.log10(),
                    interval: quartiles.map(f64::log10),
                };
                let numbers = [point.x, point.y, point.interval[0], point.interval[1]];
                numbers.iter().all(|it| it.is_finite()).then_some(point)
            })
            .collect();
        points.sort_by(|one, other| one.x.total_cmp(&other.x));
        // Also for one without points, so that the next has its own.
        let color = match subject {
            "sundown" => OURS,
            "floor" => INK,
            _ => others.next().unwrap_or(INK),
        };
        if points.len() > 1 {
            lines.push(Series { name: named(view, subject), color, points, joined: true });
        }
    }
    lines
}

fn named(view: &View, subject: &str) -> String {
    let words = TEARDOWNS.iter().find(|it| view.bench == "teardown" && it.0 == subject);
    words.map_or(subject, |it| it.1).replace('`', "")
}

fn picture(view: &View, title: &str, lines: &[Series]) -> Result<String, DrawError> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let sizes: BTreeSet<_> = points().map(|point| (point.x * 1e6).round() as i64).collect();
    let marks = sizes.into_iter().map(|it| it as f64 / 1e6);
    let x = Axis {
        from: -0.1,
        to: points().fold(0.0_f64, |most, point| most.max(point.x)) + 0.1,
        marks: marks.map(|it| (it, figures::in_short(10f64.powf(it).round()))).collect(),
        describes: view.sizes,
    };
    let lowest = points().fold(f64::INFINITY, |least, point| least.min(point.interval[0]));
    let highest = points().fold(f64::NEG_INFINITY, |most, point| most.max(point.interval[1]));
    let y = Axis::logarithmic(10f64.powf(lowest), 10f64.powf(highest), view.values);
    chart::picture(title, 400, |area| {
        let (left, right) = area.split_horizontally(chart::WIDTH - NAMES);
        chart::panel(&left, "", [&x, &y], lines)?;
        chart::list(&right, lines)
    })
}
