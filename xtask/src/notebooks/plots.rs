//! The notebook's pictures of experiments and benches, drawn from committed results.

mod bench;
mod chart;
mod churn;
mod leak;
mod sleep;

use std::collections::BTreeMap;

use self::chart::DrawError;
use super::{benchmarks::Figure, committed::Record};
use crate::{
    failure::{Context as _, Result},
    workspace::Source,
};

/// The folder of the pictures.
pub const FOLDER: &str = "docs/src/plots";

/// Draws an experiment if it has the variants that the picture needs.
type Draw = fn(&Record) -> Option<Result<String, DrawError>>;

/// The picture of an experiment.
struct Picture {
    binary: &'static str,
    name: &'static str,
    /// The alternative text.
    says: &'static str,
    draw: Draw,
}

const PICTURES: [Picture; 3] = [
    Picture {
        binary: "03_sleep_duration",
        name: "failure-against-sleep.svg",
        says: "Share of trials that failed, by the length of the wait, in each of four places",
        draw: sleep::draw,
    },
    Picture {
        binary: "26_relogin_churn",
        name: "growth-over-cycles.svg",
        says: "Open descriptors and memory of the process, over logins and logouts",
        draw: churn::draw,
    },
    Picture {
        binary: "31_leak_on_logout",
        name: "cost-of-a-leaked-logout.svg",
        says: "Descriptors, threads, memory and heap that each logout leaves behind",
        draw: leak::draw,
    },
];

/// The picture of an experiment's results, as Markdown.
pub fn shown(source: &Source, record: &Record) -> Option<String> {
    let picture = PICTURES.iter().find(|picture| picture.binary == source.binary)?;
    let drawn = (picture.draw)(record).is_some();
    drawn.then(|| format!("![{}](plots/{})", picture.says, picture.name))
}

/// Draws all pictures of these results and figures: the name of the file, and the SVG.
pub fn all(records: &BTreeMap<&str, &Record>, figures: &[Figure]) -> Result<Vec<(String, String)>> {
    let of_experiments = PICTURES.iter().filter_map(|picture| {
        let svg = (picture.draw)(records.get(picture.binary)?)?;
        Some((picture.name.to_owned(), svg))
    });
    let mut pictures = Vec::new();
    for (name, svg) in of_experiments.chain(bench::draw(figures)) {
        let svg = svg.context(|| format!("cannot draw {name}"))?;
        pictures.push((name, svg));
    }
    Ok(pictures)
}
