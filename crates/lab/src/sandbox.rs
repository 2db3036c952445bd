//! The sandbox runs a command so that it ends and leaves nothing behind, whatever it does.
//!
//! This file is the entry point of everything that kills a process:
//!
//! | killed | by | when |
//! | --- | --- | --- |
//! | the command's process group | [`Sandbox::run`] | the command has ended, its deadline has passed, or Ctrl-C came |
//! | orphans that left their group | `stray::kill_adopted`, called here | a command has ended and its pipes are still held open; the sandbox is closed or dropped |
//! | all groups, all marked processes | [the guardian](crate::guardian), which is another process | this process is gone, even by SIGKILL |
//!
//! So an orphan that left its group (`setsid`) *and* closed its pipes may live until the sandbox is
//! closed: to look for one after each command, the sandbox would have to read the process table each
//! time. Only Linux finds orphans at all; see `stray`.

use std::{
    cmp::Reverse,
    collections::HashSet,
    env,
    ffi::OsString,
    fs::{self, File},
    io,
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
        Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process,
        kill_process_group, setrlimit, waitid,
    },
    time::{ClockId, clock_gettime},
};
use tempfile::TempDir;
use thiserror::Error;
use wait4::{ResourceUsage, Wait4 as _};

pub use crate::outcome::Ending;
use crate::{
    aftermath::{self, Left, ThreadState, Whose},
    capture::{Capture, Captured},
    guardian::{self, Guardian},
    interrupt::Interrupt,
    stray::{self, Mark},
};

/// How many bytes are kept of a command's output, and of its report.
const OUTPUT: usize = 256 * 1024;
const REPORT: usize = 1024 * 1024;

/// The free space that a place in memory must have, in bytes. The trials that run at the same time take a
/// few megabytes.
const ROOM: u64 = 1 << 30;

/// The longest wait before the interrupt is checked again.
const TICK: Duration = Duration::from_millis(50);

/// How often to check whether a command has ended, if its end cannot be polled together with its pipes:
/// outside Linux, or without a free descriptor.
const PEEK: Duration = Duration::from_millis(2);

/// Why the sandbox could not run a command. The command's own failure is not an error.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A directory for trials cannot be made or removed.
    #[error("cannot {action} the temporary directory {}: {source} (set TMPDIR to choose another place)", path.display())]
    Directory {
        /// `create` or `remove`.
        action: &'static str,
        /// Which directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The guardian cannot be started, or has exited.
    #[error("the guardian process, which cleans up after a run, is not running: {0}")]
    Guardian(io::Error),
    /// The command cannot be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The command was started, but cannot be watched.
    #[error("cannot watch process {process} ({}): {source}", program.display())]
    Watch {
        /// The program.
        program: PathBuf,
        /// Its process id.
        process: u32,
        /// The system's error.
        source: io::Error,
    },
}

/// A place to run commands: temporary directories, a guardian, no core dumps.
///
/// Dropping it kills the remaining processes, removes the directory, and ends the guardian.
#[derive(Debug)]
pub struct Sandbox {
    // Dropped before the directory: the guardian kills what might still write into it.
    guardian: Guardian,
    directory: TempDir,
    started: AtomicU64,
    running: Mutex<HashSet<u32>>,
    /// Locked shared while a command starts, exclusively during the search for orphans: otherwise the
    /// search would take a new child, which is not in `running` yet, for an orphan.
    starting: RwLock<()>,
}

/// A command to run in a sandbox.
#[derive(Clone, Debug)]
pub struct Sandboxed<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its directory, environment and input.
    pub surroundings: Surroundings<'a>,
    /// How long it may run before it is killed.
    pub deadline: Duration,
}

