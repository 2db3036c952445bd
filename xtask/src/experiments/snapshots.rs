//! The committed snapshots. They are files in insta's format, so that `cargo insta review` finds the
//! pending snapshots that a run writes.
//!
//! This module does not use insta's own comparison: environment variables of the process configure it, and
//! a program cannot set those without unsafe code.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use lab::results::SnapshotStatus;

use super::probe_seed;
use crate::{
    failure::{Context as _, Failure, Result},
    flags, results,
    workspace::{self, Source, Workspace},
};

pub struct Snapshots {
    folder: PathBuf,
    /// Whether a difference is written into the snapshot.
    accept: bool,
    /// Whether it is written next to the snapshot.
    review: bool,
}

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    Match,
    /// The snapshot differed or was missing, and has been written.
    Written,
    New,
    /// With what the snapshot expects.
    Mismatch(String),
}

impl Compared {
    /// The word in the results.
    pub const fn status(&self) -> SnapshotStatus {
        match self {
            Self::Match | Self::Written => SnapshotStatus::Match,
            Self::New => SnapshotStatus::New,
            Self::Mismatch(_) => SnapshotStatus::Mismatch,
        }
    }
}

impl Snapshots {
    /// The committed snapshots.
    pub fn committed(workspace: &Workspace) -> Self {
        Self { folder: workspace.path("experiments/snapshots"), accept: false, review: false }
    }

    /// Opens the snapshots. Fails before the trials if the folder does not exist, or is not writable
    /// although it must be.
    pub fn open(flags: &flags::Experiments, workspace: &Workspace) -> Result<Self> {
        let in_ci = env::var_os("CI").is_some_and(|ci| ci != "false" && !ci.is_empty());
        let committed = Self::committed(workspace);
        let folder = match &flags.snapshots {
            Some(folder) => std::path::absolute(folder)?,
            None => committed.folder,
        };
        let shown = folder.display();
        if flags.accept {
            results::check_folder(&folder)
                .context(|| format!("cannot write snapshots to {shown}"))?;
        } else if flags.snapshots.is_some() && !folder.is_dir() {
            return Err(Failure::Usage(format!(
                "there is no folder of snapshots at {shown}: --accept makes one"
            )));
        }
        Ok(Self { accept: flags.accept, review: !in_ci && probe_seed().is_none(), folder })
    }

    pub fn path(&self, source: &Source) -> PathBuf {
        self.folder.join(format!("{}.snap", source.binary))
    }

    /// The text of a snapshot; `None` if there is none.
    pub fn read(&self, source: &Source) -> Result<Option<String>> {
        let path = self.path(source);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => {
                let file =
                    file.context(|| format!("cannot read the snapshot {}", path.display()))?;
                Ok(Some(body(&file).to_owned()))
            }
        }
    }

    /// Compares a result with its snapshot.
    pub fn compare(&self, source: &Source, found: &str) -> Result<Compared> {
        let (path, expected) = (self.path(source), self.read(source)?);
        let pending = path.with_extension("snap.new");
        let compared = match expected {
            Some(expected) if agree(&expected, found) => Compared::Match,
            _ if self.accept => {
                write(&path, source, found)?;
                Compared::Written
            }
            expected => {
                if self.review {
                    write(&pending, source, found)?;
                }
                return Ok(expected.map_or(Compared::New, Compared::Mismatch));
            }
        };
        // This run supersedes the pending snapshot of an earlier one.
        let _ = fs::remove_file(pending);
        Ok(compared)
    }

    /// Snapshots without an experiment.
    pub fn orphans(&self, sources: &[Source]) -> Result<Vec<PathBuf>> {
        let mut orphans = workspace::names(&self.folder)?;
        orphans.retain(|name| {
            let stem = name.strip_suffix(".snap");
            stem.is_some_and(|stem| sources.iter().all(|source| source.binary != stem))
        });
        Ok(orphans.iter().map(|name| self.folder.join(name)).collect())
    }
}

/// Whether a snapshot equals the result, up to the end of the last line.
pub fn agree(expected: &str, found: &str) -> bool {
    expected.trim_end().lines().eq(found.trim_end().lines())
}

fn write(path: &Path, source: &Source, found: &str) -> Result<()> {
    let (header, found) = (header(source), found.trim_end());
    results::write_whole(path, &format!("{header}{found}\n"))
        .context(|| format!("cannot write the snapshot {}", path.display()))
}

/// The header that insta writes above a text.
fn header(source: &Source) -> String {
    format!("---\nsource: {}\ndescription: {}\n---\n", file!(), source.title())
}

/// The text below the header.
fn body(file: &str) -> &str {
    let header_and_body = file.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n"));
    header_and_body.map_or(file, |(_, body)| body).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insta_accepts_what_we_write_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::named("01_drop_context").unwrap();
        let snapshots = Snapshots { folder: folder.path().to_owned(), accept: true, review: false };
        let found = "hypothesis  supported\n\nhazard  a\n";
        assert_eq!(snapshots.compare(&source, found).unwrap(), Compared::Written);

        let insta_accepts = |text: &str| {
            let mut settings = insta::Settings::new();
            settings.set_snapshot_path(folder.path());
            settings.set_prepend_module_to_snapshot(false);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                settings.bind(|| insta::assert_snapshot!(source.binary.as_str(), text));
            }))
            .is_ok()
        };
        assert!(insta_accepts(found));
        assert!(!insta_accepts("hypothesis  refuted\n"));
        // We can also read a pending snapshot that insta wrote, if it does so here.
        if let Ok(pending) = fs::read_to_string(snapshots.path(&source).with_extension("snap.new"))
        {
            assert_eq!(body(&pending), "hypothesis  refuted");
        }
    }

    #[test]
    fn the_header_is_that_of_insta_and_not_part_of_the_text() {
        let source = Source::named("01_drop_context").unwrap();
        let file = header(&source) + "hypothesis  supported\n\nhazard  a\n";
        let insta =
            "---\nsource: xtask/src/experiments/snapshots.rs\ndescription: 01 drop-context\n---\n";
        assert!(file.starts_with(insta), "{file}");
        assert_eq!(body(&file), "hypothesis  supported\n\nhazard  a");
        assert!(agree(body(&file), "hypothesis  supported\n\nhazard  a\n"));
        assert!(!agree(body(&file), "hypothesis  refuted\n\nhazard  a\n"));
        assert_eq!(body("hypothesis  supported\n"), "hypothesis  supported", "without a header");
    }
}
