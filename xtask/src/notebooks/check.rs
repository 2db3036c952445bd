//! `--check`: finds disagreements between the notebook, the results, the snapshots and the sources.

use std::{fs, path::Path};

use lab::results::{ExperimentResult, VariantResult};

use super::{
    committed::{self, Record, Records},
    contents::{Notebook, run},
    links, listings, page, plots,
};
use crate::{
    experiments::snapshots::{Snapshots, agree},
    failure::Result,
    results, sources,
    workspace::{self, Source, Workspace},
};

const WRITE: &str = "run `cargo xtask notebooks`";

/// Returns a line for each disagreement, with what to do about it.
pub fn wrong(
    workspace: &Workspace,
    sources: &[Source],
    records: &Records,
    notebook: &Notebook,
) -> Result<Vec<String>> {
    let mut check = Check { workspace, lines: notebook.to_do.clone() };
    check.files(notebook);
    check.snapshots(sources, records)?;
    check.ages(sources, records);
    check.pages(sources);
    check.orphans(sources, notebook)?;
    check.lines.extend(links::wrong(workspace)?);
    check.hidden_lines()?;
    Ok(check.lines)
}

struct Check<'a> {
    workspace: &'a Workspace,
    lines: Vec<String>,
}

impl Check<'_> {
    fn say(&mut self, path: &Path, what: &str, remedy: &str) {
        self.lines.push(format!("{}: {what}: {remedy}", self.workspace.shown(path)));
    }

    /// Finds files that do not have their generated text.
    fn files(&mut self, notebook: &Notebook) {
        for file in &notebook.files {
            match (&file.text, fs::read_to_string(&file.path)) {
                (Err(error), _) => {
                    self.lines.push(format!("{}: {error}", self.workspace.shown(&file.path)));
                }
                (Ok(_), Err(_)) => self.say(&file.path, "it is missing", WRITE),
                (Ok(text), Ok(found)) if *text == found => {}
                (Ok(text), Ok(found)) => {
                    let same = text.lines().zip(found.lines()).take_while(|(one, it)| one == it);
                    let what = format!("line {} differs from the results", same.count() + 1);
                    self.say(&file.path, &what, WRITE);
                }
            }
        }
    }

    /// Finds snapshots that differ from the results.
    fn snapshots(&mut self, sources: &[Source], records: &Records) -> Result<()> {
        let snapshots = Snapshots::committed(self.workspace);
        for source in sources {
            let Some(Ok(record)) = records.get(&source.binary) else { continue };
            let (path, found) = (snapshots.path(source), lab::snapshot::render(&record.experiment));
            match snapshots.read(source)? {
                Some(expected) if agree(&expected, &found) => {}
                Some(_) => self.say(&path, "it differs from the committed results", &run(source)),
                None => {
                    let accept = format!("cargo xtask experiments --only {} --accept", source.id);
                    self.say(&path, "there is no such snapshot", &format!("run `{accept}`"));
                }
            }
        }
        Ok(())
    }

    /// Finds results of an older experiment, or of other versions of the crates under test.
    fn ages(&mut self, sources: &[Source], records: &Records) {
        let lock_file = results::locked_versions(self.workspace);
        let real_sdk = results::versions_of_the_real_sdk(self.workspace);
        for source in sources {
            let Some(Ok(Record { meta, experiment })) = records.get(&source.binary) else {
                continue;
            };
            let (made_from, now) = (&experiment.sources, sources::digests(self.workspace, source));
            let path = results::committed(self.workspace, source);
            let mut names = now.keys().chain(made_from.keys());
            if let Some(file) = names.find(|file| made_from.get(*file) != now.get(*file)) {
                let what = format!("the results are older than {file}");
                self.say(&path, &what, &run(source));
            }
            if let Some(why) = meta.not_for_the_notebook() {
                self.say(&path, &format!("the results are of a run that {why}"), &run(source));
            }
            if let Some(variant) = without_threads(experiment) {
                let what = format!(
                    "{variant} panicked, and the results do not say where or on which thread"
                );
                self.say(&path, &what, &run(source));
            }
            if let Some(it) = real_sdk.iter().find_map(|(name, versions)| {
                let recorded = experiment.equipment.get(name)?;
                let is_real = experiment.equipment.contains_key("matrix-sdk");
                (is_real && *recorded != versions.join(" and ")).then_some(name)
            }) {
                let what = format!("the results were made with another version of {it}");
                self.say(&path, &what, &run(source));
            }
            let mut names = lock_file.keys().chain(meta.versions.keys());
            if let Some(it) = names.find(|it| lock_file.get(*it) != meta.versions.get(*it)) {
                let what = format!("the results were made with another version of {it}");
                self.say(&path, &what, &run(source));
            }
        }
    }

    /// Finds errors in the hand-written parts of pages.
    fn pages(&mut self, sources: &[Source]) {
        for source in sources {
            let path = self.workspace.path("docs/src").join(source.page());
            // `files` already reports a missing page.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for wrong in page::wrong(&text, source) {
                self.say(&path, &wrong, "correct it");
            }
        }
    }

    /// Finds lines of listings that mdBook would hide: whoever reads the page without it sees a listing with `# `.
    fn hidden_lines(&mut self) -> Result<()> {
        for path in links::paths(self.workspace)? {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            if let Some(line) = listings::hidden_line(&text) {
                let what = format!("a listing has a line that mdBook hides, `{line}`");
                self.say(&path, &what, "show the whole listing");
            }
        }
        Ok(())
    }

    /// Finds files of removed experiments, and pictures that are no longer generated.
    fn orphans(&mut self, sources: &[Source], notebook: &Notebook) -> Result<()> {
        let mut orphans = Snapshots::committed(self.workspace).orphans(sources)?;
        for (folder, source_of) in [
            (results::COMMITTED, committed::source as fn(&str) -> Option<Source>),
            ("docs/src", page::source),
        ] {
            let folder = self.workspace.path(folder);
            let files = workspace::names(&folder)?;
            let gone = |file: &&String| source_of(file).is_some_and(|it| !sources.contains(&it));
            orphans.extend(files.iter().filter(gone).map(|file| folder.join(file)));
        }
        for path in orphans {
            self.say(&path, "it belongs to no experiment", "remove it");
        }
        let folder = self.workspace.path(plots::FOLDER);
        for file in workspace::names(&folder)? {
            let path = folder.join(file);
            if notebook.files.iter().all(|known| known.path != path) {
                self.say(&path, "no results give this picture", "remove it");
            }
        }
        Ok(())
    }
}

/// A variant that panicked, of results from before threads were recorded as they are now.
fn without_threads(experiment: &ExperimentResult) -> Option<&str> {
    let is_half = |it: &&VariantResult| {
        it.sites.is_empty() != it.threads.is_empty()
            || it.occasional_sites.is_empty() && !it.occasional_threads.is_empty()
    };
    experiment.variants.iter().find(is_half).map(|variant| &*variant.name)
}
