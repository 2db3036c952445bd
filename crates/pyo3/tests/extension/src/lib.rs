//! What authors of extensions do with the crate, and with the one that it stands in for.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use pyo3::prelude::*;
#[cfg(feature = "bare")]
use pyo3_async_runtimes::tokio as bridge;
#[cfg(not(feature = "bare"))]
use sundown_pyo3::tokio as bridge;
use tokio::{task::JoinSet, time::sleep};

/// An operation of a client: it ends after a while.
#[pyfunction]
fn operation(py: Python<'_>, microseconds: u64) -> PyResult<Bound<'_, PyAny>> {
    bridge::future_into_py(py, async move {
        sleep(Duration::from_micros(microseconds)).await;
        Ok(microseconds)
    })
}

/// One that is ready at once.
#[pyfunction]
fn ready(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    bridge::future_into_py(py, async { Ok(()) })
}

/// One whose result is converted for so long, without the interpreter's lock.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn is_converted(py: Python<'_>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
    struct Slow(f64);
    impl<'py> IntoPyObject<'py> for Slow {
        type Target = PyAny;
        type Output = Bound<'py, PyAny>;
        type Error = PyErr;

        fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            py.import("time")?.call_method1("sleep", (self.0,))
        }
    }
    bridge::future_into_py(py, async move { Ok(Slow(seconds)) })
}

/// One that never ends, in a `LocalSet` on a thread of the extension's own, which runs it for so long.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn never_locally(py: Python<'_>, seconds: f64) -> PyResult<Py<PyAny>> {
    let runs = Duration::from_secs_f64(seconds);
    let locals = bridge::get_current_locals(py)?;
    let (gives, given) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let stays = bridge::scope_local(locals, async move {
            let never = async { pending::<PyResult<()>>().await };
            let begun =
                Python::attach(|py| bridge::local_future_into_py(py, never).map(Bound::unbind));
            let _ = gives.send(begun);
            pending::<()>().await;
        });
        let set = std::mem::ManuallyDrop::new(tokio::task::LocalSet::new());
        set.block_on(&runtime, async {
            tokio::select! { () = stays => {}, () = sleep(runs) => {} }
        });
        std::thread::sleep(Duration::from_secs(60));
        std::io::Result::Ok(())
    });
    let given = py.detach(move || given.recv());
    given.unwrap_or_else(|_| Err(pyo3::exceptions::PyRuntimeError::new_err("no runtime")))
}

/// One that never ends.
#[pyfunction]
fn never(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    bridge::future_into_py(py, pending::<PyResult<()>>())
}

/// One that panics.
#[pyfunction]
#[allow(clippy::panic, reason = "this is what is tested")]
fn panics(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    bridge::future_into_py(py, async {
        if true {
            panic!("on purpose");
        }
        Ok(())
    })
}

/// One that calls back, again and again.
#[pyfunction]
fn calls_back(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    bridge::future_into_py(py, async move {
        loop {
            Python::attach(|py| callable.call0(py).map(drop))?;
            sleep(Duration::from_micros(50)).await;
        }
        #[allow(unreachable_code, reason = "it gives the type")]
        PyResult::Ok(())
    })
}

/// One whose result cannot be converted.
#[pyfunction]
fn cannot_be_converted(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    struct Unlucky;
    impl<'py> IntoPyObject<'py> for Unlucky {
        type Target = PyAny;
        type Output = Bound<'py, PyAny>;
        type Error = PyErr;

        #[allow(clippy::panic, reason = "this is what is tested")]
        fn into_pyobject(self, _: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            panic!("on purpose")
        }
    }
    bridge::future_into_py(py, async { Ok(Unlucky) })
}

/// One whose destructor panics after its result.
#[pyfunction]
fn panics_when_dropped(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    struct Unlucky;
    impl Drop for Unlucky {
        #[allow(clippy::panic, reason = "this is what is tested")]
        fn drop(&mut self) {
            panic!("on purpose")
        }
    }
    struct Holds(Unlucky);
    impl Future for Holds {
        type Output = PyResult<()>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<PyResult<()>> {
            let _ = &self.0;
            Poll::Ready(Ok(()))
        }
    }
    bridge::future_into_py(py, Holds(Unlucky))
}

/// Panics at once.
#[pyfunction]
#[allow(clippy::panic, reason = "this is what is tested")]
fn panics_at_once() {
    panic!("on purpose");
}

/// Waits for a thread of its own that enters Python, in a destructor.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn blocks_and_joins(py: Python<'_>) -> PyResult<()> {
    struct Joins;
    impl Drop for Joins {
        fn drop(&mut self) {
            let enters = std::thread::spawn(|| sundown_pyo3::attach(|_| ()));
            let _ = enters.join();
        }
    }
    let joins = Joins;
    bridge::block_on(py, async move {
        let _joins = joins;
        sleep(Duration::from_millis(1)).await;
    })
}

