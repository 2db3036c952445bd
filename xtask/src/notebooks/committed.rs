//! The committed results, from which the notebook is written: one file for each experiment.

use std::{collections::BTreeMap, fs};

use lab::results::{ExperimentResult, TrialExample};
use serde::{Deserialize, Serialize};

use crate::{
    results::{self, Meta},
    workspace::{Source, Workspace},
};

/// The result of one experiment, and the circumstances of its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub meta: Meta,
    pub experiment: ExperimentResult,
}

/// The committed results, or their errors, by the name of the binary.
pub type Records = BTreeMap<String, Result<Record, String>>;

pub fn read(workspace: &Workspace, sources: &[Source]) -> Records {
    let mut records = Records::new();
    for source in sources {
        if results::committed(workspace, source).exists() {
            records.insert(source.binary.clone(), read_one(workspace, source));
        }
    }
    records
}

fn read_one(workspace: &Workspace, source: &Source) -> Result<Record, String> {
    let wrong = |what: &str| {
        let run = super::contents::run(source);
        Err(format!("{what}: take the file from git again, or remove it and {run}"))
    };
    let text = match fs::read(results::committed(workspace, source)) {
        Ok(text) => text,
        Err(error) => return wrong(&error.to_string()),
    };
    let record: Record = match serde_json::from_slice(&text) {
        Ok(record) => record,
        Err(error) => return wrong(&format!("it is not a complete file of results ({error})")),
    };
    let title = format!("{} {}", record.experiment.id, record.experiment.name);
    if title != source.title() {
        return wrong(&format!("it holds the results of {title}"));
    }
    if record.experiment.interrupted {
        return wrong("the run was interrupted");
    }
    if let Err(error) = results::adds_up(&record.experiment) {
        return wrong(&error);
    }
    // Normalised like a written file, so that the two compare equal.
    Ok(Record::of(&record.meta, &record.experiment))
}

/// Finds the experiment of a file in the folder by the file's name.
pub fn source(file: &str) -> Option<Source> {
    Source::named(file.strip_suffix(".json")?)
}

impl Record {
    /// Removes from a result what depends on the machine only.
    pub fn of(meta: &Meta, result: &ExperimentResult) -> Self {
        let mut experiment = result.clone();
        experiment.seconds = results::rounded(experiment.seconds);
        for variant in &mut experiment.variants {
            variant.interval = variant.interval.map(results::rounded);
            variant.examples.iter_mut().for_each(forget_the_machine);
        }
        Self { meta: meta.clone(), experiment }
    }
}

/// Removes the paths of the machine from an example, and its standard error, which is full of them.
fn forget_the_machine(example: &mut TrialExample) {
    example.stderr.clear();
    let texts = example.panics.iter_mut().chain(&mut example.problems);
    for text in texts.chain([&mut example.ending, &mut example.rerun]) {
        *text = without_paths(text);
    }
}

/// Replaces each absolute path by its last part: `/tmp/x1/store.db` by `…/store.db`.
fn without_paths(text: &str) -> String {
    let is_path =
        |character: char| !character.is_whitespace() && !"\"'`()[]<>,;=".contains(character);
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        let (before, path) = rest.split_at(at);
        result.push_str(before);
        let (path, after) = path.split_at(path.find(|c| !is_path(c)).unwrap_or(path.len()));
        // A slash in the middle of a word: `tokio-1.54.0/src/lib.rs`, `a/b`.
        let absolute = !before.ends_with(is_path) && path.len() > 1;
        match path.trim_end_matches('/').rsplit_once('/') {
            Some((_, last)) if absolute => result.extend(["…/", last]),
            _ => result.push_str(path),
        }
        rest = after;
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::without_paths;

    #[test]
    fn paths_of_the_machine_are_removed_and_sites_are_kept() {
        for (text, expected) in [
            ("cannot open /tmp/x1/store.db: no", "cannot open …/store.db: no"),
            ("(/home/a/b)", "(…/b)"),
            ("path=/home/a/", "path=…/a"),
            ("tokio-1.54.0/src/lib.rs:1:2: gone", "tokio-1.54.0/src/lib.rs:1:2: gone"),
            ("10 / 2 and/or", "10 / 2 and/or"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(without_paths(text), expected);
        }
    }
}
