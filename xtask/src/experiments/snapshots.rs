//! The comparison with the committed snapshots, made by insta, so that `cargo insta review` finds
//! what it knows.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::process::CommandExt as _,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::Command,
};

use lab::results::{ExperimentResult, SnapshotStatus};
use thiserror::Error;

use super::difference;
use crate::{
    failure::Failure,
    results, snapshot_file,
    workspace::{self, Source, Workspace, WorkspaceError},
};

/// How insta may be told to treat what differs, in `INSTA_UPDATE`.
const UPDATES: [&str; 6] = ["auto", "always", "new", "unseen", "no", "force"];

/// A folder of snapshots.
#[derive(Debug)]
pub struct Snapshots {
    folder: PathBuf,
}

/// What a comparison gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same.
    Match,
    /// Something else, or nothing, was there, and has been replaced as was asked.
    Written,
    /// There is no snapshot yet; with what one would hold, in words.
    New(String),
    /// Something else; with the difference, in words.
    Mismatch(String),
}

/// Why there was no comparison.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The snapshot cannot be read.
    #[error("cannot read the snapshot {path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// They cannot be written there.
    #[error("cannot write snapshots to {path}: {error}")]
    Unwritable {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Insta could not do its part.
    #[error("cannot compare with the snapshot {path}: {message}")]
    Refused {
        /// Which.
        path: PathBuf,
        /// Insta's own words.
        message: String,
    },
}

impl Comparison {
    /// The word for it in results.
    pub const fn status(&self) -> SnapshotStatus {
        match self {
            Self::Match | Self::Written => SnapshotStatus::Match,
            Self::New(_) => SnapshotStatus::New,
            Self::Mismatch(_) => SnapshotStatus::Mismatch,
        }
    }
}

/// Tells insta, by the only way it can be told, what to do with differences and to leave printing
/// them to us: executes this program again where its environment says something else.
pub fn prepare_environment(accept: bool, workspace: &Workspace) -> Result<(), Failure> {
    let update = if accept { "always".into() } else { chosen_update()? };
    let wanted: [(&str, OsString); 5] = [
        ("INSTA_UPDATE", update),
        ("INSTA_OUTPUT", "none".into()),
        ("INSTA_FORCE_PASS", "0".into()),
        ("INSTA_REQUIRE_FULL_MATCH", "0".into()),
        ("INSTA_WORKSPACE_ROOT", workspace.root().into()),
    ];
    if wanted.iter().all(|(name, value)| env::var_os(name).as_ref() == Some(value)) {
        return Ok(());
    }
    let error = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .envs(wanted)
        .env_remove("INSTA_FORCE_UPDATE")
        .env_remove("INSTA_FORCE_UPDATE_SNAPSHOTS")
        .exec();
    Err(error.into())
}

/// What the user wants to be done with differences: unless told, they are kept for review, and in
/// CI, where nobody reviews, they are not.
fn chosen_update() -> Result<OsString, Failure> {
    match env::var_os("INSTA_UPDATE").filter(|update| !update.is_empty()) {
        Some(update) if UPDATES.iter().any(|known| OsStr::new(known) == update) => Ok(update),
        Some(update) => Err(Failure::Usage(format!(
            "INSTA_UPDATE is `{}`: it can be {}",
            update.display(),
            UPDATES.join(", ")
        ))),
        None if env::var_os("CI").is_some_and(|ci| ci != "false" && !ci.is_empty()) => {
            Ok("no".into())
        }
        None => Ok("new".into()),
    }
}

impl Snapshots {
    /// The snapshots in this folder.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder: std::path::absolute(&folder).unwrap_or(folder) }
    }

    /// Finds out, before hours of trials, whether there is such a folder, or one can be made and
    /// written to where that was asked for.
    pub fn check(&self, accept: bool) -> Result<(), Failure> {
        if accept {
            let path = self.folder.clone();
            let unwritable = |error| SnapshotError::Unwritable { path, error };
            return Ok(results::check_folder(&self.folder).map_err(unwritable)?);
        }
        if self.folder.is_dir() {
            return Ok(());
        }
        let folder = self.folder.display();
        Err(Failure::Usage(format!(
            "there is no folder of snapshots at {folder}: --accept makes one"
        )))
    }

    /// What the snapshot of an experiment says; `None` if there is none.
    pub fn expected(&self, source: &Source) -> Result<Option<String>, SnapshotError> {
        let path = self.path(source);
        snapshot_file::read(&path).map_err(|error| SnapshotError::Unreadable { path, error })
    }

    fn path(&self, source: &Source) -> PathBuf {
        self.folder.join(format!("{}.snap", source.binary))
    }

    /// Compares what an experiment found with its snapshot, and lets insta keep the difference.
    pub fn compare(
        &self,
        source: &Source,
        result: &ExperimentResult,
    ) -> Result<Comparison, SnapshotError> {
        let expected = self.expected(source)?;
        let found = lab::snapshot::render(result);
        if self
            .assert(source, &found)
            .map_err(|message| SnapshotError::Refused { path: self.path(source), message })?
        {
            // What an earlier run left for review is answered by this one.
            let _ = fs::remove_file(self.folder.join(format!("{}.snap.new", source.binary)));
            let same = expected.is_some_and(|expected| snapshot_file::agree(&expected, &found));
            return Ok(if same { Comparison::Match } else { Comparison::Written });
        }
        Ok(match expected {
            None => Comparison::New(difference::none_yet(source, &found)),
            Some(expected) => {
                Comparison::Mismatch(difference::between(source, &expected, &found, result))
            }
        })
    }

    /// Whether insta is content. It says so by not panicking.
    fn assert(&self, source: &Source, found: &str) -> Result<bool, String> {
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path(&self.folder);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_description(source.title());
        let talkative = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let asserted = panic::catch_unwind(AssertUnwindSafe(|| {
            settings.bind(|| insta::assert_snapshot!(source.binary.as_str(), found));
        }));
        panic::set_hook(talkative);
        let Err(payload) = asserted else { return Ok(true) };
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| payload.downcast_ref().copied()).unwrap_or("it panicked");
        if message.starts_with("snapshot assertion") { Ok(false) } else { Err(message.to_owned()) }
    }

    /// Snapshots of experiments that are no more.
    pub fn orphans(&self, sources: &[Source]) -> Result<Vec<PathBuf>, WorkspaceError> {
        let orphans = workspace::names(&self.folder)?.into_iter().filter(|name| {
            let stem = name.strip_suffix(".snap");
            stem.is_some_and(|stem| sources.iter().all(|source| source.binary != stem))
        });
        Ok(orphans.map(|name| self.folder.join(name)).collect())
    }
}
