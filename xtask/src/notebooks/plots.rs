//! The notebook's pictures, drawn from what is committed: of experiments, and of benches.

mod bench;
mod chart;
mod churn;
mod leak;
mod sleep;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use thiserror::Error;

use self::chart::DrawError;
use super::{bench::Figure, committed::Record};
use crate::workspace::{Source, Workspace};

/// A picture, as an SVG file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// The file's name.
    pub name: String,
    /// What is in it.
    pub svg: String,
}

/// Why there is no picture.
#[derive(Debug, Error)]
#[error("cannot draw {name}: {error}")]
pub struct PlotError {
    name: String,
    error: DrawError,
}

/// Draws an experiment, if its variants are those that the picture is about.
type Draw = fn(&Record) -> Option<Result<String, DrawError>>;

/// The picture of an experiment.
struct Picture {
    binary: &'static str,
    name: &'static str,
    /// For those who cannot see it.
    says: &'static str,
    draw: Draw,
}

const PICTURES: [Picture; 3] = [
    Picture {
        binary: "03_sleep_duration",
        name: "failure-against-sleep.svg",
        says: "How many trials failed, over how long they waited, in each of four places",
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

/// The picture that belongs to results, as Markdown.
pub fn shown(source: &Source, record: &Record) -> Option<String> {
    let picture = PICTURES.iter().find(|picture| picture.binary == source.binary)?;
    let drawn = (picture.draw)(record).is_some();
    drawn.then(|| format!("![{}](plots/{})", picture.says, picture.name))
}

/// Where pictures are.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.docs().join("src/plots")
}

/// All pictures that can be drawn from these results and figures.
pub fn all(records: &BTreeMap<String, Record>, figures: &[Figure]) -> Result<Vec<Plot>, PlotError> {
    let mut drawn = Vec::new();
    for Picture { binary, name, draw, .. } in PICTURES {
        if let Some(svg) = records.get(binary).and_then(draw) {
            drawn.push((name.to_owned(), svg));
        }
    }
    drawn.extend(bench::draw(figures));
    let plot = |(name, svg): (String, Result<String, DrawError>)| match svg {
        Ok(svg) => Ok(Plot { name, svg }),
        Err(error) => Err(PlotError { name, error }),
    };
    drawn.into_iter().map(plot).collect()
}

/// What is wrong with a folder of pictures: of which file, and what.
pub fn wrong(folder: &Path, files: &[String], plots: &[Plot]) -> Vec<(PathBuf, &'static str)> {
    let mut wrong = Vec::new();
    for plot in plots {
        let path = folder.join(&plot.name);
        match std::fs::read_to_string(&path) {
            Ok(svg) if svg == plot.svg => {}
            Ok(_) => wrong.push((path, "it is not what the committed results give")),
            Err(_) => wrong.push((path, "there is no such picture")),
        }
    }
    for file in files.iter().filter(|file| plots.iter().all(|plot| plot.name != **file)) {
        wrong.push((folder.join(file), "nothing in the committed results gives this picture"));
    }
    wrong
}
