//! Child processes and process groups.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, kill_process_group,
        test_kill_process, test_kill_process_group, waitid,
    },
};

use crate::resource::{Policy, Resource, Subject, TeardownResult};

/// How long to pause between two looks at a process.
const PAUSE: Duration = Duration::from_millis(2);

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// By SIGKILL.
    AtOnce,
    /// By SIGTERM, and by SIGKILL if it is still there after half of the time. A process that is stopped is
    /// continued, so that it gets the signal.
    AfterTerm,
}

/// A child process, by its number: it is killed, and the teardown waits until it has ended.
///
/// Call this before anything can wait for the child's end. Its number may belong to another process
/// afterwards. The number of a child that is not there any more (and the `None` of a
/// `tokio::process::Child` that has ended) is a resource with nothing to do. The child itself
/// stays where it is, so a task may wait for it. What the child has started is not ended; see
/// [`process_group`].
///
/// A process that is no child of this one, such as a daemon that a child has started, is never ended: its number
/// may have changed hands. The teardown fails if there is a process of that number when its turn comes.
///
/// With [`Policy::Leak`] the child goes on, and the plan does not warn of it.
///
/// The teardown fails if the child is not gone in time, because it sleeps in the kernel or has rights that
/// this process does not have.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use sundown::exit::{leftovers::{self, Kill}, plan::ExitPlan, resource::Policy};
/// use tokio::process::Command;
///
/// let plan = ExitPlan::builder(Duration::from_secs(3)).build();
/// let mut child = Command::new("sleep").arg("60").kill_on_drop(true).spawn()?;
/// let policy = Policy::TearDown { within: Duration::from_secs(1) };
/// plan.add(leftovers::child("worker", policy, child.id(), Kill::AtOnce))?;
/// tokio::spawn(async move { child.wait().await });
/// # Ok(()) }
/// ```
#[track_caller]
pub fn child(
    name: impl Into<String>,
    policy: Policy,
    id: impl Into<Option<u32>>,
    kill: Kill,
) -> Resource {
    let id = number(id);
    let child = id.and_then(Child::find);
    let subjects = child.iter().map(|child| Subject::Process(child.number())).collect();
    Resource::new(name, policy, move |exit| match (child, id) {
        (Some(child), _) => end(&child, kill, exit.limit()),
        (None, Some(id)) if is_alive(id)? => Err(no_child(id).into()),
        (None, _) => Ok(()),
    })
    .about(subjects)
}

/// A process group, by the number of the child that leads it: all of its processes are killed, and the teardown
/// waits until they have ended.
///
/// Start the child with `process_group(0)`. Otherwise it is in the group of this process, and is ended alone.
/// Everything that it starts is in its group, unless it leaves that. See [`child`] for when to call this,
/// and for when the teardown fails.
///
/// The teardown fails, too, if somebody had waited for the leader before this was called and there is a group of
/// its number: nobody knows whether it is still the same one. And it fails if `/proc` cannot be read: the processes have been killed, and nobody can see that
/// they have ended. Elsewhere than on Linux the leader counts as there until somebody has waited for its end.
///
/// ```no_run
/// use std::{os::unix::process::CommandExt as _, process::Command, time::Duration};
/// use sundown::exit::{leftovers::{self, Kill}, plan::ExitPlan, resource::Policy};
///
/// let plan = ExitPlan::builder(Duration::from_secs(3)).build();
/// let shell = Command::new("sh").args(["-c", "sleep 60 & sleep 60"]).process_group(0).spawn()?;
/// let policy = Policy::TearDown { within: Duration::from_secs(1) };
/// plan.add(leftovers::process_group("shell", policy, shell.id(), Kill::AfterTerm))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn process_group(
    name: impl Into<String>,
    policy: Policy,
    leader: impl Into<Option<u32>>,
    kill: Kill,
) -> Resource {
    let id = number(leader);
    let group = id.and_then(Child::find).map(Group);
    let numbers = group.iter().map(|Group(leader)| leader.number());
    let subjects =
        numbers.flat_map(|number| [Subject::Process(number), Subject::Group(number)]).collect();
    Resource::new(name, policy, move |exit| match (group, id) {
        (Some(group), _) => end(&group, kill, exit.limit()),
        (None, Some(id)) if is_alive(id)? => Err(no_child(id).into()),
        (None, Some(id)) if test_kill_process_group(id) != Err(Errno::SRCH) && has_members(id)? => {
            Err(format!(
                "somebody had waited for the leader of the process group {id} before it was registered: the group \
                 has not been ended, because it may be another of that number"
            )
            .into())
        }
        (None, _) => Ok(()),
    })
    .about(subjects)
}

fn number(id: impl Into<Option<u32>>) -> Option<Pid> {
    Pid::from_raw(id.into()?.try_into().ok()?)
}

fn no_child(id: Pid) -> String {
    format!(
        "the process {id} is no child of this one, or was waited for before it was registered: it has not been ended"
    )
}

trait Processes {
    fn are_alive(&self) -> io::Result<bool>;
    fn send(&self, signal: Signal) -> rustix::io::Result<()>;
    fn describe(&self) -> String;
}

