//! The life of a runtime: who begins one, who ends it, and what those are told who wait for that. The
//! keeper is a thread that has no runtime, and otherwise does what the shipped one does.

use loom::{
    future::block_on,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::modelled::life::{Ended, Life, Lives};

use crate::{Bound, explore, must_be_caught};

/// The keeper of a life: waits until it is let go, and does what it does then.
fn keeper(life: &Life, then: impl FnOnce(&Life) + Send + 'static) -> thread::JoinHandle<()> {
    let life = life.clone();
    thread::spawn(move || {
        block_on(life.until_let_go());
        then(&life);
        life.went();
    })
}

/// Drops what is on the runtime, and says that it was told to.
fn as_told<M: Send>(dropped: &Arc<AtomicBool>, members: M) -> impl FnOnce(&Life) + Send + use<M> {
    let dropped = Arc::clone(dropped);
    move |life| {
        drop(members);
        // Relaxed: whoever is told of the end must see it all the same.
        dropped.store(true, Ordering::Relaxed);
        life.put_down(Ended::Told);
    }
}

/// As `shutdown` without a limit, but for the report.
fn shut_down(life: &Life) -> Option<Ended> {
    life.stop();
    block_on(life.ended());
    life.end()
}

#[test]
fn life_two_who_shut_it_down_are_told_the_same_after_the_end() {
    explore("life, two shutdowns", Bound::Three, || {
        let (life, dropped) = (Life::new(), Arc::new(AtomicBool::new(false)));
        let keeping = keeper(&life, as_told(&dropped, ()));
        let other = thread::spawn({
            let (life, dropped) = (life.clone(), Arc::clone(&dropped));
            move || {
                // That two stops are as good as one, the crew's models show.
                block_on(life.ended());
                assert_eq!(life.end(), Some(Ended::Told));
                assert!(dropped.load(Ordering::Relaxed), "answered before the end");
            }
        });
        assert_eq!(shut_down(&life), Some(Ended::Told));
        assert!(dropped.load(Ordering::Relaxed), "answered before the end");
        other.join().unwrap();
        keeping.join().unwrap();
        assert!(life.has_ended());
    });
}

#[test]
fn life_a_keeper_that_panics_lets_nobody_wait_for_ever() {
    explore("life, a shutdown against a panic of the keeper", Bound::Full, || {
        let life = Life::new();
        let panicking = thread::spawn({
            let life = life.clone();
            move || {
                life.put_down(Ended::Panicked);
                life.went();
            }
        });
        assert_eq!(shut_down(&life), Some(Ended::Panicked));
        assert!(life.member(|stop| stop).is_none(), "nobody comes any more");
        panicking.join().unwrap();
    });
}

/// Ended from outside: it puts nothing down, and what ran on it stays where it is.
#[test]
fn life_a_keeper_that_is_lost_lets_nobody_wait_for_ever() {
    explore("life, a shutdown against the loss of the keeper", Bound::Full, || {
        let life = Life::new();
        let member = life.member(|stop| stop).unwrap();
        let lost = thread::spawn({
            let life = life.clone();
            move || life.went()
        });
        assert_eq!(shut_down(&life), Some(Ended::Lost));
        assert_eq!(life.at_work(), 1);
        lost.join().unwrap();
        drop(member);
    });
}

#[test]
fn life_a_keeper_waits_for_a_member_unless_it_is_told_not_to() {
    explore("life, a stop and an abort against a deaf member", Bound::Three, || {
        let (life, dropped) = (Life::new(), Arc::new(AtomicBool::new(false)));
        // It is on the runtime, and never polled: what ends it is the end of the runtime.
        let member = life.member(|_| std::future::pending()).unwrap();
        let keeping = keeper(&life, as_told(&dropped, member));
        let aborting = thread::spawn({
            let life = life.clone();
            move || life.abort()
        });
        assert_eq!(shut_down(&life), Some(Ended::Told));
        assert!(dropped.load(Ordering::Relaxed));
        assert_eq!(life.at_work(), 0);
        aborting.join().unwrap();
        keeping.join().unwrap();
    });
}

/// `block_on` is polled on a thread of its caller, which the keeper does not end: after an abort the
/// keeper may be gone before it. Keeper and caller are one thread here, since they have nothing to
/// race for.
#[test]
fn life_an_end_waits_for_who_is_inside_block_on() {
    explore("life, an abort against a guest", Bound::Three, || {
        let life = Life::new();
        let guest = thread::spawn({
            let life = life.clone();
            move || {
                if let Some(member) = life.member(|_| std::future::pending()) {
                    block_on(member);
                }
            }
        });
        life.abort();
        block_on(life.until_let_go());
        life.put_down(Ended::Told);
        life.went();
        block_on(life.ended());
        assert_eq!(life.end(), Some(Ended::Told));
        assert_eq!(life.at_work(), 0, "answered while a guest was there");
        guest.join().unwrap();
    });
}

#[test]
fn life_of_two_first_uses_one_begins_it_and_both_have_it() {
    explore("life, two first uses", Bound::Full, || {
        let (lives, begun) = (Arc::new(Lives::new()), Arc::new(AtomicUsize::new(0)));
        let use_it = |lives: &Lives, begun: &AtomicUsize| {
            let count = |_: &_| {
                begun.fetch_add(1, Ordering::Relaxed);
            };
            lives.first(count).unwrap()
        };
        let other = thread::spawn({
            let (lives, begun) = (Arc::clone(&lives), Arc::clone(&begun));
            move || use_it(&lives, &begun)
        });
        use_it(&lives, &begun).stop();
        let other = other.join().unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        assert!(other.member(|stop| stop).is_none(), "one and the same");
    });
}

#[test]
fn life_a_first_use_against_a_shutdown_leaves_none_running() {
    explore("life, a first use against a shutdown", Bound::Three, || {
        let lives = Arc::new(Lives::new());
        let keeping = Arc::new(Mutex::new(None));
        let using = thread::spawn({
            let (lives, keeping) = (Arc::clone(&lives), Arc::clone(&keeping));
            move || {
                lives.first(|life| {
                    let keeper = keeper(life, |life| life.put_down(Ended::Told));
                    *keeping.lock().unwrap() = Some(keeper);
                })
            }
        });
        if let Some(life) = lives.close() {
            assert_eq!(shut_down(&life), Some(Ended::Told));
        }
        // What was begun, was begun before the end, and has been ended; nothing begins after it.
        let used = using.join().unwrap();
        assert!(used.is_none_or(|life| life.has_ended()), "left running");
        assert!(lives.first(|_| {}).is_none_or(|life| life.has_ended()), "it came back");
        if let Some(keeping) = keeping.lock().unwrap().take() {
            keeping.join().unwrap();
        }
    });
}

#[test]
fn life_of_two_restarts_one_begins_the_next_and_only_after_the_end() {
    explore("life, two restarts against the end", Bound::Three, || {
        let lives = Arc::new(Lives::new());
        let first = lives.first(|_| {}).unwrap();
        let keeping = keeper(&first, |life| life.put_down(Ended::Told));
        let restart = |lives: &Lives, first: &Life| {
            lives.next(|generation, _| {
                assert_eq!(generation, 2);
                assert!(first.has_ended(), "two at a time");
            })
        };
        let restarting = thread::spawn({
            let (lives, first) = (Arc::clone(&lives), first.clone());
            move || restart(&lives, &first).is_some()
        });
        first.stop();
        let here = restart(&lives, &first).is_some();
        let there = restarting.join().unwrap();
        assert!(!(here && there), "both began the second");
        assert!(first.member(|stop| stop).is_none(), "the old one stays ended");
        keeping.join().unwrap();
    });
}

/// Fires before it has put down how it ended.
#[test]
fn life_twin_that_lets_callers_through_before_it_says_how_leaves_one_without_an_answer() {
    must_be_caught("life, the end before the answer", "no answer", || {
        let (gone, end) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let keeping = thread::spawn({
            let (gone, end) = (Arc::clone(&gone), Arc::clone(&end));
            move || {
                gone.store(true, Ordering::Release);
                *end.lock().unwrap() = Some("told");
            }
        });
        if gone.load(Ordering::Acquire) {
            assert!(end.lock().unwrap().is_some(), "no answer");
        }
        keeping.join().unwrap();
    });
}

/// Looks whether a life has begun, and begins one after it has looked: what a cell does that asks
/// under a lock and starts without it.
#[test]
fn life_twin_that_looks_and_begins_apart_begins_two() {
    must_be_caught("life, a look and a beginning apart", "two at a time", || {
        let (place, begun) = (Arc::new(Mutex::new(false)), Arc::new(AtomicUsize::new(0)));
        let use_it = |place: &Mutex<bool>, begun: &AtomicUsize| {
            let has_begun = *place.lock().unwrap();
            if !has_begun {
                begun.fetch_add(1, Ordering::Relaxed);
                *place.lock().unwrap() = true;
            }
        };
        let other = thread::spawn({
            let (place, begun) = (Arc::clone(&place), Arc::clone(&begun));
            move || use_it(&place, &begun)
        });
        use_it(&place, &begun);
        other.join().unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), 1, "two at a time");
    });
}

/// Ends what has begun, and does not close the place: the first use comes after that.
#[test]
fn life_twin_that_ends_only_what_has_begun_lets_one_begin_after_the_end() {
    must_be_caught("life, a shutdown that closes nothing", "left running", || {
        let place = Arc::new(Mutex::new(None::<Arc<AtomicBool>>));
        let using = thread::spawn({
            let place = Arc::clone(&place);
            move || {
                let mut place = place.lock().unwrap();
                Arc::clone(place.get_or_insert_with(|| Arc::new(AtomicBool::new(true))))
            }
        });
        if let Some(running) = &*place.lock().unwrap() {
            running.store(false, Ordering::SeqCst);
        }
        assert!(!using.join().unwrap().load(Ordering::SeqCst), "left running");
    });
}
