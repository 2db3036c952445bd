//! A plugin with a Tokio runtime. For each way to end it there are `start_…` and `stop_…`, which a host calls
//! before it closes the library. They return 0 if all went well.

use std::{
    error::Error,
    panic::catch_unwind,
    sync::{Mutex, MutexGuard, PoisonError, mpsc::channel},
    time::Duration,
};

use sundown::{
    GracefulShutdown as _, RuntimeCell, RuntimeOwner, Session, TaskGroup,
    limit::within,
    runtime::RuntimeBuilder,
    teardown::{teardown, teardown_blocking},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::spawn_blocking,
    time::sleep,
};

/// Long enough for everything here.
const LIMIT: Duration = Duration::from_secs(30);

/// How many threads poll tasks.
const WORKERS: usize = 4;

type Done = Result<(), Box<dyn Error + Send + Sync>>;

/// What is asked of a plugin: work that goes on, and closures that block.
fn work(runtime: &Handle) {
    for _ in 0..2 * WORKERS {
        drop(runtime.spawn(async {
            loop {
                sleep(Duration::from_micros(100)).await;
            }
        }));
    }
    drop(runtime.spawn_blocking(|| ()));
}

fn runtime() -> std::io::Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    work(runtime.handle());
    Ok(runtime)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runtime of those who do without the kit.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

fn start() -> Done {
    let mut kept = lock(&RUNTIME);
    if kept.is_none() {
        *kept = Some(runtime()?);
    }
    Ok(())
}

/// Waits until a thread of the runtime is at work. Before that none of them has a thread-local, for which glibc
/// would keep the library.
fn at_work() -> Done {
    let (done, is_done) = channel();
    let kept = lock(&RUNTIME);
    let runtime = kept.as_ref().ok_or("there is no runtime")?;
    drop(runtime.spawn_blocking(move || done.send(())));
    Ok(is_done.recv_timeout(LIMIT)?)
}

fn taken() -> Result<Runtime, &'static str> {
    lock(&RUNTIME).take().ok_or("there is no runtime")
}

/// That of those who use it. What they leave on it never ends by itself, so a stop need not wait for that.
fn builder() -> RuntimeBuilder {
    RuntimeOwner::builder("plugin").workers(WORKERS).foreign_time(Duration::ZERO)
}

static CELL: RuntimeCell = RuntimeCell::new(builder);
static OWNER: Mutex<Option<RuntimeOwner>> = Mutex::new(None);
static SESSION: Mutex<Option<Session>> = Mutex::new(None);

fn start_again() -> Done {
    if CELL.get().is_err() {
        CELL.restart()?;
    }
    work(&CELL.get()?.handle()?);
    Ok(())
}

/// A value whose destructor needs a runtime: it closes on a thread for blocking work.
struct Connection;

impl Drop for Connection {
    fn drop(&mut self) {
        drop(spawn_blocking(|| ()));
    }
}

fn in_a_runtime(future: impl Future<Output = Done>) -> Done {
    Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Functions for a host: the name, and what it does.
macro_rules! functions {
    ($($name:ident => $body:expr;)*) => {$(
        #[doc = stringify!($name)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> i32 {
            match catch_unwind(|| -> Done { $body }) {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    eprintln!("{}: {error}", stringify!($name));
                    1
                }
                Err(_) => 2,
            }
        }
    )*};
}

functions! {
    start_nothing => Ok(());
    stop_nothing => Ok(());

    start_left => { start()?; at_work() };
    stop_left => Ok(());

    start_background => start();
    stop_background => { taken()?.shutdown_background(); Ok(()) };

    start_drop => start();
    stop_drop => { drop(taken()?); Ok(()) };

    start_once => { work(&CELL.get()?.handle()?); Ok(()) };
    stop_once => { let _ = CELL.shutdown_blocking(LIMIT)?; Ok(()) };

    start_cell => start_again();
    stop_cell => { let _ = CELL.shutdown_blocking(LIMIT)?; Ok(()) };

    start_owner => {
        let owner = builder().start()?;
        work(&owner.handle()?);
        *lock(&OWNER) = Some(owner);
        Ok(())
    };
    stop_owner => {
        let owner = lock(&OWNER).take().ok_or("there is no owner")?;
        let _ = owner.shutdown_blocking(LIMIT)?;
        Ok(())
    };

    start_session => {
        let session = Session::new("plugin")?;
        drop(session.guard(Connection)?);
        *lock(&SESSION) = Some(session);
        Ok(())
    };
    stop_session => {
        let session = lock(&SESSION).take().ok_or("there is no session")?;
        let _ = session.close_blocking(LIMIT)?;
        Ok(())
    };

    start_teardown => Ok(());
    stop_teardown => { let _ = teardown_blocking(Connection, LIMIT)?; Ok(()) };

    start_teardown_async => Ok(());
    stop_teardown_async => in_a_runtime(async {
        let _ = teardown(Connection, LIMIT).await?;
        Ok(())
    });

    start_group => Ok(());
    stop_group => in_a_runtime(async {
        let group = TaskGroup::new("plugin");
        for _ in 0..2 * WORKERS {
            group.spawn("listens", |stop| stop)?;
        }
        let _ = group.shutdown_within(LIMIT).await?;
        Ok(())
    });

    start_limit => Ok(());
    stop_limit => in_a_runtime(async {
        within(LIMIT, sleep(Duration::from_micros(500))).await.ok_or("it is late")?;
        Ok(())
    });
}
