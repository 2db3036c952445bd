//! A thread that can be joined within a limit.
//!
//! `JoinHandle::is_finished` turns true when the closure has returned. After that the destructors of the
//! thread's locals run, and `join` waits for them. They are foreign code, whenever the thread has called
//! any (a waker, a check, a value's destructor, a tracing subscriber): one may block, and then `join` has
//! no limit.
//!
//! So each thread of the kit registers a thread-local first of all. Thread-locals are destroyed in reverse
//! order of their registration (on Linux by `__cxa_thread_atexit_impl`, elsewhere by std's own list), and
//! one that is registered meanwhile is destroyed before those that are left. So this one is the last, and
//! says that no code of the thread's is left to run. (A C library's own
//! destructors, those of pthread keys, run later. Safe Rust cannot observe them.)

#[cfg(not(loom))]
use std::{cell::OnceCell, fmt, io, time::Instant};

#[cfg(not(loom))]
use crate::{
    fork::{GENERATIONS, OfProcess, PerProcess, ProcessGuard},
    newer_std::extract_if,
    sync::{
        Arc, AtomicBool, Condvar, Mutex, Ordering, lock,
        thread::{self, JoinHandle},
    },
};

/// A thread that can be joined within a limit.
#[cfg(not(loom))]
pub struct Joinable {
    thread: JoinHandle<()>,
    end: Arc<End>,
}

#[cfg(not(loom))]
impl fmt::Debug for Joinable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joinable").field("is_gone", &self.is_gone()).finish_non_exhaustive()
    }
}

#[cfg(not(loom))]
#[derive(Default)]
struct End {
    /// Whether the last thread-local has been destroyed.
    has_come: AtomicBool,
    /// For those who block until then.
    lock: Mutex<()>,
    comes: Condvar,
}

/// Says that the thread is gone, whatever ends it: an interpreter that is being finalized ends threads by
/// `pthread_exit`.
#[cfg(not(loom))]
struct Last {
    end: Arc<End>,
    /// If the thread forks, the child has it, too, and destroys its thread-locals when it exits. There a
    /// lock may be held for ever.
    process: ProcessGuard,
}

#[cfg(not(loom))]
impl Drop for Last {
    fn drop(&mut self) {
        if self.process.forked_from().is_none() {
            // Release: whoever sees this sees everything that the thread did. Under the lock, so that
            // nobody begins to wait in between.
            let waiting = lock(&self.end.lock);
            self.end.has_come.store(true, Ordering::Release);
            drop(waiting);
            self.end.comes.notify_all();
        }
    }
}

#[cfg(not(loom))]
thread_local!(static LAST: OnceCell<Last> = const { OnceCell::new() });

#[cfg(not(loom))]
impl Joinable {
    /// Starts a thread with this name.
    ///
    /// # Errors
    ///
    /// The OS refused it.
    pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        Self::spawn_with(thread::Builder::new().name(name.to_owned()), body)
    }

    /// Starts a thread as the builder says.
    ///
    /// # Errors
    ///
    /// The OS refused it.
    pub fn spawn_with(
        builder: thread::Builder,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let end = Arc::<End>::default();
        let last = Last { end: Arc::clone(&end), process: ProcessGuard::this_process() };
        let thread = builder.spawn(move || {
            LAST.with(|cell| drop(cell.set(last)));
            body();
        })?;
        Ok(Self { thread, end })
    }

    /// Whether no code of the thread's is left to run. Then a join takes microseconds. Never true of a
    /// thread that was ended from outside, which cannot be joined.
    pub fn is_gone(&self) -> bool {
        // Acquire pairs with the release at the end.
        self.end.has_come.load(Ordering::Acquire) && self.thread.is_finished()
    }

    /// Whether its closure has returned. The destructors of its thread-locals may still run.
    #[cfg(test)]
    fn has_returned(&self) -> bool {
        self.thread.is_finished()
    }

    /// Joins a thread that [is gone](Self::is_gone), or is about to end and has run no foreign code.
    pub fn join(self) {
        // A panic of foreign code was caught; the panic hook has reported any other.
        let _ = self.thread.join();
    }

    /// Blocks until the thread can be joined, and joins it.
    ///
    /// # Errors
    ///
    /// The thread, if the deadline has passed first.
    pub fn join_until(self, deadline: Instant) -> Result<(), Self> {
        let mut waiting = lock(&self.end.lock);
        while !self.end.has_come.load(Ordering::Acquire) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(waiting);
                return Err(self);
            }
            waiting = match self.end.comes.wait_timeout(waiting, left) {
                Ok((waiting, _)) => waiting,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        drop(waiting);
        if !self.thread.is_finished() {
            return Err(self);
        }
        self.join();
        Ok(())
    }

    /// Joins a thread if it is gone, and takes it out. Returns whether there is none any more.
    pub fn join_if_gone(thread: &mut Option<Self>) -> bool {
        if let Some(gone) = thread.take_if(|thread| thread.is_gone()) {
            gone.join();
        }
        thread.is_none()
    }

    /// Joins those that are gone, and keeps the others.
    pub fn join_those_gone(threads: &mut Vec<Self>) {
        extract_if(threads, |thread| thread.is_gone()).into_iter().for_each(Self::join);
    }

    /// Waits no longer for this thread. Reports count it until it has ended.
    pub fn give_up(self) -> Left {
        let process = ProcessGuard::this_process();
        let left = Left(Arc::new(OfLeft { process, thread: Mutex::new(Some(self)) }));
        if let Ok(given_up) = GIVEN_UP.get() {
            let mut given_up = lock(given_up);
            given_up.retain(|left| !left.has_ended());
            given_up.push(left.clone());
        }
        left
    }
}

