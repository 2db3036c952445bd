//! Evidence: checks from outside whether something *has* ended.
//!
//! A destructor that returned, a future that resolved, a count that reached zero: each is a statement of
//! the program about itself. A connection pool whose last owner is gone reports nothing, and its
//! connections may stay open as long as one of its tasks lives. The operating system knows: as long as a
//! connection is open, so is a descriptor of its file. [`open_files`] lists these descriptors, and
//! [`no_open_files`] turns that into a check for a session.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

#[cfg(any(target_os = "macos", all(test, unix)))]
mod by_identity;
#[cfg(target_os = "linux")]
mod by_link;

/// Why open files could not be listed. This does not mean that none are open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The path could not be resolved.
    #[error("cannot resolve `{}`: {source}; ask about a path that can be read", path.display())]
    Unresolved {
        /// The path that was passed in.
        path: PathBuf,
        /// The error from the OS.
        source: io::Error,
    },
    /// The list of this process's descriptors could not be read.
    #[error("cannot read `{}`, which lists what this process has open: {source}; is it mounted, and is a descriptor left to read it with?", list.display())]
    Unlisted {
        /// Where the system keeps the list.
        list: PathBuf,
        /// The error from the OS.
        source: io::Error,
    },
    /// The kit cannot list open files on this platform.
    #[error("this platform does not list which files a process has open; use other evidence here")]
    Unsupported,
}

/// Lists the files below a path that this process has open, sorted.
///
/// A file that is open twice is listed twice, so the length is the number of descriptors. The path
/// itself counts as below itself. Symbolic links in it are followed, and it need not exist any more: if
/// the directory of a store was removed while it was open, its descriptors still exist, and on Linux
/// they are found under the names that the files had.
///
/// On Linux this reads the links in `/proc/self/fd`. On macOS (unverified) it compares the descriptors
/// in `/dev/fd` with what is below the path, by device and inode, and so misses files that were deleted.
/// On other systems it returns [`EvidenceError::Unsupported`].
///
/// # Errors
///
/// [`EvidenceError`], if the path cannot be resolved or the list cannot be read, for example because no
/// descriptor is left. An empty list means that no file was open; every failure is an error.
///
/// # Examples
///
/// ```
/// # #[cfg(any(target_os = "linux", target_os = "macos"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("store.sqlite3");
///
/// let file = std::fs::File::create(&path)?;
/// assert_eq!(sundown::evidence::open_files(directory.path())?.len(), 1);
///
/// drop(file);
/// assert!(sundown::evidence::open_files(directory.path())?.is_empty());
/// # Ok(())
/// # }
/// # #[cfg(not(any(target_os = "linux", target_os = "macos")))]
/// # fn main() {}
/// ```
pub fn open_files(below: &Path) -> Result<Vec<PathBuf>, EvidenceError> {
    let below = resolve(below)
        .map_err(|source| EvidenceError::Unresolved { path: below.to_owned(), source })?;
    let mut files = list(&below)?;
    files.sort_unstable();
    Ok(files)
}

/// Why a check did not confirm the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unconfirmed {
    /// Something has not ended: this is the remaining work. A later check may succeed.
    #[error("{0}")]
    Against(String),
    /// The check could not decide, for this reason.
    #[error("there is no evidence: {0}")]
    Unavailable(String),
}

/// A check from outside whether something has ended. A closure that returns `Result<(), Unconfirmed>` is
/// one.
///
/// A resource that is closed and a resource that never existed look the same from outside. So a check
/// that compares with what it saw earlier needs a [`look`](Self::look) while the resource is open.
pub trait Evidence: Send + Sync {
    /// Takes a look while the resource is open, so that a later [`check`](Self::check) has something to
    /// compare with. This must be quick. By default it does nothing.
    fn look(&self) {}

    /// Whether the end is confirmed.
    ///
    /// # Errors
    ///
    /// [`Unconfirmed::Against`] while something has not ended, and [`Unconfirmed::Unavailable`] if the
    /// check cannot decide.
    fn check(&self) -> Result<(), Unconfirmed>;
}

