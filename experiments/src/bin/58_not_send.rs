//! 58 not-send: what cannot leave its thread must be dropped there, in its `LocalSet` and in a context. A
//! drain does not see local tasks. A handle of a session may be in one, a place in a group makes it a member, and
//! a hook closes what a thread owns. Page: `docs/src/58-not-send.md`.

use std::{
    future::pending,
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering},
};

use experiments::prelude::*;
use sundown::{TaskGroup, session::Session};
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
    task::{LocalSet, spawn_local, yield_now},
    time::sleep,
};

/// How long it takes to save a document.
const SAVING: Duration = Duration::from_millis(200);

/// How long the trial looks whether a task goes on. It does something every millisecond.
const LOOK: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(1);

/// The limit of a drain in which something does not end.
const LIMIT: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What becomes of values and tasks that cannot leave their thread?")
        .hypothesis(
            "A destructor that calls `spawn_local` panics outside its `LocalSet`. In one that is being \
             dropped, the task that it spawns is dropped unpolled, and nobody learns it. A `LocalSet` that \
             is dropped outside a context aborts the process if one of its tasks has a pool. A drain does \
             not see a local task, unless that has a place in the group. What a thread owns is not saved \
             unless somebody waits for it.",
        )
        .variants([
            control("spawns/in-its-set", dropped_in_its_set)
                .about("a destructor spawns a local task inside the set, which is then awaited"),
            hazard("spawns/outside", Panicked, dropped_outside)
                .about("the value is dropped after `run_until` has returned"),
            hazard("spawns/with-its-set", Failed, dropped_with_its_set)
                .about("a task of the set has the value, and the set is dropped"),
            control("*/store/in-context", |scene| store_in_a_set(scene, true))
                .about("a local task has a pool, and the set is dropped in a context"),
            hazard("*/store/outside", Aborted, |scene| store_in_a_set(scene, false))
                .about("the same, and the set is dropped outside one")
                .cured(),
            control("drain/member", |scene| drained(scene, Member::Task))
                .about("a task of the group is drained, which is `Send`"),
            hazard("drain/local", Failed, |scene| drained(scene, Member::Unknown))
                .about("a local task goes on while the group is drained"),
            cure("drain/local-with-a-place", |scene| drained(scene, Member::Held))
                .about("a local task has a place in the group, and listens to its stop signal"),
            cure("drain/local-deaf", deaf)
                .about("a local task has a place and does not listen: the report must name it"),
            hazard("thread/not-awaited", Failed, owner_is_left)
                .about("a thread owns the value; whoever uses it drops the sender and goes on"),
            cure("thread/hook", owner_is_closed)
                .about("the same; a session guards the sender, and a hook awaits the thread's answer"),
        ])
        .kit_claim(
            "A handle of a session can be dropped with a `LocalSet`, wherever that is. A local task with a \
             place in a group is awaited, or named. A hook closes what a thread owns.",
        )
        .run()
}

fn current_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A document that is saved by its destructor. It cannot leave its thread.
struct Document {
    saved: Arc<AtomicUsize>,
    _not_send: Rc<()>,
}

impl Document {
    fn open(saved: &Arc<AtomicUsize>) -> Self {
        Self { saved: Arc::clone(saved), _not_send: Rc::default() }
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        let saved = Arc::clone(&self.saved);
        drop(spawn_local(async move {
            sleep(TICK).await;
            saved.fetch_add(1, Ordering::SeqCst);
        }));
    }
}

fn must_be_saved(scene: &Scene<'_>, saved: &AtomicUsize) {
    let saved = saved.load(Ordering::SeqCst);
    scene.record("times_saved", saved);
    scene.check("the document is saved", saved == 1);
}

fn dropped_in_its_set(scene: &Scene<'_>) -> TrialResult {
    let (runtime, saved) = (current_thread()?, Arc::default());
    let set = LocalSet::new();
    runtime.block_on(async {
        let document = Document::open(&saved);
        set.run_until(async { drop(document) }).await;
        set.await;
    });
    must_be_saved(scene, &saved);
    Ok(())
}

fn dropped_outside(scene: &Scene<'_>) -> TrialResult {
    let (runtime, saved) = (current_thread()?, Arc::default());
    let set = LocalSet::new();
    runtime.block_on(async {
        let document = set.run_until(async { Document::open(&saved) }).await;
        drop(document);
        set.await;
    });
    must_be_saved(scene, &saved);
    Ok(())
}

fn dropped_with_its_set(scene: &Scene<'_>) -> TrialResult {
    let (runtime, saved) = (current_thread()?, Arc::default());
    runtime.block_on(async {
        let set = LocalSet::new();
        let document = Document::open(&saved);
        set.spawn_local(async move {
            let _document = document;
            pending::<()>().await;
        });
        set.run_until(yield_now()).await;
        drop(set);
    });
    must_be_saved(scene, &saved);
    Ok(())
}

