//! The sandbox: runs a command so that whatever it does, it ends, and leaves nothing behind.

use std::{
    collections::HashSet,
    env,
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Access, StatVfsMountFlags, access, statvfs},
    process::{
        Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process_group,
        setrlimit, waitid,
    },
    time::{ClockId, clock_gettime},
};
use tempfile::TempDir;
use thiserror::Error;
use wait4::{ResourceUsage, Wait4 as _};

use crate::{
    capture::{Capture, Captured},
    guardian::{self, Guardian},
    interrupt::Interrupt,
    stray,
};

/// How much is kept of what a command prints, and of its report.
const OUTPUT: usize = 256 * 1024;
const REPORT: usize = 1024 * 1024;

/// How much room trials may need that run at the same time, in bytes. They take a few megabytes.
const ROOM: u64 = 1 << 30;

/// How long a wait lasts at the most before the interrupt is looked at again.
const TICK: Duration = Duration::from_millis(50);

/// How often the end of a command is looked for where it cannot be waited for together with its
/// pipes: outside Linux, or when descriptors have run out.
const PEEK: Duration = Duration::from_millis(2);

/// Why a command could not be run. Whatever the command itself does is no error.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A directory for trials cannot be made or removed.
    #[error("cannot {action} the temporary directory {}: {source} (set TMPDIR to choose another place)", path.display())]
    Directory {
        /// `create` or `remove`.
        action: &'static str,
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The guardian cannot be started, or has gone.
    #[error("the guardian process, which cleans up after a run, is not there: {0}")]
    Guardian(io::Error),
    /// The command cannot be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// What should have been started.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The command was started, and cannot be watched.
    #[error("cannot watch process {process} ({}): {source}", program.display())]
    Watch {
        /// What was started.
        program: PathBuf,
        /// Its process.
        process: u32,
        /// What the system said.
        source: io::Error,
    },
}

/// A place to run commands in: temporary directories, a guardian, no core dumps.
///
/// Dropping it kills what is left, removes the directory, and lets the guardian go.
#[derive(Debug)]
pub struct Sandbox {
    // Before the directory: the guardian kills what might still write into it.
    guardian: Guardian,
    directory: TempDir,
    started: AtomicU64,
    running: Mutex<HashSet<u32>>,
    /// Held shared while a command is started, and alone while strays are looked for: a child that
    /// is not registered yet must not be taken for one.
    starting: RwLock<()>,
}

/// A command to run in a sandbox.
#[derive(Clone, Debug)]
pub struct Sandboxed<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What it finds around itself.
    pub surroundings: Surroundings<'a>,
    /// How long it may take.
    pub deadline: Duration,
}

/// What a command finds around itself. Either way `TMPDIR` is an empty directory of its own, which
/// is removed when the command has ended.
#[derive(Clone, Debug)]
pub enum Surroundings<'a> {
    /// Those of a trial, which are the same on every machine: that directory as the current one and
    /// as `HOME`, almost nothing in the environment but these variables, and the report pipe as its
    /// standard input.
    Bare {
        /// What the run found on the machine for its trials.
        variables: &'a [(String, OsString)],
    },
    /// Those of any command: this directory as the current one, the environment of this process
    /// and these variables, and an empty standard input.
    Inherited {
        /// Its current directory.
        directory: &'a Path,
        /// What its environment has besides ours.
        variables: Vec<(&'static str, OsString)>,
    },
}

/// How a command ended, and what came out of it.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub ending: Ending,
    /// What it wrote to its standard output.
    pub stdout: Captured,
    /// What it wrote to its standard error.
    pub stderr: Captured,
    /// What it wrote to the report pipe, if its [surroundings](Surroundings::Bare) have one.
    pub report: Captured,
    /// From start to end.
    pub wall: Duration,
    /// When the end was noticed, by the system's monotonic clock, in nanoseconds.
    pub at: i64,
    /// What the system says it used.
    pub usage: ResourceUsage,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It was killed at its deadline.
    DeadlinePassed,
    /// It was killed because we were told to stop.
    Interrupted,
}

impl Sandbox {
    /// Opens a sandbox.
    ///
    /// # Errors
    ///
    /// When there is no place for temporary directories, or the guardian cannot be started.
    pub fn open() -> Result<Self, SandboxError> {
        Self::open_in(env::temp_dir())
    }

    /// Opens a sandbox whose directories are in memory, where the system has room for them there and
    /// `TMPDIR` names no other place: for trials whose files nobody needs after a loss of power, and
    /// which a slow disk would only hold up. Else as [`Sandbox::open`].
    ///
    /// # Errors
    ///
    /// As of [`Sandbox::open`].
    pub fn open_in_memory() -> Result<Self, SandboxError> {
        Self::open_in(memory().unwrap_or_else(env::temp_dir))
    }

