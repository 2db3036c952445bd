//! Asking a task whether it is still running.
//!
//! A flag that the task sets at its end would have to be waited for, and nobody could say how long.
//! A task that answers a question is running. A future that has been dropped took the question with
//! it. Either is known at once.

use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
};

/// Asks a task whether it is running.
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

/// A runtime on one thread: while the trial looks, no task moves, and a question is answered in its
/// turn.
pub fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
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
    /// Answers every question, and never returns: await it beside the task's own work.
    pub async fn answer(&mut self) {
        while let Some(question) = self.0.recv().await {
            let _ = question.send(());
        }
        std::future::pending().await
    }
}
