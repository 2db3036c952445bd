//! Open files by the links that the Linux kernel shows.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::EvidenceError;

const LIST: &str = "/proc/self/fd";

/// What the kernel appends to the name of a file that has been deleted.
const DELETED: &[u8] = b" (deleted)";

pub(super) fn list(below: &Path) -> Result<Vec<PathBuf>, EvidenceError> {
    let unlisted = |source| EvidenceError::Unlisted { list: LIST.into(), source };
    // Reading the list takes a descriptor, which must not be listed.
    let itself = fs::canonicalize(LIST).map_err(unlisted)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(LIST).map_err(unlisted)? {
        let descriptor = entry.map_err(unlisted)?.path();
        match fs::read_link(&descriptor) {
            Ok(target) => files.push(name(&descriptor, target)),
            // Another thread has closed it in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unlisted(error)),
        }
    }
    files.retain(|file| file.starts_with(below) && *file != itself);
    Ok(files)
}

/// The name that the file behind a descriptor has, or had before it was deleted.
fn name(descriptor: &Path, target: PathBuf) -> PathBuf {
    let Some(stripped) = target.as_os_str().as_bytes().strip_suffix(DELETED) else {
        return target;
    };
    // A file may really have such a name. Then the link and the name lead to the same file.
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    match identity(&target) {
        Some(named) if identity(descriptor) == Some(named) => target,
        _ => PathBuf::from(OsStr::from_bytes(stripped)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, slice};

    use super::{super::open_files, *};

    #[test]
    fn a_deleted_file_is_listed_under_the_name_it_had() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join("store");
        fs::create_dir(&path).unwrap();
        let file = path.join("file");
        let _open = File::create(&file).unwrap();

        fs::remove_file(&file).unwrap();
        assert_eq!(open_files(&path).unwrap(), slice::from_ref(&file));

        fs::remove_dir(&path).unwrap();
        assert_eq!(open_files(&path).unwrap(), [file], "the directory is gone as well");
    }

    #[test]
    fn a_file_that_is_really_called_deleted_keeps_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let file = path.join("file (deleted)");
        let _open = File::create(&file).unwrap();
        assert_eq!(open_files(&path).unwrap(), [file]);
    }

    #[test]
    fn the_list_does_not_find_itself() {
        let files = open_files(Path::new("/proc/self/fd")).unwrap();
        assert!(files.is_empty(), "{files:?}");
    }
}
