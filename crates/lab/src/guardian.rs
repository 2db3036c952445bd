//! The guardian is a process that outlives its parent briefly, and kills everything that the parent
//! started.
//!
//! It is the same program, executed again. It reads a pipe. Only the parent holds the other end, and
//! writes into it which process groups it starts and which have ended. The pipe closes when the parent
//! ends, even by SIGKILL; then the guardian kills the remaining groups and marked processes, and removes
//! the directory. It has a process group of its own, so that a terminal's Ctrl-C does not reach it.
//! [`sandbox`](crate::sandbox) shows how it works together with the other parts.

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

/// The running guardians of this process. They are its children, and no sandbox may kill them as strays.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The process ids of the running guardians. No guardian starts or ends while this is locked.
pub(crate) fn running() -> MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running guardian of this process. Dropping it ends the guardian.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
    pipe: Mutex<Option<ChildStdin>>,
    run: String,
}

/// If this process was started as a guardian, does the guardian's work and exits. Call it first in the
/// `main` of every program that starts a [`Guardian`].
pub fn serve_if_asked() {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ARGUMENT) {
        let run = arguments.next().and_then(|run| run.into_string().ok()).unwrap_or_default();
        serve(&run, arguments.next().map(PathBuf::from).as_deref());
        std::process::exit(0);
    }
}

/// Like [`serve_if_asked`], for a program that returns its exit code.
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
    /// If no process can be started.
    pub fn start() -> io::Result<Self> {
        Self::of(None)
    }

    /// Starts a guardian that also removes this directory when it ends.
    pub(crate) fn of(directory: Option<&Path>) -> io::Result<Self> {
        let run = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        let program = env::current_exe()?;
        let mut running = running();
        let mut child = Command::new(program)
            .arg(ARGUMENT)
            .arg(&run)
            .args(directory)
            // The guardian is not part of any run: if this process is killed as part of one, the
            // guardian still has its work to do.
            .env_remove(stray::RUN)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        running.push(child.id());
        let pipe = Mutex::new(child.stdin.take());
        Ok(Self { child, pipe, run })
    }

    /// Marks a command. On Linux the guardian finds the process and its descendants by this mark, whatever
    /// their group, and even before the process is [watched](Self::watch).
    pub fn mark(&self, command: &mut Command) {
        command.env(stray::RUN, &self.run);
    }

    /// The mark, as it stands in the environment of a process.
    pub(crate) fn mark_of_this_run(&self) -> String {
        format!("{}={}", stray::RUN, self.run)
    }

    /// Makes the guardian kill the process group of this leader when this process ends.
    ///
    /// # Errors
    ///
    /// If the guardian has exited.
    pub fn watch(&self, leader: u32) -> io::Result<()> {
        self.tell('+', leader)
    }

    /// Tells the guardian that the process group of this leader has ended. Call it before you wait for
    /// the leader: after that, another process may get its id.
    ///
    /// # Errors
    ///
    /// If the guardian has exited.
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
    /// Closes the pipe, so that the guardian cleans up, and waits for it; this takes milliseconds.
    fn drop(&mut self) {
        drop(self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take());
        let process = self.child.id();
        let _ = self.child.wait();
        running().retain(|other| *other != process);
    }
}

/// Runs the guardian: reads the pipe to its end, then cleans up.
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

/// Removes a directory. Retries, because a process that was just killed may still have created a file.
fn remove(directory: &Path) {
    for _ in 0..10 {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            _ => return,
        }
    }
}