    fn open_in(place: PathBuf) -> Result<Self, SandboxError> {
        let directory = tempfile::Builder::new()
            .prefix("sundown-lab-")
            .tempdir_in(&place)
            .map_err(|source| SandboxError::Directory { action: "create", path: place, source })?;
        let guardian = Guardian::of(Some(directory.path())).map_err(SandboxError::Guardian)?;
        forbid_core_dumps();
        stray::adopt();
        Ok(Self {
            guardian,
            directory,
            started: AtomicU64::new(0),
            running: Mutex::default(),
            starting: RwLock::default(),
        })
    }

    /// Runs a command in a process group of its own until it ends or its deadline passes; then kills
    /// what is left of the group.
    ///
    /// # Errors
    ///
    /// When the command cannot be started or watched.
    pub fn run(
        &self,
        command: &Sandboxed<'_>,
        interrupt: &Interrupt,
    ) -> Result<Ended, SandboxError> {
        // A number, and nothing that another thread would rely on.
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.path().join(number.to_string());
        fs::create_dir(&directory).map_err(|source| SandboxError::Directory {
            action: "create",
            path: directory.clone(),
            source,
        })?;
        let ended = self.run_in(&directory, command, interrupt);
        // What fails here is tried once more, and then reported, when the sandbox closes.
        let _ = fs::remove_dir_all(&directory);
        ended
    }

    fn run_in(
        &self,
        directory: &Path,
        command: &Sandboxed<'_>,
        interrupt: &Interrupt,
    ) -> Result<Ended, SandboxError> {
        let start = |source| SandboxError::Start { program: command.program.to_owned(), source };
        let (reader, writer) = io::pipe().map_err(start)?;
        let mut report = Capture::of(reader, REPORT).map_err(start)?;
        let (reader, out) = io::pipe().map_err(start)?;
        let mut stdout = Capture::of(reader, OUTPUT).map_err(start)?;
        let (reader, err) = io::pipe().map_err(start)?;
        let mut stderr = Capture::of(reader, OUTPUT).map_err(start)?;
        let began = Instant::now();
        let child = self.start(directory, command, [writer, out, err])?;
        let process = child.id();
        let watch =
            |source| SandboxError::Watch { program: command.program.to_owned(), process, source };
        let watched = Watched { end: end_of(process), child };
        let killed = watched.until_it_ends(
            [&mut report, &mut stdout, &mut stderr],
            began + command.deadline,
            interrupt,
        );
        let (wall, at) = (began.elapsed(), now());

        // The leader, ended or not, still holds its number: nobody else's group can be meant. This
        // comes before any error is returned, so that nothing is left running.
        let group = i32::try_from(process).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let released = self.guardian.release(process);
        let used = watched.child.wait4();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&process);
        let (killed, used) = (killed.map_err(watch)?, used.map_err(watch)?);
        released.map_err(SandboxError::Guardian)?;

        // What the command wrote is in the pipes. Whoever still holds one is not waited for.
        for pipe in [&mut report, &mut stdout, &mut stderr] {
            pipe.take_what_is_there();
        }
        if report.is_held() || stdout.is_held() || stderr.is_held() {
            self.kill_strays();
        }
        Ok(Ended {
            ending: killed.unwrap_or_else(|| ending(used.status)),
            stdout: stdout.finish(),
            stderr: stderr.finish(),
            report: report.finish(),
            wall,
            at,
            usage: used.rusage,
        })
    }

    fn start(
        &self,
        directory: &Path,
        command: &Sandboxed<'_>,
        [report, stdout, stderr]: [io::PipeWriter; 3],
    ) -> Result<Child, SandboxError> {
        let _starting = self.starting.read().unwrap_or_else(PoisonError::into_inner);
        let mut process = Command::new(command.program);
        process.args(&command.arguments).process_group(0).stdout(stdout).stderr(stderr);
        match &command.surroundings {
            Surroundings::Bare { variables } => process
                .env_clear()
                .envs(env::var_os("PATH").map(|path| ("PATH", path)))
                .env("HOME", directory)
                .env("LANG", "C")
                .env("RUST_BACKTRACE", "0")
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .current_dir(directory)
                .stdin(report),
            Surroundings::Inherited { directory, variables } => process
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .current_dir(directory)
                .stdin(Stdio::null()),
        };
        process.env("TMPDIR", directory);
        self.guardian.mark(&mut process);
        let start = |source| SandboxError::Start { program: command.program.to_owned(), source };
        let mut child = process.spawn().map_err(start)?;
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id());
        if let Err(gone) = self.guardian.watch(child.id()) {
            let _ = child.kill().and_then(|()| child.wait());
            return Err(SandboxError::Guardian(gone));
        }
        Ok(child)
    }

    /// Whether its directories are in memory, wherever that is.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        is_in_memory(self.directory.path())
    }

    /// Kills what was orphaned, except in the groups of the commands that run.
    fn kill_strays(&self) {
        let _alone = self.starting.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let guardians = guardian::at_work();
        known.extend(guardians.iter());
        stray::kill_adopted(&known);
    }

    /// Closes the sandbox. Nothing can be run in it any more.
    ///
    /// # Errors
    ///
    /// When the directory cannot be removed.
    pub fn close(&self) -> Result<(), SandboxError> {
        self.kill_strays();
        let path = self.directory.path().to_owned();
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SandboxError::Directory { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill_strays();
    }
}

