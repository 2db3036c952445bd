//! The files that a database has beside it while it is open, and keeps if it was not closed properly.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The files beside a database in WAL mode. The last connection to close writes the log back into the
/// database and removes both; they stay if no connection was the last, or none was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residue {
    /// The size of the write-ahead log (`-wal`) in bytes, if there is one.
    pub wal_bytes: Option<u64>,
    /// The size of the shared memory (`-shm`) in bytes, if there is any.
    pub shm_bytes: Option<u64>,
}

impl Residue {
    /// Whether there is neither.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.wal_bytes.is_none() && self.shm_bytes.is_none()
    }
}

/// Looks at what is beside a database, which itself may be missing.
///
/// # Errors
///
/// If a file cannot be looked at.
pub fn residue(database: &Path) -> io::Result<Residue> {
    let bytes = |suffix| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        match fs::metadata(PathBuf::from(name)) {
            Ok(file) => Ok(Some(file.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    Ok(Residue { wal_bytes: bytes("-wal")?, shm_bytes: bytes("-shm")? })
}
