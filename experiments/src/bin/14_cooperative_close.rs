//! # 14 · cooperative close
//!
//! A pool *can* be closed: `Pool::close` drops the idle connections, lends out no more, and drops each
//! one that is at work when it comes back. The demo project *rust-logout-issue* leaves that out of its
//! reckoning: there is no API to clean the pool up, it says (claim A7). The SDK that it used gave its
//! users no way to reach the pool. Where one can reach it, what is closing it worth?
//!
//! The store here passes `Pool::close` on. It is called
//!
//! - **`in-context`**, and the store dropped off context after that: nothing is left in the pool that
//!   could panic;
//! - **`handles-out`**: with clones of the store in the hands of others, who let go of them later and
//!   off context. One call has made all of them harmless;
//! - **`off-context`**: idle connections are dropped here and now, on a thread without context;
//! - **`at-work`**: while a query runs. `close` returns, and the query goes on; its connection is
//!   closed when it ends. Whoever takes the return of `close` for the end is wrong.
//!
//! So it is an API to clean the pool up, on two conditions: a context for the call, and something
//! else that tells when it is over. The kit stands beside it: it needs no context, and when a
//! session says that it has closed it has. For a close without it, somebody would have to wait for
//! the runtime, as `at-work-runtime-dropped` does.

use std::{
    error::Error,
    process::ExitCode,
    sync::mpsc::{self, TryRecvError},
    thread,
    time::Duration,
};

use experiments::{
    Scene, control, cure, hazard,
    scene::{Kept, guarded},
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Failed},
    TrialResult, every,
};
use mock_sdk::store::{Store, StoreError, StoreErrorKind, rusqlite::Connection};
use sundown::evidence::open_files;
use tokio::runtime::Runtime;

/// How long a query takes that is waited for.
const QUERY: Duration = Duration::from_millis(50);

/// A limit that a query outlasts.
const TOO_SHORT: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does closing the pool make it safe to drop?")
        .hypothesis(
            "Yes, for every owner at once, if it is called in a context. It does not say when the \
             connections are closed: not before work on them has ended.",
        )
        .variants([
            control("*/in-context", in_context)
                .about("closed in a context, then dropped off context"),
            control("*/handles-out", handles_out)
                .about("closed in a context; other clones are dropped off context, later"),
            hazard("*/off-context", Aborted, off_context)
                .about("closed on a thread without context"),
            hazard("*/at-work", Failed, at_work)
                .about("closed in a context while a query runs, and looked at"),
            control("*/at-work-runtime-dropped", at_work_runtime_dropped)
                .about("the same, looked at when the runtime has been dropped, which waits"),
            cure("*/kit/off-context", guarded(off_context_session))
                .about("a session, closed on a thread without context"),
            cure("*/kit/handles-out", guarded(handles_out_session))
                .about("a session with a handle out: it says so, and closes when that is gone"),
            cure("*/kit/at-work", guarded(at_work_session))
                .about("a session, closed while a query runs"),
        ])
        .claim("A7", "There is no API to clean the pool up.")
        .supported_if(!every("*/in-context").is(Clean))
        .refuted_if(every("*/in-context").is(Clean) & every("*/handles-out").is(Clean))
        .kit_claim(
            "A session can be closed on any thread, says who still has a handle, and when it has \
             closed the connections have.",
        )
        .run()
}

fn in_context(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let context = runtime.enter();
    store.close();
    drop(context);
    scene.trial.check("no connection is left in the pool", store.connections().open == 0);
    drop(store);
    closed_when_dropped(scene, runtime)
}

fn handles_out(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let others: Vec<_> = (0..3).map(|_| store.clone()).collect();
    let context = runtime.enter();
    store.close();
    drop(context);
    drop(store);
    for other in others {
        let refused = runtime.block_on(other.rooms());
        let closed = matches!(refused, Err(StoreError { kind: StoreErrorKind::Closed, .. }));
        scene.trial.check("the others are told that it is closed", closed);
        thread::spawn(move || drop(other)).join().map_err(|_| "the thread panicked")?;
    }
    closed_when_dropped(scene, runtime)
}

/// Waits for what `close` has posted to the runtime, by dropping that.
fn closed_when_dropped(scene: &Scene<'_>, runtime: Runtime) -> TrialResult {
    drop(runtime);
    let files_open = open_files(scene.trial.directory())?.len();
    scene.trial.check("no file is open any more", files_open == 0);
    Ok(())
}

fn off_context(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    store.close();
    Ok(())
}

fn off_context_session(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    drop(store);
    scene.close()
}

fn handles_out_session(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    let other = store.clone();
    drop(store);
    let told = scene.one_handle_is_left(TOO_SHORT);
    scene.trial.check("the session says that there is a handle", told);
    drop(other);
    scene.close()
}

fn at_work(scene: &Scene<'_>) -> TrialResult {
    let query = Query::begin(scene, Duration::MAX)?;
    let context = query.runtime.enter();
    query.store.close();
    drop(context);
    query.look(scene)?;
    // The trial ends only when the query has: what it does later must not be cut off.
    drop(query.let_go);
    let _ = query.has_ended.recv();
    Ok(())
}

fn at_work_runtime_dropped(scene: &Scene<'_>) -> TrialResult {
    let query = Query::begin(scene, QUERY)?;
    let context = query.runtime.enter();
    query.store.close();
    drop(context);
    let Query { runtime, has_ended, .. } = query;
    drop(runtime);
    look(scene, &has_ended)
}

fn at_work_session(scene: &Scene<'_>) -> TrialResult {
    let query = Query::begin(scene, QUERY)?;
    let Query { runtime: _runtime, store, has_ended, let_go: _let_go } = query;
    drop(store);
    scene.close()?;
    look(scene, &has_ended)
}

/// A query under way, of a task that holds a clone of the store.
struct Query {
    runtime: Runtime,
    store: Kept<Store>,
    let_go: mpsc::Sender<()>,
    has_ended: mpsc::Receiver<()>,
}

impl Query {
    /// Begins one that takes so long, unless it is let go before.
    fn begin(scene: &Scene<'_>, takes: Duration) -> Result<Self, Box<dyn Error>> {
        let (runtime, store) = scene.warm_store()?;
        let (started, has_started) = mpsc::channel();
        let (let_go, is_let_go) = mpsc::channel::<()>();
        let (ended, has_ended) = mpsc::channel::<()>();
        let user = store.clone();
        runtime.spawn(async move {
            let query = move |_: &mut Connection| {
                let _ended_when_dropped = ended;
                let _ = started.send(());
                let _ = is_let_go.recv_timeout(takes);
                Ok(())
            };
            user.interact("query", query).await
        });
        has_started.recv()?;
        Ok(Self { runtime, store, let_go, has_ended })
    }

    fn look(&self, scene: &Scene<'_>) -> TrialResult {
        look(scene, &self.has_ended)
    }
}

/// Looks whether the query runs, and whether files are open.
fn look(scene: &Scene<'_>, has_ended: &mpsc::Receiver<()>) -> TrialResult {
    let query_running = has_ended.try_recv() == Err(TryRecvError::Empty);
    let files_open = open_files(scene.trial.directory())?.len();
    scene.trial.record("query_running", query_running);
    scene.trial.record("files_open", files_open);
    scene.trial.check("the query has ended", !query_running);
    scene.trial.check("no file is open any more", files_open == 0);
    Ok(())
}
