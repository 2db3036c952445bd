//! What the application remembers on disk: who was logged in last, and every session there was.
//!
//! A logout deletes the first and leaves the second: the next start does not log in by itself, and
//! when the user logs in again, the stored session is there.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::store::Session;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`: {source}", path.display())]
pub struct FilesError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FilesError {
    fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// A session, and where its stores are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSession {
    pub(crate) session: Session,
    /// The name of the directory with its stores.
    pub(crate) stores: String,
}

/// The files in a directory. Every operation blocks its thread for as long as the disk takes.
#[derive(Clone, Debug)]
pub struct SessionFiles {
    directory: PathBuf,
}

impl SessionFiles {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The file with the id of the latest user, which exists while somebody is logged in.
    #[must_use]
    pub fn latest_user_id_path(&self) -> PathBuf {
        self.directory.join("latest_user_id")
    }

    fn session_path(&self, user: &str) -> PathBuf {
        let name = utf8_percent_encode(user, NON_ALPHANUMERIC);
        self.directory.join("sessions").join(format!("{name}.json"))
    }

    /// The directory with the stores of all sessions.
    #[must_use]
    pub fn stores(&self) -> PathBuf {
        self.directory.join("stores")
    }

    /// The directory with the stores of one session.
    #[must_use]
    pub fn stores_path(&self, name: &str) -> PathBuf {
        self.stores().join(name)
    }

    /// Creates a directory for the stores of a new session, and returns its name, which is unique.
    pub(super) fn new_stores(&self) -> Result<String, FilesError> {
        let parent = self.stores();
        fs::create_dir_all(&parent).map_err(FilesError::new("create", &parent))?;
        let mut number = 1_u32;
        loop {
            let name = format!("{number:04}");
            let path = parent.join(&name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(name),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(FilesError::new("create", &path)(error)),
            }
        }
    }

    /// Saves a session in place of an earlier one of the same user, all or nothing.
    pub(super) fn save(&self, stored: &StoredSession) -> Result<(), FilesError> {
        let StoredSession { session: Session { user, device, access_token }, stores } = stored;
        let content = json!([user, device, access_token, stores]);
        write_whole(&self.session_path(user), content.to_string().as_bytes())
    }

    /// The stored session of a user. `None` if there is none. A file that is not a session is an error.
    pub(crate) fn session(&self, user: &str) -> Result<Option<StoredSession>, FilesError> {
        let path = self.session_path(user);
        let Some(content) = read(&path)? else { return Ok(None) };
        let text = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let fields = serde_json::from_str::<[Value; 4]>(&content).map(|fields| fields.map(text));
        let Ok([Some(user), Some(device), Some(access_token), Some(stores)]) = fields else {
            let reason = "it is not a session; delete it, and log in again";
            return Err(FilesError::new("use", &path)(io::Error::other(reason)));
        };
        let session = Session { user, device, access_token };
        Ok(Some(StoredSession { session, stores }))
    }

    /// Who was logged in last, and has not logged out. `None` if nobody is.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn latest_user_id(&self) -> Result<Option<String>, FilesError> {
        read(&self.latest_user_id_path())
    }

    pub(super) fn set_latest_user_id(&self, user: &str) -> Result<(), FilesError> {
        write_whole(&self.latest_user_id_path(), user.as_bytes())
    }

    /// Forgets who was logged in last. It is no error if nobody was.
    ///
    /// # Errors
    ///
    /// If the file cannot be deleted.
    pub fn delete_latest_user_id(&self) -> Result<(), FilesError> {
        let path = self.latest_user_id_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FilesError::new("delete", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<Option<String>, FilesError> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FilesError::new("read", path)(error)),
    }
}

/// Writes a new file beside the old one and renames it: a reader, also after a crash, finds one or the
/// other, whole.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), FilesError> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(FilesError::new("create", directory))?;
    }
    let new = path.with_added_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(FilesError::new("write", &new))?;
    fs::rename(&new, path).map_err(FilesError::new("write", path))
}
