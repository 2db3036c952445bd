//! A wrapper around a blocking connection whose destructor can close it in several [ways](Way): for
//! experiment 16.
//!
//! It has the shape of deadpool-sync's `SyncWrapper`: the value is behind a lock that the wrapper shares
//! with the closures that use it, and each use runs on a blocking thread of the runtime that the *calling*
//! thread has the context of. The first of the ways is what `SyncWrapper` does today. [`pool`] puts either
//! wrapper into the same pool.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use tokio::{runtime::Handle, task};

pub mod pool;
pub mod situation;
mod watch;

pub use watch::Watch;

/// What the destructor of a [`Wrapper`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Posts the closing to the runtime that the dropping thread has the context of. Panics without a context.
    Asks,
    /// Does so where there is a context, and closes on the dropping thread where there is none.
    AsksOrInline,
    /// Lets go of the value: its last owner, mostly the dropping thread, closes it.
    Inline,
    /// Closes on the dropping thread as well, but takes the lock first, to take the value out.
    InlineLocked,
    /// Posts the closing to the runtime that the wrapper was made on.
    Handle,
    /// The same, and closes on the dropping thread if that runtime takes nothing.
    HandleOrInline,
    /// Sends the value to a thread of the pool's own, which closes one after another.
    Thread,
    /// The same, and whoever drops the last owner of the thread joins it.
    ThreadJoined,
}

impl Way {
    /// All but [`Way::InlineLocked`], which is only about how `Inline` is written.
    pub const ALL: [Self; 7] = [
        Self::Asks,
        Self::AsksOrInline,
        Self::Inline,
        Self::Handle,
        Self::HandleOrInline,
        Self::Thread,
        Self::ThreadJoined,
    ];

    /// Its word in the names of variants.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asks => "asks",
            Self::AsksOrInline => "asks-or-inline",
            Self::Inline => "inline",
            Self::InlineLocked => "inline-locked",
            Self::Handle => "handle",
            Self::HandleOrInline => "handle-or-inline",
            Self::Thread => "thread",
            Self::ThreadJoined => "thread-joined",
        }
    }

    /// The way that has this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.word() == word)
    }
}

/// The value, shared by the wrapper and the closures that use it.
type Shared<T> = Arc<Mutex<Option<T>>>;

/// A wrapper around a value that blocks.
#[derive(Debug)]
pub struct Wrapper<T: Send + 'static> {
    /// There until the wrapper is dropped.
    value: Option<Shared<T>>,
    closer: Closer<T>,
}

/// A [`Way`], with what the destructor needs for it.
#[derive(Debug)]
enum Closer<T> {
    Asks,
    AsksOrInline,
    Inline,
    InlineLocked,
    Handle(Handle),
    HandleOrInline(Handle),
    Thread(Arc<ClosingThread<T>>),
}

impl<T: Send + 'static> Wrapper<T> {
    /// Makes a value on a blocking thread, and wraps it. `None` if the runtime went down first.
    pub async fn new<E: Send + 'static>(
        way: Way,
        thread: Option<&Arc<ClosingThread<T>>>,
        make: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Option<Result<Self, E>> {
        let closer = match (way, thread) {
            (Way::Asks, _) => Closer::Asks,
            (Way::AsksOrInline, _) => Closer::AsksOrInline,
            (Way::Inline, _) => Closer::Inline,
            (Way::InlineLocked, _) => Closer::InlineLocked,
            (Way::Handle, _) => Closer::Handle(Handle::current()),
            (Way::HandleOrInline, _) => Closer::HandleOrInline(Handle::current()),
            (Way::Thread | Way::ThreadJoined, thread) => Closer::Thread(Arc::clone(thread?)),
        };
        let made = task::spawn_blocking(make).await.ok()?;
        Some(made.map(|value| Self { value: Some(Arc::new(Mutex::new(Some(value)))), closer }))
    }

    /// Uses the value on a blocking thread. `None` if the runtime went down first, or the use panicked.
    pub async fn interact<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Option<R> {
        let value = Arc::clone(self.value.as_ref()?);
        let work = move || {
            let mut value = value.lock().unwrap_or_else(PoisonError::into_inner);
            value.as_mut().map(work)
        };
        task::spawn_blocking(work).await.ok().flatten()
    }
}

impl<T: Send + 'static> Drop for Wrapper<T> {
    /// Where the value is only let go, its last owner closes it: the wrapper, or a use that still runs.
    fn drop(&mut self) {
        // Taken, so that nothing is left in the wrapper: a closer that let go first would leave the
        // closing to this thread.
        let Some(value) = self.value.take() else { return };
        match &self.closer {
            Closer::Asks => drop(task::spawn_blocking(move || close(&value))),
            Closer::AsksOrInline => match Handle::try_current() {
                Ok(handle) => drop(handle.spawn_blocking(move || close(&value))),
                Err(_) => drop(value),
            },
            Closer::Inline => drop(value),
            Closer::InlineLocked => close(&value),
            // If that runtime is down, Tokio drops the closure here and now.
            Closer::Handle(handle) => drop(handle.spawn_blocking(move || close(&value))),
            Closer::HandleOrInline(handle) => {
                let posted = Arc::clone(&value);
                let post = || handle.spawn_blocking(move || close(&posted));
                // It panics if it needs a thread and the system refuses one. The closure is then in the
                // queue, where nobody may run it for a long time.
                if catch_unwind(AssertUnwindSafe(post)).map_or(true, |task| task.is_finished()) {
                    // Only if nobody is using it: whoever does is its last owner.
                    drop(value.try_lock().ok().and_then(|mut value| value.take()));
                }
            }
            Closer::Thread(thread) => thread.close(value),
        }
    }
}

/// Drops the value, when its use has ended.
fn close<T>(value: &Mutex<Option<T>>) {
    let taken = value.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(taken);
}

/// A thread that closes what it is sent. It ends when its owner, which the wrappers of a pool share, is
/// dropped and its queue is empty.
#[derive(Debug)]
pub struct ClosingThread<T> {
    queue: Option<mpsc::Sender<Shared<T>>>,
    /// `None` if nobody joins it.
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> ClosingThread<T> {
    /// The name of the thread.
    pub const NAME: &str = "closer";

    /// Starts the thread.
    pub fn start(is_joined: bool) -> io::Result<Self> {
        let (queue, values) = mpsc::channel::<Shared<T>>();
        let name = Self::NAME.to_owned();
        // It only lets go of each value. To lock it would be to wait for its use, and everything that is
        // to be closed after it would wait as well.
        let thread =
            thread::Builder::new().name(name).spawn(|| values.into_iter().for_each(drop))?;
        Ok(Self { queue: Some(queue), thread: is_joined.then_some(thread) })
    }

    /// If the thread has ended, because a destructor panicked, the value is dropped here.
    fn close(&self, value: Shared<T>) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(value);
        }
    }
}

impl<T> Drop for ClosingThread<T> {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
