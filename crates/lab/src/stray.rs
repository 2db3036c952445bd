//! Finds and kills processes that left the group they were started in.
//!
//! The sandbox kills a trial's process group, but a descendant can leave the group by `setsid`. On Linux
//! the lab finds such a process in two ways. (Whose it was, a mark in its resource limits says.) It is the *subreaper* of its descendants, so an orphan
//! becomes its child; and a variable in the environment marks them. On other systems the process escapes,
//! and the lab only stops waiting for the trial's pipes. The head of `sandbox` says when this is called.

/// The variable that names the run to which a process belongs.
pub(crate) const RUN: &str = "LAB_RUN";

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    Mark, Process, adopt, kill_adopted, kill_marked, path, processes, variable,
};

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{Mark, adopt, kill_adopted, kill_marked};

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::HashSet,
        fs,
        path::PathBuf,
        sync::{
            Mutex, PoisonError,
            atomic::{AtomicU64, Ordering},
        },
    };

    use rustix::process::{
        Pid, Resource, Rlimit, Signal, WaitOptions, getpgid, getpid, getrlimit, kill_process,
        set_child_subreaper, setrlimit, waitpid,
    };

    use super::RUN;

    /// How often to read the process table again: a killed process may leave children.
    const ROUNDS: usize = 100;

    /// Makes this process the parent of every descendant that becomes an orphan.
    pub(crate) fn adopt() {
        // Every kernel since 3.4 allows it. Without it, strays are found by their mark alone.
        let _ = set_child_subreaper(Some(getpid()));
    }

    /// Kills the children of this process, except the known ones and the members of groups that these
    /// lead. Repeats until no other is left.
    pub(crate) fn kill_adopted(known: &HashSet<u32>) {
        for _ in 0..ROUNDS {
            let adopted = children_except(known);
            if adopted.is_empty() {
                return;
            }
            for pid in adopted {
                let _ = kill_process(pid, Signal::KILL);
                // After SIGKILL, this waits only for the kernel.
                let _ = waitpid(Some(pid), WaitOptions::empty());
            }
        }
    }

    fn children_except(known: &HashSet<u32>) -> Vec<Pid> {
        let us = getpid().as_raw_nonzero().get();
        let is_known = |pid: Pid| known.contains(&pid.as_raw_nonzero().get().cast_unsigned());
        processes()
            .filter(|pid| Process::read(*pid).is_some_and(|it| it.parent == us))
            .filter_map(Pid::from_raw)
            .filter(|pid| !is_known(*pid) && !getpgid(Some(*pid)).is_ok_and(is_known))
            .collect()
    }

    /// Kills the processes with the mark of this run. Repeats until none is left.
    pub(crate) fn kill_marked(run: &str) {
        let mark = format!("{RUN}={run}").into_bytes();
        for _ in 0..ROUNDS {
            let marked: Vec<_> = processes()
                .filter(|pid| variable(*pid, |variable| variable == mark))
                .filter_map(Pid::from_raw)
                .collect();
            if marked.is_empty() {
                return;
            }
            for pid in marked {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    pub(crate) fn processes() -> impl Iterator<Item = i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    pub(crate) fn path(pid: i32, file: &str) -> PathBuf {
        format!("/proc/{pid}/{file}").into()
    }

    /// Whether a variable of the environment that a process was started with is like this.
    pub(crate) fn variable(pid: i32, is_it: impl Fn(&[u8]) -> bool) -> bool {
        let environment = fs::read(path(pid, "environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(is_it)
    }

    /// A mark of a command that no descendant sheds by a new environment, group or session: a number in a limit that is
    /// inherited, and that concerns nobody but threads with real-time scheduling.
    #[derive(Debug)]
    pub(crate) struct Mark(u64);

    /// No other command is started while the limit of this process is that of one.
    static MARKING: Mutex<()> = Mutex::new(());

    impl Mark {
        /// A number that no other command has. It is more than a year of microseconds.
        pub(crate) fn new() -> Self {
            const NUMBERS: u32 = 20;
            static NEXT: AtomicU64 = AtomicU64::new(0);
            // Relaxed: only the number matters.
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % (1 << NUMBERS);
            let process = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
            Self((1 << 60) | (process << NUMBERS) | number)
        }

        /// Starts a command with this mark. Without one if the system refuses it.
        pub(crate) fn on<R>(&self, start: impl FnOnce() -> R) -> R {
            let _alone = MARKING.lock().unwrap_or_else(PoisonError::into_inner);
            let before = getrlimit(Resource::Rttime);
            let marked = Rlimit { current: Some(self.0), ..before };
            let _ = setrlimit(Resource::Rttime, marked);
            let started = start();
            let _ = setrlimit(Resource::Rttime, before);
            started
        }

        /// Whether a process has it.
        pub(crate) fn is_on(&self, pid: i32) -> bool {
            let limits = fs::read_to_string(path(pid, "limits")).unwrap_or_default();
            let limit = limits.lines().find_map(|line| line.strip_prefix("Max realtime timeout"));
            let soft = limit.and_then(|limit| limit.split_whitespace().next());
            soft.and_then(|soft| soft.parse().ok()) == Some(self.0)
        }
    }

    /// What the kernel says of a process.
    pub(crate) struct Process {
        pub(crate) parent: i32,
        pub(crate) group: i32,
        /// It has ended, and its parent has not asked for its status.
        pub(crate) has_ended: bool,
    }

    impl Process {
        /// `number (name) state parent group …`, and as the twentieth the number of threads. The name may contain
        /// parentheses. If the first thread has ended before the others, the state is that of an ended process.
        pub(crate) fn read(pid: i32) -> Option<Self> {
            let stat = fs::read_to_string(path(pid, "stat")).ok()?;
            let mut words = stat.rsplit_once(')')?.1.split_whitespace();
            let first_has_ended = matches!(words.next()?, "Z" | "X");
            let mut number = || words.next()?.parse().ok();
            let (parent, group) = (number()?, number()?);
            let is_alone = words.nth(14)?.parse().is_ok_and(|threads: u32| threads <= 1);
            Some(Self { parent, group, has_ended: first_has_ended && is_alone })
        }
    }
}

/// Without a subreaper and a process table, a process that has left its group is not found. Unverified:
/// written for macOS, never run on it.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::collections::HashSet;

    /// No mark.
    #[derive(Debug)]
    pub(crate) struct Mark;

    impl Mark {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn on<R>(&self, start: impl FnOnce() -> R) -> R {
            start()
        }
    }

    pub(crate) fn adopt() {}
    pub(crate) fn kill_adopted(_known: &HashSet<u32>) {}
    pub(crate) fn kill_marked(_run: &str) {}
}
