//! # 50 · static owner, drop
//!
//! The shutdown testing notes of *etcd-client-py* compare two designs, and recommend the other one as
//! the most robust in the long term: a runtime on a thread of its own, whose owner tells the thread to
//! stop and joins it *in its destructor* (claim C4). The thread's work then ends in order whenever the
//! owner goes, and the owner lives in a static, where a library has to keep it.
//!
//! A static is never dropped. What does that mean for work that ends in order only when it is told?
//! The work of this experiment keeps rows in memory and writes them when it is told to stop. The trial
//! runs a second process, whose `main` has such an owner and returns, and counts the rows afterwards.
//!
//! - `local/joining-drop`: the owner is a local variable of `main`.
//! - `static/joining-drop`: the owner is in a static.
//! - `static/…-called`: the same static, with a call at the end of `main` that does what the
//!   destructor would do. This is not in the notes; it shows that nothing but the call was missing.
//! - `local/dead-thread`: the thread has written its rows, and panicked after that. The notes'
//!   destructor expects that it has not.
//! - `kit/…`: `RuntimeCell`, a static that does not rely on its `Drop`, shut down at the end of `main`
//!   or forgotten.

use std::{
    env,
    error::Error,
    future::Future,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use experiments::{CONNECTIONS, runtime, runtime_thread::panic_quietly};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use mock_sdk::store::{Generation, Room, Store, StoreError};
use sundown::runtime::{RuntimeCell, RuntimeOwner};
use tokio::{runtime::Builder, sync::Notify};

/// How many rows are kept in memory until the end.
const ROWS: u64 = 20;

/// A limit that nothing outlasts.
const PLENTY: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    if let Some(code) = second_process() {
        return code;
    }
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Does an owner in a static shut its runtime down, if its destructor would?")
        .hypothesis(
            "No: a static is not dropped, and what the runtime was to write at its end is lost, which \
             as a local variable the same owner saves. With a dead thread the destructor panics in its \
             turn. A cell that is told to shut down loses nothing; one that is not does as any static.",
        )
        .variant(
            control("local/joining-drop", always(Clean), |trial| look(trial, Form::Local))
                .about("an owner with a joining destructor, in a local variable of main"),
        )
        .variant(
            hazard("static/joining-drop", always(Failed), |trial| look(trial, Form::Static))
                .about("the same owner in a static"),
        )
        .variant(
            control("static/joining-drop-called", always(Clean), |trial| {
                look(trial, Form::StaticCalled)
            })
            .about("the same static, and a call that does what the destructor would do"),
        )
        .variant(
            hazard("local/dead-thread", always(Failed), |trial| look(trial, Form::LocalDead))
                .about("in a local variable of main; its thread panicked when all was written"),
        )
        .variant(
            cure("kit/cell", always(Clean), |trial| look(trial, Form::Cell))
                .about("RuntimeCell, shut down at the end of main"),
        )
        .variant(
            cure("kit/cell-dead-task", always(Clean), |trial| look(trial, Form::CellDead))
                .about("RuntimeCell, shut down at the end of main; another task has panicked"),
        )
        .variant(
            hazard("kit/cell-forgotten", always(Failed), |trial| look(trial, Form::CellForgotten))
                .about("RuntimeCell, and nobody shuts it down"),
        )
        .claim("C4", "An owner in a static cell with a joining Drop is the most robust design.")
        .supported_if(
            every("static/joining-drop").is(always(Clean))
                & every("local/dead-thread").is(always(Clean)),
        )
        .refuted_if(
            every("local/joining-drop").is(always(Clean))
                & every("static/joining-drop").observed("rows_lost").always_at_least(1)
                & every("static/joining-drop-called").observed("rows_lost").always_at_most(0),
        )
        .run()
}

/// What the second process does, by its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Local,
    Static,
    StaticCalled,
    LocalDead,
    Cell,
    CellDead,
    CellForgotten,
}