fn store_in_a_set(scene: &Scene<'_>, in_context: bool) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let set = LocalSet::new();
    set.spawn_local(async move {
        let _store = store;
        pending::<()>().await;
    });
    set.block_on(&runtime, yield_now());
    let _context = in_context.then(|| runtime.enter());
    drop(set);
    Ok(())
}

/// What goes on beside a drain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    /// A task of the group.
    Task,
    /// A local task of which the group knows nothing.
    Unknown,
    /// A local task with a place in the group.
    Held,
}

async fn ticks(ticks: Arc<AtomicUsize>) {
    loop {
        ticks.fetch_add(1, Ordering::SeqCst);
        sleep(TICK).await;
    }
}

fn begun(count: &AtomicUsize) {
    while count.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
}

fn drained(scene: &Scene<'_>, member: Member) -> TrialResult {
    let (runtime, group) = (runtime()?, TaskGroup::new("editors"));
    let count = Arc::<AtomicUsize>::default();
    let (counts, stop) = (Arc::clone(&count), group.stop_signal());
    let (end, ended) = oneshot::channel::<()>();
    let mut place = None;
    match member {
        Member::Task => group.spawn_on(runtime.handle(), "editor", |stop| async {
            tokio::select! { () = stop => {}, () = ticks(counts) => {} }
        })?,
        Member::Unknown => drop(thread::spawn(|| in_a_set(ticks(counts), ended))),
        Member::Held => {
            let held = group.hold("editor")?;
            place = Some(thread::spawn(|| {
                let editor = async {
                    let _place = held;
                    tokio::select! { () = stop => {}, () = ticks(counts) => {} }
                };
                in_a_set(editor, ended)
            }));
        }
    }
    begun(&count);
    let report = group.drain_blocking(PLENTY);
    scene.record("foreign", report.foreign);
    let _ = report.into_result()?;
    let then = count.load(Ordering::SeqCst);
    thread::sleep(LOOK);
    scene.check("nothing goes on after the answer", count.load(Ordering::SeqCst) == then);
    drop(end);
    if let Some(thread) = place {
        thread.join().map_err(|_| "the thread panicked")?.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Spawns a local task, and drives it until `end` is dropped.
fn in_a_set(
    task: impl Future<Output = ()> + 'static,
    end: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let (runtime, set) = (current_thread()?, LocalSet::new());
    set.spawn_local(task);
    let _ = set.block_on(&runtime, end);
    Ok(())
}

fn deaf(scene: &Scene<'_>) -> TrialResult {
    let group = TaskGroup::new("editors");
    let count = Arc::<AtomicUsize>::default();
    let (counts, held) = (Arc::clone(&count), group.hold("editor")?);
    let (_end, ended) = oneshot::channel::<()>();
    let editor = async {
        let _place = held;
        ticks(counts).await;
    };
    drop(thread::spawn(|| in_a_set(editor, ended)));
    begun(&count);
    let report = group.drain_blocking(LIMIT);
    let named = report.still_running.iter().any(|task| task.name == "editor");
    scene.check("the report names it", named && report.into_result().is_err());
    Ok(())
}

/// What other threads have of a document that a thread owns. The answer comes when it is saved.
struct Remote {
    close: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Remote {
    fn open(saved: Arc<AtomicUsize>) -> Self {
        let (close, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        thread::spawn(move || {
            let not_send = Rc::new(());
            let runtime = current_thread()?;
            LocalSet::new().block_on(&runtime, async move {
                let asked = asked.recv().await;
                let save = async move {
                    sleep(SAVING).await;
                    saved.fetch_add(1, Ordering::SeqCst);
                    drop(not_send);
                };
                let _ = spawn_local(save).await;
                let _ = asked.map(|answer| answer.send(()));
            });
            Ok::<_, std::io::Error>(())
        });
        Self { close }
    }

    async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        let _ = self.close.send(answer);
        let _ = answered.await;
    }
}

fn owner_is_left(scene: &Scene<'_>) -> TrialResult {
    let saved = Arc::default();
    drop(Remote::open(Arc::clone(&saved)));
    must_be_saved(scene, &saved);
    Ok(())
}

fn owner_is_closed(scene: &Scene<'_>) -> TrialResult {
    let saved = Arc::default();
    let session = Session::new("editor")?;
    let remote = session.guard(Remote::open(Arc::clone(&saved)))?;
    session.before_close_with(&remote, async |remote| remote.close().await)?;
    drop(remote);
    let _ = session.close_blocking(PLENTY)?;
    must_be_saved(scene, &saved);
    Ok(())
}
