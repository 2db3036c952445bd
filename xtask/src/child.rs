//! Child processes: finds programs, waits for them, reads their output.

use std::{
    env,
    ffi::OsStr,
    io::{self, BufRead as _, BufReader, Read},
    ops::ControlFlow,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lab::{guardian::Guardian, interrupt::Interrupt};
use rustix::{
    fs::{Access, access},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid},
};

use crate::failure::{Failure, Result};

/// How often a loop checks whether a process has ended or Ctrl-C came.
pub const TICK: Duration = Duration::from_millis(20);

/// After Ctrl-C was passed on, how long a process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long to read output after a process has ended. The pipe may never end, because another process may
/// hold it open.
const REST: Duration = Duration::from_secs(1);

/// The longest line that is read in one piece. A result with thousands of examples is shorter.
const LONGEST_LINE: u64 = 64 << 20;

/// Fails unless the OS will find a program of this name.
pub fn find(program: &OsStr) -> Result<()> {
    let name = program.display();
    if program.as_encoded_bytes().contains(&b'/') {
        return is_program(Path::new(program))
            .map_err(|error| Failure::Usage(format!("cannot run `{name}`: {error}")));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|folder| is_program(&folder.join(program)).is_ok()) {
        return Ok(());
    }
    let hint = match is_program(Path::new(program)) {
        Ok(()) => format!(": did you mean `./{name}`?"),
        Err(_) => String::new(),
    };
    Err(Failure::Usage(format!("there is no command `{name}` in PATH{hint}")))
}

fn is_program(path: &Path) -> io::Result<()> {
    if path.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(access(path, Access::EXEC_OK)?)
}

/// Waits for a process to end. On Ctrl-C, sends it this signal once: at a second one it might exit without
/// cleaning up.
pub fn wait(child: &mut Child, interrupt: &Interrupt, signal: Signal) -> io::Result<ExitStatus> {
    let mut signalled = None::<Instant>;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt.raised() {
            let since = *signalled.get_or_insert_with(|| {
                let _ = Pid::from_raw(child.id().cast_signed()).map(|it| kill_process(it, signal));
                Instant::now()
            });
            if since.elapsed() > GRACE {
                child.kill()?;
            }
        }
        thread::sleep(TICK);
    }
}

/// Converts the status of another program into our exit code, as a shell does.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// A process that has ended, with the end of its standard error.
pub struct Ended {
    pub status: ExitStatus,
    /// The end of its standard error.
    pub stderr: String,
    pub interrupted: bool,
}

/// Runs a command in a process group of its own, and calls `on_line` with every line of its standard
/// output. If `on_line` breaks, the command is killed. On Ctrl-C the command gets SIGINT once, and is killed
/// if it does not end soon. In any case the rest of its group is killed.
pub fn listen(
    command: Command,
    guardian: &Guardian,
    interrupt: &Interrupt,
    stderr_kept: usize,
    on_line: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<Ended> {
    let stderr = Arc::<Mutex<Vec<u8>>>::default();
    let keep = Arc::clone(&stderr);
    let keep = move |part: &[u8]| {
        let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(part);
        let surplus = kept.len().saturating_sub(stderr_kept);
        kept.drain(..surplus);
    };
    let (status, interrupted) = listen_to_both(command, guardian, interrupt, keep, on_line)?;
    let stderr = stderr.lock().unwrap_or_else(PoisonError::into_inner);
    let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
    Ok(Ended { status, stderr, interrupted })
}

/// Like [`listen`], and calls `on_stderr` with every part of its standard error, on a thread of its own.
/// Returns how the command ended, and whether it was interrupted.
pub fn listen_to_both(
    mut command: Command,
    guardian: &Guardian,
    interrupt: &Interrupt,
    on_stderr: impl FnMut(&[u8]) + Send + 'static,
    mut on_line: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<(ExitStatus, bool)> {
    guardian.mark(&mut command);
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::start(command, guardian)?;
    let lines = read_lines(group.child.stdout.take())?;
    let reader = read_parts(group.child.stderr.take(), on_stderr)?;
    let (mut ended, mut interrupted) = (None::<Instant>, None::<Instant>);
    loop {
        let is_open = match lines.recv_timeout(TICK) {
            Ok(line) => {
                if on_line(&line).is_break() {
                    group.signal_all(Signal::KILL);
                }
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(TICK);
                !reader.is_finished()
            }
        };
        if ended.is_none() && group.leader_has_ended()? {
            ended = Some(Instant::now());
        }
        if ended.is_some_and(|since| !is_open || since.elapsed() > REST) {
            break;
        }
        if interrupt.raised() {
            let since = *interrupted.get_or_insert_with(|| {
                let _ = group.leader.map(|leader| kill_process(leader, Signal::INT));
                Instant::now()
            });
            if since.elapsed() > GRACE {
                group.signal_all(Signal::KILL);
            }
        }
    }
    Ok((group.end()?, interrupted.is_some()))
}

/// A process and its group, killed when this is dropped.
struct Group<'a> {
    child: Child,
    leader: Option<Pid>,
    guardian: &'a Guardian,
}

impl<'a> Group<'a> {
    fn start(mut command: Command, guardian: &'a Guardian) -> io::Result<Self> {
        let child = command.spawn()?;
        let leader = Pid::from_raw(child.id().cast_signed());
        let group = Self { child, leader, guardian };
        guardian.watch(group.child.id())?;
        Ok(group)
    }

    /// Checks without taking the status. Until it is taken, no other process can get the id, so signals to
    /// the group cannot reach an unrelated process.
    fn leader_has_ended(&self) -> io::Result<bool> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Some(leader) = self.leader else { return Ok(true) };
        Ok(waitid(WaitId::Pid(leader), look)?.is_some())
    }

    fn signal_all(&self, signal: Signal) {
        let _ = self.leader.map(|leader| kill_process_group(leader, signal));
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        self.signal_all(Signal::KILL);
        self.leader = None;
        // Before `wait`, which frees the id for another process.
        let _ = self.guardian.release(self.child.id());
        self.child.wait()
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if self.leader.is_some() {
            let _ = self.end();
        }
    }
}

/// Sends every line without its end. A line that is too long is sent in parts, which the receiver cannot
/// parse.
fn read_lines(stdout: Option<impl Read + Send + 'static>) -> io::Result<Receiver<Vec<u8>>> {
    let (send, lines) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let Some(mut stdout) = stdout.map(BufReader::new) else { return };
        let mut line = Vec::new();
        while let Ok(1..) = stdout.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            let _ = line.pop_if(|last| *last == b'\n');
            if send.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// Reads to the end.
fn read_parts(
    stderr: Option<impl Read + Send + 'static>,
    mut on_part: impl FnMut(&[u8]) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().spawn(move || {
        let Some(mut stderr) = stderr else { return };
        let mut part = [0; 4 << 10];
        while let Ok(count @ 1..) = stderr.read(&mut part) {
            on_part(part.get(..count).unwrap_or_default());
        }
    })
}
