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
    /// The module that Python imports.
    module: &'static str,
    /// The program of `experiments/python` that uses it.
    program: &'static str,
}

/// A client of etcd. Its runtime is in a static that nothing shuts down. Built with PyO3 0.25.
pub const ETCD_OLD: Client = Client {
    called: "etcd-client-py-0.4.1",
    patch: include_str!("../clients/etcd-client-py-0.4.1.patch"),
    module: "etcd_client",
    program: "etcd_exit.py",
};

/// The same with a close that shuts the runtime down, by a copy of the other crate in its own sources. Built with PyO3
/// 0.27.
pub const ETCD_NEW: Client = Client {
    called: "etcd-client-py-0.5.1",
    patch: include_str!("../clients/etcd-client-py-0.5.1.patch"),
    ..ETCD_OLD
};

/// A client of NATS, which calls Python back in tasks and threads of its own. Built with PyO3 0.29.
pub const NATSRPY: Client = Client {
    called: "natsrpy-0.1.4",
    patch: include_str!("../clients/natsrpy-0.1.4.patch"),
    module: "natsrpy",
    program: "natsrpy_exit.py",
};

/// Messages between processes, here between a process and itself. Built with PyO3 0.29.
pub const TAUNICORN: Client = Client {
    called: "taunicorn-0.1.10",
    patch: include_str!("../clients/taunicorn-0.1.10.patch"),
    module: "taunicorn",
    program: "taunicorn_exit.py",
};

/// Each client that the experiment needs.
const ALL: [Client; 4] = [ETCD_OLD, ETCD_NEW, NATSRPY, TAUNICORN];

/// How many exits a trial watches, at the same time.
pub const EXITS: u32 = 8;

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

    /// Turns the trial into a program that watches [`EXITS`] interpreters at once, each with this client, `bare` or `moved`,
    /// in one of these scenarios. The trial's seed decides which one.
    pub fn becomes(&self, trial: &Trial<'_>, which: &str, scenarios: &[&str]) -> TrialResult {
        let scenario = trial.random().choice(scenarios).ok_or("no scenarios")?;
        trial.record("scenario", *scenario);
        let arguments: Vec<_> = [self.program].into_iter().chain(scenario.split(' ')).collect();
        self.watched(trial, which, &arguments)
    }

    /// The same with interpreters that import the client, and do not use it.
    pub fn becomes_imported(&self, trial: &Trial<'_>, which: &str) -> TrialResult {
        let program = format!("import {}; print('done')", self.module);
        self.watched(trial, which, &["-c", &program])
    }

    fn watched(&self, trial: &Trial<'_>, which: &str, arguments: &[&str]) -> TrialResult {
        let exits = EXITS.to_string();
        let arguments: Vec<_> = [exits.as_str()].iter().chain(arguments).copied().collect();
        let python = folder().join(self.called).join(which).join("venv/bin/python");
        becomes_in(trial, &python, "watched.py", &arguments, |it| it.ends_with("done"))
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
    Ok(Equipment::new()
        .version("Python", &python.called)
        .version("clients", names.join(", "))
        .variable("PYTHONDONTWRITEBYTECODE", "1"))
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
        assert_eq!(ALL.map(|client| client.changed_lines()), [1, 5, 6, 1]);
        for client in ALL {
            let patch = Path::new("experiments/clients").join(format!("{}.patch", client.called));
            assert!(root().join(patch).is_file(), "{}", client.called);
        }
    }
}
