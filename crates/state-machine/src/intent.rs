//! The durable record that a logout is about to be requested.
//!
//! A process can be killed between the server's forgetting a token and the client's noticing. What
//! the next start finds then is a session that looks alive. With the intent beside it, the next
//! start knows that it has to ask ([`resolve_at_start`](crate::start::resolve_at_start)).

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// An intent, as a file: recorded while the file is there.
///
/// It blocks its thread while it reads and writes, for as long as the disk takes.
///
/// ```
/// use state_machine::intent::IntentFile;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let intent = IntentFile::new(folder.join("logout-intent"));
/// assert!(!intent.is_recorded()?);
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
    /// The intent that is recorded by the file of this name. Its folder must exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records the intent: when this returns, it outlasts the process and, as far as the file system
    /// keeps its promises, a power failure. Recorded again it changes nothing.
    ///
    /// # Errors
    ///
    /// Those of the file system, with the path. Then it may be recorded or not.
    pub fn record(&self) -> io::Result<()> {
        // It is its name that says it all: there is no content to be torn, and no need for a
        // temporary file.
        let made = File::options().create(true).append(true).open(&self.path);
        let synced = made.and_then(|file| file.sync_all()).and_then(|()| self.sync_folder());
        synced.map_err(|error| self.says("cannot record the intent to log out in", &error))
    }

    /// Whether it is recorded.
    ///
    /// # Errors
    ///
    /// Those of the file system, with the path.
    pub fn is_recorded(&self) -> io::Result<bool> {
        let exists = self.path.try_exists();
        exists.map_err(|error| self.says("cannot look for an intent to log out at", &error))
    }

    /// Removes it, durably. Where there is none, this changes nothing.
    ///
    /// # Errors
    ///
    /// Those of the file system, with the path. Then it may still be recorded.
    pub fn clear(&self) -> io::Result<()> {
        let removed = match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| self.sync_folder()),
        };
        removed.map_err(|error| self.says("cannot clear the intent to log out at", &error))
    }

    /// A file's name belongs to its folder, and is durable when that is.
    #[cfg(unix)]
    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Folders cannot be opened elsewhere, and what is known to make a name durable is syncing the
    /// file.
    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "as on Unix")]
    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn says(&self, what: &str, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{what} {}: {error}", self.path.display()))
    }
}
