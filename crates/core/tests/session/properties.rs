//! Random sequences of what is done with a session, from random places. Nothing of a value's
//! destructor ends after the session has closed; and to know that nobody has a handle any more is
//! not to know that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};
use sundown::{
    latch::Latch,
    session::{CloseError, CloseErrorKind, Guarded, Session},
};
use tokio::{
    runtime::{Builder, Handle},
    task::{spawn, spawn_blocking},
    time::sleep,
};

use crate::{PLENTY, handles, session};

/// What a destructor starts: so many of each, and each of these the same again, so many times.
#[derive(Clone, Copy, Debug)]
struct Work {
    tasks: u8,
    timers: u8,
    closers: u8,
    depth: u8,
}

#[derive(Clone, Debug)]
enum Operation {
    Guard(Work),
    Clone(usize),
    /// Derives a value; it holds a handle of what it was derived from, or not.
    Map(usize, Work, bool),
    Drop(usize, Place),
    /// Closes, with a limit that is too short to wait for anything.
    Close,
}

/// Where a handle is dropped.
#[derive(Clone, Copy, Debug)]
enum Place {
    Here,
    Thread,
    /// Among the locals of a thread that ends.
    Local,
    /// In a task, where there is a runtime.
    Task,
}

/// Where all of it takes place.
#[derive(Clone, Copy, Debug)]
enum World {
    Plain,
    OneThread,
    ManyThreads,
}

/// How much has been started by destructors, they themselves included, and how much of it ended.
#[derive(Default)]
struct Tally {
    started: AtomicUsize,
    ended: AtomicUsize,
}

impl Tally {
    fn is_over(&self) -> bool {
        // In this order: what is started between the two shows as not ended.
        let ended = self.ended.load(Ordering::SeqCst);
        self.started.load(Ordering::SeqCst) == ended
    }
}

/// Something that runs; it has ended when this is dropped.
struct Running(Arc<Tally>);

impl Running {
    fn one(tally: &Arc<Tally>) -> Self {
        tally.started.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(tally))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

fn start(work: Work, tally: &Arc<Tally>) {
    let Some(depth) = work.depth.checked_sub(1) else { return };
    let below = Work { depth, ..work };
    let finish = || {
        let running = Running::one(tally);
        move || start(below, &running.0)
    };
    for _ in 0..work.tasks {
        let finish = finish();
        spawn(async move { finish() });
    }
    for quarters in 0..work.timers {
        let finish = finish();
        spawn(async move {
            sleep(Duration::from_micros(250) * u32::from(quarters)).await;
            finish();
        });
    }
    for _ in 0..work.closers {
        spawn_blocking(finish());
    }
}

struct Value {
    work: Work,
    tally: Arc<Tally>,
    /// How many values have been dropped.
    dropped: Arc<AtomicUsize>,
    _holds: Option<Guarded<Value>>,
}

impl Drop for Value {
    fn drop(&mut self) {
        let running = Running::one(&self.tally);
        start(self.work, &self.tally);
        self.dropped.fetch_add(1, Ordering::SeqCst);
        drop(running);
    }
}

fn work() -> impl Strategy<Value = Work> {
    (0..3_u8, 0..3_u8, 0..3_u8, 0..3_u8).prop_map(|(tasks, timers, closers, depth)| Work {
        tasks,
        timers,
        closers,
        depth,
    })
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let place =
        prop_oneof![Just(Place::Here), Just(Place::Thread), Just(Place::Local), Just(Place::Task)];
    let operation = prop_oneof![
        4 => work().prop_map(Operation::Guard),
        3 => any::<usize>().prop_map(Operation::Clone),
        3 => (any::<usize>(), work(), any::<bool>())
            .prop_map(|(at, work, holds)| Operation::Map(at, work, holds)),
        4 => (any::<usize>(), place).prop_map(|(at, place)| Operation::Drop(at, place)),
        1 => Just(Operation::Close),
    ];
    prop::collection::vec(operation, 1..24)
}

fn world() -> impl Strategy<Value = World> {
    prop_oneof![Just(World::Plain), Just(World::OneThread), Just(World::ManyThreads)]
}

/// Waits for the end of a session, and says whether everything that destructors started is over.
type End = fn(&Session, &Tally) -> bool;

fn close_blocking(session: &Session, tally: &Tally) -> bool {
    session.close_blocking(PLENTY).is_ok() && tally.is_over()
}

fn close(session: &Session, tally: &Tally) -> bool {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { session.close(PLENTY).await.is_ok() && tally.is_over() })
}

