//! The workspace that the commands work on: where things are, and which experiments there are.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use thiserror::Error;

/// Where things are.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    cargo: OsString,
}

/// An experiment, as far as its source file tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The number, as two digits: `01`.
    pub id: String,
    /// The name of binary, source and snapshot: `01_drop_context`.
    pub binary: String,
}

/// Why the workspace cannot be worked on.
#[derive(Debug, Error)]
pub enum WorkspaceError {
    /// There is nothing above the folder of the commands.
    #[error("there is no workspace around {0}: run `cargo xtask` inside it")]
    Nowhere(PathBuf),
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Two experiments claim one number.
    #[error("{0} and {1} have the same number: rename one of them")]
    SameNumber(String, String),
    /// There is no cargo.
    #[error("cannot start cargo: {0}; is it on PATH?")]
    NoCargo(io::Error),
    /// Cargo does not say what the workspace is.
    #[error("`cargo metadata` does not say what the workspace has, and where it is built: {0}")]
    NoMetadata(String),
}

/// What cargo tells of the workspace.
#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

impl Source {
    /// The source whose binary has this name, if that is the name of an experiment: two digits,
    /// an underscore, and words.
    fn named(binary: &str) -> Option<Self> {
        let (id, name) = binary.split_once('_')?;
        let numbered = id.len() == 2 && id.bytes().all(|byte| byte.is_ascii_digit());
        (numbered && !name.is_empty())
            .then(|| Self { id: id.to_owned(), binary: binary.to_owned() })
    }

    /// The name without the number: `drop-context`.
    pub fn name(&self) -> String {
        self.binary.split_once('_').map_or(&*self.binary, |(_, name)| name).replace('_', "-")
    }

    /// How the experiment is called in a sentence: `01 drop-context`.
    pub fn title(&self) -> String {
        format!("{} {}", self.id, self.name())
    }

    /// The name of its page in the notebook: `01-drop-context.md`.
    pub fn page(&self) -> String {
        format!("{}.md", self.binary.replace('_', "-"))
    }
}

impl Workspace {
    /// Finds the workspace that contains the running command.
    pub fn find() -> Result<Self, WorkspaceError> {
        // `cargo run` says where the package is. Where the program was started by hand, it is meant
        // for the workspace that it was started in, and else for the one that it was built in.
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let package = package.or_else(package_around);
        let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = package.parent().filter(|root| root.is_dir());
        let root = root.ok_or_else(|| WorkspaceError::Nowhere(package.clone()))?.to_owned();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Ok(Self { root, cargo })
    }

    /// The workspace's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the committed snapshots are.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("experiments/snapshots")
    }

    /// Where the notebook is.
    pub fn docs(&self) -> PathBuf {
        self.root.join("docs")
    }

    /// A command that runs cargo in the workspace.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root);
        // Cargo rebuilds what reads this, and what the experiments are built from does not.
        command.env_remove("INSTA_WORKSPACE_ROOT");
        command
    }

    /// The experiments that there are: found by looking, in the order of their numbers.
    pub fn experiments(&self) -> Result<Vec<Source>, WorkspaceError> {
        let folder = self.root.join("experiments/src/bin");
        let mut sources: Vec<_> = names(&folder)?
            .iter()
            .filter_map(|file| file.strip_suffix(".rs"))
            .filter_map(Source::named)
            .collect();
        sources.sort();
        for pair in sources.windows(2) {
            if let [one, other] = pair
                && one.id == other.id
            {
                return Err(WorkspaceError::SameNumber(one.binary.clone(), other.binary.clone()));
            }
        }
        Ok(sources)
    }

    /// Where cargo builds, which is not always `target`.
    pub fn target(&self) -> Result<PathBuf, WorkspaceError> {
        Ok(self.metadata()?.target_directory)
    }

    /// The names of its packages.
    pub fn packages(&self) -> Result<Vec<String>, WorkspaceError> {
        Ok(self.metadata()?.packages.into_iter().map(|package| package.name).collect())
    }

    fn metadata(&self) -> Result<Metadata, WorkspaceError> {
        let metadata = self
            .cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .map_err(WorkspaceError::NoCargo)?;
        if !metadata.status.success() {
            let message = String::from_utf8_lossy(&metadata.stderr).trim().to_owned();
            return Err(WorkspaceError::NoMetadata(message));
        }
        serde_json::from_slice(&metadata.stdout)
            .map_err(|error| WorkspaceError::NoMetadata(error.to_string()))
    }

    /// Where the results of a run go, and where the notebook takes them from.
    pub fn results(&self) -> Result<PathBuf, WorkspaceError> {
        Ok(self.target()?.join("experiments/results.json"))
    }

    /// A path as a reader of the workspace would write it: from its root where it is inside.
    pub fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// The package of the commands in the workspace that the current directory is in, if it is in one.
fn package_around() -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    let is_root = |folder: &&Path| {
        folder.join("xtask/Cargo.toml").is_file() && folder.join("experiments/src/bin").is_dir()
    };
    here.ancestors().find(is_root).map(|root| root.join("xtask"))
}

/// The names of what is in a folder, sorted; none if there is no such folder.
pub fn names(folder: &Path) -> Result<Vec<String>, WorkspaceError> {
    let unreadable = |error| WorkspaceError::Unreadable { path: folder.to_owned(), error };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(unreadable)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn an_experiment_is_two_digits_and_a_name() {
        let source = Source::named("01_drop_context").unwrap();
        assert_eq!(source.title(), "01 drop-context");
        assert_eq!(source.page(), "01-drop-context.md");
        for other in ["main", "1_short", "001_long", "ab_letters", "01_", "01"] {
            assert_eq!(Source::named(other), None, "{other}");
        }
    }
}