impl Form {
    const ALL: [Self; 7] = [
        Self::Local,
        Self::Static,
        Self::StaticCalled,
        Self::LocalDead,
        Self::Cell,
        Self::CellDead,
        Self::CellForgotten,
    ];

    fn word(self) -> String {
        format!("--second-process={self:?}")
    }
}

/// Runs the second process, and counts the rows that it has left.
fn look(trial: &Trial<'_>, form: Form) -> TrialResult {
    let ended =
        Command::new(env::current_exe()?).arg(form.word()).arg(trial.directory()).status()?;
    trial.record("exit_code", i64::from(ended.code().unwrap_or(-1)));
    trial.check("the second process ended as if nothing was amiss", ended.success());

    let runtime = runtime()?;
    let written = runtime.block_on(async { open(trial.directory()).await?.event_count().await })?;
    trial.record("rows_lost", ROWS.saturating_sub(written));
    trial.check("what was to be written at the end is there", written == ROWS);
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

/// The second process: has an owner in some place, and returns from `main`.
fn second_process() -> Option<ExitCode> {
    let (form, directory) = (env::args().nth(1)?, env::args().nth(2)?);
    let form = Form::ALL.into_iter().find(|known| known.word() == form)?;
    let ended = own(form, directory.into());
    Some(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn own(form: Form, directory: PathBuf) -> Result<(), Box<dyn Error>> {
    let (opened, has_opened) = mpsc::channel();
    match form {
        Form::Local | Form::LocalDead => {
            let owner = Owner::start(form == Form::LocalDead, directory, opened)?;
            has_opened.recv()?;
            owner.until_it_is_dead(form == Form::LocalDead);
        }
        Form::Static | Form::StaticCalled => {
            let owner = Owner::start(false, directory, opened)?;
            OWNER.set(Mutex::new(Some(owner))).map_err(|_| "the static was taken")?;
            has_opened.recv()?;
            if form == Form::StaticCalled {
                let owner = OWNER.get().ok_or("there is an owner")?;
                drop(owner.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
        }
        Form::Cell | Form::CellDead | Form::CellForgotten => {
            let runtime = RUNTIME.get()?;
            if form == Form::CellDead {
                let mut dead = runtime.spawn::<(), _>("unlucky", |_| async { panic_quietly() })?;
                // Abandoned, when it has panicked.
                let _ = dead.wait_blocking(PLENTY);
            }
            drop(runtime.spawn("keeps rows", |stop| keep_rows(directory, opened, stop))?);
            has_opened.recv()?;
            if form != Form::CellForgotten {
                // That another task has panicked is told, and keeps nothing from its end.
                let _ = RUNTIME.shutdown_blocking(PLENTY);
            }
        }
    }
    Ok(())
}

static OWNER: OnceLock<Mutex<Option<Owner>>> = OnceLock::new();

static RUNTIME: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("kit").workers(1));

/// The owner of the notes, written out in words of our own: a thread with a runtime, what tells it to
/// stop, and a destructor that tells and joins.
struct Owner {
    thread: Option<JoinHandle<()>>,
    stop: Arc<Notify>,
}

impl Owner {
    fn start(
        dies: bool,
        directory: PathBuf,
        opened: mpsc::Sender<()>,
    ) -> Result<Self, Box<dyn Error>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stop = Arc::new(Notify::new());
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let kept = runtime.block_on(async {
                if dies {
                    let _ = keep_rows(directory, opened, async {}).await;
                    panic_quietly();
                }
                keep_rows(directory, opened, async move { told.notified().await }).await
            });
            drop(kept);
        });
        Ok(Self { thread: Some(thread), stop })
    }

    fn until_it_is_dead(&self, dies: bool) {
        while dies && self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            thread::yield_now();
        }
    }
}

impl Drop for Owner {
    #[expect(clippy::expect_used, reason = "as the notes have it")]
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the runtime's thread panicked");
        }
    }
}
