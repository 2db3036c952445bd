//! The results file of a run: the results and the circumstances.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::SystemTime,
};

use lab::{
    Outcome,
    results::{ExperimentResult, Skipped, VariantResult},
    statistics,
};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Context as _, Result},
    workspace::{Source, Workspace},
};

/// The crates whose versions affect the results.
const SUBJECTS: [&str; 5] = ["deadpool", "deadpool-runtime", "deadpool-sync", "rusqlite", "tokio"];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub meta: Meta,
    /// In the order of their numbers.
    pub experiments: Vec<ExperimentResult>,
    /// The skipped experiments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// The circumstances of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// When the run started, as RFC 3339 in UTC.
    pub started: String,
    /// The output of `rustc -V`.
    pub rustc: String,
    /// The operating system: `linux`.
    pub os: String,
    /// The processor's architecture: `x86_64`.
    pub arch: String,
    /// How many processors the run could use.
    pub cores: usize,
    /// The seed of the run.
    pub seed: u64,
    /// Whether variants whose outcome is certain had few trials.
    pub quick: bool,
    /// The value of `--trials`.
    pub trials: Option<u32>,
    /// Whether two experiments ran at a time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub side_by_side: bool,
    /// Whether the threads of its trials were held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chaos: bool,
    /// The versions of the crates under test, from the lock file.
    pub versions: BTreeMap<String, Vec<String>>,
}

impl Meta {
    /// Returns the circumstances of a run that starts now.
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
            side_by_side: false,
            chaos: false,
            versions: locked_versions(workspace),
        }
    }
}

impl Meta {
    /// Why figures of this run are not for the notebook, if they are not.
    pub fn not_for_the_notebook(&self) -> Option<&'static str> {
        if self.quick {
            Some("ran with few trials (--full has all)")
        } else if self.trials.is_some() {
            Some("ran with --trials")
        } else if self.side_by_side {
            Some("ran with another experiment beside it")
        } else if self.chaos {
            Some("held the threads of its trials")
        } else {
            None
        }
    }
}

/// The versions of the crates under test in the workspace's lock file.
pub fn locked_versions(workspace: &Workspace) -> BTreeMap<String, Vec<String>> {
    versions(&fs::read_to_string(workspace.path("Cargo.lock")).unwrap_or_default())
}

/// The versions that the programs around the real SDK are built with, from both lock files.
pub fn versions_of_the_real_sdk(workspace: &Workspace) -> BTreeMap<String, Vec<String>> {
    let mut both = BTreeMap::<String, Vec<String>>::new();
    for version in ["0.13", "0.18"] {
        let path = workspace.path(&format!("crates/real-sdk/sdk-{version}/Cargo.lock"));
        for (name, them) in versions(&fs::read_to_string(path).unwrap_or_default()) {
            both.entry(name).or_default().extend(them);
        }
    }
    for them in both.values_mut() {
        them.sort();
        them.dedup();
    }
    both
}

fn rustc_version() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-V").output().ok().filter(|out| out.status.success());
    version.map_or_else(
        || "rustc of an unknown version".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// Reads the versions of the crates under test from a lock file. A crate may have several.
pub fn versions(lock_file: &str) -> BTreeMap<String, Vec<String>> {
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
    let Ok(LockFile { package }) = toml::from_str(lock_file) else { return BTreeMap::new() };
    let mut versions = BTreeMap::<String, Vec<String>>::new();
    for Package { name, version } in package {
        if SUBJECTS.contains(&name.as_str()) {
            versions.entry(name).or_default().push(version);
        }
    }
    versions
}

impl Results {
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read(path).context(|| format!("cannot read the results in {shown}"))?;
        Self::from_json(&text).context(|| {
            format!(
                "{shown} is not a complete file of results (`cargo xtask experiments --results {shown}` \
                 writes one)"
            )
        })
    }

    /// # Errors
    ///
    /// If it has another form, or if its counts contradict each other.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let results: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        results.experiments.iter().try_for_each(adds_up)?;
        Ok(results)
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let written = json(self).and_then(|text| write_whole(path, &text));
        written.context(|| format!("cannot write the results to {}", path.display()))
    }
}

/// Checks that what a result says of its counts follows from them.
///
/// # Errors
///
/// If it does not, in words.
pub fn adds_up(experiment: &ExperimentResult) -> Result<(), String> {
    let is_wrong = |variant: &&VariantResult| {
        let VariantResult { outcomes, trials, hits, class, .. } = variant;
        let total: u64 = Outcome::ALL.map(|it| u64::from(outcomes.count(it))).iter().sum();
        let follows = total == u64::from(*trials)
            && Outcome::ALL.into_iter().any(|outcome| outcomes.count(outcome) == *hits)
            && (!class.starts_with("always ") || outcomes.seen().count() == 1);
        !follows || {
            let (low, high) = statistics::wilson(*hits, *trials);
            variant.interval.map(rounded) != [low, high].map(rounded)
        }
    };
    match experiment.variants.iter().find(is_wrong) {
        Some(variant) => Err(format!("the counts of {} do not add up", variant.name)),
        None => Ok(()),
    }
}

/// Rounds to four decimals. More are noise, and four survive writing and reading.
pub fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// The folder of the committed results, one file for each experiment.
pub const COMMITTED: &str = "docs/results";

/// The committed results of an experiment.
pub fn committed(workspace: &Workspace, source: &Source) -> PathBuf {
    workspace.path(COMMITTED).join(format!("{}.json", source.binary))
}

/// Checks before the trials that results can be written there.
pub fn check_writable(path: &Path) -> Result<()> {
    let attempt = || {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        check_folder(folder_of(path))
    };
    attempt().context(|| format!("cannot write the results to {}", path.display()))
}

/// Creates a folder if there is none. Fails if it is not writable.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let attempt = folder.join(format!(".attempt-{}", std::process::id()));
    fs::File::create_new(&attempt)?;
    fs::remove_file(attempt)
}

/// Formats a value as indented JSON, with its keys in the order of their declaration.
pub fn json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Writes a file atomically: a reader finds the old text or the new one, never a part.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder_of(path))?;
    let mut file = tempfile::Builder::new();
    // Temporary files are private by default. This one gets the usual mode, limited by the umask.
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
        let versions = versions(
            "version = 4\n\
             [[package]]\nname = \"deadpool\"\nversion = \"0.12.3\"\n\
             [[package]]\nname = \"deadpool\"\nversion = \"0.13.1\"\n\
             [[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n\
             [[package]]\nname = \"tokio\"\nversion = \"1.54.0\"\n",
        );
        assert_eq!(versions["deadpool"], ["0.12.3", "0.13.1"]);
        assert_eq!(versions.keys().collect::<Vec<_>>(), ["deadpool", "tokio"]);
    }
}