/// Calls once on a plain thread, and gives the result to another callable.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn calls_and_tells(py: Python<'_>, callable: Py<PyAny>, told: Py<PyAny>) {
    let nothing = pyo3::types::PyTuple::empty(py).unbind();
    std::thread::spawn(move || {
        if let Ok(result) = sundown_pyo3::call(&callable, &nothing) {
            let text = result.map_or_else(|error| error.to_string(), |_| "nothing".to_owned());
            let _ = sundown_pyo3::attach(|py| told.call1(py, (text,)).map(drop));
        }
    });
}

/// Calls when it is dropped.
#[pyclass]
struct CallsWhenDropped(Py<PyAny>);

impl Drop for CallsWhenDropped {
    fn drop(&mut self) {
        Python::attach(|py| drop(self.0.call0(py)));
    }
}

/// An operation whose result is one.
#[pyfunction]
fn results_in_a_call(
    py: Python<'_>,
    microseconds: u64,
    callable: Py<PyAny>,
) -> PyResult<Bound<'_, PyAny>> {
    bridge::future_into_py(py, async move {
        sleep(Duration::from_micros(microseconds)).await;
        Ok(CallsWhenDropped(callable))
    })
}

/// Does so in a task of its own.
#[pyfunction]
fn spawns(callable: Py<PyAny>) {
    let calls = async move {
        while Python::attach(|py| callable.call0(py).map(drop)).is_ok() {
            sleep(Duration::from_micros(50)).await;
        }
    };
    #[cfg(not(feature = "bare"))]
    drop(bridge::spawn(calls));
    #[cfg(feature = "bare")]
    drop(bridge::get_runtime().spawn(calls));
}

/// Does so in the tasks of a set, which another task waits for.
#[pyfunction]
fn spawns_a_set(callable: Py<PyAny>) {
    let callable = Arc::new(callable);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let callable = Arc::clone(&callable);
        let calls = async move {
            while Python::attach(|py| callable.call0(py).map(drop)).is_ok() {
                sleep(Duration::from_micros(50)).await;
            }
        };
        #[cfg(not(feature = "bare"))]
        let calls = bridge::until_exit(calls);
        tasks.spawn_on(calls, bridge::get_runtime().handle());
    }
    drop(bridge::get_runtime().spawn(tasks.join_all()));
}

/// Drops a set of tasks that never end, and are counted when they are dropped.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn drops_a_set() {
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let counts = Counts;
        let never = bridge::until_exit(async move {
            let _counts = counts;
            pending::<()>().await;
        });
        tasks.spawn_on(never, bridge::get_runtime().handle());
    }
}

/// Calls, and then waits for what never ends, on a runtime and a thread of its own.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn waits_until_exit(callable: Py<PyAny>) -> PyResult<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let counts = Counts;
    std::thread::spawn(move || {
        let ended = runtime.block_on(bridge::until_exit(async move {
            let _counts = counts;
            let _ = Python::attach(|py| callable.call0(py).map(drop));
            pending::<()>().await;
        }));
        if ended.is_err() {
            ENDED.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// How many of these waits the exit has ended.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn ended() -> usize {
    ENDED.load(Ordering::Relaxed)
}

#[cfg(not(feature = "bare"))]
static ENDED: AtomicUsize = AtomicUsize::new(0);

/// Does so in a task that the gate does not know.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn spawns_past_the_gate(callable: Py<PyAny>) {
    drop(bridge::get_runtime().spawn(async move {
        while Python::attach(|py| callable.call0(py).map(drop)).is_ok() {
            sleep(Duration::from_micros(50)).await;
        }
    }));
}

/// The same, once, with a name.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn calls_once(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    bridge::named_future_into_py(py, "calls once", async move {
        Python::attach(|py| callable.call0(py))
    })
}

/// Begins with a coroutine in this event loop, and waits for nothing. Whether that could be done.
#[pyfunction]
fn begins(event_loop: Bound<'_, PyAny>, coroutine: Bound<'_, PyAny>) -> bool {
    #[cfg(feature = "bare")]
    use pyo3_async_runtimes as crate_of_both;
    #[cfg(not(feature = "bare"))]
    use sundown_pyo3 as crate_of_both;
    let locals = crate_of_both::TaskLocals::new(event_loop);
    crate_of_both::into_future_with_locals(&locals, coroutine).is_ok()
}

/// A runtime with four threads for blocking work. So many of them sleep.
#[pyfunction]
fn uses_few_threads(sleeping: usize) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    bridge::init({
        builder.worker_threads(2).max_blocking_threads(4).enable_all();
        builder
    });
    for _ in 0..sleeping {
        let sleeps = || std::thread::sleep(Duration::from_secs(60));
        drop(bridge::get_runtime().spawn_blocking(sleeps));
    }
}

