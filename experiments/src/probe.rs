//! Looking at work that is under way: a task that answers, work that only the trial can end, and the
//! threads of the process.

use std::{
    fs, io,
    sync::mpsc as channel,
    thread,
    time::{Duration, Instant},
};

use lab::TrialResult;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
};

use crate::{Scene, scene::Body};

/// A current-thread runtime: tasks run only while the trial awaits, so that a question to a task gets a
/// definite answer.
pub fn one_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A body that runs [`one_thread`].
pub fn on_one_thread(
    body: impl AsyncFn(&Scene<'_>) -> TrialResult + Send + Sync + 'static,
) -> impl Body {
    move |scene: &Scene<'_>| one_thread()?.block_on(body(scene))
}

/// Asks a task whether it is running.
///
/// A flag that the task sets at its end would have to be waited for, and nobody could say how long.
/// A task that answers a question is running. A future that has been dropped took the question with
/// it. Either is known at once.
#[derive(Clone, Debug)]
pub struct Probe(mpsc::UnboundedSender<oneshot::Sender<()>>);

/// Belongs to the task, and answers for it.
#[derive(Debug)]
pub struct Responder(mpsc::UnboundedReceiver<oneshot::Sender<()>>);

/// A probe, and the responder for the task that it asks.
#[must_use]
pub fn probe() -> (Probe, Responder) {
    let (ask, questions) = mpsc::unbounded_channel();
    (Probe(ask), Responder(questions))
}

impl Probe {
    /// Whether the task is running. Waits until it answers, or until its future is dropped.
    pub async fn is_running(&self) -> bool {
        let (question, answer) = oneshot::channel();
        self.0.send(question).is_ok() && answer.await.is_ok()
    }

    /// Waits until the task's future has been dropped.
    pub async fn ended(&self) {
        self.0.closed().await;
    }

    /// Whether the task's future has been dropped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.is_closed()
    }
}

impl Responder {
    /// Answers every question, and never returns.
    pub async fn answer(&mut self) {
        while let Some(question) = self.0.recv().await {
            let _ = question.send(());
        }
        std::future::pending().await
    }

    /// Answers every question until this is ready. It is polled first, so that a task answers nothing
    /// on its way out.
    pub async fn until<S: Future>(&mut self, ready: S) {
        tokio::select! {
            biased;
            _ = ready => {}
            () = self.answer() => {}
        }
    }
}

/// Work that blocks its thread until the trial lets it go. It ends when it is dropped.
#[derive(Debug)]
pub struct Work {
    begun: channel::Sender<()>,
    let_go: channel::Receiver<()>,
}

/// The trial's side of [`Work`].
#[derive(Debug)]
pub struct Stuck {
    has_begun: channel::Receiver<()>,
    let_go: channel::Sender<()>,
}

/// Work that blocks, and the trial's side of it.
#[must_use]
pub fn stuck() -> (Stuck, Work) {
    let ((begun, has_begun), (let_go, is_let_go)) = (channel::channel(), channel::channel());
    (Stuck { has_begun, let_go }, Work { begun, let_go: is_let_go })
}

impl Work {
    /// Begins, without blocking.
    pub fn begin(&self) {
        let _ = self.begun.send(());
    }

    /// Begins, and blocks until it is let go.
    pub fn block(&self) {
        self.begin();
        let _ = self.let_go.recv();
    }
}

impl Stuck {
    /// Waits until the work has begun. An error if it was dropped before that.
    pub fn wait_begun(&self) -> Result<(), channel::RecvError> {
        self.has_begun.recv()
    }

    /// Whether the work still exists, once it has begun or if it never does.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.has_begun.try_recv() != Err(channel::TryRecvError::Disconnected)
    }

    /// Whether the work ends within this time, once it has begun.
    #[must_use]
    pub fn ends_within(&self, limit: Duration) -> bool {
        self.has_begun.recv_timeout(limit) == Err(channel::RecvTimeoutError::Disconnected)
    }

    /// Lets the work go on.
    pub fn let_go(&self) {
        let _ = self.let_go.send(());
    }

    /// Lets the work go on, and waits until it has ended.
    pub fn end(&self) {
        self.let_go();
        while self.has_begun.recv().is_ok() {}
    }
}

/// How many threads the process has beyond a number, after a wait for the others to disappear: one that
/// was joined is listed a moment longer.
pub fn threads_beyond(number: usize, patience: Duration) -> io::Result<usize> {
    let began = Instant::now();
    loop {
        let more = fs::read_dir("/proc/self/task")?.count().saturating_sub(number);
        if more == 0 || began.elapsed() >= patience {
            return Ok(more);
        }
        thread::yield_now();
    }
}
