//! A process is killed at every point of a logout, and the next start resolves the logout.
//!
//! The application is on a real disk and records its intent with an [`IntentFile`]. A child process
//! logs out and is killed before or after one of its calls. The server is a file: it knows the token
//! while that file exists.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod by_effect;

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use by_effect::{ByEffect, Perform};
use futures::executor::block_on;
use state_machine::{
    application::{AccessToken, Failure},
    config::LogoutConfig,
    driver::Driver,
    intent::IntentFile,
    recovery::{Resolution, resolve_at_start},
    transition::Effect,
};

/// A logout has eleven calls, with a point before and one after each.
const POINTS: usize = 22;

/// The point at which the child stops, and the folder of its application.
const STOP_AT: &str = "STOP_AT";
const FOLDER: &str = "FOLDER";
/// Set for the control, which does not record the intent.
const FORGETFUL: &str = "FORGETFUL";

/// Printed by the child when it has stopped.
const STOPPED: &str = "stopped at the point";

/// An application on disk.
struct OnDisk {
    folder: PathBuf,
    intent: IntentFile,
    forgetful: bool,
    stop_at: usize,
    passed: AtomicUsize,
}

impl OnDisk {
    fn open(folder: &Path, forgetful: bool, stop_at: usize) -> ByEffect<Self> {
        let intent = IntentFile::new(folder.join("logout-intent"));
        let passed = AtomicUsize::new(0);
        ByEffect(Self { folder: folder.to_owned(), intent, forgetful, stop_at, passed })
    }

    fn has(&self, file: &str) -> bool {
        self.folder.join(file).exists()
    }

    fn delete(&self, file: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Passes a point. Stops if the process is to be killed here.
    fn point(&self) {
        if self.passed.fetch_add(1, Ordering::SeqCst) == self.stop_at {
            println!("{STOPPED}");
            // The parent writes nothing, so this ends if the parent is gone.
            let _ = io::stdin().read(&mut [0]);
            std::process::exit(1);
        }
    }
}

impl Perform for OnDisk {
    async fn perform(&self, effect: Effect, _: Option<Duration>) -> Result<(), Failure> {
        self.point();
        match effect {
            Effect::RequestLogout => self.delete("token")?,
            Effect::RecordIntent if !self.forgetful => self.intent.record()?,
            Effect::ClearIntent => self.intent.clear()?,
            Effect::DeleteLatestUserId => self.delete("latest_user_id")?,
            _ => {}
        }
        self.point();
        Ok(())
    }

    fn token(&self) -> AccessToken {
        if self.has("token") { AccessToken::Valid } else { AccessToken::Unknown }
    }

    fn has_intent(&self) -> bool {
        self.intent.is_recorded().unwrap()
    }
}

/// A folder with a session whose token is valid and that the next start restores.
fn logged_in() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "valid").unwrap();
    fs::write(folder.path().join("latest_user_id"), "@someone:localhost").unwrap();
    folder
}

/// Not a test by itself: the child.
#[test]
#[ignore = "the process that the other tests kill"]
fn the_process_that_logs_out() {
    let (Some(folder), Ok(stop_at)) = (env::var_os(FOLDER), env::var(STOP_AT)) else { return };
    let forgetful = env::var_os(FORGETFUL).is_some();
    let app = OnDisk::open(Path::new(&folder), forgetful, stop_at.parse().unwrap());
    let _ = block_on(Driver::new(Arc::new(app), LogoutConfig::default()).run()).unwrap();
}

/// Starts a child that logs out, and kills it at a point. Returns whether it reached the point.
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
    let mut child = command.spawn().unwrap();
    let printed = BufReader::new(child.stdout.take().unwrap());
    let stopped = printed.lines().any(|line| line.unwrap().contains(STOPPED));
    child.kill().unwrap();
    child.wait().unwrap();
    stopped
}

/// Resolves the logout as the next start does. Returns the result, and whether the application is still
/// in between: it would restore a session whose token the server does not know, or not restore a live
/// one.
fn start(folder: &Path) -> (Resolution, bool) {
    let app = OnDisk::open(folder, false, usize::MAX);
    let resolved = block_on(resolve_at_start(&app, &LogoutConfig::default())).unwrap();
    let has = |file| app.0.has(file);
    (resolved, has("token") != has("latest_user_id") || has("logout-intent"))
}

#[test]
fn wherever_the_process_is_killed_the_next_start_is_logged_in_or_logged_out() {
    let (mut still_logged_in, mut logged_out) = (0, 0);
    // At the last point, the logout has ended.
    for point in 0..=POINTS {
        let folder = logged_in();
        assert_eq!(kill_at(point, folder.path(), false), point < POINTS, "reached point {point}");
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
    assert_eq!((still_logged_in, logged_out), (7, POINTS + 1 - 7));
}

/// The control: without the intent, the next start can be in between.
#[test]
fn without_the_intent_the_next_start_restores_a_session_that_is_gone() {
    let found: Vec<usize> = (0..POINTS)
        .filter(|point| {
            let folder = logged_in();
            assert!(kill_at(*point, folder.path(), true), "point {point} was not reached");
            start(folder.path()).1
        })
        .collect();
    // After the server has acted, and before the latest user id is deleted.
    assert_eq!(found, [7, 8]);
}