/// What a user and a supervisor would do with a command, and whether to look at what it leaves.
#[derive(Clone, Debug, Default)]
pub struct Provoked {
    /// What it reads, if its surroundings are [inherited](Surroundings::Inherited).
    pub stdin: Input,
    /// The signals to send it, each this long after its start. Its children do not get them.
    pub signals: Vec<(Duration, Signal)>,
    /// Whether it is process 1 of a namespace of its own. This needs `unshare` and Linux.
    pub as_process_1: bool,
    /// Whether to look at [what it leaves](Ended::left), and at its [threads](Ended::threads) if it hangs.
    pub is_looked_at: bool,
}

/// Runs a command as process 1. `unshare` is its parent, ends as it does, and takes it along.
pub const AS_PROCESS_1: [&str; 7] =
    ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--"];

/// What a command reads from standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// Nothing: it is at its end.
    #[default]
    Empty,
    /// Nothing, for as long as it runs: a terminal at which nobody types.
    Open,
    /// This file.
    File(PathBuf),
}

/// A command's directory, environment and input. `TMPDIR` is always an empty directory of its own, which
/// is removed when the command has ended.
#[derive(Clone, Debug)]
pub enum Surroundings<'a> {
    /// For a trial, the same on every machine: `TMPDIR` is also the current directory and `HOME`, the
    /// environment has little more than these variables, and standard input is the report pipe.
    Bare {
        /// Variables that the run's [equipment](crate::Equipment) adds.
        variables: &'a [(String, OsString)],
    },
    /// For any other command: this current directory, the environment of this process and these
    /// variables, and an empty standard input.
    Inherited {
        /// Its current directory.
        directory: &'a Path,
        /// Variables added to the environment.
        variables: Vec<(&'static str, OsString)>,
    },
}

/// A command that has ended, with its output.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub ending: Ending,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// Its report, if its [surroundings](Surroundings::Bare) have a report pipe.
    pub report: Captured,
    /// From start to end.
    pub wall: Duration,
    /// When the sandbox noticed its end, in nanoseconds of the OS's monotonic clock.
    pub at: i64,
    /// The resources it used, as the OS counts them.
    pub usage: ResourceUsage,
    /// What it left, if that was [looked at](Provoked::is_looked_at).
    pub left: Vec<Left>,
    /// What its threads did at the deadline, if they were looked at.
    pub threads: Vec<ThreadState>,
    /// The stacks of these threads, if gdb is there.
    pub stacks: String,
}

impl Sandbox {
    /// Opens a sandbox.
    ///
    /// # Errors
    ///
    /// If the temporary directory cannot be created, or the guardian cannot be started.
    pub fn open() -> Result<Self, SandboxError> {
        Self::open_in(env::temp_dir())
    }

    /// Opens a sandbox with its directories in memory, if there is enough space and `TMPDIR` is not set;
    /// otherwise like [`Sandbox::open`]. A trial's files need not survive a loss of power, and a slow disk
    /// would only delay the trials.
    ///
    /// # Errors
    ///
    /// Same errors as [`Sandbox::open`].
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

    /// Runs a command in a process group of its own until it ends or its deadline passes. Then kills the
    /// rest of the group.
    ///
    /// # Errors
    ///
    /// If the command cannot be started or watched.
    pub fn run(
        &self,
        command: &Sandboxed<'_>,
        interrupt: &Interrupt,
    ) -> Result<Ended, SandboxError> {
        self.provoke(command, &Provoked::default(), interrupt)
    }

    /// The same, and does more with the command meanwhile.
    ///
    /// # Errors
    ///
    /// Same errors as [`Sandbox::run`].
    pub fn provoke(
        &self,
        command: &Sandboxed<'_>,
        provoked: &Provoked,
        interrupt: &Interrupt,
    ) -> Result<Ended, SandboxError> {
        // Relaxed: only the number matters, and no other memory depends on it.
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.path().join(number.to_string());
        fs::create_dir(&directory).map_err(|source| SandboxError::Directory {
            action: "create",
            path: directory.clone(),
            source,
        })?;
        let ended = self.run_in(&directory, command, provoked, interrupt);
        // If this fails, `close` tries once more, and reports the error.
        let _ = fs::remove_dir_all(&directory);
        ended
    }

