//! Published clients for Python, built twice from their sources: as they are, and moved over to `crates/pyo3` by a
//! patch. For experiment 69.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use lab::{Equipment, Experiment, Lack, Preparation, Trial, TrialResult, sandbox::Ending};

use crate::python::{self, becomes_in, root, run};

/// A client that was moved over.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its name and version, and the name of its patch.
    called: &'static str,
    patch: &'static str,
    /// The program of `experiments/python` that uses it.
    program: &'static str,
}

/// Messages between processes, here between a process and itself.
pub const TAUNICORN: Client = Client {
    called: "taunicorn-0.1.10",
    patch: include_str!("../clients/taunicorn-0.1.10.patch"),
    program: "taunicorn_exit.py",
};

/// Each client that the experiment needs.
const ALL: [Client; 1] = [TAUNICORN];

/// How long building one may take.
const BUILD: Duration = Duration::from_secs(3600);

/// What `build.sh` ends with if the package index does not give what is needed.
const NO_INDEX: i32 = 3;

/// The first CPython whose newest releases let a late thread hang instead of ending it.
const HANGS_LATE_THREADS: u32 = 13;

impl Client {
    /// How many lines of its sources the patch changes.
    #[must_use]
    pub fn changed_lines(&self) -> usize {
        let is_added = |line: &&str| line.starts_with('+') && !line.starts_with("+++");
        self.patch.lines().filter(is_added).count()
    }

    /// Turns the trial into an interpreter that uses this client, `bare` or `moved`, in one of these programs. The trial's
    /// seed decides which one. Its last line has to be `done`.
    pub fn becomes(&self, trial: &Trial<'_>, which: &str, programs: &[&str]) -> TrialResult {
        let program = trial.random().choice(programs).ok_or("no programs")?;
        trial.record("program", *program);
        let arguments: Vec<_> = program.split(' ').collect();
        let python = folder().join(self.called).join(which).join("venv/bin/python");
        becomes_in(trial, &python, self.program, &arguments, |it| it.ends_with("done"))
    }

    /// Builds it, and the same client moved over, unless both are as new as their sources.
    fn build(&self, python: &python::Python, preparation: &Preparation<'_>) -> Result<(), Lack> {
        preparation.say(&format!("building {}, as it is and moved over", self.called));
        let (script, folder) = (root().join("experiments/clients/build.sh"), folder());
        let arguments =
            [OsStr::new(self.called), folder.as_os_str(), python.executable.as_os_str()];
        let ended = run(preparation, &script, &arguments, Vec::new(), BUILD)?;
        let said = ended.stderr.text();
        match ended.ending {
            Ending::Exited(0) => Ok(()),
            Ending::Exited(NO_INDEX) => Err(Lack::missing(
                format!("the sources of {} are not to be had: {said}", self.called),
                "connect to a package index that has them (PIP_INDEX_URL)",
            )),
            ending => Err(Lack::broken(format!("build.sh ended with {ending}:\n{said}"))),
        }
    }
}

/// Declares that an experiment needs the clients, and runs on demand only.
#[must_use]
pub fn needed_by(experiment: Experiment) -> Experiment {
    experiment
        .on_demand("it builds real clients from their sources, twice each, which takes minutes")
        .needs(clients)
}

/// Brings the clients up to date, if they were ever built here.
fn clients(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let python = python::found(preparation)?;
    let minor = python.called.strip_prefix("CPython 3.").and_then(|rest| rest.split('.').next());
    if minor.and_then(|it| it.parse().ok()).is_some_and(|minor: u32| minor >= HANGS_LATE_THREADS) {
        return Err(Lack::missing(
            format!("{} may let late threads hang, and then no exit fails", python.called),
            "put a python3 from 3.9 to 3.12 first on PATH",
        ));
    }
    let names = ALL.map(|client| client.called);
    let is_built = |name: &str| folder().join(name).join("bare/venv/the.whl").is_file();
    if let Some(name) = names.into_iter().find(|name| !is_built(name)) {
        return Err(Lack::missing(
            format!("{name} was never built here, which takes minutes"),
            format!(
                "for client in {}; do experiments/clients/build.sh $client target/clients; done",
                names.join(" ")
            ),
        ));
    }
    for client in ALL {
        client.build(&python, preparation)?;
    }
    let versions = names.map(|name| name.rsplit_once('-').unwrap_or((name, "")));
    let equipment = Equipment::new().version("Python", &python.called);
    let equipment = equipment.variable("PYTHONDONTWRITEBYTECODE", "1");
    Ok(versions.into_iter().fold(equipment, |it, (name, version)| it.version(name, version)))
}

/// Where the clients are built.
fn folder() -> PathBuf {
    root().join("target/clients")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_clients_are_moved_over_by_few_lines() {
        assert_eq!(ALL.map(|client| client.changed_lines()), [1]);
        for client in ALL {
            let patch = Path::new("experiments/clients").join(format!("{}.patch", client.called));
            assert!(root().join(patch).is_file(), "{}", client.called);
        }
    }
}
