//! A file, whatever its name.

#[cfg(unix)]
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};
use std::{fs::Metadata, time::SystemTime};

/// What a file keeps when it is renamed.
///
/// After a file was deleted and closed, another may get its inode. The time of creation tells the two
/// apart. If the file system does not record it, or if both were created in one tick of its clock, a file
/// that is open may be taken for one that was: then evidence speaks against an end that has come, and
/// never the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    created: Option<SystemTime>,
}

impl Identity {
    #[cfg(unix)]
    pub(crate) fn of(file: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: file.dev(), inode: file.ino(), created: file.created().ok() }
    }

    /// Not used, because the kit does not list open files there.
    #[cfg(not(unix))]
    pub(super) fn of(file: &Metadata) -> Self {
        Self { device: 0, inode: 0, created: file.created().ok() }
    }
}

/// Every file below a path. A file that has two names there has one of them here.
#[cfg(unix)]
pub(super) fn names_below(path: &Path) -> io::Result<HashMap<Identity, PathBuf>> {
    let mut names = HashMap::new();
    collect(path, &mut names)?;
    Ok(names)
}

#[cfg(unix)]
fn collect(path: &Path, names: &mut HashMap<Identity, PathBuf>) -> io::Result<()> {
    /// What was deleted in the meantime is not there.
    fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }
    let Some(found) = there(fs::symlink_metadata(path))? else { return Ok(()) };
    if found.is_file() {
        names.insert(Identity::of(&found), path.to_owned());
    } else if found.is_dir() {
        for entry in there(fs::read_dir(path))?.into_iter().flatten() {
            collect(&entry?.path(), names)?;
        }
    }
    Ok(())
}
