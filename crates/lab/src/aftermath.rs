//! What a command has left when it ends, and what its threads do when it does not.
//!
//! Linux only: both come from `/proc`. Elsewhere nothing is seen.

#[cfg(any(target_os = "linux", fuzzing, test))]
mod frames;

use std::{fmt, path::Path};

use serde::Serialize;

use crate::stray::Mark;

/// Something that a command has left behind, although it has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Left {
    /// A process that it has started, in its group or not.
    Process {
        /// The name of the program.
        name: String,
        /// Its process id.
        id: i32,
    },
    /// A file, a folder or a socket in its temporary directory.
    File {
        /// The path below that directory.
        name: String,
        /// `file`, `folder` or `socket`.
        kind: &'static str,
    },
}

/// ``the process `sleep` (12)``, ``the socket `app.sock` in TMPDIR``.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { name, id } => write!(f, "the process `{name}` ({id})"),
            Self::File { name, kind } => write!(f, "the {kind} `{name}` in TMPDIR"),
        }
    }
}

/// A thread of a command that hangs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadState {
    /// The name of the program.
    pub process: String,
    /// The id of the process.
    pub process_id: i32,
    /// The name of the thread.
    pub name: String,
    /// The id of the thread.
    pub thread_id: i32,
    /// What it does: `runs`, `sleeps`, `waits for a disk`, `is stopped`.
    pub state: String,
    /// The function of the kernel in which it waits, if the kernel says so.
    pub waits_in: Option<String>,
    /// The innermost function of the program on its stack, if gdb shows that.
    pub called_by: Option<String>,
}

/// ``app (12), thread `tokio-rt-worker`: sleeps in futex_wait, called by app::load (src/main.rs:7)``.
impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, process_id, name, state, waits_in, called_by, .. } = self;
        write!(f, "{process} ({process_id}), thread `{name}`: {state}")?;
        waits_in.iter().try_for_each(|waits_in| write!(f, " in {waits_in}"))?;
        called_by.iter().try_for_each(|function| write!(f, ", called by {function}"))
    }
}

/// By what a process is known to run for a command.
#[derive(Debug)]
pub(crate) struct Whose<'a> {
    /// The command's temporary directory, in the environment.
    pub(crate) directory: &'a Path,
    /// The command's process group.
    pub(crate) group: u32,
    /// A limit that is inherited.
    pub(crate) mark: Mark,
}

