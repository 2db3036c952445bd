//! The results that the notebook was written from, as they are committed: one file per experiment.

use std::{collections::BTreeMap, fs, path::PathBuf};

use lab::results::{ExperimentResult, TrialExample};
use serde::{Deserialize, Serialize};

use crate::{
    results::{Meta, ResultsError},
    workspace::{self, Source, Workspace, WorkspaceError},
};

/// What one experiment found, and under which circumstances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The circumstances.
    pub meta: Meta,
    /// What it found.
    pub experiment: ExperimentResult,
}

impl Record {
    /// Of a result, without what says more about the machine than about the experiment.
    pub fn of(meta: &Meta, result: &ExperimentResult) -> Self {
        let mut experiment = result.clone();
        experiment.seconds = rounded(experiment.seconds);
        for variant in &mut experiment.variants {
            variant.interval = variant.interval.map(rounded);
            variant.examples.iter_mut().for_each(forget_the_machine);
        }
        Self { meta: meta.clone(), experiment }
    }
}

/// A number with four decimals: more says nothing, and what is read again is then what was written.
fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// Takes the paths of the machine out of an example, and what it wrote to standard error, which is
/// full of them.
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
        // In the midst of a word it is no absolute path: `tokio-1.54.0/src/lib.rs`, `a/b`.
        let absolute = !before.ends_with(is_path) && path.len() > 1;
        match path.trim_end_matches('/').rsplit_once('/') {
            Some((_, last)) if absolute => result.extend(["…/", last]),
            _ => result.push_str(path),
        }
        rest = after;
    }
    result + rest
}

/// The folder of committed results.
pub struct Committed(PathBuf);

impl Committed {
    /// Of a workspace.
    pub fn of(workspace: &Workspace) -> Self {
        Self(workspace.docs().join("results"))
    }

    /// Where the results of an experiment are.
    pub fn path(&self, source: &Source) -> PathBuf {
        self.0.join(format!("{}.json", source.binary))
    }

    /// The committed results of these experiments, by the name of the binary.
    pub fn read(&self, sources: &[Source]) -> Result<BTreeMap<String, Record>, ResultsError> {
        let mut records = BTreeMap::new();
        for source in sources {
            if self.path(source).exists() {
                records.insert(source.binary.clone(), self.read_one(source)?);
            }
        }
        Ok(records)
    }

    fn read_one(&self, source: &Source) -> Result<Record, ResultsError> {
        let path = self.path(source);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) => return Err(ResultsError::Unreadable { path, error }),
        };
        serde_json::from_slice(&text)
            .map_err(|error| ResultsError::CommittedNonsense { path, error })
    }

    /// The names of the experiments of which there are results.
    pub fn names(&self) -> Result<Vec<String>, WorkspaceError> {
        let files = workspace::names(&self.0)?;
        let names = files.iter().filter_map(|file| file.strip_suffix(".json"));
        Ok(names.map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::without_paths;

    #[test]
    fn paths_of_the_machine_are_forgotten_and_sites_are_kept() {
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