/// Awaits what Python gives.
#[pyfunction]
fn awaits<'py>(py: Python<'py>, awaitable: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let future = bridge::into_future(awaitable)?;
    bridge::future_into_py(py, future)
}

/// A blocking call.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn blocks(py: Python<'_>, seconds: f64) -> PyResult<()> {
    bridge::block_on(py, async move { sleep(Duration::from_secs_f64(seconds)).await })
}

/// A blocking call with a guard that spawns when it is dropped, as that of a pool does.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn blocks_with_a_guard(py: Python<'_>) -> PyResult<()> {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            drop(tokio::spawn(async {}));
        }
    }
    bridge::block_on(py, async {
        let _guard = Guard;
        pending().await
    })
}

/// Ends a thread that has polled a future, slowly.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn ends_a_thread(seconds: f64) {
    struct Slow(Duration);
    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(self.0);
        }
    }
    thread_local!(static SLOW: std::cell::Cell<Option<Slow>> = const { std::cell::Cell::new(None) });
    std::thread::spawn(move || {
        // It is dropped after what this crate has in the thread.
        SLOW.set(Some(Slow(Duration::from_secs_f64(seconds))));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let _ = runtime.block_on(bridge::until_exit(async {}));
        std::io::Result::Ok(())
    });
}

/// A blocking call that always has something to do.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn blocks_and_is_busy(py: Python<'_>) -> PyResult<()> {
    bridge::block_on(py, is_busy())
}

/// The same for a task of the runtime, without this crate. Whether it ended within a second.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn waits_for_a_task(py: Python<'_>, seconds: f64) -> bool {
    let (ended, end) = std::sync::mpsc::channel();
    bridge::get_runtime().spawn(async move {
        sleep(Duration::from_secs_f64(seconds)).await;
        let _ = ended.send(());
    });
    py.detach(move || end.recv_timeout(Duration::from_secs(1)).is_ok())
}

/// Waits for a task with the interpreter's lock, which the task does not need.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn waits_with_the_lock() {
    let task = bridge::spawn(async { sleep(Duration::from_millis(1)).await });
    let _ = bridge::get_runtime().block_on(task);
}

/// Calls on a thread for blocking work. Whether it raised nothing.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn calls_on_a_blocking_thread(py: Python<'_>, callable: Py<PyAny>) -> PyResult<bool> {
    let call = move || sundown_pyo3::attach(|py| callable.call0(py).is_ok());
    let called = bridge::get_runtime().spawn_blocking(call);
    bridge::block_on(py, async move { called.await.is_ok_and(|it| it == Ok(true)) })
}

/// A runtime with one thread, which runs.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn uses_a_runtime_with_one_thread() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all();
    bridge::init(builder);
    std::thread::spawn(|| bridge::get_runtime().block_on(pending::<()>()));
}

/// A blocking call, which calls back and then sleeps, again and again, until the callable returns something true.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn blocks_and_calls(py: Python<'_>, callable: Py<PyAny>) -> PyResult<()> {
    bridge::block_on(py, async move {
        while !Python::attach(|py| callable.call0(py)?.extract::<bool>(py))? {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    })?
}

/// Has a runtime used that no thread runs.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn uses_a_runtime_that_nobody_runs() -> PyResult<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(bridge::init_with_runtime(Box::leak(Box::new(runtime))).is_ok())
}

/// The limit of the exit.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn limit(seconds: f64) {
    sundown_pyo3::set_exit_limit(Duration::from_secs_f64(seconds));
}

/// The same, by the call that need not come back.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn calls_and_stays(py: Python<'_>, callable: Py<PyAny>) {
    let nothing = pyo3::types::PyTuple::empty(py).unbind();
    std::thread::spawn(move || while sundown_pyo3::call(&callable, &nothing).is_ok() {});
}

/// Calls on a plain thread, again and again, as long as the interpreter can be entered.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn calls_back_on_a_thread(callable: Py<PyAny>) {
    std::thread::spawn(move || {
        while sundown_pyo3::attach(|py| callable.call0(py).map(drop)).is_ok() {}
        // It is released without the interpreter's lock.
    });
}

/// The same past the gate, as it is done without this crate.
#[pyfunction]
fn attaches_on_a_thread(callable: Py<PyAny>) {
    std::thread::spawn(move || while Python::attach(|py| callable.call0(py)).is_ok() {});
}

/// Calls a method of an object once, on a plain thread, and releases it there.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn calls_method_on_a_thread(object: Py<PyAny>) {
    std::thread::spawn(|| {
        sundown_pyo3::call_method(object, c"method", sundown_pyo3::Then::Release)
    });
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Counts;

