//! Ways to panic, for a child process.

use std::{
    cell::RefCell,
    future::pending,
    io::{self, Write as _},
    panic,
    sync::Mutex,
    thread,
    time::Duration,
};

use sundown::explain;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
    task::{JoinError, JoinSet, LocalSet, block_in_place, spawn_local},
    time::sleep,
};

/// Ways to panic, by name.
pub const SITUATIONS: &[(&str, fn())] = &[
    ("spawn-outside", spawn_outside),
    ("current-outside", || drop(Handle::current())),
    ("try-current-outside", || drop(Handle::try_current().unwrap())),
    ("block-on-a-timer-outside", block_on_a_timer_outside),
    ("drop-outside", || drop(client(1))),
    ("two-dropped-outside", || drop(client(2))),
    ("another-destructor-fails-too", another_destructor_fails_too),
    ("join-all-cancelled", join_all_cancelled),
    ("error-of-its-own", error_of_its_own),
    ("blocking-api-in-async", || one_thread().block_on(async { embedding::blocking::call() })),
    ("block-in-place-in-a-local-set", block_in_place_in_a_local_set),
    ("runtime-in-async", runtime_in_async),
    ("bare-runtime-in-async", || one_thread().block_on(async { drop(runtime()) })),
    ("block-on-in-async", || runtime().block_on(async { runtime().block_on(async {}) })),
    ("blocking-channel-in-async", blocking_channel_in_async),
    ("futures-block-on-in-itself", futures_block_on_in_itself),
    ("block-on-in-a-drop", || one_thread().block_on(async { drop(Lease::Blocks) })),
    ("block-in-place-in-a-drop", || one_thread().block_on(async { drop(Lease::BlocksInPlace) })),
    ("block-in-place", || one_thread().block_on(async { block_in_place(|| {}) })),
    ("cancelled-unwrapped", || cancelled().unwrap()),
    ("cancelled-taken-for-a-panic", || drop(cancelled().unwrap_err().into_panic())),
    ("thread-local", thread_local_too_late),
    ("local-set-too-late", local_set_too_late),
    ("timer-of-a-dead-runtime", timer_of_a_dead_runtime),
    ("socket-of-a-dead-runtime", socket_of_a_dead_runtime),
    ("no-timers", no_timers),
    ("no-io", no_io),
    ("spawn-local-outside", spawn_local_outside),
    ("spawn-local-in-a-drop", spawn_local_in_a_drop),
    ("a-task-that-panicked", a_task_that_panicked),
    #[cfg(unix)]
    ("join-in-a-forked-child", join_in_a_forked_child),
    ("unrelated", || panic!("no luck")),
    ("two-unrelated", two_unrelated),
    ("many-outside", many_outside),
    ("own-hook", own_hook),
];

pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// As in `#[tokio::test]`.
pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A value whose destructor needs a runtime, like a pooled connection.
pub struct Connection;

impl Drop for Connection {
    fn drop(&mut self) {
        drop(tokio::task::spawn_blocking(|| {}));
    }
}

pub struct Client {
    _connections: Vec<Connection>,
}

pub fn client(connections: usize) -> Client {
    Client { _connections: std::iter::repeat_with(|| Connection).take(connections).collect() }
}

/// A value whose destructor waits for asynchronous work.
pub enum Lease {
    Blocks,
    BlocksInPlace,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let release = async {
            sleep(Duration::from_millis(1)).await;
            let _ = writeln!(io::stderr(), "released");
        };
        match self {
            Self::Blocks => Handle::current().block_on(release),
            Self::BlocksInPlace => {
                block_in_place(|| Handle::current().block_on(release));
            }
        }
    }
}

fn spawn_outside() {
    drop(tokio::spawn(async {}));
}

fn block_on_a_timer_outside() {
    futures::executor::block_on(async { sleep(Duration::from_millis(1)).await });
}

fn runtime_in_async() {
    struct Embedded {
        _runtime: Runtime,
    }
    let inner = Embedded { _runtime: runtime() };
    runtime().block_on(async move { drop(inner) });
}

/// As `reqwest` is: its blocking API makes a runtime for a call.
mod embedding {
    pub mod blocking {
        pub fn call() {
            drop(super::super::runtime());
        }
    }
}

/// The second destructor has a panic of its own.
fn another_destructor_fails_too() {
    static POISONED: Mutex<()> = Mutex::new(());
    struct Locks;
    impl Drop for Locks {
        fn drop(&mut self) {
            drop(POISONED.lock().unwrap());
        }
    }
    let _locks = Locks;
    let _guard = POISONED.lock().unwrap();
    drop(client(1));
}

