//! A job: a function of the caller, with its data.

use std::{
    ffi::c_void,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use sundown::stop::Stop;

/// What a job can ask. It belongs to the library, and is valid until the job's function returns.
pub struct SundownJob {
    stop: Stop,
}

/// The function of a job. It runs on a thread of the runtime, and may block.
pub type SundownRun =
    Option<unsafe extern "C-unwind" fn(data: *mut c_void, job: *const SundownJob)>;

/// The destructor of a job's data. It may be called on any thread, also before `sundown_submit` returns.
pub type SundownDestroy = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

/// Whether the job should return, because the runtime is being stopped. Costs one atomic load. A job that
/// takes long asks now and then. `false` for null.
///
/// # Safety
///
/// `job` is null, or the pointer that the job's function was given, and that function has not returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_job_should_stop(job: *const SundownJob) -> bool {
    // SAFETY: see above. The signal may be read on any thread.
    unsafe { job.as_ref() }.is_some_and(|job| job.stop.is_raised())
}

/// How the jobs of a runtime ended. Numbers that order nothing, so all accesses are relaxed: whoever is
/// answered that a runtime has ended has joined its threads.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) ran: AtomicU64,
    pub(crate) not_run: AtomicU64,
    pub(crate) panicked: AtomicU64,
    first_panic: OnceLock<String>,
}

impl Tally {
    /// Which job panicked first, and how.
    pub(crate) fn first_panic(&self) -> Option<String> {
        self.first_panic.get().cloned()
    }

    /// Takes back that a job was not run: it was refused.
    pub(crate) fn refused(&self) {
        self.not_run.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The caller's data. Its destructor is called when this is dropped, and so exactly once.
pub(crate) struct Data {
    data: *mut c_void,
    destroy: SundownDestroy,
}

// SAFETY: the header says that data and destructor are used on other threads, and one after another.
unsafe impl Send for Data {}

impl Data {
    pub(crate) const fn new(data: *mut c_void, destroy: SundownDestroy) -> Self {
        Self { data, destroy }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let Some(destroy) = self.destroy else { return };
        let data = self.data;
        // SAFETY: the caller has passed the two together, and this is the only call.
        let destroyed = catch_unwind(AssertUnwindSafe(|| unsafe { destroy(data) }));
        // A panic must not leave a destructor. The panic hook has told of it.
        destroyed.unwrap_or_else(mem::forget);
    }
}

/// A job that waits for its turn, or runs. Its end is counted when it is dropped.
pub(crate) struct Waiting {
    data: Data,
    tally: Arc<Tally>,
    has_run: bool,
}

impl Waiting {
    pub(crate) fn new(data: Data, tally: Arc<Tally>) -> Self {
        Self { data, tally, has_run: false }
    }

    /// Runs the job unless it should stop already. Returns with its data destroyed.
    pub(crate) fn run(
        mut self,
        run: unsafe extern "C-unwind" fn(*mut c_void, *const SundownJob),
        stop: Stop,
        name: &str,
    ) {
        if stop.is_raised() {
            return;
        }
        let job = SundownJob { stop };
        let data = self.data.data;
        self.has_run = true;
        // SAFETY: the caller has passed the two together. `job` lives until the call returns.
        let ended = catch_unwind(AssertUnwindSafe(|| unsafe { run(data, &raw const job) }));
        let Err(payload) = ended else {
            self.tally.ran.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.tally.panicked.fetch_add(1, Ordering::Relaxed);
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("something that is no text");
        // Only the first is kept.
        let _ = self.tally.first_panic.set(format!("`{name}` panicked: {message}"));
        // Its destructor may panic.
        mem::forget(payload);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.has_run {
            self.tally.not_run.fetch_add(1, Ordering::Relaxed);
        }
    }
}
