//! `--merge`: the shards of a run, put together as if it had been one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use lab::results::ExperimentResult;
use thiserror::Error;

use super::{
    Options, finish,
    options::Format,
    report::{Finding, Report},
    snapshots::Snapshots,
};
use crate::{
    failure::Failure,
    results::{Meta, Results},
    workspace::{Source, Workspace},
};

/// Why shards do not make a whole.
#[derive(Debug, Error)]
enum MergeError {
    #[error("nothing has results of {0}: is a shard missing?")]
    Missing(String),
    #[error("{0} is in {1} and in {2}: is that one shard twice?")]
    Twice(String, PathBuf, PathBuf),
    #[error("{0} in {1} is not among the experiments in experiments/src/bin")]
    Unknown(String, PathBuf),
    #[error("{0} in {1} was interrupted: run that shard again")]
    Interrupted(String, PathBuf),
    #[error("{0} and {1} were run with other versions of {2}: they are no shards of one run")]
    Versions(PathBuf, PathBuf, String),
}

/// Reads the shards, and goes on as a run would.
pub fn run(
    options: &Options,
    workspace: &Workspace,
    sources: &[Source],
    snapshots: &Snapshots,
    path: &Path,
) -> Result<ExitCode, Failure> {
    let shards = options
        .merge
        .iter()
        .map(|path| Ok((path.clone(), Results::read(path)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let (meta, mut results) = join(&shards, sources)?;
    let mut skipped: BTreeMap<_, _> = shards
        .iter()
        .flat_map(|(_, shard)| &shard.skipped)
        .map(|it| (format!("{} {}", it.id, it.name), it.clone()))
        .collect();
    let mut findings = Vec::new();
    for source in sources {
        let finding = match results.remove(&source.binary) {
            Some(result) => Finding::compared(source, result, snapshots)?,
            None => match skipped.remove(&source.title()) {
                Some(skipped) => Finding::skipped(source, skipped),
                None => return Err(MergeError::Missing(source.title()).into()),
            },
        };
        if options.format == Format::Json {
            finding.print_json()?;
        }
        findings.push(finding);
    }
    let report = Report {
        planned: findings.len(),
        findings,
        orphans: snapshots.orphans(sources)?,
        interrupted: false,
        seed: None,
        results: path.to_owned(),
    };
    finish(&report, meta, options, workspace)
}

/// The results of all shards by the name of the experiment, and the circumstances of the first.
fn join(
    shards: &[(PathBuf, Results)],
    sources: &[Source],
) -> Result<(Meta, BTreeMap<String, ExperimentResult>), Failure> {
    let (first_path, Results { meta, .. }) =
        shards.first().ok_or_else(|| Failure::Usage("there is nothing to merge".to_owned()))?;
    let mut joined = BTreeMap::<String, (ExperimentResult, &PathBuf)>::new();
    for (path, shard) in shards {
        let differs = |name: &&String| meta.versions.get(*name) != shard.meta.versions.get(*name);
        let mut names = meta.versions.keys().chain(shard.meta.versions.keys());
        if let Some(name) = names.find(differs) {
            let paths = (first_path.clone(), path.clone());
            return Err(MergeError::Versions(paths.0, paths.1, name.clone()).into());
        }
        for result in &shard.experiments {
            let title = format!("{} {}", result.id, result.name);
            let source = sources.iter().find(|source| source.title() == title);
            let source = source.ok_or_else(|| MergeError::Unknown(title.clone(), path.clone()))?;
            if result.interrupted {
                return Err(MergeError::Interrupted(title, path.clone()).into());
            }
            if let Some((_, other)) = joined.insert(source.binary.clone(), (result.clone(), path)) {
                return Err(MergeError::Twice(title, other.clone(), path.clone()).into());
            }
        }
    }
    let results = joined.into_iter().map(|(name, (result, _))| (name, result)).collect();
    Ok((meta.clone(), results))
}
