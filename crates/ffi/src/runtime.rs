//! A runtime that runs jobs, and ends.

use std::{
    ffi::{c_char, c_void},
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sundown::{
    runtime::{RuntimeCell, RuntimeOwner, State},
    stop::Stop,
};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    SundownAnswer, SundownCode, SundownDestroy, SundownRun,
    answer::nanoseconds,
    border::{self, Counted, guarded, limit, not_null, share, write_if_wanted},
    fork,
    job::{Data, Tally, Waiting},
};

/// How many are not freed.
pub(crate) static RUNTIMES: AtomicUsize = AtomicUsize::new(0);

/// How long a free waits for a thread that has said that it ends.
const ENDING: Duration = Duration::from_secs(1);

/// How often a job asks for its first thread again.
const RETRY: Duration = Duration::from_millis(20);

/// A runtime. It runs jobs on threads of its own until it is stopped.
pub struct SundownRuntime {
    cell: RuntimeCell,
    tally: Arc<Tally>,
    counted: Counted,
}

impl SundownRuntime {
    /// An answer with the numbers of the jobs.
    fn counted(&self, answer: SundownAnswer) -> SundownAnswer {
        // Relaxed: see `Tally`.
        let Tally { ran, not_run, panicked, .. } = &*self.tally;
        let [ran, not_run, panicked] =
            [ran, not_run, panicked].map(|number| number.load(Ordering::Relaxed));
        SundownAnswer { ran, not_run, panicked, ..answer }
    }
}

/// The state of a runtime.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SundownState {
    /// It runs.
    Running = 0,
    /// It is stopping.
    Stopping = 1,
    /// It has ended, and was not started again.
    Ended = 2,
    /// It belongs to the process that this one was forked from.
    Forked = 3,
}

/// A runtime in numbers. They may be out of date when you look at them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SundownStats {
    /// Its state.
    pub state: SundownState,
    /// How often it was started in this process.
    pub generation: u64,
    /// How many jobs wait or run.
    pub jobs: u64,
    /// How many threads run jobs, or wait for one.
    pub threads: u64,
    /// As in an answer.
    pub ran: u64,
    /// As in an answer.
    pub not_run: u64,
}

/// Starts a runtime. Its threads have this name, which is cut after 15 bytes where a system shows it.
///
/// `workers` is how many jobs run at the same time, each on a thread; 0 means as many as there are processors. `answer` may be
/// null.
///
/// Stop the runtime and then free it. Otherwise it runs until the process exits.
///
/// Fails with NULL_POINTER or NO_THREAD. Then `*runtime` is not written.
///
/// # Safety
///
/// `name` ends with a zero byte. `runtime` and `answer` are null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_start(
    name: *const c_char,
    workers: u32,
    runtime: *mut *mut SundownRuntime,
    answer: *mut SundownAnswer,
) -> SundownCode {
    guarded(|| {
        not_null(runtime)?;
        // SAFETY: the caller promises the zero byte.
        let name = unsafe { border::name(name) }.ok_or(SundownCode::NullPointer)?;
        fork::watch();
        let workers = match usize::try_from(workers).unwrap_or(usize::MAX) {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        };
        let builder = RuntimeOwner::builder(name).current_thread().blocking_threads(workers);
        let cell = RuntimeCell::with_builder(builder);
        if let Err(error) = cell.get() {
            // SAFETY: the caller promises that it can be written.
            unsafe { border::answer(answer, || SundownAnswer::said(&error)) };
            return Err((&error).into());
        }
        let started =
            SundownRuntime { cell, tally: Arc::default(), counted: Counted::new(&RUNTIMES) };
        // SAFETY: it is not null, and the caller promises that it can be written.
        unsafe { runtime.write(Arc::into_raw(Arc::new(started)).cast_mut()) };
        // SAFETY: the caller promises that it can be written.
        unsafe { border::answer(answer, SundownAnswer::empty) };
        Ok(())
    })
}

/// Queues a job for the threads that run jobs.
///
/// # Errors
///
/// There is no such thread, and the operating system refuses one. Tokio panics then, and leaves the job in the queue.
fn begin(job: impl FnOnce() + Send + 'static) -> Result<(), ()> {
    let begun = catch_unwind(AssertUnwindSafe(|| drop(spawn_blocking(job))));
    // Its payload is a text of Tokio.
    begun.map_err(drop)
}

