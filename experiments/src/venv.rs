//! Virtual environments with packages from the package index. Each is made once, under
//! `target/venvs`, and used by every later run.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use lab::{Lack, Preparation, sandbox::Ending};

use crate::python::{Python, root, run};

/// How long making one may take: it downloads some 20 MB.
const INSTALL: Duration = Duration::from_secs(600);

/// The file in a complete environment that says what it was made of.
const MADE_OF: &str = "made-of";

/// A virtual environment.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    /// The name of its folder.
    pub name: &'static str,
    /// What is installed in it: `package==version`.
    pub packages: &'static [&'static str],
}

impl Environment {
    /// Its interpreter.
    #[must_use]
    pub fn interpreter(&self) -> PathBuf {
        self.folder().join("bin/python")
    }

    fn folder(&self) -> PathBuf {
        all().join(self.name)
    }

    /// Makes it, unless it exists.
    pub fn prepare(&self, python: &Python, preparation: &Preparation<'_>) -> Result<(), Lack> {
        let made_of = [&python.called, self.packages.join("\n").as_str()].join("\n");
        let is_made =
            || fs::read_to_string(self.folder().join(MADE_OF)).is_ok_and(|it| it == made_of);
        if is_made() {
            return Ok(());
        }
        let packages = self.packages.join(", ");
        preparation.say(&format!("installing {packages} into target/venvs/{}, once", self.name));
        // Made beside its place, and moved there when it is complete: another run may look
        // meanwhile.
        let broken = |error: io::Error| Lack::broken(format!("{}: {error}", all().display()));
        fs::create_dir_all(all()).map_err(broken)?;
        let prefix = format!(".{}-", self.name);
        let beside = tempfile::Builder::new().prefix(&prefix).tempdir_in(all()).map_err(broken)?;
        let new = beside.path().join(self.name);
        self.install(&new, python, preparation)?;
        fs::write(new.join(MADE_OF), &made_of).map_err(broken)?;
        match replace(&new, &self.folder(), &beside.path().join("old")) {
            // Another run was faster.
            Err(_) if is_made() => Ok(()),
            replaced => replaced.map_err(broken),
        }
    }

    fn install(
        &self,
        folder: &Path,
        python: &Python,
        preparation: &Preparation<'_>,
    ) -> Result<(), Lack> {
        let arguments = ["-m".as_ref(), "venv".as_ref(), folder.as_os_str()];
        let made = run(preparation, &python.executable, &arguments, Vec::new(), INSTALL)?;
        if made.ending != Ending::Exited(0) {
            let said = last_line(&[made.stderr.text(), made.stdout.text()]);
            return Err(Lack::missing(
                format!("{} makes no virtual environment: {said}", python.called),
                "install Python's venv module (Debian: apt-get install python3-venv)",
            ));
        }
        let pip = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"];
        let arguments = [&pip[..], &["--only-binary", ":all:"], self.packages].concat();
        let python = folder.join("bin/python");
        let installed = run(preparation, &python, &arguments, Vec::new(), INSTALL)?;
        if installed.ending != Ending::Exited(0) {
            let said = last_line(&[installed.stderr.text()]);
            return Err(Lack::missing(
                format!("pip does not get {}: {said}", self.packages.join(", ")),
                "connect to a package index that has them for this machine (PIP_INDEX_URL)",
            ));
        }
        Ok(())
    }
}

/// The folder of all environments.
fn all() -> PathBuf {
    root().join("target/venvs")
}

/// Puts a folder in the place of another, if there is one.
fn replace(new: &Path, place: &Path, old: &Path) -> io::Result<()> {
    match fs::rename(place, old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::rename(new, place),
    }
}

/// The last line of an output: with Python and pip, the one that says why.
fn last_line(said: &[String]) -> String {
    let lines = said.iter().filter_map(|it| it.lines().rfind(|line| !line.trim().is_empty()));
    lines.map(|line| line.trim().to_owned()).next().unwrap_or_else(|| "it does not say why".into())
}
