//! Finds and kills processes that left the group they were started in.
//!
//! The sandbox kills a trial's process group, but a descendant can leave the group by `setsid`. On Linux
//! the lab finds such a process in two ways. It is the *subreaper* of its descendants, so an orphan
//! becomes its child; and a variable in the environment marks them. On other systems the process escapes,
//! and the lab only stops waiting for the trial's pipes. The head of `sandbox` says when this is called.

/// The variable that names the run to which a process belongs.
pub(crate) const RUN: &str = "LAB_RUN";

#[cfg(target_os = "linux")]
pub(crate) use linux::{adopt, kill_adopted, kill_marked, path, processes};

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{adopt, kill_adopted, kill_marked};

#[cfg(target_os = "linux")]
mod linux {
    use std::{collections::HashSet, fs, path::PathBuf};

    use rustix::process::{
        Pid, Signal, WaitOptions, getpgid, getpid, kill_process, set_child_subreaper, waitpid,
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
        let us = getpid().as_raw_nonzero().get();
        for _ in 0..ROUNDS {
            let adopted: Vec<_> = processes()
                .filter(|pid| parent(*pid) == Some(us))
                .filter_map(Pid::from_raw)
                .filter(|pid| {
                    let is_known =
                        |pid: Pid| known.contains(&pid.as_raw_nonzero().get().cast_unsigned());
                    !is_known(*pid) && !getpgid(Some(*pid)).is_ok_and(is_known)
                })
                .collect();
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

    /// Kills the processes with the mark of this run. Repeats until none is left.
    pub(crate) fn kill_marked(run: &str) {
        let mark = format!("{RUN}={run}").into_bytes();
        for _ in 0..ROUNDS {
            let marked: Vec<_> = processes()
                .filter(|pid| {
                    let environment = fs::read(path(*pid, "environ")).unwrap_or_default();
                    environment.split(|byte| *byte == 0).any(|variable| variable == mark)
                })
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

    /// The parent: the second word after the name, which is in parentheses and may contain some.
    fn parent(pid: i32) -> Option<i32> {
        let stat = fs::read_to_string(path(pid, "stat")).ok()?;
        let (_, after_name) = stat.rsplit_once(')')?;
        after_name.split_whitespace().nth(1)?.parse().ok()
    }
}

/// Without a subreaper and a process table, a process that has left its group is not found. Unverified:
/// written for macOS, never run on it.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::collections::HashSet;

    pub(crate) fn adopt() {}
    pub(crate) fn kill_adopted(_known: &HashSet<u32>) {}
    pub(crate) fn kill_marked(_run: &str) {}
}
