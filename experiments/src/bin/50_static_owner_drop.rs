//! 50 static owner drop: is an owner in a static with a joining destructor the most robust design,
//! as the notes of etcd-client-py claim (C4)? A static is never dropped, so that what the runtime
//! was to write at its end is lost. A second process has the owner, and its `main` returns. Page:
//! `docs/src/50-static-owner-drop.md`.

use std::{
    env,
    future::Future,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use experiments::{
    CONNECTIONS, Scene, control, cure, hazard, runtime, runtime_thread::panic_quietly,
};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    TrialResult, every,
};
use mock_sdk::store::{Generation, Room, Store, StoreError};
use sundown::runtime::{RuntimeCell, RuntimeOwner};
use tokio::{runtime::Builder, sync::Notify};

/// How many rows are kept in memory until the end.
const ROWS: u64 = 20;

/// A limit that nothing outlasts.
const PLENTY: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does an owner in a static shut its runtime down, if its destructor would?")
        .hypothesis(
            "No: a static is not dropped, and what the runtime was to write at its end is lost; the \
             same owner in a local variable saves it. After a panic on its thread the destructor \
             panics too. A cell that is told to shut down loses nothing; one that is not loses as much \
             as any static.",
        )
        .variants([
            control("local/joining-drop", look)
                .about("an owner with a joining destructor, in a local variable of main"),
            hazard("static/joining-drop", Failed, look).about("the same owner in a static"),
            control("static/joining-drop-called", look)
                .about("the same static, and a call that does what the destructor would do"),
            hazard("local/dead-thread", Failed, look)
                .about("in a local variable of main; its thread panicked when all was written"),
            cure("kit/cell", look).about("RuntimeCell, shut down at the end of main"),
            cure("kit/cell-dead-task", look)
                .about("RuntimeCell, shut down at the end of main; another task has panicked"),
            hazard("kit/cell-forgotten", Failed, look)
                .about("RuntimeCell, and nobody shuts it down"),
        ])
        .claim("C4", "An owner in a static cell with a joining Drop is the most robust design.")
        .supported_if(every("static/joining-drop").is(Clean) & every("local/dead-thread").is(Clean))
        .refuted_if(
            every("local/joining-drop").is(Clean)
                & every("static/joining-drop").observed("rows_lost").always_at_least(1)
                & every("static/joining-drop-called").observed("rows_lost").always_at_most(0),
        )
        .part("second-process", second_process)
        .run()
}

/// Runs the second process, and counts the rows that it has left.
fn look(scene: &Scene<'_>) -> TrialResult {
    let ended = scene.part("second-process")?.arg(scene.variant()).status()?;
    scene.record("exit_code", i64::from(ended.code().unwrap_or(-1)));
    scene.check("the second process exited with 0", ended.success());

    let written =
        runtime()?.block_on(async { open(scene.directory()).await?.event_count().await })?;
    scene.record("rows_lost", ROWS.saturating_sub(written));
    scene.check("every row is there", written == ROWS);
    Ok(())
}

fn open(directory: &Path) -> impl Future<Output = Result<Store, StoreError>> + Send {
    Store::open(directory, Generation::Current, CONNECTIONS)
}

/// Keeps rows in memory, and writes them when it is told to stop.
async fn keep_rows(
    directory: PathBuf,
    opened: mpsc::Sender<()>,
    stop: impl Future<Output = ()>,
) -> Result<(), StoreError> {
    let store = open(&directory).await?;
    store.save_room(Room { id: "!room".to_owned(), name: "A room".to_owned() }).await?;
    let rows: Vec<_> = (0..ROWS).map(|row| row.to_string()).collect();
    let _ = opened.send(());
    stop.await;
    for row in rows {
        store.append_event("!room", row).await?;
    }
    Ok(())
}

/// Has an owner in the place that the variant names, and returns from `main`.
fn second_process(arguments: &[String]) -> TrialResult {
    let [variant] = arguments else { return Err("no variant".into()) };
    let (directory, (opened, has_opened)) = (env::current_dir()?, mpsc::channel());
    match variant.as_str() {
        "local/joining-drop" => {
            let _owner = Owner::start(directory, opened)?;
            has_opened.recv()?;
        }
        "local/dead-thread" => {
            let owner = Owner::start_dying(directory, opened)?;
            while owner.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
                thread::yield_now();
            }
        }
        "static/joining-drop" | "static/joining-drop-called" => {
            let mut owner = OWNER.lock().unwrap_or_else(PoisonError::into_inner);
            *owner = Some(Owner::start(directory, opened)?);
            has_opened.recv()?;
            if variant.ends_with("-called") {
                drop(owner.take());
            }
        }
        _ => {
            let runtime = RUNTIME.get()?;
            if variant.ends_with("-dead-task") {
                let mut dead = runtime.spawn::<(), _>("unlucky", |_| async { panic_quietly() })?;
                // An error, once it has panicked.
                let _ = dead.wait_blocking(PLENTY);
            }
            drop(runtime.spawn("keeps rows", |stop| keep_rows(directory, opened, stop))?);
            has_opened.recv()?;
            if !variant.ends_with("-forgotten") {
                // It reports the panic of another task, after everything has ended.
                let _ = RUNTIME.shutdown_blocking(PLENTY);
            }
        }
    }
    Ok(())
}

static OWNER: Mutex<Option<Owner>> = Mutex::new(None);

static RUNTIME: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("kit").workers(1));

/// The owner of the notes, with names of ours: a thread with a runtime, a signal that tells it to
/// stop, and a destructor that signals and joins.
struct Owner {
    thread: Option<JoinHandle<()>>,
    stop: Arc<Notify>,
}

impl Owner {
    fn start(directory: PathBuf, opened: mpsc::Sender<()>) -> io::Result<Self> {
        Self::start_with(|stop| async move {
            let _ = keep_rows(directory, opened, async move { stop.notified().await }).await;
        })
    }

    /// Its thread writes its rows at once, and then panics.
    fn start_dying(directory: PathBuf, opened: mpsc::Sender<()>) -> io::Result<Self> {
        Self::start_with(|_| async {
            let _ = keep_rows(directory, opened, async {}).await;
            panic_quietly()
        })
    }

    fn start_with<F: Future<Output = ()>>(
        work: impl FnOnce(Arc<Notify>) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stop = Arc::new(Notify::new());
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || runtime.block_on(work(told)));
        Ok(Self { thread: Some(thread), stop })
    }
}

impl Drop for Owner {
    #[expect(clippy::expect_used, reason = "as in the notes")]
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the runtime's thread panicked");
        }
    }
}
