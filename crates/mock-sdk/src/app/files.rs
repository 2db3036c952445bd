//! What the application remembers on disk: who was logged in last, and every session there was.
//!
//! A logout deletes the first and leaves the second: the next start does not log in by itself, and
//! the user may log in again with what the session has stored.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::store::Session;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The file system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    System {
        /// What was asked of it.
        what: &'static str,
        /// The file, or the directory.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// What is there was not written by this application, or not to its end.
    #[error("{} is no session: {reason}; delete it, and log in again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A session, and where its stores are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// The session.
    pub session: Session,
    /// The name of the directory with its stores.
    pub stores: String,
}

/// The files, below one directory. Everything here blocks its thread for as long as the disk takes.
#[derive(Clone, Debug)]
pub struct SessionFiles {
    directory: PathBuf,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::System { what, path, source }
}

impl SessionFiles {
    /// The files below a directory, which is made when something is written.
    #[must_use]
    pub fn below(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Where the id of the latest user is, while somebody is logged in.
    #[must_use]
    pub fn latest_user_id_path(&self) -> PathBuf {
        self.directory.join("latest_user_id")
    }

    /// Where the session of a user is.
    #[must_use]
    pub fn session_path(&self, user: &str) -> PathBuf {
        let name = utf8_percent_encode(user, NON_ALPHANUMERIC);
        self.directory.join("sessions").join(format!("{name}.json"))
    }

    /// Where the stores of all sessions are.
    #[must_use]
    pub fn stores(&self) -> PathBuf {
        self.directory.join("stores")
    }

    /// Where the stores of a session are.
    #[must_use]
    pub fn stores_path(&self, name: &str) -> PathBuf {
        self.stores().join(name)
    }

    /// Makes a directory for the stores of a new session, and returns its name. No two sessions have
    /// the same.
    ///
    /// # Errors
    ///
    /// [`FilesError::System`].
    pub fn new_stores(&self) -> Result<String, FilesError> {
        let parent = self.stores();
        fs::create_dir_all(&parent).map_err(failed("make the directory", &parent))?;
        let mut number = 1_u32;
        loop {
            let name = format!("{number:04}");
            let path = parent.join(&name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(name),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(failed("make the directory", &path)(error)),
            }
        }
    }

    /// Writes a session down, in place of an earlier one of the same user: the whole of it or
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`FilesError::System`]; the earlier one is still there then.
    pub fn save(&self, stored: &StoredSession) -> Result<(), FilesError> {
        let Session { user, device, access_token } = &stored.session;
        let content = json!({
            "user": user, "device": device, "access_token": access_token, "stores": stored.stores,
        });
        write_whole(&self.session_path(user), content.to_string().as_bytes())
    }

    /// The session of a user. `None` where there never was one.
    ///
    /// # Errors
    ///
    /// [`FilesError::System`], and [`FilesError::Malformed`] where something else is there.
    pub fn session(&self, user: &str) -> Result<Option<StoredSession>, FilesError> {
        let path = self.session_path(user);
        let Some(content) = read(&path)? else { return Ok(None) };
        let malformed = |reason: String| FilesError::Malformed { path: path.clone(), reason };
        let content: Value =
            serde_json::from_str(&content).map_err(|error| malformed(error.to_string()))?;
        let text = |name: &str| {
            let text = content.get(name).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| malformed(format!("it has no {name}")))
        };
        let session = Session {
            user: text("user")?,
            device: text("device")?,
            access_token: text("access_token")?,
        };
        let stores = text("stores")?;
        if stores.is_empty() || !stores.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            // It becomes part of a path.
            return Err(malformed(format!("{stores:?} is no name of a directory of stores")));
        }
        Ok(Some(StoredSession { session, stores }))
    }

    /// Who was logged in last, and has not logged out. `None` where that is nobody.
    ///
    /// # Errors
    ///
    /// [`FilesError::System`].
    pub fn latest_user_id(&self) -> Result<Option<String>, FilesError> {
        Ok(read(&self.latest_user_id_path())?.map(|id| id.trim().to_owned()))
    }

    /// Writes down who has logged in.
    ///
    /// # Errors
    ///
    /// [`FilesError::System`]; what was there is still there then.
    pub fn set_latest_user_id(&self, user: &str) -> Result<(), FilesError> {
        write_whole(&self.latest_user_id_path(), user.as_bytes())
    }

    /// Forgets who was logged in last. That there is nobody is no error.
    ///
    /// # Errors
    ///
    /// [`FilesError::System`].
    pub fn delete_latest_user_id(&self) -> Result<(), FilesError> {
        let path = self.latest_user_id_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("delete", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<Option<String>, FilesError> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Writes a file beside the one that is meant, and renames it: whoever reads, and whoever comes after
/// a crash, finds the one or the other, whole.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), FilesError> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
    }
    let beside = path.with_added_extension("new");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(failed("write", &beside))?;
    fs::rename(&beside, path).map_err(failed("write", path))
}
