//! `cargo xtask notebooks`: writes the notebook from results, or checks that it agrees with them.

mod benchmarks;
mod block;
mod census;
mod check;
mod claims;
mod committed;
mod contents;
mod counts;
mod links;
mod listings;
mod markdown;
mod page;
mod plots;

use std::{fs, io, process::ExitCode};

use self::{
    committed::{Record, Records},
    contents::Notebook,
};
use crate::{
    failure::{Context as _, Failure, Result},
    figures::plural,
    flags, output,
    results::{self, Results},
    workspace::{Source, Workspace},
};

pub fn run(flags: &flags::Notebooks, workspace: &Workspace) -> Result<ExitCode> {
    let sources = workspace.experiments()?;
    let mut records = committed::read(workspace, &sources);
    if flags.check {
        return check(workspace, &sources, &records);
    }
    take_in(flags, workspace, &sources, &mut records)?;
    write(&Notebook::of(workspace, &sources, &records)?, workspace)
}

fn check(workspace: &Workspace, sources: &[Source], records: &Records) -> Result<ExitCode> {
    output::note("comparing the notebook with results, snapshots and sources");
    let notebook = Notebook::of(workspace, sources, records)?;
    let wrong = check::wrong(workspace, sources, records, &notebook)?;
    for line in &wrong {
        output::note(line);
    }
    if !wrong.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let count = plural(sources.len(), "experiment");
    output::print(&format!("The notebook agrees with results and snapshots of {count}.\n"));
    Ok(ExitCode::SUCCESS)
}

/// Writes the files whose text has changed.
fn write(notebook: &Notebook, workspace: &Workspace) -> Result<ExitCode> {
    let (mut written, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for file in &notebook.files {
        let shown = workspace.shown(&file.path).to_string();
        match &file.text {
            Err(error) => {
                output::complain(&format!("{shown}: {error}"));
                code = ExitCode::FAILURE;
            }
            Ok(text) if fs::read_to_string(&file.path).is_ok_and(|before| before == *text) => {}
            Ok(text) => {
                results::write_whole(&file.path, text)
                    .context(|| format!("cannot write {shown}"))?;
                written.push(shown);
            }
        }
    }
    for line in &notebook.to_do {
        output::note(line);
    }
    output::print(&match written.len() {
        0 => "The notebook agrees with the results: nothing to write.\n".to_owned(),
        count => format!("Wrote {}:\n  {}\n", plural(count, "file"), written.join("\n  ")),
    });
    Ok(code)
}

/// Replaces the committed results by those of a run. The results of experiments that did not run stay.
fn take_in(
    flags: &flags::Notebooks,
    workspace: &Workspace,
    sources: &[Source],
    records: &mut Records,
) -> Result<()> {
    let path = match &flags.results {
        Some(path) => path.clone(),
        None => workspace.results()?,
    };
    let is_the_last_run = flags.results.is_none();
    if is_the_last_run && path.metadata().is_err_and(|it| it.kind() == io::ErrorKind::NotFound) {
        // Without a run, write the pages again from the committed results.
        return match records.is_empty() {
            true => failed(
                "there are no results to write from: run `cargo xtask experiments --only NUMBER`",
            ),
            false => Ok(()),
        };
    }
    let Results { meta, experiments, .. } = Results::read(&path)?;
    if let Some(why) = meta.not_for_the_notebook() {
        let again = "`cargo xtask experiments --accept` measures for the notebook";
        if is_the_last_run && !records.is_empty() {
            output::note(&format!("the last run {why}, so its figures are not taken: {again}"));
            return Ok(());
        }
        return failed(format!("{}: the run {why}: {again}", path.display()));
    }
    for result in &experiments {
        let title = format!("{} {}", result.id, result.name);
        let Some(source) = sources.iter().find(|source| source.title() == title) else {
            if is_the_last_run {
                output::note(&format!(
                    "{title} is in the last run's results, but was removed since"
                ));
                continue;
            }
            return failed(format!("there is no experiment {title} in experiments/src/bin"));
        };
        if result.interrupted && is_the_last_run && records.contains_key(&source.binary) {
            output::note(&format!("{title} was interrupted, and the committed results stay"));
            continue;
        }
        if result.interrupted {
            return failed(format!("{title} was interrupted: run it again"));
        }
        match records.get(&source.binary) {
            // Do not overwrite an unreadable file: somebody may need its contents.
            Some(Err(_)) => {}
            Some(Ok(record)) if is_the_last_run && record.meta.started > meta.started => {
                output::note(&format!(
                    "{title}: the committed results are newer than the last run and stay \
                     (--results takes a file whatever its age)"
                ));
            }
            _ => {
                records.insert(source.binary.clone(), Ok(Record::of(&meta, result)));
            }
        }
    }
    Ok(())
}

/// Writes what is made of a result, for `crates/fuzz`.
#[cfg(fuzzing)]
pub fn fuzz(meta: &results::Meta, result: &lab::results::ExperimentResult, source: &Source) {
    let record = Record::of(meta, result);
    page::blocks(source, &record);
    plots::shown(source, &record);
}

fn failed<T>(message: impl Into<String>) -> Result<T> {
    Err(Failure::Failed(message.into()))
}