impl<F: Fn() -> Result<(), Unconfirmed> + Send + Sync> Evidence for F {
    fn check(&self) -> Result<(), Unconfirmed> {
        self()
    }
}

impl From<EvidenceError> for Unconfirmed {
    fn from(error: EvidenceError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Makes a check that this process has no file open below a path, by [`open_files`]. Pass it to
/// [`Builder::evidence`](crate::session::Builder::evidence), or call it directly.
///
/// # Errors
///
/// The check returns [`Unconfirmed::Against`] with the files that are open, and
/// [`Unconfirmed::Unavailable`] if [`open_files`] fails.
///
/// ```
/// # #[cfg(any(target_os = "linux", target_os = "macos"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sundown::evidence::{Unconfirmed, no_open_files};
///
/// let directory = tempfile::tempdir()?;
/// let is_closed = no_open_files(directory.path());
///
/// let file = std::fs::File::create(directory.path().join("store.sqlite3"))?;
/// assert!(matches!(is_closed(), Err(Unconfirmed::Against(_))));
///
/// drop(file);
/// assert_eq!(is_closed(), Ok(()));
/// # Ok(())
/// # }
/// # #[cfg(not(any(target_os = "linux", target_os = "macos")))]
/// # fn main() {}
/// ```
pub fn no_open_files(
    below: impl Into<PathBuf>,
) -> impl Fn() -> Result<(), Unconfirmed> + Clone + Send + Sync + 'static {
    let below = below.into();
    move || {
        let files = open_files(&below)?;
        if files.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        let (open, names) = (files.len(), names.join(", "));
        Err(Unconfirmed::Against(format!("{open} open below {}: {names}", below.display())))
    }
}

#[cfg(target_os = "linux")]
use by_link::list;

#[cfg(target_os = "macos")]
use by_identity::list;

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn list(_below: &Path) -> Result<Vec<PathBuf>, EvidenceError> {
    Err(EvidenceError::Unsupported)
}

/// Resolves a path. If it does not exist any more, resolves the part that does.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut existing = std::path::absolute(path)?;
    let mut gone: Vec<OsString> = Vec::new();
    loop {
        match existing.canonicalize() {
            Ok(real) => return Ok(gone.into_iter().rev().fold(real, |path, name| path.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = existing.file_name().map(OsString::from);
                let (Some(name), true) = (name, existing.pop()) else { return Err(error) };
                gone.push(name);
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        (directory, path)
    }

    #[test]
    fn every_descriptor_below_the_path_is_listed_and_no_other() {
        let (_guard, path) = directory();
        let (_elsewhere_guard, elsewhere) = directory();
        fs::create_dir(path.join("inner")).unwrap();
        let (second, first) = (path.join("inner/second"), path.join("first"));
        let _files = [&second, &first, &first].map(|path| File::create(path).unwrap());
        let _other = File::create(elsewhere.join("other")).unwrap();

        assert_eq!(open_files(&path).unwrap(), [first.clone(), first, second.clone()]);
        assert_eq!(open_files(&path.join("inner")).unwrap(), [second]);
    }

    #[test]
    fn a_neighbour_whose_name_begins_the_same_is_not_below() {
        let (_guard, path) = directory();
        let _neighbour = File::create(path.join("store-two")).unwrap();
        assert!(open_files(&path.join("store")).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_was_closed_is_not_listed() {
        let (_guard, path) = directory();
        drop(File::create(path.join("file")).unwrap());
        assert!(open_files(&path).unwrap().is_empty());
    }

    #[test]
    fn a_file_is_below_itself_and_links_are_followed() {
        let (_guard, path) = directory();
        let (file, link) = (path.join("file"), path.join("link"));
        let _open = File::create(&file).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(open_files(&link).unwrap(), [file]);
    }

    #[test]
    fn a_path_through_a_file_cannot_be_resolved_and_the_error_names_it() {
        let (_guard, path) = directory();
        let file = path.join("file");
        fs::write(&file, "").unwrap();
        let error = open_files(&file.join("below")).unwrap_err();
        assert!(
            matches!(&error, EvidenceError::Unresolved { path, .. } if path.starts_with(&file))
        );
        assert!(error.to_string().contains("file/below"), "{error}");
    }
}
