//! A process that is killed in the middle of a logout, at every point of it, and the next start.
//!
//! The world is on a real disk, the record is an [`IntentFile`], and the process that logs out is a
//! child which is killed, with no chance to tidy up, before and after each of its calls. The server is
//! a file: it knows the token while that is there.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::executor::block_on;
use state_machine::{
    application::{
        Failure, RequestError, Runtime, Server, Session, Storage, SyncService, Token, UserInterface,
    },
    config::LogoutConfig,
    driver::Driver,
    intent::IntentFile,
    start::{Resolution, resolve_at_start},
};

/// The eleven calls of a logout: a point before each, and one after it.
const POINTS: usize = 22;

/// What tells the child where it is to stop.
const STOP_AT: &str = "STOP_AT";
const FOLDER: &str = "FOLDER";
/// Set for the control: the intent is not recorded.
const FORGETFUL: &str = "FORGETFUL";

/// What the child says when it is there.
const STOPPED: &str = "stopped as told";

/// An application on disk.
struct OnDisk {
    folder: PathBuf,
    intent: IntentFile,
    forgetful: bool,
    stop_at: usize,
    passed: AtomicUsize,
}

impl OnDisk {
    fn open(folder: &Path, forgetful: bool, stop_at: usize) -> Self {
        let intent = IntentFile::new(folder.join("logout-intent"));
        let passed = AtomicUsize::new(0);
        Self { folder: folder.to_owned(), intent, forgetful, stop_at, passed }
    }

    /// A session with a valid token, which logs in at the next start.
    fn log_in(folder: &Path) {
        fs::write(folder.join("token"), "valid").unwrap();
        fs::write(folder.join("latest_user_id"), "@someone:localhost").unwrap();
    }

    fn has(&self, file: &str) -> bool {
        self.folder.join(file).exists()
    }

    /// A point at which the process may be told to stop, to be killed.
    fn point(&self) {
        if self.passed.fetch_add(1, Ordering::SeqCst) == self.stop_at {
            println!("{STOPPED}");
            // Nobody writes: this ends when the parent is gone.
            let _ = io::stdin().read(&mut [0]);
            std::process::exit(1);
        }
    }

    fn between<T>(&self, act: impl FnOnce() -> io::Result<T>) -> Result<T, Failure> {
        self.point();
        let acted = act()?;
        self.point();
        Ok(acted)
    }