/// A child, and what becomes readable when it ends.
struct Watched {
    child: Child,
    end: Option<OwnedFd>,
}

impl Watched {
    /// Takes what comes out of the pipes until the child ends, or until it has to be killed: then
    /// it returns why.
    fn until_it_ends(
        &self,
        mut pipes: [&mut Capture; 3],
        deadline: Instant,
        interrupt: &Interrupt,
    ) -> io::Result<Option<Ending>> {
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            if interrupt.raised() {
                return Ok(Some(Ending::Interrupted));
            }
            if patience.is_zero() {
                return Ok(Some(Ending::DeadlinePassed));
            }
            self.wait_for_something(&pipes, patience.min(TICK))?;
            for pipe in &mut pipes {
                pipe.take_what_is_there();
            }
            if self.has_ended()? {
                return Ok(None);
            }
        }
    }

    /// Waits until one of the pipes has something to say, the child has ended, or patience has.
    fn wait_for_something(&self, pipes: &[&mut Capture; 3], patience: Duration) -> io::Result<()> {
        let end = self.end.as_ref().map(AsFd::as_fd);
        let patience = if end.is_some() { patience } else { patience.min(PEEK) };
        let mut sources: Vec<_> = pipes
            .iter()
            .map(|pipe| pipe.source())
            .chain([end])
            .flatten()
            .map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN))
            .collect();
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut sources, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the child has ended; it is left to be waited for, and keeps its number.
    fn has_ended(&self) -> io::Result<bool> {
        let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return Ok(true);
        };
        let looking = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(process), looking)?.is_some())
    }
}

/// A descriptor that becomes readable when the process ends.
#[cfg(target_os = "linux")]
fn end_of(process: u32) -> Option<OwnedFd> {
    let process = Pid::from_raw(i32::try_from(process).ok()?)?;
    rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).ok()
}

/// There is none; the end is looked for every [`PEEK`]. Unverified: never run on macOS.
#[cfg(not(target_os = "linux"))]
const fn end_of(_process: u32) -> Option<OwnedFd> {
    None
}

/// The system's monotonic clock, which every process reads alike.
fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or(0)),
    }
}

/// Where files are kept in memory, if there is such a place, one may write there, execute what is
/// there, and it has room: a container's is often a few megabytes.
fn memory() -> Option<PathBuf> {
    let place = PathBuf::from("/dev/shm");
    if env::var_os("TMPDIR").is_some() || access(&place, Access::WRITE_OK).is_err() {
        return None;
    }
    let stat = statvfs(&place).ok()?;
    let room = stat.f_bavail.saturating_mul(stat.f_frsize);
    let executes = !stat.f_flag.contains(StatVfsMountFlags::NOEXEC);
    (executes && room >= ROOM).then_some(place)
}

#[cfg(target_os = "linux")]
fn is_in_memory(place: &Path) -> bool {
    /// `TMPFS_MAGIC` of statfs(2).
    const TMPFS: i64 = 0x0102_1994;
    // The number fits in all of them.
    #[allow(clippy::unnecessary_cast, reason = "the type differs from system to system")]
    rustix::fs::statfs(place).is_ok_and(|stat| stat.f_type as i64 == TMPFS)
}

/// Nothing is known of it; and none of the places that [`memory`] knows is there.
#[cfg(not(target_os = "linux"))]
const fn is_in_memory(_place: &Path) -> bool {
    false
}

/// Forbids core dumps to this process and all that it starts.
///
/// On Linux the limit is 1, not 0: where the system pipes core dumps to a program, a limit of 0 is
/// ignored and every abort costs a fraction of a second; 1 is the value at which the kernel gives
/// up (core(5), "Piping core dumps to a program").
fn forbid_core_dumps() {
    let least = if cfg!(target_os = "linux") { 1 } else { 0 };
    let maximum = getrlimit(Resource::Core).maximum;
    let current = Some(maximum.map_or(least, |maximum| maximum.min(least)));
    let _ = setrlimit(Resource::Core, Rlimit { current, maximum });
}
