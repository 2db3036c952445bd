//! Traces a program with ptrace(2) from its first instruction on, and holds its threads.
//!
//! The program is started by this same executable, executed again ([`become_traced`]), so that nothing unsafe is
//! needed between fork and exec. A thread that stops is continued at once, or when its hold is over; the others
//! run meanwhile. What a tracer changes besides: a program that itself traces another one fails, group stops
//! (SIGSTOP, SIGTSTP) do not last, and real-time signals do not arrive.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    env,
    ffi::OsString,
    fs,
    io::{self, Write as _},
    mem,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill, raise},
    },
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::WaitOptions,
};

use crate::{
    crash::{self, Crash},
    filter,
    place::Place,
    policy::{Decisions, LONGEST, Policy, Trial},
    report::Report,
    survey::{Counts, Surveys, TIMES},
};

/// The argument that turns this executable into the program's first process.
const TRACED: &str = "__traced";

/// The signals that are passed on: a supervisor sends them to the process that it has started.
const PASSED_ON: [i32; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signalled(i32),
}

/// Runs a program to its end.
pub(crate) fn run(
    program: &[OsString],
    policy: &Policy,
    seed: u64,
    surveys: &Surveys,
) -> io::Result<(Ended, Report)> {
    // Before the program starts, so that no signal is lost: the pipe has a byte for each.
    let (woken, wake) = io::pipe()?;
    rustix::io::ioctl_fionbio(&woken, true)?;
    let mut passed_on = Vec::new();
    for signal in PASSED_ON {
        let came = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, Arc::clone(&came))?;
        signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
        passed_on.push((signal, came));
    }
    signal_hook::low_level::pipe::register(libc::SIGCHLD, wake)?;
    let child =
        Command::new(env::current_exe()?).args([TRACED, policy.name]).args(program).spawn()?;
    let root = i32::try_from(child.id()).map_err(io::Error::other)?;
    let mut tracer = Tracer {
        root,
        policy,
        trial: Trial::of(policy, seed, surveys.of(seed)),
        holds_until: surveys.bare_micros.and_then(|bare| {
            Instant::now().checked_add(Duration::from_micros(bare).saturating_mul(TIMES))
        }),
        tasks: HashMap::new(),
        early: HashSet::new(),
        held: BinaryHeap::new(),
        got_on: 0,
        ending: None,
        crashes: HashMap::new(),
        report: Report::new(policy, seed),
        ended: None,
    };
    let ended = tracer.until_it_ends(&woken, &passed_on)?;
    tracer.kill_the_rest();
    Ok((ended, tracer.report))
}

/// If this process is to become the program, stops until it is traced, installs the filter and executes the
/// program. Returns only if it is not, or if that failed.
pub(crate) fn become_traced() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    arguments.next().filter(|first| first == TRACED)?;
    let policy = arguments.next().and_then(|name| Policy::named(name.to_str()?))?;
    let program = arguments.next()?;
    let failed = |error: io::Error| {
        eprintln!("error: cannot run {} under a tracer: {error}", program.display());
        // What a shell says of a command that it cannot execute.
        ExitCode::from(126)
    };
    // The tracer sets its options at the first stop, before the program exists.
    if let Err(error) = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP)) {
        return Some(failed(io::Error::from(error)));
    }
    if let Err(error) = filter::install(policy.places()) {
        return Some(failed(error));
    }
    Some(failed(Command::new(&program).args(arguments).exec()))
}

/// A thread of the program, or of a process that it has started.
#[derive(Debug)]
struct Task {
    /// Its place in the tree of threads.
    path: Vec<u32>,
    /// How many it has started.
    started: u32,
    /// Its process.
    process: i32,
    /// Whether its first stop is still to come.
    is_new: bool,
    decisions: Decisions,
    /// How often it has come to what, if nothing is to be held.
    came: Counts,
    /// How often it has got on; and whether others are held while it comes to its end.
    got_on: u32,
    is_ending: bool,
    /// How often any thread had got on when it began to be held.
    held_at: u32,
    /// The place whose system call it is in, if it is to be held when that returns.
    returns_from: Option<Place>,
    /// If it goes on instruction by instruction: until when, and after how many it is only held.
    steps: Option<(Instant, u32)>,
}