    fn delete(&self, file: &str) -> Result<(), Failure> {
        self.between(|| match fs::remove_file(self.folder.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }
}

impl Session for OnDisk {
    async fn check_logged_in(&self) -> Result<(), Failure> {
        self.between(|| Ok(()))
    }

    async fn close_session(&self, _limit: Duration) -> Result<(), Failure> {
        self.between(|| Ok(()))
    }
}

impl SyncService for OnDisk {
    async fn stop_sync(&self, _limit: Duration) -> Result<(), Failure> {
        self.between(|| Ok(()))
    }

    fn restart_sync(&self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Server for OnDisk {
    async fn log_out(&self) -> Result<(), RequestError> {
        Ok(self.delete("token")?)
    }

    async fn who_am_i(&self) -> Result<Token, Failure> {
        Ok(if self.has("token") { Token::Valid } else { Token::Unknown })
    }
}

impl UserInterface for OnDisk {
    async fn close_tabs(&self) -> Result<(), Failure> {
        self.between(|| Ok(()))
    }

    async fn clean_app_state(&self) -> Result<(), Failure> {
        self.between(|| Ok(()))
    }
}

impl Storage for OnDisk {
    async fn record_intent(&self) -> Result<(), Failure> {
        self.between(|| if self.forgetful { Ok(()) } else { self.intent.record() })
    }

    async fn has_intent(&self) -> Result<bool, Failure> {
        Ok(self.intent.is_recorded()?)
    }

    async fn clear_intent(&self) -> Result<(), Failure> {
        self.between(|| self.intent.clear())
    }

    async fn delete_latest_user_id(&self) -> Result<(), Failure> {
        self.delete("latest_user_id")
    }
}

impl Runtime for OnDisk {
    async fn shut_down_tasks(&self, _limit: Duration) -> Result<(), Failure> {
        self.between(|| Ok(()))
    }

    async fn restart_runtime(&self) -> Result<(), Failure> {
        self.between(|| Ok(()))
    }
}

/// No test by itself: the child.
#[test]
#[ignore = "the process that the other tests kill"]
fn the_process_that_logs_out() {
    let (Some(folder), Ok(stop_at)) = (env::var_os(FOLDER), env::var(STOP_AT)) else { return };
    let forgetful = env::var_os(FORGETFUL).is_some();
    let app = OnDisk::open(Path::new(&folder), forgetful, stop_at.parse().unwrap());
    block_on(Driver::new(Arc::new(app), LogoutConfig::default()).run()).unwrap();
}

/// A child that is killed when this goes, whatever happens.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a child log out, and kills it at a point; whether it came that far.
fn kill_at(point: usize, folder: &Path, forgetful: bool) -> bool {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "the_process_that_logs_out", "--ignored", "--nocapture"])
        .env(STOP_AT, point.to_string())
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if forgetful {
        command.env(FORGETFUL, "yes");
    }
    let mut child = Killed(command.spawn().unwrap());
    let says = child.0.stdout.take().unwrap();
    BufReader::new(says).lines().any(|line| line.unwrap().contains(STOPPED))
}

/// What the next start comes to, and whether that is in between: a session that the next start would
/// restore with a token that the server does not know, or a live one that nobody restores.
fn start(folder: &Path) -> (Resolution, bool) {
    let app = OnDisk::open(folder, false, usize::MAX);
    let resolved = block_on(resolve_at_start(&app, &LogoutConfig::default())).unwrap();
    let in_between = app.has("token") != app.has("latest_user_id") || app.has("logout-intent");
    (resolved, in_between)
}

#[test]
fn wherever_the_process_is_killed_the_next_start_is_logged_in_or_logged_out() {
    let (mut still_logged_in, mut logged_out) = (0, 0);
    for point in 0..POINTS {
        let folder = tempfile::tempdir().unwrap();
        OnDisk::log_in(folder.path());
        assert!(kill_at(point, folder.path(), false), "point {point} was not reached");
        let (resolved, in_between) = start(folder.path());
        assert!(!in_between, "killed at point {point}: {resolved:?}");
        let (again, in_between) = start(folder.path());
        assert!(matches!(again, Resolution::NothingRecorded) && !in_between);
        match folder.path().join("token").exists() {
            true => still_logged_in += 1,
            false => logged_out += 1,
        }
    }
    // The request is the fourth call, and it acts between its two points.
    assert_eq!((still_logged_in, logged_out), (7, POINTS - 7));
}

/// The control: without the record there is a point at which the next start is in between.
#[test]
fn without_the_intent_the_next_start_restores_a_session_that_is_gone() {
    let found: Vec<usize> = (0..POINTS)
        .filter(|point| {
            let folder = tempfile::tempdir().unwrap();
            OnDisk::log_in(folder.path());
            assert!(kill_at(*point, folder.path(), true), "point {point} was not reached");
            start(folder.path()).1
        })
        .collect();
    // After the server has acted, and before the latest user id is deleted.
    assert_eq!(found, [7, 8]);
}

#[test]
fn a_process_that_is_not_killed_logs_out() {
    let folder = tempfile::tempdir().unwrap();
    OnDisk::log_in(folder.path());
    assert!(!kill_at(POINTS, folder.path(), false), "there are more points than are tried");
    let (resolved, in_between) = start(folder.path());
    assert!(matches!(resolved, Resolution::NothingRecorded) && !in_between);
    assert!(!folder.path().join("token").exists());
}
