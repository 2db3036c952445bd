//! The guardian: a process that outlives its parent by a moment, to leave nothing of it behind.
//!
//! It is the same program, executed again, and does nothing but read a pipe whose other end only
//! the parent holds. The parent names there the process groups that it starts and that have ended.
//! When the pipe ends, the parent is gone, however it went (SIGKILL included), and the guardian
//! kills what is left. It sits in a process group of its own, out of reach of a terminal's Ctrl-C.

use std::{
    collections::HashSet,
    env, fs,
    io::{self, BufRead as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::stray;

/// The argument that turns a program into a guardian.
const ARGUMENT: &str = "__guardian";

/// The guardians of this process that are at work: its children, and strays to none of its
/// sandboxes. Held while one is started, so that it is never missing.
static AT_WORK: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The processes of the guardians of this process. None begins or ends while this is held.
pub(crate) fn at_work() -> MutexGuard<'static, Vec<u32>> {
    AT_WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A guardian of this process, which lives as long as this value.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
    pipe: Mutex<Option<ChildStdin>>,
    run: String,
}

/// Turns the process into a guardian, and ends it, if it was started as one. The first thing in the
/// `main` of every program that starts a [`Guardian`].
pub fn serve_if_asked() {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ARGUMENT) {
        let run = arguments.next().and_then(|run| run.into_string().ok()).unwrap_or_default();
        serve(&run, arguments.next().map(PathBuf::from).as_deref());
        std::process::exit(0);
    }
}

/// As [`serve_if_asked`], for a program that returns its exit code.
pub(crate) fn served() -> Option<ExitCode> {
    env::args_os().nth(1).filter(|first| first == ARGUMENT)?;
    serve_if_asked();
    Some(ExitCode::SUCCESS)
}

impl Guardian {
    /// Starts a guardian that watches over process groups.
    ///
    /// # Errors
    ///
    /// When no process can be started.
    pub fn start() -> io::Result<Self> {
        Self::of(None)
    }

    /// Starts a guardian that also removes this directory in the end.
    pub(crate) fn of(directory: Option<&Path>) -> io::Result<Self> {
        let run = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        let program = env::current_exe()?;
        let mut at_work = at_work();
        let mut child = Command::new(program)
            .arg(ARGUMENT)
            .arg(&run)
            .args(directory)
            // Of nobody's run: where we are killed as a part of one, this has its work still to do.
            .env_remove(stray::RUN)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        at_work.push(child.id());
        let pipe = Mutex::new(child.stdin.take());
        Ok(Self { child, pipe, run })
    }

    /// Marks a command, so that the process, and whatever comes of it, is found on Linux whatever
    /// group it has gone to, and before it could be [watched](Self::watch) at all.
    pub fn mark(&self, command: &mut Command) {
        command.env(stray::RUN, &self.run);
    }

    /// From now on the process group of this leader is killed when this process goes.
    ///
    /// # Errors
    ///
    /// When the guardian is gone.
    pub fn watch(&self, leader: u32) -> io::Result<()> {
        self.tell('+', leader)
    }

    /// The process group of this leader has ended. To be said before the leader is waited for: its
    /// number may belong to somebody else afterwards.
    ///
    /// # Errors
    ///
    /// When the guardian is gone.
    pub fn release(&self, leader: u32) -> io::Result<()> {
        self.tell('-', leader)
    }

    fn tell(&self, sign: char, leader: u32) -> io::Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = pipe.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        pipe.write_all(format!("{sign}{leader}\n").as_bytes())
    }
}

impl Drop for Guardian {
    /// Lets the guardian do its work, and waits for it: milliseconds.
    fn drop(&mut self) {
        drop(self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take());
        let process = self.child.id();
        let _ = self.child.wait();
        at_work().retain(|other| *other != process);
    }
}

/// What the guardian does all its life.
fn serve(run: &str, directory: Option<&Path>) {
    let mut groups = HashSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let (sign, leader) = line.split_at_checked(1).unwrap_or_default();
        let Some(leader) = leader.parse().ok().and_then(Pid::from_raw) else { continue };
        match sign {
            "+" => groups.insert(leader),
            _ => groups.remove(&leader),
        };
    }
    for group in groups {
        let _ = kill_process_group(group, Signal::KILL);
    }
    stray::kill_marked(run);
    if let Some(directory) = directory {
        remove(directory);
    }
}

/// Removes a directory in which something that was just killed may have written a last time.
fn remove(directory: &Path) {
    for _ in 0..10 {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            _ => return,
        }
    }
}
