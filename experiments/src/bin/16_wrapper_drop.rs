//! 16 wrapper drop: what could a connection's wrapper do in its destructor, instead of asking the thread
//! for a runtime? Seven ways, each in the situations of 01–12, beside the real wrapper. Asking, and closing
//! on the spot if there is no answer, is the one that repairs today's aborts and makes nothing else worse.
//! Page: `docs/src/16-wrapper-drop.md`.

use std::{
    cell::RefCell,
    fs,
    future::pending,
    os::unix::process::ExitStatusExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::Stdio,
    sync::{Barrier, OnceLock, mpsc},
    time::Instant,
};

use experiments::{
    generation_named,
    prelude::*,
    probe::{probe, threads_beyond},
    runtime_thread::panic_quietly,
    scene::rows_in,
    wrapper::{
        ClosingThread, Watch,
        Way::{
            self, Asks, AsksOrInline, Handle, HandleOrInline, Inline, InlineLocked, Thread,
            ThreadJoined,
        },
        pool::{Kind, Wrapped, WrappedPool},
        situation::{Situation, situation},
    },
};
use mock_sdk::store::rusqlite::Connection;
use rustix::process::{Resource, getrlimit, setrlimit};
use sundown::evidence::open_files;
use tokio::{runtime::Builder, sync::oneshot};

fn main() -> ExitCode {
    Experiment::new(file!())
        .question(
            "What could a connection's wrapper do in its destructor, instead of asking the thread for a \
             runtime?",
        )
        .hypothesis(
            "Where today's wrapper aborts for lack of a context, none of the other ways does. Of these \
             only one neither blocks a worker nor lets a runtime end before its connections are closed: \
             to ask, and to close on the dropping thread if it has no context.",
        )
        .variants(situations().iter().flat_map(Situation::variants))
        .kit_claim(
            "With today's wrapper, a session's handle can be dropped in these places, and closes the \
             connections one after another.",
        )
        .keeps("closed_on", [])
        .keeps("it_ended", [])
        .keeps("descriptors_kept", [])
        .keeps("threads_of_its_own", [])
        .keeps("threads_left", [])
        .keeps("open_after_the_runtime", [])
        .keeps("log_bytes", [3_000_000, 4_100_000])
        .part("owner", own)
        .run()
}

#[rustfmt::skip]
fn situations() -> [Situation; 15] {
    [
        situation("off-context", "no context, and the runtime is alive", off_context)
            .fails(Aborted, &[Asks]).cured(),
        situation("runtime-down", "no context, and the runtime has been dropped", runtime_down)
            .fails(Aborted, &[Asks]).cured(),
        situation("unwinding", "no context, one connection, while a panic unwinds", unwinding)
            .fails(Aborted, &[Asks]).cured(),
        situation("thread-local", "left to the end of the main thread", left_in_a_thread_local)
            .fails(Failed, &[Asks]),
        situation("static", "left in a static", left_in_a_static),
        situation("worker", "in a task of its runtime, which must not block", worker)
            .fails(Failed, &[Inline, ThreadJoined]).waits(true),
        situation("other-worker", "in a task of another runtime; its own is down", other_worker)
            .fails(Failed, &[Inline, Handle, HandleOrInline, ThreadJoined]).waits(true),
        situation("owns-a-runtime", "a value that owns a runtime, in the same place", owns_a_runtime)
            .fails(Panicked, &[Inline, Handle, HandleOrInline]),
        situation("in-use", "in a context, while a cancelled query still runs", in_use)
            .and(InlineLocked).fails(Failed, &[InlineLocked]).waits(true),
        situation("many", "in a context, 32 connections that were used at once", many)
            .fails(Failed, &[Asks, AsksOrInline, Handle, HandleOrInline]).race().cured(),
        situation("runtime-dropped", "in a task that its runtime's end drops", runtime_dropped)
            .fails(Failed, &[Thread]).race().waits(false),
        situation("query-running", "shutdown_background() while a query runs", query_running)
            .fails(Failed, &Way::ALL),
        situation("no-thread", "in a context, and the system refuses threads", no_thread)
            .fails(Aborted, &[Asks, AsksOrInline, Handle]).fails(Panicked, &[HandleOrInline]),
        situation("cost-in-context", "a log of 3.6 MB, in a context", cost_in_context),
        situation("cost-off-context", "a log of 3.6 MB, no context", cost_off_context)
            .only(&[AsksOrInline, Inline, Handle, HandleOrInline, Thread, ThreadJoined]),
    ]
}

/// How large a row is, unless the variant is about the size of the log.
const SMALL: u64 = 10;

/// The rows of this size make a log of 3.6 MB: below 1000 pages SQLite does not write it back by itself.
const LARGE: u64 = 360_000;

