//! Every interleaving of the signals, explored by loom on the shipped source.
//!
//! `cargo xtask loom` runs this and prints how many interleavings were explored; so does, without
//! a table, `RUSTFLAGS="--cfg loom" cargo test -p core --release --test loom`. Models of two threads
//! are explored in full, except for those of the crew in which a member awaits the stop: where that
//! was tried, several minutes were not enough. Those and all larger ones are explored with at most
//! three preemptions, and their line says so. Loom knows no time: a limit is
//! never reached, and a timeout is modelled by a thread that races.
//!
//! A model that cannot fail shows nothing. So each has a broken twin beside it, which makes the
//! mistake that the shipped code avoids, and which loom must catch.
#![cfg(all(loom, not(shuttle)))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a model fails by panicking")]

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    // Not loom's: these count its interleavings from outside.
    sync::{Arc as PlainArc, atomic::AtomicUsize as PlainCount},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use loom::{
    future::block_on,
    model::Builder,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::{
    flag::Flag,
    gate::{Cancel, CommitGate},
    latch::Latch,
    modelled::Crew,
    oneshot::{self, Abandoned, WaitError},
};

/// How far a model is explored.
#[derive(Clone, Copy)]
enum Bound {
    /// Every interleaving.
    Full,
    /// Those with at most three preemptions.
    Three,
}

/// Explores a model, and prints what that took.
fn explore(name: &str, bound: Bound, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    let explored = PlainArc::new(PlainCount::new(0));
    let count = PlainArc::clone(&explored);
    let mut builder = Builder::new();
    let bounded = match bound {
        Bound::Full => "unbounded",
        Bound::Three => {
            builder.preemption_bound = Some(3);
            "at most 3 preemptions"
        }
    };
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let explored = explored.load(Ordering::Relaxed);
    println!("model {name}: {explored} interleavings, {bounded}, {:.2?}", began.elapsed());
}

/// Explores a broken twin, which loom must catch.
fn must_be_caught(name: &str, says: &str, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    let caught = catch_unwind(AssertUnwindSafe(|| Builder::new().check(model)));
    let payload = caught.expect_err("the model cannot fail: loom did not catch its broken twin");
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(text.contains(says), "caught for another reason: {text}");
    println!("twin {name}: caught, {:.2?}", began.elapsed());
}

/// Polls with a waker that wakes nobody: what is registered by it has to be replaced.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn flag_one_of_two_raises_it_and_the_other_sees_what_it_did() {
    explore("flag, two raise it", Bound::Full, || {
        let (flag, done) = (Arc::new(Flag::new()), Arc::new(AtomicUsize::new(0)));
        let raise = |flag: &Flag, done: &AtomicUsize| {
            done.fetch_add(1, Ordering::Relaxed);
            flag.raise()
        };
        let other = thread::spawn({
            let (flag, done) = (Arc::clone(&flag), Arc::clone(&done));
            move || raise(&flag, &done)
        });
        let ours = raise(&flag, &done);
        if !ours {
            assert_eq!(done.load(Ordering::Relaxed), 2, "the loser sees what the winner did");
        }
        assert!(ours ^ other.join().unwrap());
        assert!(flag.is_raised());
    });
}

#[test]
fn flag_twin_that_checks_and_then_sets_raises_twice() {
    must_be_caught("flag, checked and then set", "two were told", || {
        let flag = Arc::new(AtomicBool::new(false));
        let raise = |flag: &AtomicBool| {
            let first = !flag.load(Ordering::SeqCst);
            flag.store(true, Ordering::SeqCst);
            first
        };
        let other = thread::spawn({
            let flag = Arc::clone(&flag);
            move || raise(&flag)
        });
        let ours = raise(&flag);
        assert!(ours ^ other.join().unwrap(), "two were told that it was their doing");
    });
}

#[test]
fn gate_has_one_winner_and_both_know_who() {
    explore("gate, cancel against commit", Bound::Full, || {
        let gate = Arc::new(CommitGate::new());
        let canceller = thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.cancel()
        });
        let committed = gate.commit().is_ok();
        match canceller.join().unwrap() {
            Cancel::Accepted => assert!(!committed && gate.is_cancelled()),
            Cancel::TooLate => assert!(committed && gate.is_committed()),
            Cancel::AlreadyCancelled => panic!("there was one cancel"),
        }
    });
}

#[test]
fn gate_with_two_cancels_and_a_commit_has_one_winner() {
    explore("gate, two cancels against a commit", Bound::Three, || {
        let gate = Arc::new(CommitGate::new());
        let cancellers = [(); 2].map(|()| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.cancel())
        });
        let committed = gate.commit().is_ok();
        let cancels = cancellers.map(|canceller| canceller.join().unwrap());
        let accepted = cancels.iter().filter(|cancel| **cancel == Cancel::Accepted).count();
        assert_eq!(accepted + usize::from(committed), 1);
    });
}

#[test]
fn gate_twin_of_two_flags_honours_both() {
    must_be_caught("gate, two separate flags", "both were honoured", || {
        #[derive(Default)]
        struct TwoFlags {
            cancelled: AtomicBool,
            committed: AtomicBool,
        }
        let flags = Arc::new(TwoFlags::default());
        let canceller = thread::spawn({
            let flags = Arc::clone(&flags);
            move || {
                let accepted = !flags.committed.load(Ordering::SeqCst);
                flags.cancelled.store(true, Ordering::SeqCst);
                accepted
            }
        });
        let committed = !flags.cancelled.load(Ordering::SeqCst);
        flags.committed.store(true, Ordering::SeqCst);
        let accepted = canceller.join().unwrap();
        assert!(!(accepted && committed), "both were honoured");
    });
}

