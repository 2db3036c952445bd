//! Asking a task whether it still runs.
//!
//! A flag that a task sets at its end would have to be waited for, and nobody could say for how
//! long. A task that is asked and answers is running; one whose future has been dropped took the
//! question with it. Either is known as soon as it is so.

use tokio::sync::{mpsc, oneshot};

type Question = oneshot::Sender<()>;

/// Asks a task whether it runs.
#[derive(Clone, Debug)]
pub struct Probe(mpsc::UnboundedSender<Question>);

/// Belongs to the task, and answers for it.
#[derive(Debug)]
pub struct Responder(mpsc::UnboundedReceiver<Question>);

/// A probe, and the responder for the task that is to be asked.
#[must_use]
pub fn probe() -> (Probe, Responder) {
    let (ask, questions) = mpsc::unbounded_channel();
    (Probe(ask), Responder(questions))
}

impl Probe {
    /// Whether the task runs: it has answered. Waits until it does, or until its future is dropped.
    pub async fn is_running(&self) -> bool {
        let (question, answer) = oneshot::channel();
        self.0.send(question).is_ok() && answer.await.is_ok()
    }

    /// Waits until the future of the task has been dropped.
    pub async fn ended(&self) {
        self.0.closed().await;
    }

    /// Whether the future of the task has been dropped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.is_closed()
    }
}

impl Responder {
    /// Answers whenever it is asked, and never returns: to be awaited beside what the task does.
    pub async fn answer(&mut self) {
        while let Some(question) = self.0.recv().await {
            let _ = question.send(());
        }
        std::future::pending().await
    }
}
