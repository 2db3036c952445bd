//! `--merge`: merges the results of all shards into one run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use lab::results::ExperimentResult;

use super::{report::Finding, snapshots::Snapshots};
use crate::{
    failure::{Failure, Result},
    flags::{self, Format},
    results::{Meta, Results},
    workspace::Source,
};

/// The circumstances of the first shard and what any of them had done to it, and the results of all.
pub fn run(
    flags: &flags::Experiments,
    sources: &[Source],
    snapshots: &Snapshots,
) -> Result<(Meta, Vec<Finding>)> {
    let mut shards = Vec::new();
    for path in &flags.merge {
        shards.push((path, Results::read(path)?));
    }
    let Some((first, Results { meta, .. })) = shards.first() else {
        return Err(Failure::Usage("there is nothing to merge".to_owned()));
    };
    let mut all = meta.clone();
    for (path, shard) in &shards {
        let of = &shard.meta;
        same_versions((first, meta), (path, of))?;
        all.quick |= of.quick;
        all.chaos |= of.chaos;
        all.side_by_side |= of.side_by_side;
        all.trials = all.trials.or(of.trials);
    }
    let mut results = join(&shards, sources)?;
    let skipped = shards.iter().flat_map(|(_, shard)| &shard.skipped);
    let mut skipped: BTreeMap<_, _> =
        skipped.map(|it| (format!("{} {}", it.id, it.name), it.clone())).collect();
    let mut findings = Vec::new();
    for source in sources {
        let title = source.title();
        let finding = match (results.remove(&title), skipped.remove(&title)) {
            (Some(result), _) => Finding::compared(source, result, snapshots),
            (None, Some(skipped)) => Finding::skipped(source, skipped),
            (None, None) => {
                return failed(format!("no file has results of {title}: is a shard missing?"));
            }
        };
        if flags.format == Format::Json {
            finding.print_json()?;
        }
        findings.push(finding);
    }
    Ok((all, findings))
}

fn same_versions(one: (&PathBuf, &Meta), other: (&PathBuf, &Meta)) -> Result<()> {
    let (versions, others) = (&one.1.versions, &other.1.versions);
    let mut names = versions.keys().chain(others.keys());
    match names.find(|name| versions.get(*name) != others.get(*name)) {
        Some(name) => failed(format!(
            "{} and {} are not shards of one run: they have different versions of {name}",
            one.0.display(),
            other.0.display()
        )),
        None => Ok(()),
    }
}

/// The results of all shards, by the title of the experiment.
pub fn join(
    shards: &[(&PathBuf, Results)],
    sources: &[Source],
) -> Result<BTreeMap<String, ExperimentResult>> {
    let mut joined = BTreeMap::<String, (ExperimentResult, &Path)>::new();
    for (path, shard) in shards {
        for result in &shard.experiments {
            let (title, shown) = (format!("{} {}", result.id, result.name), path.display());
            if sources.iter().all(|source| source.title() != title) {
                return failed(format!(
                    "{title} in {shown} is not among the experiments in experiments/src/bin"
                ));
            }
            if result.interrupted {
                return failed(format!("{title} in {shown} was interrupted: run that shard again"));
            }
            if let Some((_, other)) = joined.insert(title.clone(), (result.clone(), path)) {
                let other = other.display();
                return failed(format!(
                    "{title} is in {other} and in {shown}: is that one shard twice?"
                ));
            }
        }
    }
    Ok(joined.into_iter().map(|(title, (result, _))| (title, result)).collect())
}

fn failed<T>(message: String) -> Result<T> {
    Err(Failure::Failed(message))
}