/// For each thread, by its id, the function that is shown, by what gdb has printed.
#[cfg(fuzzing)]
pub(crate) fn functions(stacks: &str) -> Vec<(i32, String)> {
    frames::of_the_program(stacks, "/")
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{left, stacks, threads};

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{left, stacks, threads};

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::{HashMap, HashSet},
        fs,
        os::unix::{ffi::OsStrExt as _, fs::FileTypeExt as _},
        path::{Path, PathBuf},
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    use super::{Left, ThreadState, Whose, frames};
    use crate::stray::{self, Process};

    /// How long a debugger may take.
    const STACKS: Duration = Duration::from_secs(20);

    /// What a command has left. Its own process, which has ended, does not count.
    pub(crate) fn left(directory: &Path, whose: &Whose<'_>) -> Vec<Left> {
        let processes = processes_of(whose).into_iter().map(|id| {
            let name = read(id, "comm").unwrap_or_default();
            Left::Process { name, id }
        });
        processes.chain(files(directory)).collect()
    }

    fn files(directory: &Path) -> Vec<Left> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let kind = match entry.file_type().ok()? {
                    it if it.is_dir() => "folder",
                    it if it.is_socket() => "socket",
                    _ => "file",
                };
                Some(Left::File { name: entry.file_name().to_string_lossy().into_owned(), kind })
            })
            .collect();
        files.sort_unstable();
        files
    }

    /// The threads of the processes that a command consists of.
    pub(crate) fn threads(whose: &Whose<'_>) -> Vec<ThreadState> {
        processes_of(whose).into_iter().flat_map(threads_of).collect()
    }

    fn threads_of(process_id: i32) -> Vec<ThreadState> {
        let process = read(process_id, "comm").unwrap_or_default();
        let tasks =
            fs::read_dir(format!("/proc/{process_id}/task")).into_iter().flatten().flatten();
        tasks
            .filter_map(|task| {
                let name = fs::read_to_string(task.path().join("comm")).ok()?;
                let stat = fs::read_to_string(task.path().join("stat")).ok()?;
                let waits_in = fs::read_to_string(task.path().join("wchan")).ok();
                Some(ThreadState {
                    process: process.clone(),
                    process_id,
                    thread_id: task.file_name().to_str()?.parse().ok()?,
                    called_by: None,
                    name: name.trim_end().to_owned(),
                    state: state(stat.rsplit_once(')')?.1.trim_start().chars().next()?),
                    waits_in: waits_in.filter(|name| !name.is_empty() && name != "0"),
                })
            })
            .collect()
    }

    fn state(letter: char) -> String {
        match letter {
            'R' => "runs".to_owned(),
            'S' => "sleeps".to_owned(),
            'D' => "waits for a disk".to_owned(),
            'T' | 't' => "is stopped".to_owned(),
            other => format!("is in state {other}"),
        }
    }

    /// The stacks of all threads, by gdb, if it is there and may look. Each thread gets the function of the
    /// program that it is in.
    pub(crate) fn stacks(threads: &mut [ThreadState]) -> String {
        let mut ids: Vec<_> = threads.iter().map(|thread| thread.process_id).collect();
        ids.dedup();
        let stacks: String = ids.into_iter().filter_map(stacks_of).collect();
        let root = std::env::current_dir().map_or_else(|_| "/".into(), |it| it.join(""));
        for (id, function) in frames::of_the_program(&stacks, &root.to_string_lossy()) {
            let of_it = threads.iter_mut().filter(|thread| thread.thread_id == id);
            of_it.for_each(|thread| thread.called_by = Some(function.clone()));
        }
        stacks
    }

    fn stacks_of(process: i32) -> Option<String> {
        let file = tempfile::tempfile().ok()?;
        let mut gdb = Command::new("gdb")
            .args(["-p", &process.to_string(), "-batch", "-nx"])
            .args(["-ex", frames::WHOLE_PATHS, "-ex", "thread apply all bt 64"])
            .stdin(Stdio::null())
            .stdout(file.try_clone().ok()?)
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let began = Instant::now();
        while gdb.try_wait().ok()?.is_none() {
            if began.elapsed() > STACKS {
                let _ = gdb.kill().and_then(|()| gdb.wait().map(drop));
                return Some(format!("\nprocess {process}: gdb took longer than {STACKS:?}\n"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut text = String::new();
        std::io::Seek::rewind(&mut &file).ok()?;
        std::io::Read::read_to_string(&mut &file, &mut text).ok()?;
        text.contains("\n#0").then(|| format!("\nprocess {process}, by gdb:\n{text}"))
    }

    /// The processes that run for a command, and those that these have started.
    fn processes_of(whose: &Whose<'_>) -> Vec<i32> {
        let Whose { directory, group, mark: limit } = whose;
        let mark = [b"TMPDIR=", directory.as_os_str().as_bytes()].concat();
        let running: HashMap<_, _> = stray::processes()
            .filter_map(|id| Some((id, Process::read(id)?)))
            .filter(|(_, process)| !process.has_ended)
            .collect();
        let is_one = |(id, process): &(&i32, &Process)| {
            u32::try_from(process.group) == Ok(*group)
                || limit.is_on(**id)
                || stray::variable(**id, |variable| variable == mark)
        };
        let mut found: HashSet<_> = running.iter().filter(is_one).map(|(id, _)| *id).collect();
        loop {
            let is_below = |(_, process): &(&i32, &Process)| found.contains(&process.parent);
            let below: Vec<_> = running.iter().filter(is_below).map(|(id, _)| *id).collect();
            let before = found.len();
            found.extend(below);
            if found.len() == before {
                break;
            }
        }
        let mut processes: Vec<_> = found.into_iter().collect();
        processes.sort_unstable();
        processes
    }

    fn read(process: i32, file: &str) -> Option<String> {
        let path: PathBuf = stray::path(process, file);
        fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
    }
}

/// Unverified: written for macOS, never run on it.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::path::Path;

    use super::{Left, ThreadState, Whose};

    pub(crate) fn left(_: &Path, _: &Whose<'_>) -> Vec<Left> {
        Vec::new()
    }

    pub(crate) fn threads(_: &Whose<'_>) -> Vec<ThreadState> {
        Vec::new()
    }

    pub(crate) fn stacks(_: &mut [ThreadState]) -> String {
        String::new()
    }
}
