//! What a session or a teardown has of the closing service: a lease, and a batch for its values.

use std::{future::Future, mem, time::Duration};

use super::{KitThread, Unfinished, batch::Batch, service::Service};
use crate::{
    fork::ProcessGuard,
    latch::Latch,
    limit::threads_have_ended,
    sync::{Arc, AtomicBool, Ordering},
    waker::Helpers,
};

/// Drops values where their destructors can run, and knows when everything that those destructors started
/// has ended. Clones share it. When the last clone is dropped, the remaining work is finished, however
/// long that takes. Nobody waits for it.
#[derive(Clone)]
pub(crate) struct Reaper {
    inner: Arc<Inner>,
}

struct Inner {
    service: Arc<Service>,
    batch: Arc<Batch>,
    /// Fires when the service has ended.
    ended: Arc<Latch>,
    /// Whether the lease has not been given back.
    has_lease: AtomicBool,
    /// Check this first: a forked child has none of the threads, and a lock that one of them held at
    /// the fork is never released there.
    process: ProcessGuard,
}

impl Inner {
    fn give_back(&self) {
        // Relaxed: only one call finds it true. The service's lock orders everything else.
        if self.has_lease.swap(false, Ordering::Relaxed) {
            self.service.give_back();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.process.forked_from().is_none() {
            self.give_back();
        }
    }
}

impl Reaper {
    /// Takes a lease of the closing service. The first lease starts the service, with a lane that is ready
    /// for the first value. `helpers` are those of the session or teardown.
    ///
    /// # Errors
    ///
    /// The OS refused a thread or a file descriptor. Nothing is left running.
    pub(crate) fn start(helpers: &Arc<Helpers>) -> std::io::Result<Self> {
        let service = Service::lease()?;
        let (batch, has_lease) = (Arc::new(Batch::of(Arc::clone(helpers))), AtomicBool::new(true));
        let (ended, process) = (Arc::new(Latch::of(helpers)), ProcessGuard::this_process());
        Ok(Self { inner: Arc::new(Inner { service, batch, ended, has_lease, process }) })
    }

    /// Queues a value to be dropped. This takes microseconds: it starts no thread and waits for nothing.
    /// It also works on a thread whose thread-locals are being destroyed.
    pub(crate) fn take(&self, value: Box<dyn Send>) {
        let Inner { service, batch, has_lease, .. } = &*self.inner;
        // Relaxed: the service knows it for certain.
        if !has_lease.load(Ordering::Relaxed) {
            return Self::take_late(value);
        }
        let mut state = batch.lock();
        state.add(value);
        if state.pending {
            let must_watch = state.one_thread_may_not_suffice().is_some();
            batch.changed(state);
            if must_watch {
                service.watch();
            }
        } else {
            state.pending = true;
            state.period = Some(Arc::new(Latch::of(batch.helpers())));
            // Under the lock of the batch: whoever sees it pending finds its lease taken.
            if !service.add(batch) {
                (state.pending, state.period) = (false, None);
                let value = state.take_back();
                drop(state);
                value.into_iter().for_each(Self::take_late);
            }
        }
    }

    /// Takes a value after the lease was given back. Nobody waits for it. If the OS refuses a service, the
    /// value is leaked: there is no place where its destructor can run.
    fn take_late(value: Box<dyn Send>) {
        match Self::start(&Helpers::none()) {
            Ok(reaper) => reaper.take(value),
            Err(_refused) => mem::forget(value),
        }
    }

    /// Waits until every value that was queued before this call has been dropped, and all work that
    /// destructors started has ended.
    pub(crate) fn wait_quiescent(&self) -> impl Future<Output = ()> + Send + use<> {
        let period = self.inner.batch.lock().period.clone();
        async move {
            if let Some(period) = period {
                period.wait().await;
            }
        }
    }

    /// Gives the lease back: no value will come any more. Those that are not torn down have a lease of their
    /// own. If nobody else has one, the service begins to end when the last of them is torn down, and not
    /// only when the caller has been told.
    pub(crate) fn give_back(&self) {
        self.inner.give_back();
    }

    /// Waits until every thread of the service has ended, if nobody has a lease any more, and every thread that
    /// calls wakers of the session's or teardown's callers. Call this after
    /// [`give_back`](Self::give_back) and [`wait_quiescent`](Self::wait_quiescent).
    pub(crate) async fn ended(&self) {
        let Inner { service, batch, ended, .. } = &*self.inner;
        service.ended(ended).await;
        threads_have_ended(None, || batch.helpers().are_alive()).await;
    }

    /// Whether this thread runs a destructor, or work that one has started. If it waited for
    /// [`wait_quiescent`](Self::wait_quiescent), it would wait for itself.
    pub(crate) fn includes_this_thread(&self) -> bool {
        let site = self.inner.batch.lock().site.clone();
        site.is_some_and(|site| site.includes_this_thread())
    }

    /// The process that has the threads, if this is its forked child. Do not call any other method
    /// there.
    pub(crate) fn forked_from(&self) -> Option<u32> {
        self.inner.process.forked_from()
    }

    /// What has not ended.
    pub(crate) fn unfinished(&self) -> Unfinished {
        let Inner { service, batch, has_lease, .. } = &*self.inner;
        let unfinished = batch.lock().unfinished();
        // Relaxed: a snapshot for a report.
        let is_over = unfinished == Unfinished::default() && !has_lease.load(Ordering::Relaxed);
        let calls_wakers = || batch.helpers().are_alive().then_some(KitThread::Wakers);
        let thread = || service.ending_thread().or_else(calls_wakers);
        Unfinished { thread: is_over.then(thread).flatten(), ..unfinished }
    }

    /// Has the runtime of the session asked whether it is down, because nothing says when that is: before a value is
    /// dropped, and after the tasks of its destructor have ended. The first call counts.
    pub(crate) fn ask_the_runtime(&self, is_down: impl Fn() -> bool + Send + Sync + 'static) {
        self.inner.batch.set_runtime(is_down);
    }

    /// Records that the runtime of the session is about to be cut off. What a value does over a socket of
    /// that runtime may fail from now on.
    pub(crate) fn runtime_is_cut_off(&self) {
        if self.forked_from().is_none() {
            self.inner.batch.lock().runtime_is_cut_off();
        }
    }

    /// How many values were not torn down when the runtime of the session was cut off.
    pub(crate) fn outlived(&self) -> usize {
        self.inner.batch.lock().outlived()
    }

    /// How many destructors panicked.
    pub(crate) fn panicked(&self) -> usize {
        self.inner.batch.lock().panicked
    }

    /// The messages of the first destructors that panicked.
    pub(crate) fn panics(&self) -> Vec<String> {
        self.inner.batch.lock().panics.clone()
    }

    /// How long destructors ran, in total.
    pub(crate) fn destructors(&self) -> Duration {
        self.inner.batch.lock().destructors
    }

    /// How many tasks were alive when their destructor returned, in total.
    pub(crate) fn tasks(&self) -> usize {
        self.inner.batch.lock().tasks
    }
}