/// A thread that was given up. Clones are the same thread.
#[cfg(not(loom))]
#[derive(Clone)]
pub struct Left(Arc<OfLeft>);

#[cfg(not(loom))]
struct OfLeft {
    /// In a forked child there is no such thread, and its lock may be held for ever.
    process: ProcessGuard,
    thread: Mutex<Option<Joinable>>,
}

#[cfg(not(loom))]
impl Left {
    /// Whether it has ended. Joins it under its lock: then another caller is not answered before.
    pub(crate) fn has_ended(&self) -> bool {
        let Self(left) = self;
        left.process.forked_from().is_some() || Joinable::join_if_gone(&mut lock(&left.thread))
    }
}

#[cfg(not(loom))]
impl fmt::Debug for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Left").field("has_ended", &self.has_ended()).finish_non_exhaustive()
    }
}

#[cfg(not(loom))]
static GIVEN_UP: PerProcess<Mutex<Vec<Left>>> =
    PerProcess::new([const { OfProcess::new(Mutex::new(Vec::new())) }; GENERATIONS]);

/// How many threads were given up and have not ended.
#[cfg(not(loom))]
pub(crate) fn given_up() -> usize {
    // Nearly always. To ask which process this is would cost a system call.
    if !GIVEN_UP.is_used() {
        return 0;
    }
    let Ok(given_up) = GIVEN_UP.get() else { return 0 };
    let mut given_up = lock(given_up);
    given_up.retain(|left| !left.has_ended());
    given_up.len()
}

/// Loom's threads have no foreign thread-locals.
#[cfg(loom)]
pub use model::Joinable;

#[cfg(loom)]
mod model {
    use std::{io, sync::Arc};

    use crate::sync::{
        AtomicBool, Ordering,
        thread::{self, JoinHandle},
    };

    pub struct Joinable {
        thread: JoinHandle<()>,
        has_ended: Arc<AtomicBool>,
    }

    impl Joinable {
        pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
            let has_ended = Arc::new(AtomicBool::new(false));
            let says = Arc::clone(&has_ended);
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
                body();
                says.store(true, Ordering::Release);
            })?;
            Ok(Self { thread, has_ended })
        }

        /// A limit is never reached.
        pub fn join_until<T>(self, _deadline: T) -> Result<(), Self> {
            let _ = self.thread.join();
            Ok(())
        }

        pub fn is_gone(&self) -> bool {
            self.has_ended.load(Ordering::Acquire)
        }

        pub fn join(self) {
            let _ = self.thread.join();
        }

        pub fn give_up(self) {}
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;
    use crate::limit::PLENTY;

    /// Blocks when it is destroyed, until it is let go.
    struct Blocks {
        begins: mpsc::Sender<()>,
        is_let_go: mpsc::Receiver<()>,
    }

    impl Drop for Blocks {
        fn drop(&mut self) {
            let _ = self.begins.send(());
            let _ = self.is_let_go.recv_timeout(PLENTY);
        }
    }

    /// Leaves that in another thread-local, which is registered only then.
    struct LeavesLate(Option<Blocks>);

    impl Drop for LeavesLate {
        fn drop(&mut self) {
            BLOCKS.with(|cell| drop(cell.set(self.0.take())));
        }
    }

    thread_local! {
        static BLOCKS: OnceCell<Option<Blocks>> = const { OnceCell::new() };
        static LATE: OnceCell<LeavesLate> = const { OnceCell::new() };
    }

    #[test]
    fn a_thread_is_gone_only_after_every_thread_local_also_one_that_came_last() {
        for is_late in [false, true] {
            let (begins, has_begun) = mpsc::channel();
            let (let_go, is_let_go) = mpsc::channel();
            let blocks = Some(Blocks { begins, is_let_go });
            let thread = Joinable::spawn("ends slowly", move || match is_late {
                true => LATE.with(|cell| drop(cell.set(LeavesLate(blocks)))),
                false => BLOCKS.with(|cell| drop(cell.set(blocks))),
            });
            has_begun.recv_timeout(PLENTY).unwrap();
            let thread = thread.unwrap();
            // What is destroyed while the others are is destroyed before this thread is gone.
            assert!(thread.has_returned(), "a join would block now");
            assert!(!thread.is_gone());
            let soon = Instant::now() + Duration::from_millis(5);
            let Err(thread) = thread.join_until(soon) else { panic!("joined while it is alive") };
            let mut threads = vec![thread];
            Joinable::join_those_gone(&mut threads);
            assert_eq!(threads.len(), 1);
            drop(let_go);
            for thread in threads {
                assert!(thread.join_until(Instant::now() + PLENTY).is_ok());
            }
        }
    }

    #[test]
    fn a_thread_that_is_given_up_is_counted_until_it_has_ended() {
        let (let_go, is_let_go) = mpsc::channel::<()>();
        let body = move || assert!(is_let_go.recv_timeout(PLENTY).is_err());
        let thread = Joinable::spawn("given up", body).unwrap();
        let end = Arc::clone(&thread.end);
        thread.give_up();
        assert!(given_up() > 0);
        drop(let_go);
        // Other tests may give up threads of their own. This one is forgotten when it has been joined.
        let began = Instant::now();
        while Arc::strong_count(&end) > 1 {
            assert!(began.elapsed() < PLENTY, "it has ended");
            given_up();
        }
    }
}