    fn run_in(
        &self,
        directory: &Path,
        command: &Sandboxed<'_>,
        provoked: &Provoked,
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
        let mark = Mark::new();
        let mut child = self.start(directory, command, provoked, [writer, out, err], &mark)?;
        // Open until it has ended.
        let _stdin = child.stdin.take();
        let process = child.id();
        let whose = Whose { directory, group: process, mark };
        let watch =
            |source| SandboxError::Watch { program: command.program.to_owned(), process, source };
        let watched = Watched { end: end_of(process), child };
        let killed = watched.until_it_ends(
            [&mut report, &mut stdout, &mut stderr],
            (began, command.deadline),
            provoked,
            interrupt,
        );
        let (wall, at) = (began.elapsed(), now());
        let (mut left, mut threads) = (Vec::new(), Vec::new());
        if provoked.is_looked_at {
            match killed {
                Ok(None) => left = aftermath::left(directory, &whose),
                Ok(Some(Ending::DeadlinePassed)) => {
                    // A look with gdb takes a while, in which a process goes on.
                    for pipe in [&mut report, &mut stdout, &mut stderr] {
                        pipe.end();
                    }
                    threads = aftermath::threads(&whose);
                }
                _ => {}
            }
        }
        let stacks = aftermath::stacks(&mut threads);

        // The leader has not been waited for, so its id cannot belong to another group yet. Kill before
        // returning any error, so that nothing is left running.
        let group = i32::try_from(process).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let released = self.guardian.release(process);
        let used = watched.child.wait4();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&process);
        let (killed, used) = (killed.map_err(watch)?, used.map_err(watch)?);
        released.map_err(SandboxError::Guardian)?;

        // The pipes have all that the command wrote. Do not wait for a process that still holds one open.
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
            left,
            threads,
            stacks,
        })
    }

    fn start(
        &self,
        directory: &Path,
        command: &Sandboxed<'_>,
        provoked: &Provoked,
        [report, stdout, stderr]: [io::PipeWriter; 3],
        mark: &Mark,
    ) -> Result<Child, SandboxError> {
        let _starting = self.starting.read().unwrap_or_else(PoisonError::into_inner);
        let start = |source| SandboxError::Start { program: command.program.to_owned(), source };
        let mut process = if provoked.as_process_1 {
            let [unshare, arguments @ ..] = AS_PROCESS_1;
            let mut process = Command::new(unshare);
            process.args(arguments).arg(command.program);
            process
        } else {
            Command::new(command.program)
        };
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
                .stdin(match &provoked.stdin {
                    Input::Empty => Stdio::null(),
                    Input::Open => Stdio::piped(),
                    Input::File(path) => File::open(path).map_err(start)?.into(),
                }),
        };
        process.env("TMPDIR", directory);
        self.guardian.mark(&mut process);
        let mut child = mark.on(|| process.spawn()).map_err(start)?;
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id());
        if let Err(gone) = self.guardian.watch(child.id()) {
            let _ = child.kill().and_then(|()| child.wait());
            return Err(SandboxError::Guardian(gone));
        }
        Ok(child)
    }

    /// Whether the sandbox's directories are in memory.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        is_in_memory(self.directory.path())
    }

    /// Kills orphans, except those in the groups of running commands.
    fn kill_strays(&self) {
        let _alone = self.starting.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let guardians = guardian::running();
        known.extend(guardians.iter());
        stray::kill_adopted(&known);
    }

    /// Kills the remaining orphans and removes the directory. No command can run in the sandbox after that.
    ///
    /// # Errors
    ///
    /// If the directory cannot be removed.
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

/// A child, and a descriptor that becomes readable when it ends.
struct Watched {
    child: Child,
    end: Option<OwnedFd>,
}