fn drop_there(guard: Guarded<Value>, place: Place) {
    match place {
        Place::Here => drop(guard),
        Place::Task => match Handle::try_current() {
            Ok(handle) => drop(handle.spawn(async move { drop(guard) })),
            Err(_) => drop(guard),
        },
        Place::Thread => thread::spawn(|| drop(guard)).join().unwrap(),
        Place::Local => {
            thread_local!(static LATE: std::cell::RefCell<Option<Guarded<Value>>> =
                const { std::cell::RefCell::new(None) });
            thread::spawn(|| LATE.set(Some(guard))).join().unwrap();
        }
    }
}

/// Does it all, and then has everybody wait for the end while the last handles are dropped.
fn play(operations: Vec<Operation>, ends: &'static [End]) -> Result<(), TestCaseError> {
    let session = session();
    let (tally, dropped) = (Arc::new(Tally::default()), Arc::new(AtomicUsize::new(0)));
    let value = |work, holds| {
        let (tally, dropped) = (Arc::clone(&tally), Arc::clone(&dropped));
        Value { work, tally, dropped, _holds: holds }
    };
    let (mut guards, mut values, mut closing) = (Vec::<Guarded<Value>>::new(), 0, false);
    for operation in operations {
        let count = guards.len();
        match operation {
            Operation::Guard(work) => match session.guard(value(work, None)) {
                Ok(guard) => {
                    prop_assert!(!closing);
                    values += 1;
                    guards.push(guard);
                }
                Err(refused) => {
                    prop_assert!(closing);
                    // Dropped here, where there may be no runtime to start anything on.
                    let mut value = refused.value;
                    value.work.depth = 0;
                    values += 1;
                }
            },
            Operation::Clone(at) if count > 0 => guards.push(guards[at % count].clone()),
            Operation::Map(at, work, holds) if count > 0 => {
                let parent = &guards[at % count];
                let derived = parent.map(|_| value(work, holds.then(|| parent.clone())));
                values += 1;
                guards.push(derived);
            }
            Operation::Drop(at, place) if count > 0 => {
                drop_there(guards.swap_remove(at % count), place);
            }
            Operation::Clone(_) | Operation::Map(..) | Operation::Drop(..) => {}
            Operation::Close => {
                closing = true;
                match session.close_blocking(Duration::ZERO) {
                    Ok(_) => {
                        prop_assert!(count == 0 && tally.is_over());
                        prop_assert_eq!(dropped.load(Ordering::SeqCst), values);
                    }
                    Err(CloseError { kind: CloseErrorKind::StillHeld, held, .. }) => {
                        prop_assert!(handles(&held) >= count);
                    }
                    Err(CloseError { kind: CloseErrorKind::StillRunning, .. }) => {
                        prop_assert_eq!(count, 0)
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
        }
    }
    let waiting: Vec<_> = ends
        .iter()
        .map(|end| {
            let (session, tally) = (session.clone(), Arc::clone(&tally));
            thread::spawn(move || end(&session, &tally))
        })
        .collect();
    let dropping = thread::spawn(|| drop(guards));
    for waiting in waiting {
        prop_assert!(waiting.join().unwrap(), "something ended after the session had closed");
    }
    dropping.join().unwrap();
    let _ =
        session.close_blocking(PLENTY).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(dropped.load(Ordering::SeqCst), values, "each once");
    prop_assert!(session.held().is_empty());
    Ok(())
}

fn play_in(
    world: World,
    operations: Vec<Operation>,
    ends: &'static [End],
) -> Result<(), TestCaseError> {
    match world {
        World::Plain => play(operations, ends),
        World::OneThread => {
            let (runtime, over) = (Builder::new_current_thread().build().unwrap(), Latch::new());
            let _context = runtime.enter();
            thread::scope(|scope| {
                scope.spawn(|| runtime.block_on(over.wait()));
                let result = play(operations, ends);
                over.fire();
                result
            })
        }
        World::ManyThreads => {
            let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
            runtime.block_on(async { play(operations, ends) })
        }
    }
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: 200,
        rng_seed: RngSeed::Fixed(20_261_121),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    })
}

#[test]
fn nothing_ends_after_a_session_has_closed() {
    let ends: &[End] = &[close_blocking, close];
    runner()
        .run(&(world(), operations()), |(world, operations)| play_in(world, operations, ends))
        .unwrap();
}

/// What a count of owners tells.
fn no_values(session: &Session, tally: &Tally) -> bool {
    while session.values() > 0 {
        thread::yield_now();
    }
    tally.is_over()
}

#[test]
fn when_the_last_handle_has_gone_something_does() {
    let ends: &[End] = &[no_values];
    let found = runner()
        .run(&(world(), operations()), |(world, operations)| play_in(world, operations, ends));
    let Err(TestError::Fail(why, _)) = found else { panic!("{found:?}") };
    assert!(why.to_string().contains("ended after"), "{why}");
}
