//! The runtime thread of the Python bindings of *cloacina*, for experiments 51–53: as it is, with a
//! shutdown that ignores what goes wrong, and as the plan to repair it has it, with a watchdog.
//!
//! Written out as the plan describes it: the same two fields, the same message, the same steps in the
//! same order, the same three errors, the same destructor. The words are ours, and where the plan
//! writes to a log nothing is written.

use std::{
    error::Error,
    fmt, io,
    ops::ControlFlow,
    sync::mpsc as channel,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::Builder,
    sync::mpsc::{self, UnboundedSender},
};

/// What the thread is asked to do. What breaks ends its loop, as an error in it would.
type Job = Box<dyn FnOnce() -> ControlFlow<()> + Send>;

enum Message {
    Run(Job),
    Shutdown,
}

/// The two fields: how to reach the thread, and how to join it.
struct Handle {
    messages: UnboundedSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    fn start(name: &str) -> io::Result<Self> {
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
        Ok(Self { messages, thread: Some(thread) })
    }

    fn run(&self, job: impl FnOnce() -> ControlFlow<()> + Send + 'static) {
        let _ = self.messages.send(Message::Run(Box::new(job)));
    }
}

/// As it is.
pub struct Ignoring(Handle);

impl Ignoring {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system gives it no thread.
    pub fn start(name: &str) -> io::Result<Self> {
        Handle::start(name).map(Self)
    }

    /// Has the thread do something.
    pub fn run(&self, job: impl FnOnce() -> ControlFlow<()> + Send + 'static) {
        self.0.run(job);
    }

    /// Waits until the thread has nothing left to receive by.
    pub fn until_it_is_dead(&self) {
        while !self.0.messages.is_closed() {
            thread::yield_now();
        }
    }

    /// Tells the thread to stop and joins it.
    pub fn shutdown(&mut self) {
        let _ = self.0.messages.send(Message::Shutdown);
        if let Some(thread) = self.0.thread.take() {
            let _ = thread.join();
        }
    }

    /// The same steps with their answers: whether the signal was taken, and the join went well.
    pub fn shutdown_looking(&mut self) -> (bool, bool) {
        let taken = self.0.messages.send(Message::Shutdown).is_ok();
        let joined = self.0.thread.take().is_none_or(|thread| thread.join().is_ok());
        (taken, joined)
    }
}

impl Drop for Ignoring {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// As the plan has it.
pub struct Watched {
    handle: Handle,
    limit: Duration,
}

/// What the plan's shutdown returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchedError {
    /// The thread panicked.
    ThreadPanic,
    /// The limit, in seconds, passed.
    Timeout(u64),
    /// The signal could not be sent. The plan declares it, and returns it nowhere.
    ChannelClosed,
}

impl fmt::Display for WatchedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThreadPanic => write!(f, "the runtime's thread panicked while it shut down"),
            Self::Timeout(seconds) => write!(f, "the shutdown timed out after {seconds} seconds"),
            Self::ChannelClosed => write!(f, "the shutdown signal could not be sent"),
        }
    }
}

impl Error for WatchedError {}

impl Watched {
    /// Starts the thread, to be joined within a limit.
    ///
    /// # Errors
    ///
    /// Where the system gives it no thread.
    pub fn start(name: &str, limit: Duration) -> io::Result<Self> {
        Ok(Self { handle: Handle::start(name)?, limit })
    }

    /// Has the thread do something.
    pub fn run(&self, job: impl FnOnce() -> ControlFlow<()> + Send + 'static) {
        self.handle.run(job);
    }

    /// Waits until the thread has nothing left to receive by.
    pub fn until_it_is_dead(&self) {
        while !self.handle.messages.is_closed() {
            thread::yield_now();
        }
    }

    /// Tells the thread to stop, and has a watchdog join it.
    ///
    /// # Errors
    ///
    /// Where the thread panicked, or did not end within the limit.
    pub fn shutdown(&mut self) -> Result<(), WatchedError> {
        if self.handle.messages.send(Message::Shutdown).is_err() {
            // Here the plan writes to the log, and goes on to the join.
        }
        let Some(thread) = self.handle.thread.take() else { return Ok(()) };
        let (done, is_done) = channel::channel();
        let _watchdog = thread::spawn(move || {
            let joined = thread.join();
            let _ = done.send(joined);
        });
        match is_done.recv_timeout(self.limit) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_payload)) => Err(WatchedError::ThreadPanic),
            Err(_timeout) => Err(WatchedError::Timeout(self.limit.as_secs())),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.shutdown().is_err() {
            // Here the plan writes to the log.
        }
    }
}

impl fmt::Debug for Ignoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ignoring").finish_non_exhaustive()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What blocks until it is let go, and what says that it has begun.
pub fn stuck() -> (Stuck, impl FnOnce() + Send + 'static) {
    let ((let_go, is_let_go), (begun, has_begun)) = (channel::channel(), channel::channel());
    let blocks = move || {
        let _ = begun.send(());
        let _ = is_let_go.recv();
    };
    (Stuck { let_go, has_begun }, blocks)
}

/// The other end of what blocks: it goes on when this is dropped.
#[derive(Debug)]
pub struct Stuck {
    let_go: channel::Sender<()>,
    has_begun: channel::Receiver<()>,
}

impl Stuck {
    /// Waits until it blocks.
    ///
    /// # Errors
    ///
    /// Where it never began, and never will.
    pub fn until_it_blocks(&self) -> Result<(), channel::RecvError> {
        self.has_begun.recv()
    }

    /// Lets it go on.
    pub fn let_go(self) {
        drop(self.let_go);
    }
}

/// Ends a thread as a panic does, without calling the panic hook: the lab counts each panic that it
/// hears of, and this one is the experiment's own.
pub fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("the runtime's thread panicked"))
}
