//! Open files by identity: the descriptors in `/dev/fd`, compared by device and inode with the files
//! below a path.
//!
//! This is for macOS, where a descriptor has no link to read. It is unverified there: no test has run on
//! that system. The same code is tested on Linux, whose `/dev/fd` works alike.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    EvidenceError, Unconfirmed,
    identity::{Identity, names_below},
    open_files::{Below, Open},
};

const LIST: &str = "/dev/fd";

pub(super) fn list(below: &Path) -> Result<Vec<PathBuf>, EvidenceError> {
    let names = names_below(below)
        .map_err(|source| EvidenceError::Unresolved { path: below.to_owned(), source })?;
    Ok(descriptors()?.into_iter().filter_map(|open| names.get(&open).cloned()).collect())
}

/// Finds what is open below a path, or was seen there.
pub(super) fn find(
    below: &Below,
    seen: &HashSet<Identity>,
    _thorough: bool,
) -> Result<Vec<Open>, Unconfirmed> {
    let path = below.place()?.path;
    let names = names_below(&path)
        .map_err(|source| EvidenceError::Unresolved { path: path.clone(), source })?;
    let open = descriptors()?.into_iter().filter_map(|open| {
        let name = match names.get(&open) {
            Some(name) => name.display().to_string(),
            None if seen.contains(&open) => format!("inode {} (moved or deleted)", open.inode),
            None => return None,
        };
        Some(Open { entry: None, identity: Some(open), name })
    });
    Ok(open.collect())
}

fn descriptors() -> Result<Vec<Identity>, EvidenceError> {
    let unlisted = |source| EvidenceError::Unlisted { list: LIST.into(), source };
    let mut open = Vec::new();
    for entry in fs::read_dir(LIST).map_err(unlisted)? {
        // A descriptor that cannot be followed is a pipe or a socket, or another thread has closed it
        // in the meantime.
        open.extend(fs::metadata(entry.map_err(unlisted)?.path()).ok().map(|it| Identity::of(&it)));
    }
    Ok(open)
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

        let evidence = Below::new(path.clone());
        let seen: HashSet<_> = find(&evidence, &HashSet::new(), true)
            .unwrap()
            .into_iter()
            .filter_map(|open| open.identity)
            .collect();
        assert_eq!(seen.len(), 1);
        fs::remove_dir_all(&path).unwrap();
        assert!(find(&evidence, &HashSet::new(), true).unwrap().is_empty());
        assert_eq!(find(&evidence, &seen, true).unwrap().len(), 2, "deleted, and still open");

        drop(open);
        assert!(find(&evidence, &seen, true).unwrap().is_empty());
        assert!(list(&path).unwrap().is_empty());
        assert!(list(&path.join("gone")).unwrap().is_empty());
    }
}
