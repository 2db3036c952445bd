//! The clients that the experiments on Python end an interpreter with, and the servers that these
//! talk to.

use lab::{
    Equipment, Lack, Preparation, Trial, TrialResult,
    server::{Kind, Server},
};

use crate::{
    python::{self, becomes_in},
    venv::Environment,
};

/// A version of etcd-client-py.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// `0.4.1`.
    pub number: &'static str,
    environment: Environment,
}

/// A runtime in a static that nothing shuts down.
pub const OLD: Version = Version {
    number: "0.4.1",
    environment: Environment {
        name: "etcd-client-py-0.4.1",
        packages: &["etcd-client-py==0.4.1", "valkey-glide==2.6.0"],
    },
};

/// One that counts the clients that are open, and shuts its runtime down when the last is closed.
pub const NEW: Version = Version {
    number: "0.5.1",
    environment: Environment {
        name: "etcd-client-py-0.5.1",
        packages: &["etcd-client-py==0.5.1", "valkey-glide==2.6.0"],
    },
};

impl Version {
    /// Turns the trial into the interpreter that has this version, and that runs this program of
    /// `experiments/python`. Its last line has to be `done`.
    ///
    /// # Errors
    ///
    /// Where the interpreter cannot be started.
    pub fn becomes(&self, trial: &Trial<'_>, program: &str, arguments: &[&str]) -> TrialResult {
        let python = self.environment.interpreter();
        becomes_in(trial, &python, program, arguments, |it| it.ends_with("done"))
    }
}

/// Both versions, and the kit's own extension beside each.
///
/// # Errors
///
/// [`Lack::Missing`] where there is no `python3` that ends late threads, or where the packages cannot
/// be had; [`Lack::Broken`] where the extension does not build.
pub fn packages(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let equipment = python::extensions(preparation)?;
    let python = python::found(preparation)?;
    for version in [OLD, NEW] {
        version.environment.prepare(&python, preparation)?;
    }
    let numbers = [OLD.number, NEW.number].join(" and ");
    Ok(equipment.version("etcd-client-py", numbers).version("valkey-glide", "2.6.0"))
}

/// An etcd, for as long as the run takes.
///
/// # Errors
///
/// [`Lack::Missing`] where the machine has none; [`Lack::Broken`] where it does not answer.
pub fn etcd(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    server(Kind::Etcd, preparation)
}

/// A Redis or a Valkey, for as long as the run takes.
///
/// # Errors
///
/// [`Lack::Missing`] where the machine has none; [`Lack::Broken`] where it does not answer.
pub fn redis(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    server(Kind::Redis, preparation)
}

fn server(kind: Kind, preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let server = Server::start(kind, preparation.sandbox(), preparation.interrupt())?;
    Ok(Equipment::new()
        .version(server.program(), server.version())
        .variable(kind.variable(), server.address().to_string())
        .keeping(server))
}