/// How long something is held that only a call that waits for it would hold up.
const LONG: Duration = Duration::from_secs(2);

/// The same, where many trials wait for the end of it.
const SHORT: Duration = Duration::from_millis(300);

/// A pool of idle connections, and rows that only its log has.
struct Opened {
    runtime: Runtime,
    pool: Protected<WrappedPool>,
    watch: Watch,
}

fn open(scene: &Scene<'_>, kind: Kind, connections: usize, watch: Watch) -> TrialResult<Opened> {
    open_on(scene, runtime()?, kind, connections, watch, SMALL)
}

fn open_on(
    scene: &Scene<'_>,
    runtime: Runtime,
    kind: Kind,
    connections: usize,
    watch: Watch,
    bytes: u64,
) -> TrialResult<Opened> {
    let pool = runtime.block_on(async {
        let pool = WrappedPool::open(&scene.database(), kind, connections, &watch).await?;
        pool.commit(ROWS, bytes).await?;
        TrialResult::Ok(pool)
    })?;
    Ok(Opened { runtime, pool: scene.protection.protect(pool)?, watch })
}

/// Waits until every connection is closed, and checks what is left. Returns whether the log is.
fn all_closed(scene: &Scene<'_>, watch: &Watch) -> TrialResult<bool> {
    scene.check("every connection is closed in the end", watch.closed(PLENTY).is_some());
    let on = match watch.closed_on() {
        (true, 0) => "the dropping thread",
        (true, _) => "the dropping thread and others",
        (false, _) => "others",
    };
    scene.record("closed_on", on);
    scene.check("no file is open any more", open_files(scene.directory())?.is_empty());
    let log_is_left = scene.residue()?.wal_bytes.is_some();
    scene.record("wal_left", log_is_left);
    scene.check("every committed row is there", rows_in(&scene.database())? == ROWS);
    Ok(log_is_left)
}

fn off_context(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let threads = fs::read_dir("/proc/self/task")?.count();
    let Opened { runtime, pool, watch } = open(scene, kind, CONNECTIONS, Watch::default())?;
    scene.record("threads_of_its_own", closing_threads(kind)?);
    watch.drops(pool);
    all_closed(scene, &watch)?;
    drop(runtime);
    if !scene.is_cured() {
        scene.record("threads_left", threads_beyond(threads, PLENTY)?);
    }
    Ok(())
}

/// How many threads the process has for closing alone. A thread names itself, when it comes to run.
fn closing_threads(kind: Kind) -> TrialResult<usize> {
    let expected = usize::from(matches!(kind, Kind::Ours(Thread | ThreadJoined)));
    let began = Instant::now();
    loop {
        let tasks = fs::read_dir("/proc/self/task")?;
        // A thread may end between the two looks.
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let found = names.filter(|name| name.trim_end() == ClosingThread::<()>::NAME).count();
        if found == expected || began.elapsed() > PLENTY {
            return Ok(found);
        }
        thread::yield_now();
    }
}

fn runtime_down(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let descriptors = || fs::read_dir("/proc/self/fd").map(Iterator::count);
    // The first runtime of a process opens a pair of sockets for signals, which no runtime closes.
    drop(runtime()?);
    let before = descriptors()?;
    let Opened { runtime, pool, watch } = open(scene, kind, CONNECTIONS, Watch::default())?;
    drop(runtime);
    let of_the_store = open_files(scene.directory())?.len();
    if !scene.is_cured() {
        scene.record("descriptors_kept", descriptors()?.saturating_sub(of_the_store + before));
    }
    watch.drops(pool);
    all_closed(scene, &watch)?;
    Ok(())
}

fn unwinding(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let Opened { runtime: _runtime, pool, watch } = open(scene, kind, 1, Watch::default())?;
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _pool = pool;
        watch.drops_here();
        panic_quietly()
    }));
    watch.has_returned();
    scene.check("the panic was caught", caught.is_err());
    all_closed(scene, &watch)?;
    Ok(())
}

fn worker(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let Opened { runtime, pool, watch } = open(scene, kind, CONNECTIONS, Watch::holding(LONG))?;
    dropped_in_a_task(scene, &runtime, pool, &watch)
}

fn other_worker(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let Opened { runtime: its_own, pool, watch } =
        open(scene, kind, CONNECTIONS, Watch::holding(LONG))?;
    drop(its_own);
    dropped_in_a_task(scene, &runtime()?, pool, &watch)
}

