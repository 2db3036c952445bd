//! The runtime thread of the Python bindings of *cloacina*, and the kit's in its place: for
//! experiments 51–53.
//!
//! The thread is written out as it is today, with a shutdown that ignores what goes wrong, and as
//! the plan to repair it has it, with a watchdog: the same two fields, the same message, the same
//! steps in the same order, the same errors, the same destructor, the same lines in the log. Only the
//! names are ours, and the log is a list in memory.

use std::{
    future::Future as _,
    io,
    sync::{Arc, mpsc as channel},
    task::{Context, Wake, Waker},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lab::TrialResult;
use parking_lot::Mutex;
use sundown::{
    runtime::{RuntimeBuilder, RuntimeOwner, State},
    shutdown::ShutdownErrorKind,
};
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::{PLENTY, Scene, probe::one_thread};

/// What the plan's shutdown and its destructor logged. A trial has a process of its own, so this is the
/// trial's.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The lines of the log that report a failure, and not that all went well: `error: …`, `warning: …`.
#[must_use]
pub fn failures_logged() -> Vec<String> {
    let log = LOG.lock();
    log.iter().filter(|line| !line.starts_with("debug:")).cloned().collect()
}

fn log(line: impl Into<String>) {
    LOG.lock().push(line.into());
}

enum Message {
    Run(Box<dyn FnOnce() + Send>),
    Shutdown,
}

/// The owner of a thread with a runtime.
#[derive(Debug)]
pub struct RuntimeThread {
    messages: UnboundedSender<Message>,
    thread: Option<JoinHandle<()>>,
    /// The limit of the plan's destructor. Today's has none.
    limit: Option<Duration>,
}

/// A shutdown that failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether the limit passed.
    pub timed_out: bool,
    /// The error's message.
    pub message: String,
}

impl RuntimeThread {
    /// Starts the thread. With a limit its destructor is the plan's, without one today's.
    pub fn start(name: &str, limit: Option<Duration>) -> io::Result<Self> {
        let runtime = one_thread()?;
        let (messages, mut received) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                while let Some(Message::Run(job)) = received.recv().await {
                    job();
                }
            });
        })?;
        Ok(Self { messages, thread: Some(thread), limit })
    }

    /// Runs a job on the thread.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.messages.send(Message::Run(Box::new(job)));
    }

    /// Ends the thread's loop behind the owner's back, as an error there would.
    pub fn end_loop(&self) {
        let _ = self.messages.send(Message::Shutdown);
    }

    /// Waits until the thread can no longer receive anything.
    pub fn wait_until_dead(&self) {
        while !self.messages.is_closed() {
            thread::yield_now();
        }
    }

    /// Today's shutdown: tells the thread to stop, joins it, and ignores both results.
    pub fn shutdown(&mut self) {
        self.shutdown_checked();
    }

    /// The same steps with their results: whether the signal was taken, and whether the join
    /// succeeded.
    pub fn shutdown_checked(&mut self) -> (bool, bool) {
        let taken = self.messages.send(Message::Shutdown).is_ok();
        let joined = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        (taken, joined)
    }

    /// The plan's shutdown: tells the thread to stop, and has a watchdog join it. An error if the
    /// thread panicked, or did not end within the limit. The plan declares a third error, for a
    /// signal that could not be sent, and never returns it.
    pub fn shutdown_within(&mut self, limit: Duration) -> Result<(), Failure> {
        if let Err(error) = self.messages.send(Message::Shutdown) {
            log(format!("error: failed to send the signal: {error}"));
            // The plan goes on to the join all the same.
        }
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let began = Instant::now();
        let (done, is_done) = channel::channel();
        let _watchdog = thread::spawn(move || {
            let joined = thread.join();
            let _ = done.send(joined);
        });
        let (timed_out, message) = match is_done.recv_timeout(limit) {
            Ok(Ok(())) => {
                log(format!("debug: the shutdown took {} ms", began.elapsed().as_millis()));
                return Ok(());
            }
            Ok(Err(_payload)) => (false, "the runtime's thread panicked while it shut down".into()),
            Err(_) => (true, format!("the shutdown timed out after {} seconds", limit.as_secs())),
        };
        log(format!("error: {message}"));
        Err(Failure { timed_out, message })
    }
}

impl Drop for RuntimeThread {
    fn drop(&mut self) {
        let Some(limit) = self.limit else { return self.shutdown() };
        if let Err(failure) = self.shutdown_within(limit) {
            log(format!("warning: in the destructor: {}", failure.message));
        }
    }
}

/// The owner of a runtime in a hazard and in its cure.
#[derive(Debug)]
pub enum Owner {
    /// The plan's.
    Plan(RuntimeThread),
    /// The kit's.
    Kit(RuntimeOwner),
}

impl Owner {
    /// Starts a runtime: the kit's in a variant `kit/…`, else the plan's.
    pub fn start(scene: &Scene<'_>, builder: RuntimeBuilder) -> TrialResult<Self> {
        Ok(match scene.variant().starts_with("kit/") {
            true => Self::Kit(builder.start()?),
            false => Self::Plan(RuntimeThread::start("watched", Some(PLENTY))?),
        })
    }

    /// Runs a job on the runtime.
    #[track_caller]
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> TrialResult {
        match self {
            Self::Plan(thread) => thread.run(job),
            Self::Kit(owner) => drop(owner.spawn("a stuck job", |_| async { job() })?),
        }
        Ok(())
    }

    /// Shuts the runtime down, and returns what the plan or the kit answers.
    pub fn shutdown(&mut self, limit: Duration) -> Result<(), Failure> {
        match self {
            Self::Plan(thread) => thread.shutdown_within(limit),
            Self::Kit(owner) => owner.shutdown_blocking(limit).map(drop).map_err(|error| Failure {
                timed_out: matches!(error.kind, ShutdownErrorKind::TimedOut),
                message: error.to_string(),
            }),
        }
    }
}

/// Ends a thread as a panic does, without calling the panic hook: the lab counts every panic that
/// it hears of, and this one is the experiment's own.
pub fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("the runtime's thread panicked"))
}

/// Ends the thread of a current-thread runtime by a panic: that of a waker which its timer calls. A
/// task's panic would not do it, because Tokio catches that.
pub fn panic_on_thread_of(owner: &RuntimeOwner) -> TrialResult {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic_quietly()
        }
    }
    let handle = owner.handle()?;
    let _context = handle.enter();
    let mut sleep = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
    let waker = Waker::from(Arc::new(Panics));
    let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
    while owner.stats().state != State::Ended {
        thread::yield_now();
    }
    Ok(())
}
