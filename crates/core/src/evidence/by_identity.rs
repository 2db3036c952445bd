//! Open files by identity: the descriptors in `/dev/fd`, compared by device and inode with the files
//! below a path.
//!
//! This is for macOS, where a descriptor has no link to read. It is unverified there: no test has run on
//! that system. The same code is tested on Linux, whose `/dev/fd` works alike.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::EvidenceError;

const LIST: &str = "/dev/fd";

/// A file by its device and inode, whatever its name.
type Identity = (u64, u64);

pub(super) fn list(below: &Path) -> Result<Vec<PathBuf>, EvidenceError> {
    let unresolved = |source| EvidenceError::Unresolved { path: below.to_owned(), source };
    let unlisted = |source| EvidenceError::Unlisted { list: LIST.into(), source };
    let mut names = HashMap::new();
    collect(below, &mut names).map_err(unresolved)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(LIST).map_err(unlisted)? {
        // A descriptor that cannot be followed is a pipe or a socket, or another thread has closed it
        // in the meantime.
        let Ok(open) = fs::metadata(entry.map_err(unlisted)?.path()) else { continue };
        files.extend(names.get(&(open.dev(), open.ino())).cloned());
    }
    Ok(files)
}

/// Collects every file below a path. One that has two names is listed under one of them.
fn collect(path: &Path, names: &mut HashMap<Identity, PathBuf>) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if found.is_file() {
        names.insert((found.dev(), found.ino()), path.to_owned());
    } else if found.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn descriptors_are_found_by_device_and_inode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        fs::create_dir(path.join("inner")).unwrap();
        let file = path.join("inner/file");
        fs::write(path.join("closed"), "").unwrap();

        let open = [File::create(&file).unwrap(), File::open(&file).unwrap()];
        assert_eq!(list(&path).unwrap(), [file.clone(), file]);

        drop(open);
        assert!(list(&path).unwrap().is_empty());
        assert!(list(&path.join("gone")).unwrap().is_empty());
    }
}
