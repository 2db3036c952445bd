//! Files that are open below a path.

use std::{
    collections::{HashSet, VecDeque},
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    EvidenceError, Unconfirmed,
    follow::{Found, Source, follows},
    identity::Identity,
};

#[cfg(target_os = "macos")]
use super::by_identity as platform;
#[cfg(target_os = "linux")]
use super::by_link as platform;

/// Lists the files below a path that this process has open, sorted.
///
/// A file that is open twice is listed twice, so the length is the number of descriptors. The path
/// itself counts as below itself. Symbolic links in it are followed, and it need not exist any more: if
/// the directory of a store was removed while it was open, its descriptors still exist, and on Linux
/// they are found under the names that the files had.
///
/// This goes by names. If the directory was renamed, ask about the new name, or use [`no_open_files`],
/// which follows it.
///
/// On Linux this reads the links in `/proc/thread-self/fd`. On macOS (unverified) it compares the
/// descriptors in `/dev/fd` with what is below the path, by device and inode, and so misses files that
/// were deleted. On other systems it returns [`EvidenceError::Unsupported`].
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
    let mut files = platform::list(&below)?;
    files.sort_unstable();
    Ok(files)
}

follows! {
    /// Evidence that no file below a path is open. Made by [`no_open_files`].
    OpenFiles, Below
}

/// Evidence that this process has no file open below a path: the store's directory, or one file. Pass it
/// to [`Builder::evidence`](crate::session::Builder::evidence), or call it directly.
///
/// It speaks against the end as long as a descriptor or a memory mapping belongs to
///
/// - a file whose name is below the path, or was below it when the file was deleted,
/// - a file that a look saw there, whatever its name is now: also if it was deleted, or if its directory
///   was renamed or deleted,
/// - a file in the directory that a look saw at the path, wherever that directory is now.
///
/// A symbolic link in the path is followed at each look. A relative path belongs to the directory that is
/// the current one now. A file below the path that was opened by another name, through a hard link or a
/// bind mount of the directory, counts. If you put another directory at the path, its files count as well: use a new
/// directory for each login. Programs and libraries that are loaded from below the path do not count.
///
/// It does not see files that are open in other processes (children that have inherited a descriptor
/// included), in a thread that does not share the descriptors of this process (`unshare`), or in a
/// message that was sent over a Unix socket and not received. It does not see a file that is registered
/// with an `io_uring` and whose descriptor is closed, nor one that was opened through a bind mount of a
/// directory below the path, unless a look saw it.
///
/// A look reads one link per descriptor of the process, a check also asks for the identity of each file:
/// on a network file system that does not answer, it waits.
///
/// # Errors
///
/// The check returns [`Unconfirmed::Against`] with the files that are open. It returns
/// [`Unconfirmed::Unavailable`]
///
/// - if it has never seen a file open below the path: because nobody looked in time, or because the path
///   is wrong;
/// - if the path cannot be resolved or the system's list cannot be read, for example because no
///   descriptor is left;
/// - if the directory was renamed and deleted, and a deleted file is open that may have been in it.
///
/// ```
/// # #[cfg(any(target_os = "linux", target_os = "macos"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::fs::{self, File};
/// use sundown::evidence::{Evidence, Unconfirmed, no_open_files};
///
/// let directory = tempfile::tempdir()?;
/// let store = directory.path().join("store");
/// fs::create_dir(&store)?;
/// let is_closed = no_open_files(&store);
/// assert!(matches!(is_closed.check(), Err(Unconfirmed::Unavailable(_))), "it saw nothing open");
///
/// let file = File::create(store.join("store.sqlite3"))?;
/// is_closed.look();
/// fs::rename(&store, directory.path().join("renamed"))?;
/// assert!(matches!(is_closed.check(), Err(Unconfirmed::Against(_))));
///
/// drop(file);
/// assert_eq!(is_closed.check(), Ok(()));
/// # Ok(())
/// # }
/// # #[cfg(not(any(target_os = "linux", target_os = "macos")))]
/// # fn main() {}
/// ```
pub fn no_open_files(below: impl Into<PathBuf>) -> OpenFiles {
    OpenFiles::follow(Below::new(below.into()))
}