fn error_of_its_own() {
    fn job() -> io::Result<()> {
        Err(io::Error::other("background task failed"))
    }
    job().unwrap();
}

fn join_all_cancelled() {
    one_thread().block_on(async {
        let mut tasks = JoinSet::new();
        tasks.spawn(pending::<()>());
        tasks.abort_all();
        tasks.join_all().await
    });
}

fn block_in_place_in_a_local_set() {
    runtime().block_on(LocalSet::new().run_until(async {
        spawn_local(async { block_in_place(|| ()) }).await.unwrap();
    }));
}

fn blocking_channel_in_async() {
    runtime().block_on(async { tokio::sync::mpsc::channel::<()>(1).1.blocking_recv() });
}

fn futures_block_on_in_itself() {
    futures::executor::block_on(async { futures::executor::block_on(async {}) });
}

fn cancelled() -> Result<(), JoinError> {
    runtime().block_on(async {
        let task = tokio::spawn(pending::<()>());
        task.abort();
        task.await
    })
}

/// A value that enters a context when it is dropped, in a thread-local that is registered before Tokio's.
fn thread_local_too_late() {
    struct EntersInDrop(Handle);
    impl Drop for EntersInDrop {
        fn drop(&mut self) {
            let _context = self.0.enter();
        }
    }
    thread_local! {
        static CACHE: RefCell<Option<EntersInDrop>> = const { RefCell::new(None) };
    }
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let late = thread::Builder::new().name("late".to_owned()).spawn(move || {
        CACHE.with_borrow(Option::is_some);
        drop(handle.enter());
        CACHE.set(Some(EntersInDrop(handle)));
    });
    let _ = late.unwrap().join();
}

/// A `LocalSet` that is made when Tokio's thread-local is gone.
fn local_set_too_late() {
    struct MakesOne;
    impl Drop for MakesOne {
        fn drop(&mut self) {
            drop(LocalSet::new());
        }
    }
    thread_local! {
        static CACHE: RefCell<Option<MakesOne>> = const { RefCell::new(None) };
    }
    let late = thread::spawn(|| {
        CACHE.with_borrow(Option::is_some);
        drop(LocalSet::new());
        CACHE.set(Some(MakesOne));
    });
    let _ = late.join();
}

fn timer_of_a_dead_runtime() {
    let gone = runtime();
    let timer = {
        let _context = gone.enter();
        sleep(Duration::from_secs(3600))
    };
    drop(gone);
    runtime().block_on(timer);
}

fn socket_of_a_dead_runtime() {
    let gone = runtime();
    let listener = gone.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    drop(gone);
    runtime().block_on(listener.accept()).unwrap();
}

fn no_timers() {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async { sleep(Duration::from_millis(1)).await });
}

fn no_io() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    drop(runtime.block_on(TcpListener::bind("127.0.0.1:0")));
}

fn spawn_local_outside() {
    runtime().block_on(async { drop(spawn_local(async {})) });
}

/// A value whose destructor spawns a local task, and which cannot leave its thread.
pub struct Document {
    pub saved: std::rc::Rc<std::cell::Cell<bool>>,
}

impl Drop for Document {
    fn drop(&mut self) {
        let saved = std::rc::Rc::clone(&self.saved);
        drop(spawn_local(async move {
            sleep(Duration::from_millis(1)).await;
            saved.set(true);
        }));
    }
}

fn spawn_local_in_a_drop() {
    runtime().block_on(async {
        let local = LocalSet::new();
        drop(local.run_until(async { Document { saved: Default::default() } }).await);
    });
}

/// The panic of a task that called `block_on`, as whoever unwraps its handle sees it.
fn a_task_that_panicked() {
    let unlucky = runtime()
        .block_on(async { tokio::spawn(async { Handle::current().block_on(async {}) }).await });
    unlucky.unwrap();
}

#[cfg(unix)]
fn join_in_a_forked_child() {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = thread::spawn(move || ended.recv());
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let _ = thread.join();
        }
        fork::Fork::Parent(child) => {
            let _ = fork::waitpid(child);
            drop(end);
        }
    }
}

fn two_unrelated() {
    struct Unlucky;
    impl Drop for Unlucky {
        fn drop(&mut self) {
            panic!("no luck here either");
        }
    }
    let _unlucky = Unlucky;
    panic!("no luck");
}

/// The same mistake on several threads, one after another.
fn many_outside() {
    for _ in 0..3 {
        assert!(thread::spawn(spawn_outside).join().is_err());
    }
}

fn own_hook() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let _ = writeln!(io::stderr(), "a hook of our own");
        default(panic);
    }));
    explain::install();
    spawn_outside();
}
