//! The file of results that a run leaves behind: what was found, and under which circumstances.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::SystemTime,
};

use lab::results::{ExperimentResult, Skipped};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::workspace::Workspace;

/// The crates whose versions decide what an experiment finds.
const SUBJECTS: [&str; 5] = ["deadpool", "deadpool-runtime", "deadpool-sync", "rusqlite", "tokio"];

/// What a run found out, and its circumstances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The circumstances.
    pub meta: Meta,
    /// What every experiment found out, in the order of their numbers.
    pub experiments: Vec<ExperimentResult>,
    /// What was not run because the machine lacked something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// The circumstances of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// When the run started, as RFC 3339 in UTC.
    pub started: String,
    /// What `rustc -V` says.
    pub rustc: String,
    /// The operating system, `linux` say.
    pub os: String,
    /// The processor's architecture, `x86_64` say.
    pub arch: String,
    /// How many processors the run could use.
    pub cores: usize,
    /// The seed of the run.
    pub seed: u64,
    /// Whether fewer trials ran where the outcome is certain.
    pub quick: bool,
    /// How many trials were asked for, if that was said.
    pub trials: Option<u32>,
    /// The versions, in the lock file, of the crates that the experiments are about.
    pub versions: BTreeMap<String, Vec<String>>,
}

/// Why results cannot be kept or read.
#[derive(Debug, Error)]
pub enum ResultsError {
    /// They cannot be written there.
    #[error("cannot write the results to {path}: {error}")]
    Unwritable {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What is there is something else.
    #[error(
        "{path} holds no results, or not the whole of them ({error}): \
         `cargo xtask experiments --results {path}` writes them"
    )]
    Nonsense {
        /// Where.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// What was committed is something else.
    #[error(
        "{path} holds no results of an experiment, or not the whole of them ({error}): take it from \
         git again, or remove it, run the experiment, and write the notebook"
    )]
    CommittedNonsense {
        /// Where.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// They cannot be read from there.
    #[error("cannot read the results in {path}: {error}")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Meta {
    /// The circumstances of a run that starts now.
    pub fn now(workspace: &Workspace, seed: u64, quick: bool, trials: Option<u32>) -> Self {
        Self {
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            rustc: rustc_version(),
            os: env::consts::OS.to_owned(),
            arch: env::consts::ARCH.to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            seed,
            quick,
            trials,
            versions: versions(&workspace.root().join("Cargo.lock")),
        }
    }
}

fn rustc_version() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-V").output().ok().filter(|out| out.status.success());
    version.map_or_else(
        || "rustc of an unknown version".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The versions of the subjects in a lock file; a subject that is not in there has none.
fn versions(lock_file: &Path) -> BTreeMap<String, Vec<String>> {
    #[derive(Deserialize)]
    struct LockFile {
        #[serde(default)]
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let text = fs::read_to_string(lock_file).unwrap_or_default();
    let Ok(LockFile { package }) = toml::from_str(&text) else { return BTreeMap::new() };
    let mut versions = BTreeMap::<String, Vec<String>>::new();
    for Package { name, version } in package {
        if SUBJECTS.contains(&name.as_str()) {
            versions.entry(name).or_default().push(version);
        }
    }
    versions
}

impl Results {
    /// Reads a file of results.
    ///
    /// # Errors
    ///
    /// When there is none, or it holds something else.
    pub fn read(path: &Path) -> Result<Self, ResultsError> {
        let unreadable = |error| ResultsError::Unreadable { path: path.to_owned(), error };
        let text = fs::read(path).map_err(unreadable)?;
        let nonsense = |error| ResultsError::Nonsense { path: path.to_owned(), error };
        serde_json::from_slice(&text).map_err(nonsense)
    }

    /// Writes a file of results, whole or not at all.
    ///
    /// # Errors
    ///
    /// When the file or its folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ResultsError> {
        json(self)
            .and_then(|text| write_whole(path, &text))
            .map_err(|error| ResultsError::Unwritable { path: path.to_owned(), error })
    }
}

/// Finds out, before hours of trials, whether results can be written there: makes the folder, and
/// a file beside the one that will be written.
///
/// # Errors
///
/// When they cannot.
pub fn check_writable(path: &Path) -> Result<(), ResultsError> {
    let attempt = || {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        check_folder(folder_of(path))
    };
    attempt().map_err(|error| ResultsError::Unwritable { path: path.to_owned(), error })
}

/// Makes a folder where there is none, and finds out whether it can be written to.
///
/// # Errors
///
/// When it cannot.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let attempt = folder.join(format!(".attempt-{}", std::process::id()));
    fs::File::create_new(&attempt)?;
    fs::remove_file(attempt)
}

/// A value as JSON for people: indented, its keys in the order in which they are declared.
pub fn json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Writes a file so that a reader finds the old text or the new one, never a part.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder_of(path))?;
    let mut file = tempfile::Builder::new();
    // Readable to all, as far as the user's mask allows: unlike other temporary files.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file = file.permissions(permissions).tempfile_in(folder_of(path))?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_a_subject_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let lock_file = folder.path().join("Cargo.lock");
        fs::write(
            &lock_file,
            "version = 4\n\
             [[package]]\nname = \"deadpool\"\nversion = \"0.12.3\"\n\
             [[package]]\nname = \"deadpool\"\nversion = \"0.13.1\"\n\
             [[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n\
             [[package]]\nname = \"tokio\"\nversion = \"1.54.0\"\n",
        )
        .unwrap();
        let versions = versions(&lock_file);
        assert_eq!(versions["deadpool"], ["0.12.3", "0.13.1"]);
        assert_eq!(versions.keys().collect::<Vec<_>>(), ["deadpool", "tokio"]);
    }

    #[test]
    fn a_file_where_a_folder_belongs_is_found_out_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let path = file.join("results.json");
        let error = check_writable(&path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(check_writable(folder.path()).is_err(), "a folder is no file");
        assert!(check_writable(&folder.path().join("new/results.json")).is_ok());
    }
}