impl Drop for Counts {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// One that never ends, and is counted when it is dropped.
#[pyfunction]
fn counted(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let counts = Counts;
    bridge::future_into_py(py, async move {
        let _counts = counts;
        pending::<PyResult<()>>().await
    })
}

/// One that always has something to do, and never ends either. As a socket that has bytes, it leaves Tokio nothing else to
/// do in the same poll.
#[pyfunction]
fn busy(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let counts = Counts;
    bridge::future_into_py(py, async move {
        let _counts = counts;
        is_busy().await;
        Ok(())
    })
}

async fn is_busy() {
    loop {
        tokio::task::consume_budget().await;
    }
}

/// Polls a future that calls, on a thread that ends then.
#[cfg(not(feature = "bare"))]
#[pyfunction]
fn calls_on_a_thread_that_ends(py: Python<'_>, callable: Py<PyAny>) -> PyResult<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let calls = async move { Python::attach(|py| callable.call0(py).is_ok()) };
    let calls = bridge::until_exit(calls);
    let thread = std::thread::spawn(move || runtime.block_on(calls).is_ok());
    let _ = py.detach(|| thread.join());
    Ok(())
}

#[pyfunction]
fn dropped() -> usize {
    DROPPED.load(Ordering::Relaxed)
}

#[pymodule]
fn extension(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(operation, module)?)?;
    module.add_function(wrap_pyfunction!(ready, module)?)?;
    module.add_function(wrap_pyfunction!(never, module)?)?;
    module.add_function(wrap_pyfunction!(panics, module)?)?;
    module.add_function(wrap_pyfunction!(calls_back, module)?)?;
    module.add_function(wrap_pyfunction!(awaits, module)?)?;
    module.add_function(wrap_pyfunction!(counted, module)?)?;
    module.add_function(wrap_pyfunction!(begins, module)?)?;
    module.add_function(wrap_pyfunction!(uses_few_threads, module)?)?;
    module.add_function(wrap_pyfunction!(busy, module)?)?;
    module.add_function(wrap_pyfunction!(dropped, module)?)?;
    module.add_function(wrap_pyfunction!(attaches_on_a_thread, module)?)?;
    module.add_function(wrap_pyfunction!(results_in_a_call, module)?)?;
    module.add_function(wrap_pyfunction!(spawns, module)?)?;
    module.add_function(wrap_pyfunction!(spawns_a_set, module)?)?;
    module.add_function(wrap_pyfunction!(cannot_be_converted, module)?)?;
    module.add_function(wrap_pyfunction!(panics_when_dropped, module)?)?;
    module.add_function(wrap_pyfunction!(panics_at_once, module)?)?;
    #[cfg(not(feature = "bare"))]
    {
        module.add_function(wrap_pyfunction!(calls_method_on_a_thread, module)?)?;
        module.add_function(wrap_pyfunction!(calls_once, module)?)?;
        module.add_function(wrap_pyfunction!(blocks_and_joins, module)?)?;
        module.add_function(wrap_pyfunction!(calls_and_tells, module)?)?;
        module.add_function(wrap_pyfunction!(spawns_past_the_gate, module)?)?;
        module.add_function(wrap_pyfunction!(drops_a_set, module)?)?;
        module.add_function(wrap_pyfunction!(waits_until_exit, module)?)?;
        module.add_function(wrap_pyfunction!(ended, module)?)?;
        module.add_function(wrap_pyfunction!(blocks, module)?)?;
        module.add_function(wrap_pyfunction!(blocks_and_is_busy, module)?)?;
        module.add_function(wrap_pyfunction!(blocks_with_a_guard, module)?)?;
        module.add_function(wrap_pyfunction!(ends_a_thread, module)?)?;
        module.add_function(wrap_pyfunction!(is_converted, module)?)?;
        module.add_function(wrap_pyfunction!(never_locally, module)?)?;
        module.add_function(wrap_pyfunction!(calls_on_a_thread_that_ends, module)?)?;
        module.add_function(wrap_pyfunction!(waits_for_a_task, module)?)?;
        module.add_function(wrap_pyfunction!(waits_with_the_lock, module)?)?;
        module.add_function(wrap_pyfunction!(calls_on_a_blocking_thread, module)?)?;
        module.add_function(wrap_pyfunction!(uses_a_runtime_with_one_thread, module)?)?;
        module.add_function(wrap_pyfunction!(blocks_and_calls, module)?)?;
        module.add_function(wrap_pyfunction!(uses_a_runtime_that_nobody_runs, module)?)?;
        module.add_function(wrap_pyfunction!(calls_back_on_a_thread, module)?)?;
        module.add_function(wrap_pyfunction!(calls_and_stays, module)?)?;
        module.add_function(wrap_pyfunction!(limit, module)?)?;
        if std::env::var_os("WITHOUT_INSTALL").is_none() {
            sundown_pyo3::install(module.py())?;
        }
    }
    Ok(())
}