/// No connection is closed until the drop has returned, unless the drop waits for that.
fn dropped_in_a_task(
    scene: &Scene<'_>,
    runtime: &Runtime,
    pool: Protected<WrappedPool>,
    watch: &Watch,
) -> TrialResult {
    let returned = watch.clone();
    runtime.block_on(runtime.spawn(async move { returned.drops(pool) }))?;
    all_closed(scene, watch)?;
    scene.check("the worker did not wait for the closing", !watch.gave_up());
    Ok(())
}

/// As the blocking client of the crate `postgres` does.
fn owns_a_runtime(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let (its_own, other) = (runtime()?, runtime()?);
    let (probe, mut responder) = probe();
    let (thread, make) = (kind.closing_thread()?, move || {
        let inner = runtime()?;
        inner.spawn(async move { responder.answer().await });
        std::io::Result::Ok(inner)
    });
    let wrapped = its_own.block_on(Wrapped::new(kind, thread.as_ref(), make));
    let wrapped = wrapped.ok_or("the runtime is down")??;
    drop((its_own, thread));
    let dropped = other.block_on(other.spawn(async move { drop(wrapped) }));
    scene.record("the_task_panicked", dropped.is_err());
    // It waits for what was posted to it.
    drop(other);
    block_on(probe.ended());
    Ok(())
}

/// A query that runs until it is released, or for a while.
struct Query {
    release: mpsc::Sender<()>,
    has_ended: mpsc::Receiver<()>,
    /// The task that awaits it.
    task: tokio::task::JoinHandle<()>,
}

impl Query {
    /// Starts it in a task that owns this handle of the pool.
    fn start(runtime: &Runtime, pool: Protected<WrappedPool>) -> TrialResult<Self> {
        let (started, has_started) = mpsc::channel();
        let (release, is_released) = mpsc::channel::<()>();
        let (ended, has_ended) = mpsc::channel();
        let task = runtime.spawn(async move {
            let query = pool.interact(move |_| {
                let _ = started.send(());
                let _ = is_released.recv_timeout(LONG);
                let _ = ended.send(());
                Ok(())
            });
            let _ = query.await;
        });
        has_started.recv()?;
        Ok(Self { release, has_ended, task })
    }

    fn has_ended(&self) -> bool {
        self.has_ended.try_recv().is_ok()
    }
}

/// In a context, so that the wrapper of today does not abort.
fn in_use(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let Opened { runtime, pool, watch } = open(scene, kind, CONNECTIONS, Watch::default())?;
    let query = Query::start(&runtime, pool.clone())?;
    query.task.abort();
    while !query.task.is_finished() {
        thread::yield_now();
    }
    let context = runtime.enter();
    watch.drops(pool);
    drop(context);
    let waited = query.has_ended();
    let _ = query.release.send(());
    all_closed(scene, &watch)?;
    scene.check("the drop did not wait for the query", !waited);
    Ok(())
}

/// All connections have just run a query at the same time, so the runtime has a blocking thread for each.
fn many(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    const MANY: usize = 32;
    let Opened { runtime, pool, watch } = open(scene, kind, MANY, Watch::default())?;
    let all_at_once = Arc::new(Barrier::new(MANY));
    let mut queries = Vec::new();
    for _ in 0..MANY {
        let (pool, all_at_once) = (pool.clone(), Arc::clone(&all_at_once));
        queries.push(runtime.spawn(async move {
            let query = move |connection: &mut Connection| {
                all_at_once.wait();
                connection.query_row("SELECT count(*) FROM events", [], |_| Ok(()))
            };
            pool.interact(query).await
        }));
    }
    for query in queries {
        runtime.block_on(query)??;
    }
    let context = runtime.enter();
    watch.drops(pool);
    drop(context);
    let log_is_left = all_closed(scene, &watch)?;
    let (here, others) = watch.closed_on();
    scene.record("closing_threads", usize::from(here) + others);
    scene.check("one after another, on one thread", usize::from(here) + others == 1);
    scene.check("the log is gone", !log_is_left);
    Ok(())
}

fn runtime_dropped(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let Opened { runtime, pool, watch } = open(scene, kind, CONNECTIONS, Watch::holding(SHORT))?;
    let (started, has_started) = oneshot::channel();
    runtime.spawn(async move {
        let _pool = pool;
        let _ = started.send(());
        pending::<()>().await;
    });
    has_started.blocking_recv()?;
    drop(runtime);
    let open = watch.open();
    watch.has_returned();
    scene.record("open_after_the_runtime", open);
    scene.check("the runtime's end waited for the closing", open == 0);
    all_closed(scene, &watch)?;
    Ok(())
}

fn query_running(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let Opened { runtime, pool, watch } = open(scene, kind, CONNECTIONS, Watch::default())?;
    let query = Query::start(&runtime, pool)?;
    runtime.shutdown_background();
    let open = watch.open();
    let _ = query.release.send(());
    scene.record("open_after_the_shutdown", open);
    scene.check("every connection was closed", open == 0);
    all_closed(scene, &watch)?;
    Ok(())
}

