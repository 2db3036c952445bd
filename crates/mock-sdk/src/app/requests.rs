//! Requests: how the user interface, which cannot wait, lets a task do things for it.

use std::{fmt, pin::Pin, sync::Arc};

use sundown::flag::Flag;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    App, AppError,
    action::{Action, Tab},
};

/// Something that the worker is to do.
pub enum Request {
    /// Open a room, with its newest events.
    Open {
        /// The room's id.
        room: String,
    },
    /// Send a message.
    Send {
        /// The room's id.
        room: String,
        /// The text.
        body: String,
    },
    /// Anything else. A panic in it ends the worker.
    Run(Work),
}

/// Work for the worker.
pub type Work = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What the monitor knows of the worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WorkerState {
    /// It has not been started.
    #[default]
    NotStarted,
    /// It waits for requests, or works.
    Running,
    /// It has ended, as announced.
    EndedAsExpected,
    /// It has ended, and nobody had announced that.
    EndedUnexpectedly {
        /// Why.
        reason: String,
    },
    /// Its monitor went away with the runtime, and does not know.
    Lost,
}

/// How many events of a room are shown when it is opened.
const EVENTS: usize = 50;

impl App {
    /// Starts the worker on a runtime, with a new request channel, and the monitor that watches it. An
    /// earlier worker ends when it has done what is in its channel.
    pub fn start_worker(&self, runtime: &Handle) {
        let (sender, requests) = mpsc::unbounded_channel();
        let expected = Arc::new(Flag::new());
        // The earlier worker is expected to end: its channel is closed here.
        self.shared.worker_end.replace(Arc::clone(&expected)).raise();
        drop(self.globals().request_sender.replace(Some(sender)));
        let monitor = Monitor::start(self.clone(), expected);
        let worker = runtime.spawn(work(self.clone(), requests));
        drop(runtime.spawn(monitor.watch(worker)));
    }

    /// Announces that the worker is about to end, so that the monitor does not report it.
    ///
    /// Without this, taking the request sender at a logout is reported as a failure: the write-up
    /// describes that.
    pub fn expect_worker_end(&self) {
        self.shared.worker_end.get().raise();
    }

    /// What the monitor knows of the worker, now and as it changes.
    #[must_use]
    pub fn worker(&self) -> watch::Receiver<WorkerState> {
        self.shared.worker.subscribe()
    }

    /// Puts a request into the channel. Never blocks.
    ///
    /// # Errors
    ///
    /// [`AppError::NoWorker`] if there is no channel, or no worker at its other end.
    pub fn request(&self, request: Request) -> Result<(), AppError> {
        let sender = self.globals().request_sender.get().ok_or(AppError::NoWorker)?;
        sender.send(request).map_err(|_| AppError::NoWorker)
    }
}

/// The worker: one request after another, until the channel is closed.
async fn work(app: App, mut requests: mpsc::UnboundedReceiver<Request>) {
    while let Some(request) = requests.recv().await {
        let what = format!("{request:?}");
        if let Err(error) = carry_out(&app, request).await {
            // As in the application of the write-up, nobody but the log learns of it.
            tracing::warn!(%error, what, "a request failed");
        }
    }
}

async fn carry_out(app: &App, request: Request) -> Result<(), AppError> {
    match request {
        Request::Open { room } => {
            let room = app.room(&room).await?;
            let holding = &app.shared.config.holding;
            let timeline = holding.hold(room.timeline(EVENTS).await?)?;
            let (id, joined) = (room.id().to_owned(), timeline.clone());
            let room = holding.hold(room)?;
            drop(app.globals().all_joined_rooms.with(|rooms| rooms.insert(id, joined)));
            app.ui().post(Action::Open(Tab { room, timeline }))?;
        }
        Request::Send { room, body } => app.room(&room).await?.send(body).await?,
        Request::Run(work) => work().await,
    }
    Ok(())
}

/// Watches a worker, and reports how it ended, also if the monitor is dropped before it knows.
struct Monitor {
    app: App,
    expected: Arc<Flag>,
    reported: bool,
}

impl Monitor {
    fn start(app: App, expected: Arc<Flag>) -> Self {
        let monitor = Self { app, expected, reported: false };
        monitor.report(WorkerState::Running);
        monitor
    }

    async fn watch(mut self, worker: JoinHandle<()>) {
        let reason = match worker.await {
            // The runtime goes down, and this task with it.
            Err(error) if error.is_cancelled() => return,
            Err(error) => error.to_string(),
            Ok(()) => "its request channel was closed".to_owned(),
        };
        self.reported = true;
        if self.expected.is_raised() {
            return self.report(WorkerState::EndedAsExpected);
        }
        let reason = format!("the worker task ended unexpectedly: {reason}");
        tracing::error!("{reason}");
        // The user interface may have ended first.
        let _ = self.app.ui().post(Action::WorkerEnded { reason: reason.clone() });
        self.report(WorkerState::EndedUnexpectedly { reason });
    }

    /// Publishes the state, unless another worker has been started since.
    fn report(&self, state: WorkerState) {
        let current = self.app.shared.worker_end.get();
        if Arc::ptr_eq(&current, &self.expected) {
            self.app.shared.worker.send_replace(state);
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if !self.reported {
            self.report(WorkerState::Lost);
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { room } => write!(f, "open {room}"),
            Self::Send { room, .. } => write!(f, "send to {room}"),
            Self::Run(_) => f.write_str("run"),
        }
    }
}