/// Takes a job out of its place. Nothing panics while this is locked.
fn take<T>(job: &Mutex<Option<T>>) -> Option<T> {
    job.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Tries again and again to get a thread for the jobs that are queued, until there is one or the runtime stops.
async fn until_a_thread_comes(mut stop: Stop) {
    // Not a limit of the kit, which would need a thread.
    while timeout(RETRY, &mut stop).await.is_err() {
        // First in a way that does not panic, because each panic is printed.
        let can_start =
            thread::Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok());
        if can_start && begin(|| ()).is_ok() {
            return;
        }
    }
}

/// Submits a job: `run(data, job)` is called on a thread of the runtime. Jobs begin in about the order in which
/// they are submitted. A job may submit others, and wait for them as long as a worker is free. If the operating system
/// refuses a thread, the job waits until another job has returned or a thread can be started.
///
/// `destroy(data)` is called exactly once, whatever this returns: after the job has run, when it is dropped
/// without being run, or before this returns an error. It may be null, and so may `data`. `name` may be null;
/// answers name the job by it.
///
/// Fails with NULL_POINTER, SHUT_DOWN or FORKED.
///
/// # Safety
///
/// `runtime` is null or was not freed. `name` is null or ends with a zero byte. `run` and `destroy` may be
/// called with `data` on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_submit(
    runtime: *const SundownRuntime,
    name: *const c_char,
    run: SundownRun,
    data: *mut c_void,
    destroy: SundownDestroy,
) -> SundownCode {
    // First, so that it is destroyed however this ends.
    let data = Data::new(data, destroy);
    guarded(move || {
        // SAFETY: the caller promises that it was not freed.
        let runtime = unsafe { share(runtime) }?;
        let run = run.ok_or(SundownCode::NullPointer)?;
        // SAFETY: the caller promises the zero byte.
        let name = unsafe { border::name(name) }.unwrap_or_else(|| "job".to_owned());
        let running = runtime.cell.get().map_err(|error| SundownCode::from(&error))?;
        let waiting = Waiting::new(data, Arc::clone(&runtime.tally));
        // Blocking code belongs on the threads for it, which share one queue. A worker has a queue of its own,
        // and what waits there may wait for a job that blocks, although another worker is free.
        let spawned = running.spawn("submit", move |stop| async move {
            // A member by this name until the job has returned. Nothing can abort it.
            let Ok(held) = stop.hold(name.clone()) else { return };
            let (stopping, is_stopping) = (stop.clone(), stop.clone());
            let job = Arc::new(Mutex::new(Some((waiting, held))));
            let queued = Arc::clone(&job);
            let begun = begin(move || {
                if let Some((waiting, held)) = take(&queued) {
                    waiting.run(run, stop, &name);
                    drop(held);
                }
            });
            if begun.is_err() {
                until_a_thread_comes(stopping).await;
                // If no thread has come, the runtime stops, and nobody else would drop the job.
                if is_stopping.is_raised() {
                    drop(take(&job));
                }
            }
        });
        if let Err(error) = spawned {
            runtime.tally.refused();
            return Err((&error).into());
        }
        Ok(())
    })
}

/// Stops a runtime, and waits until everything has ended: its jobs, and its threads.
///
/// Jobs that have not begun are dropped, and their data is destroyed. Jobs that run may return:
/// `sundown_job_should_stop` tells them. Nothing interrupts a job that does not. After `limit_ms` milliseconds
/// this returns TIMED_OUT, and the answer names such jobs; call again to keep waiting. UINT64_MAX means no
/// limit. `answer` may be null.
///
/// A repeated call returns the same code. Of concurrent calls each has its own limit.
///
/// Fails with NULL_POINTER, TIMED_OUT, FROM_INSIDE, FORKED or THREAD_ENDED. After JOB_PANICKED everything has
/// ended.
///
/// # Safety
///
/// `runtime` is null or was not freed. `answer` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_stop(
    runtime: *const SundownRuntime,
    limit_ms: u64,
    answer: *mut SundownAnswer,
) -> SundownCode {
    guarded(|| {
        // SAFETY: the caller promises that it was not freed.
        let runtime = unsafe { share(runtime) }?;
        let result = runtime.cell.shutdown_blocking(limit(limit_ms));
        let panicked = runtime.tally.first_panic();
        let told = || {
            runtime.counted(match (&result, &panicked) {
                (Ok(report), None) => SundownAnswer::ended(report),
                (Ok(report), Some(job)) => SundownAnswer::said(format!("{job}; {report}")),
                (Err(error), _) => SundownAnswer::failed(error),
            })
        };
        // SAFETY: the caller promises that it can be written.
        unsafe { border::answer(answer, told) };
        match (result, panicked) {
            (Ok(_), None) => Ok(()),
            (Ok(_), Some(_)) => Err(SundownCode::JobPanicked),
            (Err(error), _) => Err((&error.kind).into()),
        }
    })
}