struct Tracer<'a> {
    root: i32,
    policy: &'a Policy,
    trial: Trial<'a>,
    /// From then on nothing is held.
    holds_until: Option<Instant>,
    tasks: HashMap<i32, Task>,
    /// New threads that have stopped before their parent has reported them.
    early: HashSet<i32>,
    /// When held threads are continued, the next first.
    held: BinaryHeap<Reverse<(Instant, i32)>>,
    /// How often any thread has got on.
    got_on: u32,
    /// The process that comes to its end, if its threads are held only then.
    ending: Option<i32>,
    /// For a process and a signal that may end it, where the thread was that got it.
    crashes: HashMap<(i32, i32), Crash>,
    report: Report,
    ended: Option<Ended>,
}

impl Tracer<'_> {
    fn until_it_ends(
        &mut self,
        woken: &io::PipeReader,
        passed_on: &[(i32, Arc<AtomicBool>)],
    ) -> io::Result<Ended> {
        loop {
            loop {
                match rustix::process::wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                    Ok(Some((task, status))) => {
                        self.changed(task.as_raw_pid(), status.as_raw());
                    }
                    Ok(None) | Err(rustix::io::Errno::CHILD) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                if let Some(ended) = self.ended {
                    return Ok(ended);
                }
            }
            for (signal, came) in passed_on {
                // Relaxed: the flag publishes nothing else, and the pipe wakes this loop after it is set.
                if came.swap(false, Ordering::Relaxed)
                    && let Ok(signal) = Signal::try_from(*signal)
                {
                    let _ = kill(Pid::from_raw(self.root), signal);
                }
            }
            let now = Instant::now();
            while let Some(Reverse((due, task))) = self.held.peek().copied()
                && due <= now
            {
                self.held.pop();
                if !self.holds_on(task) {
                    self.resume(task);
                }
            }
            let next = self.held.peek().map(|Reverse((due, _))| due.saturating_duration_since(now));
            let timeout = next.and_then(|it| Timespec::try_from(it).ok());
            let mut descriptors = [PollFd::new(woken, PollFlags::IN)];
            match poll(&mut descriptors, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // However many bytes there are: all that they tell of is looked at above.
            let mut bytes = [0; 64];
            while rustix::io::read(woken, &mut bytes).is_ok_and(|read| read == bytes.len()) {}
        }
    }

    /// A task has stopped or ended.
    fn changed(&mut self, task: i32, status: i32) {
        let ended = match status & 0x7f {
            0x7f => None,
            0 => Some(Ended::Exited((status >> 8) & 0xff)),
            signal => Some(Ended::Signalled(signal)),
        };
        if let Some(ended) = ended {
            if let Some(task) = self.tasks.remove(&task) {
                self.is_over(task);
            }
            // Another signal, or one that was handled, has not ended it.
            if let Ended::Signalled(signal) = ended
                && let Some(crash) = self.crashes.get(&(task, signal))
            {
                // Nobody may read it any more.
                let _ = writeln!(io::stderr(), "hold-threads: {}", crash.text);
            }
            self.crashes.retain(|(process, _), _| *process != task);
            if task == self.root {
                self.ended = Some(ended);
            }
            return;
        }
        let (signal, event) = ((status >> 8) & 0xff, status >> 16);
        if !self.tasks.contains_key(&task) {
            if task != self.root {
                // A thread that begins while its process exits: the one that has started it is killed before it
                // can report it, so nobody else lets this one go on.
                if event == libc::PTRACE_EVENT_EXIT || !self.early.insert(task) {
                    self.early.remove(&task);
                    go_on(task, None);
                }
                return;
            }
            // The first stop of all: become_traced waits for its tracer.
            let options = Options::PTRACE_O_EXITKILL
                | Options::PTRACE_O_TRACESECCOMP
                | Options::PTRACE_O_TRACESYSGOOD
                | Options::PTRACE_O_TRACECLONE
                | Options::PTRACE_O_TRACEFORK
                | Options::PTRACE_O_TRACEVFORK
                | Options::PTRACE_O_TRACEEXEC
                | Options::PTRACE_O_TRACEEXIT;
            let _ = ptrace::setoptions(Pid::from_raw(task), options);
            self.begins(task, Vec::new(), task);
            if let Some(task) = self.tasks.get_mut(&task) {
                task.is_new = false;
            }
            go_on(task, None);
            return;
        }
        match event {
            libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                self.has_started_another(task, event == libc::PTRACE_EVENT_CLONE);
                go_on(task, None);
            }
            libc::PTRACE_EVENT_EXEC => {
                self.has_executed(task);
                go_on(task, None);
            }
            libc::PTRACE_EVENT_EXIT => self.at(task, Place::End),
            libc::PTRACE_EVENT_SECCOMP => self.calls(task),
            0 if signal == libc::SIGTRAP | 0x80 => self.returns(task),
            0 if signal == libc::SIGTRAP && is_step(task) => self.steps(task),
            0 if signal == libc::SIGSTOP && self.tasks.get(&task).is_some_and(|it| it.is_new) => {
                self.is_born(task);
            }
            // A signal is about to be delivered. A group stop has none, and does not last.
            0 if ptrace::getsiginfo(Pid::from_raw(task)) != Err(Errno::EINVAL) => {
                let process = self.tasks.get(&task).map_or(task, |it| it.process);
                let earlier = self.crashes.get(&(process, signal));
                let is_sent_again =
                    |it: &Crash| earlier.is_some_and(|earlier| earlier.is_raised && !it.is_raised);
                let crash = crash::describe(process, task, signal).filter(|it| !is_sent_again(it));
                self.crashes.extend(crash.map(|it| ((process, signal), it)));
                go_on(task, Signal::try_from(signal).ok());
            }
            _ => go_on(task, None),
        }
    }

    fn begins(&mut self, task: i32, path: Vec<u32>, process: i32) {
        self.report.threads += 1;
        let decisions = self.trial.thread(&path, task == process);
        let is_ending = self.trial.ending().is_some_and(|end| end.is_of(&path));
        if task != process
            && let (Some(survey), Some(first)) = (&mut self.report.survey, self.tasks.get(&process))
        {
            survey.has_another(&first.path);
        }
        let new = Task {
            path,
            started: 0,
            process,
            is_new: true,
            decisions,
            came: Counts::new(),
            got_on: 0,
            is_ending,
            held_at: 0,
            returns_from: None,
            steps: None,
        };
        self.tasks.insert(task, new);
    }

    fn is_over(&mut self, task: Task) {
        if let Some(survey) = &mut self.report.survey {
            survey.add(&task.path, task.came);
        }
    }

    fn has_started_another(&mut self, task: i32, is_thread: bool) {
        let Ok(new) = ptrace::getevent(Pid::from_raw(task)) else { return };
        let (Ok(new), Some(parent)) = (i32::try_from(new), self.tasks.get_mut(&task)) else {
            return;
        };
        let mut path = parent.path.clone();
        path.push(parent.started);
        parent.started += 1;
        let process = if is_thread { parent.process } else { new };
        self.begins(new, path, process);
        if self.early.remove(&new) {
            self.is_born(new);
        }
    }

    /// Another program runs in its process, with one thread, which has the process's id.
    fn has_executed(&mut self, process: i32) {
        let Ok(former) = ptrace::getevent(Pid::from_raw(process)) else { return };
        let Ok(former) = i32::try_from(former) else { return };
        if let Some(mut task) = self.tasks.remove(&former) {
            task.process = process;
            // What a shell in front of it has used up does not count.
            task.decisions = self.trial.thread(&task.path, true);
            task.came = Counts::new();
            task.got_on = 0;
            self.tasks.retain(|_, other| other.process != process);
            self.tasks.insert(process, task);
        }
    }

    fn is_born(&mut self, task: i32) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.is_new = false;
        }
        self.at(task, Place::Start);
    }

    /// It stands before a system call of the filter.
    fn calls(&mut self, task: i32) {
        let called = ptrace::getregs(Pid::from_raw(task)).ok();
        let Some(place) = called.and_then(|registers| filter::place(registers.orig_rax)) else {
            go_on(task, None);
            return;
        };
        // Those that are held only when a call has returned count their places there, held or not.
        if self.policy.is_after()
            && let Some(it) = self.tasks.get_mut(&task)
            && (it.decisions.is_held() || !self.policy.is_before())
        {
            it.returns_from = Some(place);
        }
        if self.policy.is_before() { self.at(task, place) } else { self.resume(task) }
    }

    fn returns(&mut self, task: i32) {
        match self.tasks.get_mut(&task).and_then(|it| it.returns_from.take()) {
            Some(place) if self.policy.is_before() => {
                let again = if self.is_in_turn(task) { self.tasks.get_mut(&task) } else { None };
                let held = again.and_then(|it| self.trial.hold_again(&mut it.decisions, place));
                self.hold(task, place, held);
            }
            Some(place) => self.at(task, place),
            None => go_on(task, None),
        }
    }

    /// Holds a task, or lets it go on.
    fn at(&mut self, task: i32, place: Place) {
        self.report.stopped(place);
        let held = self.tasks.get_mut(&task).and_then(|task| {
            if self.report.survey.is_some() {
                *task.came.entry(place).or_default() += 1;
            }
            self.trial.hold(&mut task.decisions, place)
        });
        if place.is_progress() {
            self.gets_on(task);
        }
        match held {
            None if self.is_outlived(task, place) => self.hold_in_turn(task, place),
            _ => self.hold(task, place, held),
        }
    }

    /// A thread does more than wait.
    fn gets_on(&mut self, task: i32) {
        self.got_on += 1;
        let Some(it) = self.tasks.get_mut(&task) else { return };
        it.got_on += 1;
        if it.is_ending && self.trial.ending().is_some_and(|end| end.from == it.got_on) {
            self.ending = Some(it.process);
        }
    }

    /// Whether a task can be held, if tasks are held only at the end of their process.
    fn is_in_turn(&self, task: i32) -> bool {
        let process = self.tasks.get(&task).map(|it| it.process);
        self.trial.ending().is_none() || self.ending.is_some() && self.ending == process
    }

    /// Whether a task is the one that the others are to outlive, and is about to end.
    fn is_outlived(&self, task: i32, place: Place) -> bool {
        let Some(it) = self.tasks.get(&task).filter(|_| self.policy.holds_on()) else {
            return false;
        };
        let is_last = |until: Option<u32>| it.is_ending && until == Some(it.got_on);
        match self.trial.ending() {
            None => place == Place::Exit,
            Some(_) if self.ending != Some(it.process) => false,
            Some(end) => place == Place::Exit || is_last(end.until),
        }
    }

    /// Lets the others of its process go on, if any are held, and holds this one meanwhile. It is the last to be held.
    fn hold_in_turn(&mut self, task: i32, place: Place) {
        self.ending = None;
        let process_of = |task: i32| self.tasks.get(&task).map(|it| it.process);
        let process = process_of(task);
        let (others, held): (Vec<_>, Vec<_>) = mem::take(&mut self.held)
            .into_iter()
            .partition(|Reverse((_, other))| process_of(*other) == process);
        self.held.extend(held);
        let time = (!others.is_empty()).then_some(LONGEST);
        for Reverse((_, other)) in others {
            self.resume(other);
        }
        self.hold(task, place, time);
    }

    /// Holds a task on whose hold is over, if the policy wants it and others get on; and says whether it does.
    fn holds_on(&mut self, task: i32) -> bool {
        let now = Instant::now();
        let is_time = self.holds_until.is_none_or(|until| now < until);
        if !is_time || !self.policy.holds_on() || !self.others_get_on(task) {
            return false;
        }
        let held = self.tasks.get_mut(&task);
        let time = held.and_then(|it| self.trial.hold_on(&mut it.decisions));
        if let Some(time) = time {
            self.report.held_on(time);
            self.held.push(Reverse((now + time, task)));
        }
        time.is_some()
    }

    /// Whether those get on for whose sake a task is held: the first thread of its process, or, if it is that one, the
    /// others. It is not enough that they come to a place: an interpreter that ends comes to none for a while.
    fn others_get_on(&mut self, task: i32) -> bool {
        let Some(it) = self.tasks.get_mut(&task) else { return false };
        let process = it.process;
        if mem::replace(&mut it.held_at, self.got_on) != self.got_on {
            return true;
        }
        let mut others = self.tasks.iter().filter(|(other, it)| {
            it.process == process && **other != task && (task == process || **other == process)
        });
        others.any(|(other, _)| is_running(process, *other))
    }

    fn hold(&mut self, task: i32, place: Place, time: Option<Duration>) {
        let now = Instant::now();
        match time.filter(|_| self.holds_until.is_none_or(|until| now < until)) {
            Some(time) => {
                self.report.held(place, time);
                if let Some(it) = self.tasks.get_mut(&task) {
                    it.held_at = self.got_on;
                }
                if self.policy.steps() && !matches!(place, Place::Start | Place::End) {
                    if let Some(it) = self.tasks.get_mut(&task) {
                        it.steps = Some((now + time, it.decisions.steps()));
                    }
                    let _ = ptrace::step(Pid::from_raw(task), None);
                } else {
                    self.held.push(Reverse((now + time, task)));
                }
            }
            None => self.resume(task),
        }
    }

    /// It has run one instruction.
    fn steps(&mut self, task: i32) {
        let Some((until, left)) = self.tasks.get_mut(&task).and_then(|it| it.steps.as_mut()) else {
            go_on(task, None);
            return;
        };
        if *left == 0 {
            self.held.push(Reverse((*until, task)));
        } else if Instant::now() < *until {
            *left -= 1;
            let _ = ptrace::step(Pid::from_raw(task), None);
        } else {
            go_on(task, None);
        }
    }

    /// Lets a task go on, and stop again when the system call returns that it stands before, if it is to.
    fn resume(&self, task: i32) {
        if self.tasks.get(&task).is_some_and(|it| it.returns_from.is_some()) {
            let _ = ptrace::syscall(Pid::from_raw(task), None);
        } else {
            go_on(task, None);
        }
    }

    /// Kills the processes that the program has left. Without their tracer they would not run: the calls of the
    /// filter would fail.
    fn kill_the_rest(&mut self) {
        let tasks = mem::take(&mut self.tasks);
        let processes: HashSet<_> = tasks.values().map(|it| it.process).collect();
        tasks.into_values().for_each(|task| self.is_over(task));
        for process in processes {
            // Gone, if it has ended at the same time.
            let Ok(name) = fs::read_to_string(format!("/proc/{process}/comm")) else { continue };
            if kill(Pid::from_raw(process), Signal::SIGKILL).is_ok() {
                self.report.left.push(name.trim_end().to_owned());
            }
        }
        self.report.left.sort_unstable();
    }
}

/// Whether a task has stopped because it has run one instruction, and not at a breakpoint of its own.
fn is_step(task: i32) -> bool {
    let info = ptrace::getsiginfo(Pid::from_raw(task));
    info.is_ok_and(|info| matches!(info.si_code, libc::TRAP_BRKPT | libc::TRAP_TRACE))
}

/// Whether a thread of a process runs, or could.
fn is_running(process: i32, task: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/task/{task}/stat"));
    // The name stands before the state, in parentheses, and may contain some.
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('R')))
}

/// Lets a task go on, with a signal or without. It may have been killed meanwhile.
fn go_on(task: i32, signal: Option<Signal>) {
    let _ = ptrace::cont(Pid::from_raw(task), signal);
}

/// Ends as the program has ended.
pub(crate) fn end_as(ended: Ended) -> ExitCode {
    match ended {
        Ended::Exited(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Ended::Signalled(signal) => {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            if let Ok(signal) = Signal::try_from(signal) {
                let _ = raise(signal);
            }
            ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
    }
}