/// A path, and what was there at each look.
pub(super) struct Below {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Clone, Default)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux shows names"))]
pub(super) struct Known {
    /// What was at the path: usually one directory.
    pub(super) roots: VecDeque<Identity>,
    /// The names that the roots have had.
    pub(super) names: VecDeque<PathBuf>,
}

/// The path as it is now, and as it was.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux shows names"))]
pub(super) struct Place {
    /// The real path.
    pub(super) path: PathBuf,
    /// What is there now.
    pub(super) now: Option<Identity>,
    pub(super) known: Known,
}

/// How many roots and names are remembered. Only a path at which ever new directories appear has more.
const REMEMBERED: usize = 64;

impl Below {
    pub(super) fn new(path: PathBuf) -> Self {
        // An empty path is refused when it is resolved.
        let path = std::path::absolute(&path).unwrap_or(path);
        Self { path, known: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn place(&self) -> Result<Place, EvidenceError> {
        let unresolved = |source| EvidenceError::Unresolved { path: self.path.clone(), source };
        let path = resolve(&self.path).map_err(unresolved)?;
        let now = match fs::metadata(&path) {
            Ok(file) => Some(Identity::of(&file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unresolved(error)),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = now {
            remember(&mut known.roots, now);
        }
        remember(&mut known.names, path.clone());
        Ok(Place { path, now, known: known.clone() })
    }

    /// A root has this name now.
    #[cfg(target_os = "linux")]
    pub(super) fn learn(&self, names: Vec<PathBuf>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        names.into_iter().for_each(|name| remember(&mut known.names, name));
    }

    pub(super) fn why_never_seen(&self, seen: &str) -> String {
        let path = self.path.display();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.roots.is_empty() {
            true => format!(
                "`{path}` has never been there, so no file below it was {seen} at any look: is it \
                 spelled right?"
            ),
            false => {
                format!("no file below `{path}` was {seen} at any look, so nothing can have ended")
            }
        }
    }
}

fn remember<T: PartialEq>(all: &mut VecDeque<T>, one: T) {
    if !all.contains(&one) {
        all.push_back(one);
        if all.len() > REMEMBERED {
            all.pop_front();
        }
    }
}

impl Source for Below {
    type Identity = Identity;

    const CAN_BE_THOROUGH: bool = true;

    fn find(
        &self,
        seen: &HashSet<Identity>,
        thorough: bool,
    ) -> Result<Vec<Found<Identity>>, Unconfirmed> {
        let open = platform::find(self, seen, thorough)?;
        let found = open.into_iter().map(|open| Found { identity: open.identity, name: open.name });
        Ok(found.collect())
    }

    fn fmt_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open below {}", self.path.display())
    }

    fn why_never_seen(&self) -> String {
        self.why_never_seen("open")
    }
}

/// A descriptor or a mapping of a file below the path.
pub(super) struct Open {
    /// Where the descriptor is listed. `None` for a mapping.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "its locks are listed there"))]
    pub(super) entry: Option<PathBuf>,
    pub(super) identity: Option<Identity>,
    pub(super) name: String,
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod platform {
    use super::{Below, EvidenceError, HashSet, Identity, Open, Path, PathBuf, Unconfirmed};

    pub(super) fn list(_below: &Path) -> Result<Vec<PathBuf>, EvidenceError> {
        Err(EvidenceError::Unsupported)
    }

    pub(super) fn find(
        below: &Below,
        _seen: &HashSet<Identity>,
        _thorough: bool,
    ) -> Result<Vec<Open>, Unconfirmed> {
        below.place()?;
        Err(EvidenceError::Unsupported.into())
    }
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
