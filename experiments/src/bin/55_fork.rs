//! 55 fork: a forked child inherits the owner of a runtime, but none of its threads. Joining them
//! panics, and waiting for them or for a lock that one of them held hangs. The kit's owner answers
//! every call at once. Page: `docs/src/55-fork.md`.

use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{self, Command},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use experiments::{prelude::*, probe::stuck};
use fork::{Fork, WEXITSTATUS, WIFEXITED};
use futures::FutureExt as _;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};
use sundown::{
    runtime::{RuntimeCell, RuntimeError, RuntimeHandle, RuntimeOwner, StartError, State},
    shutdown::{ShutdownError, ShutdownErrorKind::SignalLost, SignalLoss},
};

/// How many children are forked while the parent is busy.
const CHILDREN: usize = 20;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What becomes of a runtime's owner in a forked child?")
        .hypothesis(
            "Its threads are not there. To join one panics; to wait for what they do hangs, and so \
             does to take a lock that one of them held. The kit's owner answers at once, whatever is \
             asked of it, waits for nothing, and the parent notices nothing.",
        )
        .variants([
            hazard("join/child-joins", Panicked, child_joins)
                .about("the child joins a thread of the parent"),
            hang("tokio/child-drops", child_drops).about("the child drops a Runtime"),
            control("tokio/parent-drops", parent_drops)
                .about("the child leaves at once, and the parent drops its Runtime"),
            hang("lock/child-takes", |scene| child_takes(scene, true))
                .about("the child takes a lock that another thread holds"),
            control("lock/child-takes-free", |scene| child_takes(scene, false))
                .about("the child takes a lock that nobody holds"),
            cure("kit/everything", kit_everything)
                .about("RuntimeOwner and RuntimeCell; the child does everything with them"),
            cure("kit/busy", kit_busy)
                .about("the same, twenty times, while other threads of the parent do too"),
            cure("kit/in-a-task", kit_in_a_task)
                .about("the same, the fork being made by a task of the runtime"),
            cure("kit/its-own", kit_its_own).about("the child starts a RuntimeOwner of its own"),
        ])
        .keeps("children", [])
        .keeps("children_that_went_well", [])
        .run()
}

/// Forks, and waits for the child, which does something and exits.
fn in_a_child(scene: &Scene<'_>, does: impl FnOnce() -> bool) -> TrialResult {
    scene.record("forks", true);
    let went_well = fork_and_wait(does)?;
    scene.check("the child found what it should have, and ended well", went_well);
    Ok(())
}

/// Whether a child, forked here, does what it should.
fn fork_and_wait(does: impl FnOnce() -> bool) -> io::Result<bool> {
    match fork::fork()? {
        Fork::Child => leave_with(does),
        Fork::Parent(child) => went_well(child),
    }
}

/// The same, and `None` in a child in which std itself starts no thread. Std and the C library have locks of
/// their own that they take whenever a thread starts or ends, and in a child one of them may be held for
/// ever.
fn fork_and_wait_if_threads_start(does: impl FnOnce() -> bool) -> io::Result<Option<bool>> {
    let (tells, mut told) = io::pipe()?;
    match fork::fork()? {
        Fork::Child => leave_with(|| {
            // Here it stays if it cannot.
            let _ = thread::spawn(|| ()).join();
            told.write_all(&[1]).is_ok() && does()
        }),
        Fork::Parent(child) => {
            drop(told);
            let mut tells = [PollFd::new(&tells, PollFlags::IN)];
            let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
            if poll(&mut tells, Some(&limit))? == 0 {
                kill_process(Pid::from_raw(child).ok_or(io::ErrorKind::NotFound)?, Signal::KILL)?;
                fork::waitpid(child)?;
                return Ok(None);
            }
            went_well(child).map(Some)
        }
    }
}

/// What a child does in place of the rest of the program. It neither returns nor unwinds into the parent's
/// code. It leaves by `exec` of a program with the right exit code: `std::process::exit` takes a lock that
/// every thread takes when it starts and when it ends, and in a child it may be held for ever.
fn leave_with(does: impl FnOnce() -> bool) -> ! {
    let went_well = catch_unwind(AssertUnwindSafe(does)).unwrap_or(false);
    let exit = if went_well { "exit 0" } else { "exit 1" };
    let _not_found = Command::new("sh").args(["-c", exit]).exec();
    process::abort()
}

/// Waits for a child.
fn went_well(child: i32) -> io::Result<bool> {
    let status = fork::waitpid(child)?;
    Ok(WIFEXITED(status) && WEXITSTATUS(status) == 0)
}

fn child_joins(scene: &Scene<'_>) -> TrialResult {
    let thread = thread::spawn(thread::park);
    in_a_child(scene, || thread.join().is_ok())
}

fn child_drops(scene: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    in_a_child(scene, || {
        drop(runtime);
        true
    })
}

fn parent_drops(scene: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    in_a_child(scene, || true)?;
    drop(runtime);
    Ok(())
}

fn child_takes(scene: &Scene<'_>, held: bool) -> TrialResult {
    static LOCK: Mutex<()> = Mutex::new(());
    let (stuck, work) = stuck();
    let holds = thread::spawn(move || {
        let _lock = held.then(|| LOCK.lock());
        work.block();
    });
    stuck.wait_begun()?;
    in_a_child(scene, || {
        drop(LOCK.lock());
        true
    })?;
    stuck.let_go();
    holds.join().map_err(|_| "the thread panicked")?;
    Ok(())
}

static CELL: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("cell").workers(1));

