//! The durable record that a logout is about to be requested.
//!
//! A process can be killed after the server has forgotten the access token and before the client has
//! noticed. The next start then finds a session that looks alive. Because of the recorded intent it asks
//! the server first ([`resolve_at_start`](crate::recovery::resolve_at_start)).

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// An intent as a file: it is recorded while the file exists. The calls block on the disk.
///
/// ```
/// use sundown::logout::intent::IntentFile;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let intent = IntentFile::new(folder.join("logout-intent"));
/// assert!(!intent.is_recorded()?);
/// intent.record()?;
/// intent.record()?;
/// assert!(intent.is_recorded()?);
/// intent.clear()?;
/// intent.clear()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentFile {
    path: PathBuf,
}

impl IntentFile {
    /// An intent that is recorded in this file. The file's folder must exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Records the intent. When this returns, the record survives the end of the process and, as far
    /// as the file system keeps its promises, a power failure. A second call changes nothing.
    ///
    /// # Errors
    ///
    /// An error of the file system, with the path. The intent may or may not be recorded then.
    pub fn record(&self) -> io::Result<()> {
        // The file has no content that could be torn, so it needs no temporary file.
        let made = File::options().create(true).append(true).open(&self.path);
        let synced = made.and_then(|file| file.sync_all()).and_then(|()| self.sync_folder());
        synced.map_err(|error| self.failed("cannot record the intent to log out in", &error))
    }

    /// Whether the intent is recorded.
    ///
    /// # Errors
    ///
    /// An error of the file system, with the path.
    pub fn is_recorded(&self) -> io::Result<bool> {
        let exists = self.path.try_exists();
        exists.map_err(|error| self.failed("cannot look for an intent to log out at", &error))
    }

    /// Removes the record durably. Without a record, this changes nothing.
    ///
    /// # Errors
    ///
    /// An error of the file system, with the path. The intent may still be recorded then.
    pub fn clear(&self) -> io::Result<()> {
        let removed = match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| self.sync_folder()),
        };
        removed.map_err(|error| self.failed("cannot clear the intent to log out at", &error))
    }

    /// A file's name is stored in its folder, and is durable once the folder is synced.
    #[cfg(unix)]
    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Other systems cannot open a folder. There, only the file is synced.
    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "as on Unix")]
    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn failed(&self, what: &str, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{what} {}: {error}", self.path.display()))
    }
}
