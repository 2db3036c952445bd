//! 50 static owner drop: is an owner in a static with a joining destructor the most robust design,
//! as the notes of etcd-client-py claim (C4)? A static is never dropped, so that what the runtime
//! was to write at its end is lost. A second process has the owner, and its `main` returns. Page:
//! `docs/src/50-static-owner-drop.md`.

use std::{
    env, io,
    path::PathBuf,
    sync::{Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use experiments::{prelude::*, probe::one_thread, runtime_thread::panic_quietly, scene::commit};
use mock_sdk::store::StoreError;
use sundown::runtime::{RuntimeCell, RuntimeOwner};
use tokio::sync::Notify;

/// How many rows are kept in memory until the end.
const ROWS: u64 = 20;

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
        .keeps("rows_lost", [])
        .keeps("exit_code", [])
        .finding(
            "C4a",
            "Without the fourth step, the `Drop` of an owner in a static cell, as `RUNTIME.get()` suggests, does not \
             help.",
        )
        .supported_if(
            every("local/joining-drop").is(Clean)
                & every("static/joining-drop").observed("rows_lost").always_at_least(1),
        )
        .refuted_if(every("static/joining-drop").is(Clean))
        .claim("C4b", "With a function for cleanup that is called at exit, it is robust.")
        .supported_if(every("static/joining-drop-called").is(Clean))
        .refuted_if(
            every("static/joining-drop-called").observed("rows_lost").always_at_least(1)
                | every("static/joining-drop-called").is(Failed),
        )
        .claim("C5c", "The join in a `Drop` ensures that the runtime's work is completed, where it runs.")
        .supported_if(every("local/joining-drop").observed("rows_lost").always_at_most(0))
        .refuted_if(every("local/joining-drop").observed("rows_lost").always_at_least(1))
        .claim("E6", "To panic in the cleanup on a shutdown failure is too aggressive: it fails a program whose work is done.")
        .supported_if(
            every("local/dead-thread").observed("rows_lost").always_at_most(0)
                & every("local/dead-thread").observed("exit_code").always_at_least(1),
        )
        // A signal is recorded as -1.
        .refuted_if(
            every("local/dead-thread").observed("exit_code").always_at_most(0)
                & every("local/dead-thread").observed("exit_code").always_at_least(0),
        )
        .part("second-process", second_process)
        .run()
}

/// Runs the second process, and counts the rows that it has left.
fn look(scene: &Scene<'_>) -> TrialResult {
    let ended = scene.part("second-process")?.arg(scene.variant()).status()?;
    scene.record("exit_code", i64::from(ended.code().unwrap_or(-1)));
    scene.check("the second process exited with 0", ended.success());

    let written = runtime()?.block_on(async {
        let store = Store::open(scene.directory(), Generation::Current, CONNECTIONS).await?;
        store.event_count().await
    })?;
    scene.record("rows_lost", ROWS.saturating_sub(written));
    scene.check("every row is there", written == ROWS);
    Ok(())
}

/// Keeps rows, and writes them when it is told to stop.
async fn keep_rows(
    directory: PathBuf,
    opened: mpsc::Sender<()>,
    stop: impl Future<Output = ()>,
) -> Result<(), StoreError> {
    let store = Store::open(&directory, Generation::Current, CONNECTIONS).await?;
    let _ = opened.send(());
    stop.await;
    commit(&store, ROWS).await
}

/// Has an owner in the place that the variant names, and returns from `main`.
fn second_process(arguments: &[String]) -> TrialResult {
    let [variant] = arguments else { return Err("no variant".into()) };
    let (directory, (opened, has_opened)) = (env::current_dir()?, mpsc::channel());
    match variant.as_str() {
        "local/joining-drop" => {
            let _owner = Owner::start(directory, opened, false)?;
            has_opened.recv()?;
        }
        "local/dead-thread" => {
            let owner = Owner::start(directory, opened, true)?;
            while owner.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
                thread::yield_now();
            }
        }
        "static/joining-drop" | "static/joining-drop-called" => {
            let mut owner = OWNER.lock().unwrap_or_else(PoisonError::into_inner);
            *owner = Some(Owner::start(directory, opened, false)?);
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
    /// One whose thread dies writes its rows at once, and then panics.
    fn start(directory: PathBuf, opened: mpsc::Sender<()>, dies: bool) -> io::Result<Self> {
        let runtime = one_thread()?;
        let stop = Arc::new(Notify::new());
        let told = Arc::clone(&stop).notified_owned();
        let work = async move {
            if dies {
                let _ = keep_rows(directory, opened, async {}).await;
                panic_quietly()
            }
            let _ = keep_rows(directory, opened, told).await;
        };
        let thread = thread::spawn(move || runtime.block_on(work));
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