#[test]
fn oneshot_what_is_sent_is_received() {
    explore("oneshot, send against await", Bound::Full, || {
        let (sender, receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        assert_eq!(block_on(receiver), Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
    explore("oneshot, send against a wait on a thread", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        assert_eq!(receiver.wait_timeout(Duration::MAX), Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

#[test]
fn oneshot_a_dropped_sender_wakes_the_receiver() {
    explore("oneshot, sender dropped against await", Bound::Full, || {
        let (sender, receiver) = oneshot::channel::<()>();
        let dropping = thread::spawn(move || drop(sender));
        assert_eq!(block_on(receiver), Err(Abandoned));
        dropping.join().unwrap();
    });
}

#[test]
fn oneshot_a_wait_that_gave_up_loses_nothing() {
    explore("oneshot, looked at, then awaited, against send", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        let received = match receiver.wait_timeout(Duration::ZERO) {
            Ok(value) => Ok(value),
            Err(WaitError::TimedOut { .. }) => block_on(&mut receiver),
            Err(WaitError::Abandoned(abandoned)) => Err(abandoned),
        };
        assert_eq!(received, Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

#[test]
fn oneshot_a_value_belongs_to_one_of_the_two_when_the_receiver_goes() {
    explore("oneshot, send against the receiver dropped", Bound::Full, || {
        let (sender, receiver) = oneshot::channel();
        let value = Arc::new(());
        let sending = thread::spawn({
            let value = Arc::clone(&value);
            move || sender.send(value).is_err()
        });
        drop(receiver);
        sending.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1, "received, dropped or returned, but not kept");
    });
}

#[test]
fn oneshot_a_waker_that_is_replaced_while_it_is_woken_loses_nothing() {
    explore("oneshot, waker replaced against send", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        let received = match poll_once(&mut receiver) {
            Poll::Ready(received) => received,
            Poll::Pending => block_on(&mut receiver),
        };
        assert_eq!(received, Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

#[test]
fn oneshot_both_ends_may_be_dropped_at_once() {
    explore("oneshot, both ends dropped", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel::<Arc<()>>();
        let _ = poll_once(&mut receiver);
        let dropping = thread::spawn(move || drop(sender));
        drop(receiver);
        dropping.join().unwrap();
    });
}

#[test]
fn oneshot_twin_that_looks_before_it_registers_is_forgotten() {
    must_be_caught("oneshot, looked at without the lock", "forgotten", || {
        // The value and who waits for it are each behind a lock, and looked at one after the other.
        let value = Arc::new(Mutex::new(None));
        let waiting = Arc::new(AtomicBool::new(false));
        let sending = thread::spawn({
            let (value, waiting) = (Arc::clone(&value), Arc::clone(&waiting));
            move || {
                *value.lock().unwrap() = Some(7);
                waiting.swap(false, Ordering::SeqCst)
            }
        });
        let must_be_woken = value.lock().unwrap().is_none();
        waiting.store(must_be_woken, Ordering::SeqCst);
        let woken = sending.join().unwrap();
        assert!(woken || !must_be_woken, "the receiver is forgotten");
    });
}

#[test]
fn latch_wakes_who_waits_in_async_code() {
    explore("latch, fire against await", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        block_on(latch.wait());
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_wakes_who_waits_on_a_thread() {
    explore("latch, fire against a wait on a thread", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        assert!(latch.wait_timeout(Duration::MAX));
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_is_fired_by_one_of_two() {
    explore("latch, fired twice", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        assert!(latch.fire() ^ firing.join().unwrap());
    });
}

#[test]
fn latch_forgets_a_waiter_that_gave_up() {
    explore("latch, fire against a waiter that gives up", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        // A limit of zero registers, looks, and leaves: the timeout that loom cannot have.
        let _ = latch.wait_timeout(Duration::ZERO);
        assert!(firing.join().unwrap());
        assert!(latch.wait_timeout(Duration::ZERO));
    });
}

#[test]
fn latch_a_waker_that_is_replaced_while_it_is_woken_loses_nothing() {
    explore("latch, waker replaced against fire", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        let mut wait = Box::pin(latch.wait());
        if poll_once(&mut wait).is_pending() {
            block_on(wait);
        }
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_wakes_both_kinds_of_waiters() {
    explore("latch, fire against one waiter of each kind", Bound::Three, || {
        let latch = Arc::new(Latch::new());
        let waiting = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.wait_timeout(Duration::MAX)
        });
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        block_on(latch.wait());
        assert!(waiting.join().unwrap());
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_twin_that_looks_only_before_it_registers_forgets_a_waiter() {
    must_be_caught("latch, not looked at again under the lock", "forgotten", || {
        let fired = Arc::new(AtomicBool::new(false));
        let waiters = Arc::new(Mutex::new(0));
        let firing = thread::spawn({
            let (fired, waiters) = (Arc::clone(&fired), Arc::clone(&waiters));
            move || {
                fired.store(true, Ordering::SeqCst);
                // Wakes all who are registered.
                *waiters.lock().unwrap() = 0;
            }
        });
        if !fired.load(Ordering::SeqCst) {
            *waiters.lock().unwrap() += 1;
        }
        firing.join().unwrap();
        assert_eq!(*waiters.lock().unwrap(), 0, "a waiter is forgotten");
    });
}

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
