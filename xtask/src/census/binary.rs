//! Builds and runs the program of the census.

use std::{ops::ControlFlow, path::PathBuf, process::Command};

use lab::{
    guardian::Guardian,
    interrupt::Interrupt,
    results::{Event, ExperimentResult},
};

use super::{record::Declared, workshop::Workshop};
use crate::{
    build::build,
    child,
    failure::{Failure, Result},
    flags, output,
    output::Progress,
    workspace::Workspace,
};

/// How much of its standard error is kept, in bytes.
const STDERR_KEPT: usize = 4 << 10;

pub struct Binary(PathBuf);

impl Binary {
    pub fn build(shop: &Workshop, workspace: &Workspace, interrupt: &Interrupt) -> Result<Self> {
        output::note("building crates/census with the crates that it asks: minutes the first time");
        let (manifest, target) = (shop.manifest(), shop.target.display().to_string());
        let manifest = manifest.display().to_string();
        let arguments = ["build", "--manifest-path", &manifest, "--target-dir", &target];
        // The lock file of a copy may change.
        let locked: &[&str] = if shop.is_a_copy() { &[] } else { &["--locked"] };
        let arguments = [&arguments[..], locked].concat();
        let built = build("the crates of the census", &arguments, "", workspace, interrupt)?;
        let binary = built.into_iter().find(|it| it.is("bin") && it.target.name == "census");
        let nowhere = || "cargo does not say where it has built crates/census".to_owned();
        Ok(Self(binary.ok_or_else(|| Failure::Failed(nowhere()))?.executable))
    }

    /// The rows, and what is asked of each.
    pub fn declared(&self) -> Result<Vec<Declared>> {
        let listed = Command::new(&self.0).arg("--cells").output()?;
        let lines = listed.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
    }

    /// Runs the trials; nothing if it was interrupted.
    pub fn run(
        &self,
        flags: &flags::Census,
        rows: &[Declared],
        questions: &[String],
        guardian: &Guardian,
        interrupt: &Interrupt,
    ) -> Result<Option<ExperimentResult>> {
        let mut command = Command::new(&self.0);
        command.args(["--format", "events"]);
        let asked = rows.iter().flat_map(|row| {
            let asked = row.cells.iter().filter(|cell| cell.not_asked.is_none());
            let asked = asked.filter(|cell| questions.contains(&cell.question));
            asked.map(|cell| format!("{}/{}", row.code, cell.question))
        });
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            return Err(Failure::Usage("none of these questions is asked of these crates".into()));
        }
        command.args(["--only", &asked.join(",")]);
        for (option, value) in [("--trials", flags.trials), ("--jobs", flags.jobs)] {
            if let Some(value) = value {
                command.args([option, &value.to_string()]);
            }
        }
        let each = flags.trials.unwrap_or(20).max(5);
        let planned = u64::try_from(asked.len()).unwrap_or(0) * u64::from(each);
        let progress =
            Progress::start(Some(planned), "{bar:30} {pos} of {len} trials, {elapsed} {wide_msg}");
        let (mut result, mut count, mut said) = (None, 0, String::new());
        let ended = child::listen(command, guardian, interrupt, STDERR_KEPT, |line| {
            match serde_json::from_slice(line) {
                Ok(Event::Trial { variant, .. }) => {
                    count += 1;
                    progress.step();
                    progress.message(variant);
                    progress.line(|| format!("{count} of {planned} trials"));
                }
                Ok(Event::Preparing { doing }) => progress.note(&doing),
                Ok(Event::Result { result: it }) => result = Some(*it),
                Ok(Event::Skipped { skipped }) => said = skipped.to_string(),
                Err(_) => {
                    said = String::from_utf8_lossy(line).into_owned();
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        drop(progress);
        match result {
            _ if ended.interrupted => Ok(None),
            Some(result) if ended.status.success() => Ok(Some(result)),
            _ => {
                let (status, stderr) = (ended.status, ended.stderr);
                Err(Failure::Failed(format!("the census ended with {status}: {said} {stderr}")))
            }
        }
    }
}