/// Makes every call in a child, checks that each gets its error, and drops everything.
fn everything(owner: RuntimeOwner, handle: RuntimeHandle) -> bool {
    fn forked<T>(answer: Result<T, RuntimeError>) -> bool {
        matches!(answer, Err(RuntimeError::Forked { .. }))
    }
    fn lost<T>(answer: Result<T, ShutdownError>) -> bool {
        let answer = answer.map_err(|error| error.kind);
        matches!(answer, Err(SignalLost(SignalLoss::Forked { .. })))
    }
    fn not_started<T>(answer: Result<T, StartError>) -> bool {
        matches!(answer, Err(StartError::Runtime(RuntimeError::Forked { .. })))
    }
    let all_as_expected = [
        forked(owner.handle()),
        forked(owner.current()),
        forked(owner.spawn("child", |_| async {})),
        forked(owner.block_on(async {})),
        lost(owner.shutdown_blocking(PLENTY)),
        owner.shutdown(PLENTY).now_or_never().is_some_and(lost),
        not_started(owner.restart()),
        owner.stats().state == State::Forked,
        forked(handle.handle()),
        forked(handle.spawn("child", |_| async {})),
        forked(handle.block_on(async {})),
        not_started(CELL.get()),
        lost(CELL.shutdown_blocking(PLENTY)),
        CELL.stats().state == State::Forked,
        // It is the child's when the child asks for it.
        CELL.restart().is_ok(),
        CELL.get().is_ok_and(|cell| cell.block_on(async { 1 }) == Ok(1)),
        CELL.shutdown_blocking(PLENTY).is_ok(),
    ];
    drop((owner.clone(), owner, handle));
    !all_as_expected.contains(&false)
}

/// An owner and a handle of it; and the cell. All of them are in use.
fn used() -> Result<(RuntimeOwner, RuntimeHandle), Box<dyn Error>> {
    let owner = RuntimeOwner::builder("parent").workers(2).start()?;
    drop(owner.spawn("listener", |stop| stop)?);
    let handle = owner.current()?;
    CELL.get()?;
    Ok((owner, handle))
}

/// The parent goes on using its runtimes, and shuts them down.
fn the_parent_noticed_nothing(scene: &Scene<'_>, owner: &RuntimeOwner) -> TrialResult {
    let ticks = owner.block_on(async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::spawn(async { 1 }).await
    })?;
    scene.check("the parent's runtime still works", ticks.is_ok());
    scene.check("and is shut down gracefully", owner.shutdown_blocking(PLENTY)?.aborted == 0);
    scene.check("as is the cell", CELL.shutdown_blocking(PLENTY)?.aborted == 0);
    Ok(())
}

fn kit_everything(scene: &Scene<'_>) -> TrialResult {
    let (owner, handle) = used()?;
    let inherited = owner.clone();
    in_a_child(scene, || everything(inherited, handle))?;
    the_parent_noticed_nothing(scene, &owner)
}

fn kit_busy(scene: &Scene<'_>) -> TrialResult {
    let (owner, _) = used()?;
    let handle = CELL.get()?;
    let others: [&(dyn Fn() + Sync); 3] = [
        &|| drop((owner.spawn("spawned", |_| async {}), owner.block_on(async {}))),
        &|| drop((owner.stats(), CELL.stats(), CELL.get())),
        &|| drop((owner.shutdown_blocking(PLENTY), owner.restart())),
    ];
    let enough = AtomicBool::new(false);
    let went_well = thread::scope(|scope| {
        for does in others {
            let enough = &enough;
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    does();
                }
            });
        }
        let forks = |_: usize| {
            let (inherited, handle) = (owner.clone(), handle.clone());
            let does = || everything(inherited, handle);
            fork_and_wait_if_threads_start(does).unwrap_or(Some(false))
        };
        // A child in which not even std starts a thread is replaced by another.
        let children = (0..2 * CHILDREN).filter_map(forks).take(CHILDREN);
        let went_well = children.filter(|went_well| *went_well).count();
        enough.store(true, Ordering::Relaxed);
        went_well
    });
    scene.record("children", CHILDREN);
    scene.record("children_that_went_well", went_well);
    scene.check("every child found what it should have", went_well == CHILDREN);
    the_parent_noticed_nothing(scene, &owner)
}

fn kit_in_a_task(scene: &Scene<'_>) -> TrialResult {
    for builder in [
        RuntimeOwner::builder("workers").workers(2),
        RuntimeOwner::builder("alone").current_thread(),
    ] {
        let owner = builder.start()?;
        CELL.get()?;
        let (inherited, handle) = (owner.clone(), owner.current()?);
        let mut forked = owner.spawn("forks", |_| async {
            fork_and_wait(|| everything(inherited, handle)).unwrap_or(false)
        })?;
        scene.check("the child found what it should have", forked.wait_blocking(PLENTY)?);
        owner.block_on(async {})?;
        scene.check(
            "the parent is shut down gracefully",
            owner.shutdown_blocking(PLENTY)?.aborted == 0,
        );
    }
    Ok(())
}

fn kit_its_own(scene: &Scene<'_>) -> TrialResult {
    let owner = RuntimeOwner::builder("parent").workers(2).start()?;
    in_a_child(scene, || {
        let own = RuntimeOwner::builder("child").workers(2).start();
        own.is_ok_and(|own| {
            own.block_on(async { 1 }) == Ok(1) && own.shutdown_blocking(PLENTY).is_ok()
        })
    })?;
    let _ = owner.shutdown_blocking(PLENTY)?;
    Ok(())
}