impl Watched {
    /// Reads the pipes until the child ends. Returns why the child must be killed, if it must.
    fn until_it_ends(
        &self,
        mut pipes: [&mut Capture; 3],
        (began, deadline): (Instant, Duration),
        provoked: &Provoked,
        interrupt: &Interrupt,
    ) -> io::Result<Option<Ending>> {
        let mut signals = provoked.signals.clone();
        signals.sort_by_key(|(after, _)| Reverse(*after));
        loop {
            let ran = began.elapsed();
            let mut remaining = deadline.saturating_sub(ran);
            while let Some((_, signal)) = signals.pop_if(|(after, _)| *after <= ran) {
                // If it has ended, the loop sees that next.
                let _ = self.target(provoked).map(|target| kill_process(target, signal));
            }
            if interrupt.raised() {
                return Ok(Some(Ending::Interrupted));
            }
            if remaining.is_zero() {
                return Ok(Some(Ending::DeadlinePassed));
            }
            if let Some((after, _)) = signals.last() {
                remaining = remaining.min(after.saturating_sub(ran));
            }
            self.wait_for_something(&pipes, remaining.min(TICK))?;
            for pipe in &mut pipes {
                pipe.take_what_is_there();
            }
            if self.has_ended()? {
                return Ok(None);
            }
        }
    }

    /// The process that gets the signals: not `unshare`.
    fn target(&self, provoked: &Provoked) -> Option<Pid> {
        let child = self.child.id();
        if !provoked.as_process_1 {
            return Some(Pid::from_child(&self.child));
        }
        let children = fs::read_to_string(format!("/proc/{child}/task/{child}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok().and_then(Pid::from_raw)
    }

    /// Waits until a pipe is readable, the child has ended, or `timeout` has passed.
    fn wait_for_something(&self, pipes: &[&mut Capture; 3], timeout: Duration) -> io::Result<()> {
        let end = self.end.as_ref().map(AsFd::as_fd);
        let timeout = if end.is_some() { timeout } else { timeout.min(PEEK) };
        let mut sources: Vec<_> = pipes
            .iter()
            .map(|pipe| pipe.source())
            .chain([end])
            .flatten()
            .map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN))
            .collect();
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut sources, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the child has ended. It stays a zombie, so its id is not reused.
    fn has_ended(&self) -> io::Result<bool> {
        let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return Ok(true);
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(process), options)?.is_some())
    }
}

/// A descriptor that becomes readable when the process ends.
#[cfg(target_os = "linux")]
fn end_of(process: u32) -> Option<OwnedFd> {
    let process = Pid::from_raw(i32::try_from(process).ok()?)?;
    rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).ok()
}

/// Other systems have no such descriptor, so the caller checks once every [`PEEK`]. Unverified: never run
/// on macOS.
#[cfg(not(target_os = "linux"))]
const fn end_of(_process: u32) -> Option<OwnedFd> {
    None
}

/// The OS's monotonic clock, which is the same in every process.
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

/// A folder in memory, if there is one that is writable, allows executables and has enough space. In a
/// container it often has only a few megabytes.
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
    // The number fits into every type that it has.
    #[allow(clippy::unnecessary_cast, reason = "the type differs from system to system")]
    rustix::fs::statfs(place).is_ok_and(|stat| stat.f_type as i64 == TMPFS)
}

/// Always false: other systems have none of the folders that [`memory`] checks.
#[cfg(not(target_os = "linux"))]
const fn is_in_memory(_place: &Path) -> bool {
    false
}

/// Forbids core dumps for this process and its descendants.
///
/// On Linux the limit is 1, not 0. A kernel that pipes core dumps to a program ignores a limit of 0, and
/// every abort takes a fraction of a second. At 1 the kernel makes no dump (core(5), "Piping core
/// dumps to a program").
fn forbid_core_dumps() {
    let least = if cfg!(target_os = "linux") { 1 } else { 0 };
    let maximum = getrlimit(Resource::Core).maximum;
    let current = Some(maximum.map_or(least, |maximum| maximum.min(least)));
    let _ = setrlimit(Resource::Core, Rlimit { current, maximum });
}