/// Ends processes, and waits until they have ended.
fn end(processes: &impl Processes, kill: Kill, limit: Duration) -> TeardownResult {
    let began = Instant::now();
    let mut asked = false;
    while processes.are_alive()? {
        let passed = began.elapsed();
        if passed >= limit {
            return Err(format!("{} has not ended after {limit:.1?}", processes.describe()).into());
        }
        let sent = match kill {
            Kill::AfterTerm if passed < limit / 2 && asked => Ok(()),
            Kill::AfterTerm if passed < limit / 2 => {
                asked = true;
                processes.send(Signal::TERM).and_then(|()| processes.send(Signal::CONT))
            }
            // Again and again: in a group another process may just have been started.
            Kill::AfterTerm | Kill::AtOnce => processes.send(Signal::KILL),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => thread::sleep(PAUSE),
            Err(error) => return Err(format!("{}: {error}", processes.describe()).into()),
        }
    }
    Ok(())
}

/// A child of this process. It is never taken for another process that has got its number.
struct Child {
    id: Pid,
    /// `None` if the kernel has none.
    #[cfg(target_os = "linux")]
    handle: Option<std::os::fd::OwnedFd>,
}

impl Child {
    /// `None` if there is no such child, or if somebody has waited for its end.
    fn find(id: Pid) -> Option<Self> {
        status(id).ok()?;
        Some(Self {
            id,
            #[cfg(target_os = "linux")]
            handle: rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty()).ok(),
        })
    }

    fn number(&self) -> u32 {
        self.id.as_raw_nonzero().get().unsigned_abs()
    }
}

/// The status of a child that has ended, and `None` of one that runs. It does not take the status from those
/// who wait for it.
fn status(id: Pid) -> rustix::io::Result<Option<WaitIdStatus>> {
    waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG)
}

impl Processes for Child {
    fn are_alive(&self) -> io::Result<bool> {
        #[cfg(target_os = "linux")]
        if let Some(handle) = &self.handle {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let mut ended = [PollFd::new(handle, PollFlags::IN)];
            return Ok(poll(&mut ended, Some(&Timespec::default()))? == 0);
        }
        Ok(matches!(status(self.id), Ok(None)))
    }

    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(handle) = &self.handle {
            return rustix::process::pidfd_send_signal(handle, signal);
        }
        kill_process(self.id, signal)
    }

    fn describe(&self) -> String {
        format!("the child process {}", self.id)
    }
}

/// The group that a child leads.
struct Group(Child);

impl Group {
    /// Whether there is a group of this number, and it is still this one, when the leader has ended. No
    /// process gets the number of a group that has members. So if a process has it that is not the leader,
    /// waiting for somebody to ask for its status, then this group is gone.
    fn survives_its_leader(&self) -> bool {
        let Self(leader) = self;
        let is_its_number = test_kill_process(leader.id) == Err(Errno::SRCH)
            || matches!(status(leader.id), Ok(Some(_)));
        is_its_number && test_kill_process_group(leader.id) != Err(Errno::SRCH)
    }
}

impl Processes for Group {
    fn are_alive(&self) -> io::Result<bool> {
        if self.0.are_alive()? {
            return Ok(true);
        }
        Ok(self.survives_its_leader() && has_members(self.0.id)?)
    }

    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        // A child that leads no group is ended alone.
        match kill_process_group(self.0.id, signal) {
            Err(Errno::SRCH) => self.0.send(signal),
            sent => sent,
        }
    }

    fn describe(&self) -> String {
        format!("the process group {}", self.0.id)
    }
}

/// Whether a process runs that may be no child of this one.
#[cfg(target_os = "linux")]
fn is_alive(process: Pid) -> io::Result<bool> {
    use sundown_core::evidence::proc::Stat;

    if test_kill_process(process) == Err(Errno::SRCH) {
        return Ok(false);
    }
    // Somebody may not have asked for its status yet. Where `/proc` does not tell, it counts as there.
    let stat = is_proc_of_this_system()
        .and_then(|()| Stat::read(&format!("/proc/{process}/stat")).map_err(io::Error::other));
    Ok(!matches!(stat, Ok(Some(stat)) if stat.has_ended))
}

#[cfg(not(target_os = "linux"))]
fn is_alive(process: Pid) -> io::Result<bool> {
    Ok(test_kill_process(process) != Err(Errno::SRCH))
}

/// Another system of processes may be mounted at `/proc`, or none.
#[cfg(target_os = "linux")]
fn is_proc_of_this_system() -> io::Result<()> {
    match sundown_core::evidence::proc::number_behind("/proc/self").map_err(io::Error::other)? {
        this if this == std::process::id() => Ok(()),
        _ => Err(io::Error::other("`/proc` does not list the processes of this system")),
    }
}

/// Whether a process of the group runs. One that has ended is a member until somebody has asked for its status.
#[cfg(target_os = "linux")]
fn has_members(group: Pid) -> io::Result<bool> {
    use sundown_core::evidence::proc::{Stat, numbers};

    is_proc_of_this_system()?;
    let group = group.as_raw_nonzero().get().unsigned_abs();
    let runs = |process| match Stat::read(&format!("/proc/{process}/stat")) {
        Ok(Some(stat)) => stat.group == group && !stat.has_ended,
        // That of another user, where those are hidden.
        Ok(None) | Err(_) => false,
    };
    Ok(numbers("/proc").map_err(io::Error::other)?.into_iter().any(runs))
}

#[cfg(not(target_os = "linux"))]
fn has_members(_: Pid) -> io::Result<bool> {
    Ok(true)
}