/// Starts a runtime again that has ended, or, in a forked child, one of the child's own with the same name and
/// workers. In a child, call this before anything else with the runtime. The parent's is not touched. It works in
/// seven children that were each forked from the one before. `answer` may be null.
///
/// Fails with NULL_POINTER, NOT_ENDED or NO_THREAD, or with FORKED in the eighth child.
///
/// # Safety
///
/// `runtime` is null or was not freed. `answer` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_restart(
    runtime: *const SundownRuntime,
    answer: *mut SundownAnswer,
) -> SundownCode {
    guarded(|| {
        // SAFETY: the caller promises that it was not freed.
        let runtime = unsafe { share(runtime) }?;
        let began = Instant::now();
        let result = runtime.cell.restart();
        let told = || match &result {
            Ok(()) => {
                SundownAnswer { elapsed_ns: nanoseconds(began.elapsed()), ..SundownAnswer::empty() }
            }
            Err(error) => SundownAnswer::said(error),
        };
        // SAFETY: the caller promises that it can be written.
        unsafe { border::answer(answer, told) };
        result.map_err(|error| (&error).into())
    })
}

/// Writes the state of a runtime to `*stats`. Never waits.
///
/// Fails with NULL_POINTER.
///
/// # Safety
///
/// `runtime` is null or was not freed. `stats` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_state(
    runtime: *const SundownRuntime,
    stats: *mut SundownStats,
) -> SundownCode {
    guarded(|| {
        not_null(stats)?;
        // SAFETY: the caller promises that it was not freed.
        let runtime = unsafe { share(runtime) }?;
        let now = runtime.cell.stats();
        let counted = runtime.counted(SundownAnswer::empty());
        let value = SundownStats {
            state: match now.state {
                State::Running => SundownState::Running,
                State::Stopping => SundownState::Stopping,
                State::Forked => SundownState::Forked,
                // It was started before anybody had the handle.
                _ => SundownState::Ended,
            },
            generation: now.generation,
            jobs: now.named as u64,
            threads: now.threads as u64,
            ran: counted.ran,
            not_run: counted.not_run,
        };
        // SAFETY: the caller promises that it can be written.
        unsafe { write_if_wanted(stats, value) };
        Ok(())
    })
}

/// Frees a runtime that has ended. No call with it may begin after that. In a forked child this frees the child's
/// copy. Null is fine.
///
/// Fails with NOT_ENDED, or FROM_INSIDE in a job of the runtime. Then the runtime stays yours.
///
/// # Safety
///
/// `runtime` is null or was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_free(runtime: *mut SundownRuntime) -> SundownCode {
    if runtime.is_null() {
        return SundownCode::Ok;
    }
    guarded(|| {
        // SAFETY: the caller promises that it was not freed.
        let shared = unsafe { share(runtime) }?;
        match shared.cell.stats().state {
            State::Ended => {
                // Joins the thread that has said so. Everything has ended, also after a panic.
                let code = match shared.cell.shutdown_blocking(ENDING) {
                    Ok(_) => SundownCode::Ok,
                    Err(error) => (&error.kind).into(),
                };
                match code {
                    SundownCode::TimedOut => return Err(SundownCode::NotEnded),
                    SundownCode::FromInside => return Err(code),
                    _ => {}
                }
            }
            State::Forked => {}
            _ => return Err(SundownCode::NotEnded),
        }
        shared.counted.give_up_in_child();
        // SAFETY: this is the share that the handle has, which the caller gives back.
        drop(unsafe { Arc::from_raw(runtime.cast_const()) });
        Ok(())
    })
}
