//! The runtime thread of the Python bindings of *cloacina*, and the kit's in its place: for
//! experiments 51–53.
//!
//! The thread is written out as it is today, with a shutdown that ignores what goes wrong, and as
//! the plan to repair it has it, with a watchdog: the same two fields, the same message, the same
//! steps in the same order, the same errors, the same destructor. Only the names are ours, and
//! where the plan writes to a log, nothing is written.

use std::{
    error::Error,
    fmt,
    future::Future as _,
    io,
    ops::ControlFlow,
    sync::{Arc, mpsc as channel},
    task::{Context, Wake, Waker},
    thread::{self, JoinHandle},
    time::Duration,
};

use sundown::{
    runtime::{RuntimeBuilder, RuntimeOwner, State},
    shutdown::ShutdownErrorKind,
};
use tokio::{
    runtime::Builder,
    sync::mpsc::{self, UnboundedSender},
};

use crate::Scene;

/// What a job may return: a break ends the thread's loop, as an error there would.
type Job = Box<dyn FnOnce() -> ControlFlow<()> + Send>;

enum Message {
    Run(Job),
    Shutdown,
}

/// The owner of a thread with a runtime.
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
        let runtime = Builder::new_current_thread().build()?;
        let (messages, mut received) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                while let Some(Message::Run(job)) = received.recv().await {
                    if job().is_break() {
                        break;
                    }
                }
            });
        })?;
        Ok(Self { messages, thread: Some(thread), limit })
    }

    /// Runs a job on the thread.
    pub fn run(&self, job: impl FnOnce() -> ControlFlow<()> + Send + 'static) {
        let _ = self.messages.send(Message::Run(Box::new(job)));
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
        let failure = |timed_out, message| Err(Failure { timed_out, message });
        if self.messages.send(Message::Shutdown).is_err() {
            // Here the plan writes to the log, and goes on to the join.
        }
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let (done, is_done) = channel::channel();
        let _watchdog = thread::spawn(move || {
            let joined = thread.join();
            let _ = done.send(joined);
        });
        match is_done.recv_timeout(limit) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_payload)) => {
                failure(false, "the runtime's thread panicked while it shut down".to_owned())
            }
            Err(_timeout) => {
                failure(true, format!("the shutdown timed out after {} seconds", limit.as_secs()))
            }
        }
    }
}

impl Drop for RuntimeThread {
    fn drop(&mut self) {
        let Some(limit) = self.limit else { return self.shutdown() };
        if self.shutdown_within(limit).is_err() {
            // Here the plan writes to the log.
        }
    }
}

impl fmt::Debug for RuntimeThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeThread").field("limit", &self.limit).finish_non_exhaustive()
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
    /// Starts a runtime: the kit's in a variant `kit/…`, else the plan's. The limit is for the
    /// plan's destructor.
    pub fn start(
        scene: &Scene<'_>,
        limit: Duration,
        builder: RuntimeBuilder,
    ) -> Result<Self, Box<dyn Error>> {
        Ok(match scene.variant().starts_with("kit/") {
            true => Self::Kit(builder.start()?),
            false => Self::Plan(RuntimeThread::start("watched", Some(limit))?),
        })
    }

    /// Runs a job on the runtime.
    #[track_caller]
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Plan(thread) => thread.run(|| {
                job();
                ControlFlow::Continue(())
            }),
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

/// A closure that blocks its thread until it is let go, and the trial's end of it.
pub fn stuck() -> (Stuck, impl FnOnce() + Send + 'static) {
    let ((let_go, is_let_go), (begun, has_begun)) = (channel::channel(), channel::channel());
    let blocks = move || {
        let _ = begun.send(());
        let _ = is_let_go.recv();
    };
    (Stuck { let_go, has_begun }, blocks)
}

/// The trial's end of a closure that blocks.
#[derive(Debug)]
pub struct Stuck {
    let_go: channel::Sender<()>,
    has_begun: channel::Receiver<()>,
}

impl Stuck {
    /// Waits until the closure blocks. An error if it was dropped before that.
    pub fn wait_until_blocked(&self) -> Result<(), channel::RecvError> {
        self.has_begun.recv()
    }

    /// Whether the closure still exists, once it has blocked or if it never does.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.has_begun.try_recv() != Err(channel::TryRecvError::Disconnected)
    }

    /// Lets the closure go on.
    pub fn let_go(&self) {
        let _ = self.let_go.send(());
    }
}

/// Ends a thread as a panic does, without calling the panic hook: the lab counts every panic that
/// it hears of, and this one is the experiment's own.
pub fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("the runtime's thread panicked"))
}

/// Ends the thread of a current-thread runtime by a panic: that of a waker which its timer calls. A
/// task's panic would not do it, because Tokio catches that.
pub fn panic_on_thread_of(owner: &RuntimeOwner) -> Result<(), Box<dyn Error>> {
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
