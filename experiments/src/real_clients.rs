//! The clients in whose company an interpreter ends, and the servers that they talk to: for
//! experiments 62 and 63.

use lab::{
    Equipment, Lack,
    Outcome::{Aborted, Clean, Failed, Panicked, Signalled},
    Prediction, Preparation, Trial, TrialResult, seen,
    server::{Kind, Server},
};

use crate::{
    python::{self, becomes_in},
    venv::Environment,
};

/// How often a race is run: if one exit in fifteen crashes, a run that misses it is a
/// one-in-a-million event.
pub const RACE: u32 = 200;

/// The fatal error of an interpreter that is to give back its lock for a thread which does not hold it.
pub const WRONG_STATE: &str = "Fatal Python error: PyGILState_Release";

/// Some exits crash, in one of the ways in which that shows.
#[must_use]
pub fn crashes() -> Prediction {
    seen(Aborted).allowing([Clean, Panicked, Signalled, Failed])
}

/// A version of etcd-client-py.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// `0.4.1`.
    pub number: &'static str,
    environment: Environment,
}

/// Its runtime is in a static that nothing shuts down. Built with PyO3 0.23.
pub const EARLIER: Version = Version {
    number: "0.4.0",
    environment: Environment { name: "etcd-client-py-0.4.0", packages: &["etcd-client-py==0.4.0"] },
};

/// The same, built with PyO3 0.25.
pub const OLD: Version = Version {
    number: "0.4.1",
    environment: Environment {
        name: "etcd-client-py-0.4.1",
        packages: &["etcd-client-py==0.4.1", "valkey-glide==2.6.0"],
    },
};

/// It counts the open clients, and shuts its runtime down when the last one is closed.
pub const NEW: Version = Version {
    number: "0.5.1",
    environment: Environment {
        name: "etcd-client-py-0.5.1",
        packages: &["etcd-client-py==0.5.1", "valkey-glide==2.6.0"],
    },
};

impl Version {
    /// Turns the trial into the interpreter that has this version, running a program of
    /// `experiments/python`. Its last line has to be `done`.
    pub fn becomes(&self, trial: &Trial<'_>, program: &str, arguments: &[&str]) -> TrialResult {
        let python = self.environment.interpreter();
        becomes_in(trial, &python, program, arguments, |it| {
            it.ends_with("done").never_says(WRONG_STATE)
        })
    }
}

/// Prepares all versions, and the kit's own extension beside each.
pub fn packages(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let equipment = python::extensions(preparation)?;
    let python = python::found(preparation)?;
    let versions = [EARLIER, OLD, NEW];
    for version in versions {
        version.environment.prepare(&python, preparation)?;
    }
    let numbers = versions.map(|version| version.number).join(", ");
    Ok(equipment.version("etcd-client-py", numbers).version("valkey-glide", "2.6.0"))
}

/// Starts a server for the run.
pub fn server(kind: Kind) -> impl Fn(&Preparation<'_>) -> Result<Equipment, Lack> {
    move |preparation| {
        let server = Server::start(kind, preparation.sandbox(), preparation.interrupt())?;
        Ok(Equipment::new()
            .version(server.program(), server.version())
            .variable(kind.variable(), server.address().to_string())
            .keeping(server))
    }
}
