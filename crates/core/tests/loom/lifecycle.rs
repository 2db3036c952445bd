//! How a runtime begins and ends: who begins a generation, who ends it, and what those get to know who
//! wait for that. The owner thread has no runtime here, and otherwise does what the shipped one does.

use std::{convert::Infallible, future::pending, sync::Arc as StdArc};

use loom::{
    future::block_on,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::lifecycle::{Begin, End, Generations, Lifecycle, Users};

use crate::{Bound, beside, explore, member, must_be_caught, shared};

/// The owner thread of a generation: waits until it is released, and then does `then`.
fn owner_thread(
    life: &StdArc<Lifecycle>,
    then: impl FnOnce(&Lifecycle) + 'static,
) -> thread::JoinHandle<()> {
    beside(life, |life| {
        block_on(life.until_released());
        then(&life);
        life.gone();
    })
}

/// Drops what is on the runtime, and records that it was told to.
fn drops<M>(dropped: &Arc<AtomicBool>, tasks: M) -> impl FnOnce(&Lifecycle) + use<M> {
    let dropped = Arc::clone(dropped);
    move |life| {
        drop(tasks);
        // Relaxed: whoever gets to know the end must see it all the same.
        dropped.store(true, Ordering::Relaxed);
        life.record(End::Told);
    }
}

/// A shutdown without a limit, up to its report.
fn shut_down(life: &Lifecycle) -> End {
    life.stop();
    block_on(life.ended());
    life.end().unwrap()
}

fn running(life: &Lifecycle) -> usize {
    life.tasks().registry().count().running
}

#[test]
fn lifecycle_two_who_shut_it_down_get_the_same_answer_after_the_end() {
    explore("lifecycle, two shutdowns", Bound::Three, || {
        let (life, dropped) = (StdArc::new(Lifecycle::new()), shared::<AtomicBool>());
        let owner = owner_thread(&life, drops(&dropped, ()));
        let other = beside(&(StdArc::clone(&life), Arc::clone(&dropped)), |(life, dropped)| {
            // That two stops are as good as one, the models of the tasks show.
            block_on(life.ended());
            assert!(matches!(life.end(), Some(End::Told)));
            assert!(dropped.load(Ordering::Relaxed), "answered before the end");
        });
        assert!(matches!(shut_down(&life), End::Told));
        assert!(dropped.load(Ordering::Relaxed), "answered before the end");
        other.join().unwrap();
        owner.join().unwrap();
        assert!(life.has_ended());
    });
}

#[test]
fn lifecycle_an_owner_thread_that_panics_lets_nobody_wait_for_ever() {
    explore("lifecycle, a shutdown against a panic of the owner thread", Bound::Three, || {
        let life = StdArc::new(Lifecycle::new());
        let panicking = beside(&life, |life| {
            let (message, still_running) = (String::new(), Vec::new());
            life.record(End::Panicked { message, still_running, tasks: 0 });
            life.gone();
        });
        assert!(matches!(shut_down(&life), End::Panicked { .. }));
        assert!(member(life.tasks(), |stop| stop).is_none(), "no task comes any more");
        panicking.join().unwrap();
    });
}

/// Ended from outside: it records nothing, and what ran on it stays where it is.
#[test]
fn lifecycle_an_owner_thread_that_is_lost_lets_nobody_wait_for_ever() {
    explore("lifecycle, a shutdown against the loss of the owner thread", Bound::Three, || {
        let life = StdArc::new(Lifecycle::new());
        let task = member(life.tasks(), |stop| stop).unwrap();
        let lost = beside(&life, |life| life.gone());
        assert!(matches!(shut_down(&life), End::Lost));
        assert_eq!(running(&life), 1);
        lost.join().unwrap();
        drop(task);
    });
}

#[test]
fn lifecycle_the_owner_thread_waits_for_a_task_unless_it_is_told_not_to() {
    explore("lifecycle, stop and abort against a task that ignores both", Bound::Three, || {
        let (life, dropped) = (StdArc::new(Lifecycle::new()), shared::<AtomicBool>());
        // It is on the runtime and never polled: the end of the runtime ends it.
        let task = member(life.tasks(), |_| pending()).unwrap();
        let owner = owner_thread(&life, drops(&dropped, task));
        let aborting = beside(&life, |life| life.abort());
        assert!(matches!(shut_down(&life), End::Told));
        assert!(dropped.load(Ordering::Relaxed));
        assert_eq!(running(&life), 0);
        aborting.join().unwrap();
        owner.join().unwrap();
    });
}

/// `block_on` is polled on a thread of its caller, which the owner thread does not end. After an abort
/// the owner thread may be gone before it. Owner and caller are one thread here, since they have nothing
/// to race for.
#[test]
fn lifecycle_an_end_waits_for_a_caller_inside_block_on() {
    explore("lifecycle, an abort against a guest", Bound::Three, || {
        let life = StdArc::new(Lifecycle::new());
        let guest = beside(&life, |life| {
            if let Some(task) = member(life.tasks(), |_| pending()) {
                block_on(task);
            }
        });
        life.abort();
        block_on(life.until_released());
        life.record(End::Told);
        life.gone();
        block_on(life.ended());
        assert!(matches!(life.end(), Some(End::Told)));
        assert_eq!(running(&life), 0, "answered while a guest was there");
        guest.join().unwrap();
    });
}

type Lives = Generations<Lifecycle>;

/// Begins a generation, if one begins. `made` gets its number and what it is.
fn begin(
    lives: &Lives,
    which: Begin,
    made: impl FnOnce(u64, &StdArc<Lifecycle>),
) -> Option<StdArc<Lifecycle>> {
    let begun = lives.begin(which, |number| {
        let life = StdArc::new(Lifecycle::new());
        made(number, &life);
        Ok::<_, Infallible>(life)
    });
    begun.ok()
}

#[test]
fn lifecycle_of_two_first_uses_one_begins_it_and_both_have_it() {
    explore("lifecycle, two first uses", Bound::Full, || {
        let shared = Arc::new((Lives::new(), AtomicUsize::new(0)));
        let first_use = |shared: &(Lives, AtomicUsize)| {
            begin(&shared.0, Begin::First, |_, _| {
                shared.1.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap()
        };
        let other = beside(&shared, move |shared| first_use(&shared));
        first_use(&shared).stop();
        let other = other.join().unwrap();
        assert_eq!(shared.1.load(Ordering::Relaxed), 1);
        assert!(!other.is_running(), "one and the same");
    });
}

#[test]
fn lifecycle_a_first_use_against_a_shutdown_leaves_none_running() {
    explore("lifecycle, a first use against a shutdown", Bound::Three, || {
        let shared = Arc::new((Lives::new(), Mutex::new(None)));
        let using = beside(&shared, |shared| {
            begin(&shared.0, Begin::First, |_, life| {
                let owner = owner_thread(life, |life| life.record(End::Told));
                *shared.1.lock().unwrap() = Some(owner);
            })
        });
        let closed = loop {
            match shared.0.close() {
                Ok(closed) => break closed,
                Err(beginning) => block_on(beginning.wait()),
            }
        };
        if let Some(life) = closed {
            assert!(matches!(shut_down(&life), End::Told));
        }
        // What has begun began before the shutdown, which ended it. Nothing begins after it.
        let used = using.join().unwrap();
        assert!(used.is_none_or(|life| life.has_ended()), "left running");
        let later = begin(&shared.0, Begin::First, |_, _| {});
        assert!(later.is_none_or(|life| life.has_ended()), "it came back");
        let owner = shared.1.lock().unwrap().take();
        owner.map(|owner| owner.join().unwrap());
    });
}

#[test]
fn lifecycle_of_two_restarts_one_begins_the_next_and_only_after_the_end() {
    explore("lifecycle, two restarts against the end", Bound::Three, || {
        let lives = Arc::new(Lives::new());
        let first = begin(&lives, Begin::First, |_, _| {}).unwrap();
        let owner = owner_thread(&first, |life| life.record(End::Told));
        let restart = |lives: &Lives, first: &Lifecycle| {
            let next = begin(lives, Begin::Next, |number, _| {
                assert_eq!(number, 2);
                assert!(first.has_ended(), "two at a time");
            });
            next.is_some()
        };
        let both = (Arc::clone(&lives), StdArc::clone(&first));
        let restarting = beside(&both, move |(lives, first)| restart(&lives, &first));
        first.stop();
        let here = restart(&lives, &first);
        let there = restarting.join().unwrap();
        assert!(!(here && there), "both began the second");
        assert!(!first.is_running(), "the first stays ended");
        owner.join().unwrap();
    });
}

/// Fires before it has recorded how it ended.
#[test]
fn lifecycle_twin_that_lets_callers_through_before_the_record_leaves_one_without_an_answer() {
    must_be_caught("lifecycle, the end before the answer", "no answer", || {
        let twin = shared::<(AtomicBool, Mutex<Option<&'static str>>)>();
        let owner = beside(&twin, |twin| {
            twin.0.store(true, Ordering::Release);
            *twin.1.lock().unwrap() = Some("told");
        });
        if twin.0.load(Ordering::Acquire) {
            assert!(twin.1.lock().unwrap().is_some(), "no answer");
        }
        owner.join().unwrap();
    });
}

/// A cell that looks under a lock whether a generation has begun, and begins one without it.
#[test]
fn lifecycle_twin_that_looks_and_begins_apart_begins_two() {
    must_be_caught("lifecycle, a look and a beginning apart", "two at a time", || {
        let twin = shared::<(Mutex<bool>, AtomicUsize)>();
        let first_use = |twin: &(Mutex<bool>, AtomicUsize)| {
            let has_begun = *twin.0.lock().unwrap();
            if !has_begun {
                twin.1.fetch_add(1, Ordering::Relaxed);
                *twin.0.lock().unwrap() = true;
            }
        };
        let other = beside(&twin, move |twin| first_use(&twin));
        first_use(&twin);
        other.join().unwrap();
        assert_eq!(twin.1.load(Ordering::Relaxed), 1, "two at a time");
    });
}

/// A shutdown that ends what has begun, and does not keep the first use from coming after it.
#[test]
fn lifecycle_twin_that_ends_only_what_has_begun_lets_one_begin_after_the_end() {
    must_be_caught("lifecycle, a shutdown that closes nothing", "left running", || {
        let twin = shared::<Mutex<Option<Arc<AtomicBool>>>>();
        let using = beside(&twin, |twin| {
            let mut twin = twin.lock().unwrap();
            Arc::clone(twin.get_or_insert_with(|| Arc::new(AtomicBool::new(true))))
        });
        if let Some(running) = &*twin.lock().unwrap() {
            running.store(false, Ordering::SeqCst);
        }
        assert!(!using.join().unwrap().load(Ordering::SeqCst), "left running");
    });
}

#[test]
fn lifecycle_of_users_who_leave_at_once_one_ends_it_and_nobody_comes_after_that() {
    explore("lifecycle, two users leave while a third comes", Bound::Three, || {
        let users = shared::<Users>();
        assert!(users.enter() && users.enter());
        let leaving = beside(&users, |users| users.leave_to_end());
        let coming = beside(&users, |users| users.enter());
        let here = users.leave_to_end();
        let (there, came) = (leaving.join().unwrap(), coming.join().unwrap());
        let last = came && users.leave_to_end();
        assert_eq!([here, there, last].into_iter().filter(|ends| *ends).count(), 1);
        assert!(!users.enter(), "it has ended");
    });
}

#[test]
fn lifecycle_of_users_who_take_over_at_once_one_ends_what_another_has_left() {
    explore("lifecycle, two take over what a third leaves", Bound::Three, || {
        let users = shared::<Users>();
        assert!(users.enter() && users.enter() && users.enter());
        assert!(!users.leave_to_end() && !users.leave_to_end());
        let other = beside(&users, |users| users.take_over());
        users.leave();
        let here = users.take_over();
        let there = other.join().unwrap();
        assert!(here != there, "one of them ends it");
        assert!(!users.enter() && !users.take_over(), "it has ended");
    });
}

/// Leaves, and then looks whether anybody is left.
#[test]
fn lifecycle_twin_that_leaves_and_looks_apart_has_two_last_users() {
    must_be_caught("lifecycle, a leave and a look apart", "two last users", || {
        let twin = shared::<AtomicUsize>();
        twin.store(2, Ordering::SeqCst);
        let leave = |twin: &AtomicUsize| {
            twin.fetch_sub(1, Ordering::SeqCst);
            twin.load(Ordering::SeqCst) == 0
        };
        let leaving = beside(&twin, move |twin| leave(&twin));
        let here = leave(&twin);
        assert!(!(leaving.join().unwrap() && here), "two last users");
    });
}