/// No blocking thread is left, and a new one would need more memory than the process may have.
fn no_thread(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    const STACK: usize = 64 << 20;
    const WORKERS: usize = 2;
    let before = fs::read_dir("/proc/self/task")?.count();
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_stack_size(STACK)
        .thread_keep_alive(Duration::from_millis(1))
        .build()?;
    let Opened { runtime, pool, watch } =
        open_on(scene, runtime, kind, CONNECTIONS, Watch::default(), SMALL)?;
    let others = before + WORKERS + closing_threads(kind)?;
    scene.check("no blocking thread is left", threads_beyond(others, PLENTY)? == 0);

    let unlimited = getrlimit(Resource::As);
    let mut limited = unlimited;
    limited.current = Some(address_space()? + STACK as u64 / 2);
    setrlimit(Resource::As, limited)?;
    let context = runtime.enter();
    watch.drops(pool);
    drop(context);
    setrlimit(Resource::As, unlimited)?;
    scene.record("open_after_the_drop", watch.open());
    drop(runtime);
    all_closed(scene, &watch)?;
    Ok(())
}

/// How many bytes of address space the process has.
fn address_space() -> TrialResult<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no size is reported")?;
    Ok(kib.parse::<u64>()? * 1024)
}

fn cost_in_context(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    cost(scene, kind, true)
}

fn cost_off_context(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    cost(scene, kind, false)
}

fn cost(scene: &Scene<'_>, kind: Kind, in_context: bool) -> TrialResult {
    let Opened { runtime, pool, watch } =
        open_on(scene, runtime()?, kind, CONNECTIONS, Watch::default(), LARGE)?;
    scene.record("log_bytes", scene.residue()?.wal_bytes.unwrap_or(0));
    let context = in_context.then(|| runtime.enter());
    let began = Instant::now();
    watch.drops(pool);
    scene.record("the_drop_took", began.elapsed());
    drop(context);
    let closed = watch.closed(PLENTY).ok_or("not every connection was closed")?;
    scene.record("closed_after", closed.duration_since(began));
    all_closed(scene, &watch)?;
    Ok(())
}

fn left_in_a_thread_local(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    left_to_exit(scene, kind, "thread-local")
}

fn left_in_a_static(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    left_to_exit(scene, kind, "static")
}

/// What an exit does, another process shows.
fn left_to_exit(scene: &Scene<'_>, kind: Kind, place: &str) -> TrialResult {
    let word = match kind {
        Kind::Real(generation) => generation.word(),
        Kind::Ours(way) => way.word(),
    };
    let mut part = scene.part("owner")?;
    let ended = part.args([word, place]).stderr(Stdio::null()).status()?;
    let end = match (ended.success(), ended.signal()) {
        (true, _) => "normally",
        (_, Some(6)) => "by an abort",
        _ => "otherwise",
    };
    scene.record("it_ended", end);
    scene.record("wal_left", scene.residue()?.wal_bytes.is_some());
    scene.check("the process ended normally", ended.success());
    scene.check("every committed row is there", rows_in(&scene.database())? == ROWS);
    Ok(())
}

thread_local!(static LOCAL: RefCell<Option<WrappedPool>> = const { RefCell::new(None) });

/// Its runtime is alive until the end.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static POOL: OnceLock<WrappedPool> = OnceLock::new();

/// The other process: leaves a pool somewhere, and returns from `main`.
fn own(arguments: &[String]) -> TrialResult {
    let [word, place] = arguments else { return Err("which wrapper, and where?".into()) };
    let kind = match Way::named(word) {
        Some(way) => Kind::Ours(way),
        None => Kind::Real(generation_named(word)?),
    };
    // The message of a second panic would have a backtrace, which takes long and nobody reads.
    std::panic::set_hook(Box::new(|_| {}));
    // Touched before Tokio: Tokio's own thread-locals are destroyed first (experiment 07).
    if LOCAL.with_borrow(Option::is_some) {
        return Err("the thread-local was taken".into());
    }
    let made = runtime()?;
    let runtime = RUNTIME.get_or_init(|| made);
    let pool = runtime.block_on(async {
        let database = Path::new("store.sqlite3");
        let pool = WrappedPool::open(database, kind, CONNECTIONS, &Watch::default()).await?;
        pool.commit(ROWS, SMALL).await?;
        TrialResult::Ok(pool)
    })?;
    match place.as_str() {
        "thread-local" => LOCAL.set(Some(pool)),
        "static" => POOL.set(pool).map_err(|_| "the static was taken")?,
        _ => return Err("where?".into()),
    }
    Ok(())
}
