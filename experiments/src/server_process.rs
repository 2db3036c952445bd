//! A server or another service in a process of its own, alone or as process 1 of a namespace of processes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use lab::{Lack, TrialResult, sandbox::AS_PROCESS_1};
use rustix::process::{Pid, Signal, kill_process};

/// Whether a process can be process 1 here.
///
/// # Errors
///
/// What is missing.
pub fn can_be_process_1() -> Result<(), Lack> {
    let [unshare, arguments @ ..] = AS_PROCESS_1;
    let tried = Command::new(unshare).args(arguments).arg("true").stderr(Stdio::null()).status();
    match tried {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Lack::missing(
            "`unshare --user --pid` does not work here, so no process can be process 1",
            "allow user namespaces, or run it as root on Linux with util-linux",
        )),
    }
}

/// A server that runs. Dropping it kills it.
pub struct ServerProcess {
    child: Child,
    server: Pid,
    /// What it reads from, which stays open.
    pub stdin: Option<ChildStdin>,
    printed: BufReader<ChildStdout>,
    first_line: String,
}

impl ServerProcess {
    /// Starts it, and waits for the first line that it prints.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn start(command: &Command, as_process_1: bool) -> TrialResult<Self> {
        let mut words = Vec::new();
        if as_process_1 {
            words.extend(AS_PROCESS_1.map(Into::into));
        }
        words.push(command.get_program().to_owned());
        words.extend(command.get_args().map(ToOwned::to_owned));
        let [program, arguments @ ..] = &*words else { return Err("no command".into()) };
        let mut started = Command::new(program);
        started.args(arguments);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        let mut child = started.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut printed = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut line = String::new();
        printed.read_line(&mut line)?;
        let server = match as_process_1 {
            true => only_child(&child)?,
            false => Pid::from_child(&child),
        };
        let stdin = child.stdin.take();
        Ok(Self { child, server, stdin, printed, first_line: line })
    }

    /// The address that its first line says.
    ///
    /// # Errors
    ///
    /// If it says something else.
    pub fn address(&self) -> TrialResult<SocketAddr> {
        Ok(self.first_line.trim().parse()?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn send(&self, signal: Signal) -> TrialResult {
        Ok(kill_process(self.server, signal)?)
    }

    /// Waits until it is gone; `None` if it is not within the limit.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn wait(&mut self, limit: Duration) -> TrialResult<Option<ExitStatus>> {
        let began = Instant::now();
        loop {
            match self.child.try_wait()? {
                None if began.elapsed() < limit => thread::sleep(Duration::from_millis(1)),
                ended => return Ok(ended),
            }
        }
    }

    /// What it printed after its first line. It must be gone.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn printed(&mut self) -> TrialResult<String> {
        let mut printed = String::new();
        self.printed.read_to_string(&mut printed)?;
        Ok(printed)
    }
}

/// The child of `unshare`.
fn only_child(of: &Child) -> TrialResult<Pid> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", of.id()))?;
    Pid::from_raw(children.trim().parse()?).ok_or_else(|| "no process".into())
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // With `unshare`, process 1 is killed with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
