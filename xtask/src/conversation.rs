//! A process that says something line by line, and that may be asked to stop.

use std::{
    io::{self, BufRead as _, BufReader, Read},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use lab::{guardian::Guardian, interrupt::Interrupt};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

/// How often it is looked whether the run was interrupted.
const TICK: Duration = Duration::from_millis(50);

/// How long a process may take to stop when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// How long the rest of what was said may take to arrive when the process has ended. Its end of
/// file may never come: whatever it has left behind may hold the pipe open.
const REST: Duration = Duration::from_secs(1);

/// No line is longer than this, even a result with thousands of examples.
const LONGEST_LINE: u64 = 64 << 20;

/// Who is with us in a conversation.
#[derive(Clone, Copy)]
pub struct Company<'a> {
    /// Kills the process if this one is killed.
    pub guardian: &'a Guardian,
    /// Says when it is to be asked to stop.
    pub interrupt: &'a Interrupt,
    /// How much of its standard error is kept, in bytes: the end.
    pub kept: usize,
}

/// How a conversation ended.
pub struct Ended {
    /// How the process ended.
    pub status: ExitStatus,
    /// The end of what it wrote to standard error.
    pub stderr: String,
    /// Whether it was asked to stop.
    pub interrupted: bool,
}

/// What a listener makes of a line.
pub enum Reply {
    /// More may come.
    Continue,
    /// This makes no sense: the process need not go on.
    HangUp,
}

enum Heard {
    Line(Vec<u8>),
    /// Standard output or standard error came to an end.
    End,
    Exited,
}

/// Runs a command in a process group of its own until it ends, and hands every line that it says to
/// the listener. When we are interrupted the command is interrupted once; when it does not end
/// soon after, its group is killed.
pub fn hold(
    mut command: Command,
    company: Company<'_>,
    mut listen: impl FnMut(&[u8]) -> Reply,
) -> io::Result<Ended> {
    let Company { guardian, interrupt, kept } = company;
    guardian.mark(&mut command);
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut process = Process::watched(child, guardian)?;
    let (say, heard) = mpsc::channel();
    let stderr = process.listen(say, kept)?;

    let (mut exited, mut kill_at) = (None::<Instant>, None::<Instant>);
    let mut open = 2;
    loop {
        match heard.recv_timeout(TICK) {
            Ok(Heard::Line(line)) => {
                if matches!(listen(&line), Reply::HangUp) {
                    process.kill();
                }
            }
            Ok(Heard::Exited) => exited = Some(Instant::now()),
            Ok(Heard::End) => open -= 1,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if exited.is_some_and(|since| open == 0 || since.elapsed() > REST) {
            break;
        }
        if interrupt.raised() && kill_at.is_none() {
            process.interrupt();
            kill_at = Some(Instant::now() + GRACE);
        }
        if kill_at.is_some_and(|when| Instant::now() > when) {
            process.kill();
        }
    }
    let status = process.finish()?;
    let stderr = stderr.lock().unwrap_or_else(PoisonError::into_inner);
    let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
    Ok(Ended { status, stderr, interrupted: kill_at.is_some() })
}

/// A process that is killed, with its group, wherever we leave.
struct Process<'a> {
    child: Child,
    group: Option<Pid>,
    guardian: &'a Guardian,
}

impl<'a> Process<'a> {
    fn watched(child: Child, guardian: &'a Guardian) -> io::Result<Self> {
        let group = Pid::from_raw(child.id().cast_signed());
        let process = Self { child, group, guardian };
        guardian.watch(process.child.id())?;
        Ok(process)
    }

    /// Starts the threads that listen, and says where the end of standard error will be.
    fn listen(&mut self, say: Sender<Heard>, most: usize) -> io::Result<Arc<Mutex<Vec<u8>>>> {
        let (exited, ended) = (say.clone(), say.clone());
        let group = self.group;
        thread::Builder::new().spawn(move || {
            if let Some(leader) = group {
                // Without taking the status: until then nobody else gets the number.
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(leader), options) {}
            }
            let _ = exited.send(Heard::Exited);
        })?;
        let stdout = self.child.stdout.take();
        thread::Builder::new().spawn(move || {
            if let Some(stdout) = stdout {
                lines(stdout, &say);
            }
            let _ = say.send(Heard::End);
        })?;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (stderr, keep) = (self.child.stderr.take(), Arc::clone(&kept));
        thread::Builder::new().spawn(move || {
            if let Some(stderr) = stderr {
                keep_end(stderr, most, &keep);
            }
            let _ = ended.send(Heard::End);
        })?;
        Ok(kept)
    }

    fn interrupt(&self) {
        if let Some(leader) = self.group {
            let _ = kill_process(leader, Signal::INT);
        }
    }

    fn kill(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Ends the group, of which the leader has ended, and says how it ended.
    fn finish(mut self) -> io::Result<ExitStatus> {
        self.end()
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        self.group = None;
        // Before the number is free for somebody else.
        let _ = self.guardian.release(self.child.id());
        self.child.wait()
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        if self.group.is_some() {
            let _ = self.end();
        }
    }
}

/// Sends every line, without its end. A line that is too long is sent in parts, which nobody
/// understands.
fn lines(stdout: impl Read, say: &Sender<Heard>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match stdout.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Err(_) | Ok(0) => return,
            Ok(_) => {}
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if say.send(Heard::Line(line)).is_err() {
            return;
        }
    }
}

/// Reads to the end, and keeps the end.
fn keep_end(mut stderr: impl Read, most: usize, kept: &Mutex<Vec<u8>>) {
    let mut part = [0; 4 << 10];
    while let Ok(count @ 1..) = stderr.read(&mut part) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(part.iter().take(count));
        let surplus = kept.len().saturating_sub(most);
        kept.drain(..surplus);
    }
}
