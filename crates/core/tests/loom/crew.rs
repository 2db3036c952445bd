//! The crew, which is what a task and a group are: who comes, who is told what, and who is left.

use std::time::Duration;

use loom::{
    future::block_on,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::{modelled::Crew, oneshot};

use crate::{Bound, explore, must_be_caught, poll_once};

/// What a member owns. Loom finds it leaked if it is not dropped.
fn owned() -> Arc<()> {
    Arc::new(())
}

#[test]
fn crew_a_stop_reaches_a_member_that_is_just_going_to_sleep() {
    explore("crew, stop against a member that awaits it", Bound::Three, || {
        let crew = Crew::new();
        let owned = owned();
        let member = crew.member(|stop| async move {
            stop.await;
            drop(owned);
        });
        let working = thread::spawn(move || block_on(member.unwrap()));
        crew.stop();
        assert!(crew.closed().wait_timeout(Duration::MAX));
        assert_eq!(crew.tally().completed, 1);
        working.join().unwrap();
    });
}

#[test]
fn crew_a_stop_races_a_spawn_and_everybody_is_accounted_for() {
    explore("crew, stop against a spawn", Bound::Three, || {
        let crew = Crew::new();
        let spawning = thread::spawn({
            let crew = crew.clone();
            move || match crew.member(|stop| stop) {
                Some(member) => {
                    block_on(member);
                    true
                }
                None => false,
            }
        });
        crew.stop();
        assert!(crew.closed().wait_timeout(Duration::MAX));
        let accepted = spawning.join().unwrap();
        let tally = crew.tally();
        assert_eq!((tally.completed, tally.refused), (accepted.into(), (!accepted).into()));
        assert!(crew.member(|stop| stop).is_none(), "closed is for good");
    });
}

#[test]
fn crew_an_abort_drops_a_member_that_does_not_listen() {
    explore("crew, abort against a deaf member", Bound::Full, || {
        let crew = Crew::new();
        let owned = owned();
        let member = crew.member(|_| async move {
            std::future::pending::<()>().await;
            drop(owned);
        });
        let working = thread::spawn(move || block_on(member.unwrap()));
        crew.abort();
        assert!(crew.closed().wait_timeout(Duration::MAX));
        assert_eq!(crew.tally().aborted, 1);
        working.join().unwrap();
    });
}

/// The last handle dropped (an abort) while another still calls `shutdown` (a stop).
#[test]
fn crew_an_abort_after_a_stop_is_not_lost() {
    explore("crew, stop and abort against a deaf member", Bound::Three, || {
        let crew = Crew::new();
        let member = crew.member(|_| std::future::pending());
        let working = thread::spawn(move || block_on(member.unwrap()));
        let aborting = thread::spawn({
            let crew = crew.clone();
            move || crew.abort()
        });
        crew.stop();
        assert!(crew.closed().wait_timeout(Duration::MAX));
        assert_eq!(crew.tally().aborted, 1);
        working.join().unwrap();
        aborting.join().unwrap();
    });
}

#[test]
fn crew_two_who_stop_it_close_it_once() {
    explore("crew, two stops against a member", Bound::Three, || {
        let crew = Crew::new();
        let member = crew.member(|stop| stop);
        let working = thread::spawn(move || block_on(member.unwrap()));
        let stopping = thread::spawn({
            let crew = crew.clone();
            move || crew.stop()
        });
        crew.stop();
        block_on(crew.closed().wait());
        assert_eq!(crew.tally().completed, 1);
        working.join().unwrap();
        stopping.join().unwrap();
    });
}

#[test]
fn crew_a_member_that_is_dropped_instead_of_polled_leaves_its_place() {
    explore("crew, stop against a member dropped by its runtime", Bound::Full, || {
        let crew = Crew::new();
        let member = crew.member(|stop| stop);
        let dropping = thread::spawn(move || drop(member));
        crew.stop();
        assert!(crew.closed().wait_timeout(Duration::MAX));
        assert_eq!(crew.tally().aborted, 1);
        dropping.join().unwrap();
    });
}

#[test]
fn crew_a_member_brings_another_while_the_crew_drains() {
    explore("crew, stop against a member that brings another", Bound::Three, || {
        let crew = Crew::new();
        let brings = crew.clone();
        let member = crew.member(|stop| async move {
            stop.await;
            // Brought while the one who brings is at work: welcome. It ends by itself later.
            brings.brought(|stop| stop).unwrap().await;
        });
        let working = thread::spawn(move || block_on(member.unwrap()));
        crew.stop();
        assert!(crew.closed().wait_timeout(Duration::MAX));
        assert_eq!(crew.tally().completed, 2);
        working.join().unwrap();
    });
}

/// The signal is polled by another task than the member's, beside it.
#[test]
fn crew_a_signal_that_was_given_away_wakes_where_it_went() {
    explore("crew, stop against a signal given away", Bound::Full, || {
        let crew = Crew::new();
        let (sender, receiver) = oneshot::channel();
        let member = crew.member(|stop| async move {
            let _ = sender.send(stop);
        });
        block_on(member.unwrap());
        let signal = block_on(receiver).unwrap();
        let waiting = thread::spawn(move || block_on(signal));
        crew.stop();
        waiting.join().unwrap();
    });
}

#[test]
fn crew_a_signal_may_be_dropped_while_it_is_woken_or_its_waker_replaced() {
    explore("crew, stop against a signal replaced and dropped", Bound::Three, || {
        let crew = Crew::new();
        let (sender, receiver) = oneshot::channel();
        let member = crew.member(|stop| async move {
            let _ = sender.send(stop);
        });
        block_on(member.unwrap());
        let mut signal = block_on(receiver).unwrap();
        let mut clone = signal.clone();
        let waiting = thread::spawn(move || {
            let _ = poll_once(&mut clone);
            drop(clone);
            if poll_once(&mut signal).is_pending() {
                block_on(signal);
            }
        });
        crew.stop();
        waiting.join().unwrap();
    });
}

#[test]
fn crew_a_child_hears_what_its_parent_is_told_and_is_waited_for() {
    explore("crew, stop of a parent against the birth of a child", Bound::Three, || {
        let parent = Crew::new();
        let working = thread::spawn({
            let parent = parent.clone();
            move || {
                let Some(child) = parent.child() else { return };
                if let Some(member) = child.member(|stop| stop) {
                    block_on(member);
                }
                assert!(child.closed().wait_timeout(Duration::MAX), "a child of a stopped parent");
            }
        });
        parent.stop();
        assert!(parent.closed().wait_timeout(Duration::MAX));
        working.join().unwrap();
        assert_eq!(parent.at_work(), 0);
    });
}

#[test]
fn crew_twin_that_counts_and_looks_apart_closes_on_a_member() {
    must_be_caught("crew, state and count in two atomics", "closed on a member", || {
        let stopping = Arc::new(AtomicBool::new(false));
        let at_work = Arc::new(AtomicUsize::new(0));
        let entering = thread::spawn({
            let (stopping, at_work) = (Arc::clone(&stopping), Arc::clone(&at_work));
            move || {
                let welcome = !stopping.load(Ordering::SeqCst);
                if welcome {
                    at_work.fetch_add(1, Ordering::SeqCst);
                }
                welcome
            }
        });
        stopping.store(true, Ordering::SeqCst);
        let closed = at_work.load(Ordering::SeqCst) == 0;
        let welcome = entering.join().unwrap();
        assert!(!(closed && welcome), "closed on a member");
    });
}

/// What the crew did at first. A member leaves its waker once for each thing that it hears of; the
/// wake-up for a stop that it has heard of already takes the waker, and none is left for the abort.
#[test]
fn crew_twin_whose_wakers_are_used_up_forgets_a_member() {
    must_be_caught("crew, wakers that are used up", "sleeps through the abort", || {
        let told = Arc::new(AtomicUsize::new(0));
        let waker = Arc::new(AtomicBool::new(false));
        let tell = |told: &AtomicUsize, waker: &AtomicBool, news: usize| {
            told.fetch_max(news, Ordering::SeqCst);
            waker.swap(false, Ordering::SeqCst)
        };
        let stopping = thread::spawn({
            let (told, waker) = (Arc::clone(&told), Arc::clone(&waker));
            move || tell(&told, &waker, 1)
        });
        // The member is polled, and leaves its waker if it has not for what it hears.
        let mut heard = None;
        let mut poll = || {
            let told = told.load(Ordering::SeqCst);
            if heard != Some(told) {
                heard = Some(told);
                waker.store(true, Ordering::SeqCst);
            }
        };
        poll();
        if stopping.join().unwrap() {
            poll();
        }
        let woken = tell(&told, &waker, 2);
        assert!(woken, "the member sleeps through the abort");
    });
}

#[test]
fn crew_twin_that_does_not_look_again_under_the_lock_forgets_a_member() {
    must_be_caught("crew, told between the look and the registration", "never woken", || {
        let told = Arc::new(AtomicBool::new(false));
        let registered = Arc::new(Mutex::new(false));
        let telling = thread::spawn({
            let (told, registered) = (Arc::clone(&told), Arc::clone(&registered));
            move || {
                told.store(true, Ordering::SeqCst);
                std::mem::take(&mut *registered.lock().unwrap())
            }
        });
        let sleeps = !told.load(Ordering::SeqCst);
        if sleeps {
            *registered.lock().unwrap() = true;
        }
        let woken = telling.join().unwrap();
        assert!(woken || !sleeps, "never woken");
    });
}
