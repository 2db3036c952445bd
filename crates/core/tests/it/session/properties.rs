//! Random sequences of what is done with a session, from random places. Nothing of a value's destructor
//! ends after the session has closed; to know that nobody has a handle any more is not enough for that.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestError},
};
use sundown::{
    latch::Latch,
    session::{CloseError, CloseErrorKind, Guarded, Session},
};
use tokio::runtime::Handle;

use super::session;
use crate::{
    fixtures::{PLENTY, current_thread, multi_thread, runner},
    quiescence::{Node, Running, Tally, forest, start},
};

#[derive(Clone, Debug)]
enum Operation {
    /// A value whose destructor starts this.
    Guard(Vec<Node>),
    Clone(usize),
    /// Derives a value, which holds a handle of what it was derived from, or not.
    Map(usize, Vec<Node>, bool),
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

struct Value {
    starts: Vec<Node>,
    tally: Arc<Tally>,
    /// How many values have been dropped.
    dropped: Arc<AtomicUsize>,
    _holds: Option<Guarded<Value>>,
}

impl Drop for Value {
    fn drop(&mut self) {
        let running = Running::one(&self.tally);
        start(std::mem::take(&mut self.starts), &self.tally);
        self.dropped.fetch_add(1, Ordering::SeqCst);
        drop(running);
    }
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let place =
        prop_oneof![Just(Place::Here), Just(Place::Thread), Just(Place::Local), Just(Place::Task)];
    let operation = prop_oneof![
        4 => forest().prop_map(Operation::Guard),
        3 => any::<usize>().prop_map(Operation::Clone),
        3 => (any::<usize>(), forest(), any::<bool>())
            .prop_map(|(at, starts, holds)| Operation::Map(at, starts, holds)),
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
    current_thread().block_on(async { session.close(PLENTY).await.is_ok() && tally.is_over() })
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
            thread_local!(static LATE: RefCell<Option<Guarded<Value>>> =
                const { RefCell::new(None) });
            thread::spawn(|| LATE.set(Some(guard))).join().unwrap();
        }
    }
}

/// Does all of it. Then everybody waits for the end while the last handles are dropped.
fn play(operations: Vec<Operation>, ends: &'static [End]) -> Result<(), TestCaseError> {
    let session = session();
    let (tally, dropped) = (Arc::new(Tally::default()), Arc::new(AtomicUsize::new(0)));
    let value = |starts, holds| {
        let (tally, dropped) = (Arc::clone(&tally), Arc::clone(&dropped));
        Value { starts, tally, dropped, _holds: holds }
    };
    let (mut guards, mut values, mut closing) = (Vec::<Guarded<Value>>::new(), 0, false);
    for operation in operations {
        let count = guards.len();
        match operation {
            Operation::Guard(starts) => match session.guard(value(starts, None)) {
                Ok(guard) => {
                    prop_assert!(!closing);
                    values += 1;
                    guards.push(guard);
                }
                Err(refused) => {
                    prop_assert!(closing);
                    // Dropped here, where there may be no runtime to start anything on.
                    let mut value = refused.value;
                    value.starts.clear();
                    values += 1;
                }
            },
            Operation::Clone(at) if count > 0 => guards.push(guards[at % count].clone()),
            Operation::Map(at, starts, holds) if count > 0 => {
                let parent = &guards[at % count];
                let derived = parent.map(|_| value(starts, holds.then(|| parent.clone())));
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
                        let handles: usize = held.iter().map(|held| held.handles).sum();
                        prop_assert!(handles >= count);
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
            let (runtime, over) = (current_thread(), Latch::new());
            let _context = runtime.enter();
            thread::scope(|scope| {
                scope.spawn(|| runtime.block_on(over.wait()));
                let result = play(operations, ends);
                over.fire();
                result
            })
        }
        World::ManyThreads => multi_thread().block_on(async { play(operations, ends) }),
    }
}

fn run(ends: &'static [End]) -> Result<(), TestError<(World, Vec<Operation>)>> {
    let cases = (world(), operations());
    runner(200).run(&cases, |(world, operations)| play_in(world, operations, ends))
}

#[test]
fn nothing_ends_after_a_session_has_closed() {
    run(&[close_blocking, close]).unwrap();
}

/// Waits as somebody does who counts owners.
fn no_values(session: &Session, tally: &Tally) -> bool {
    while session.values() > 0 {
        thread::yield_now();
    }
    tally.is_over()
}

#[test]
fn after_the_last_handle_has_gone_something_ends() {
    let found = run(&[no_values]);
    let Err(TestError::Fail(why, _)) = found else { panic!("{found:?}") };
    assert!(why.to_string().contains("ended after"), "{why}");
}
