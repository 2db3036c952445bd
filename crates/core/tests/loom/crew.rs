//! The crew, which is what a task and a group are: who comes, who is told what, and who is left.

use std::{
    future::poll_fn,
    pin::Pin,
    // Not loom's: a waker is made of it.
    sync::Arc as StdArc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use loom::{
    future::block_on,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::{
    modelled::{Crew, sit_in},
    oneshot,
    stop::Stop,
};

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
        assert!(crew.closed().wait_blocking(Duration::MAX));
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
        assert!(crew.closed().wait_blocking(Duration::MAX));
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
        assert!(crew.closed().wait_blocking(Duration::MAX));
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
        assert!(crew.closed().wait_blocking(Duration::MAX));
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
        assert!(crew.closed().wait_blocking(Duration::MAX));
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
        assert!(crew.closed().wait_blocking(Duration::MAX));
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
                assert!(child.closed().wait_blocking(Duration::MAX), "a child of a stopped parent");
            }
        });
        parent.stop();
        assert!(parent.closed().wait_blocking(Duration::MAX));
        working.join().unwrap();
        assert_eq!(parent.at_work(), 0);
    });
}

/// The last member of one shard leaves while somebody comes to another.
#[test]
fn crew_of_two_shards_closes_after_the_last_member_of_both() {
    explore("crew of two shards, last of one against a spawn in the other", Bound::Three, || {
        let crew = Crew::of_two();
        let member = crew.member(|stop| stop);
        let spawning = thread::spawn({
            let crew = crew.clone();
            move || {
                sit_in(1);
                let member = crew.member(|stop| stop);
                let accepted = usize::from(member.is_some());
                member.map(block_on);
                accepted
            }
        });
        crew.stop();
        block_on(member.unwrap());
        assert!(crew.closed().wait_blocking(Duration::MAX));
        assert_eq!(crew.at_work(), 0, "closed on a member");
        let accepted = spawning.join().unwrap();
        let tally = crew.tally();
        assert_eq!((tally.completed, tally.refused), (1 + accepted, 1 - accepted));
    });
}

#[test]
fn crew_of_two_shards_waits_for_who_is_brought_to_the_other() {
    explore("crew of two shards, stop against one that brings another", Bound::Three, || {
        let crew = Crew::of_two();
        let brings = crew.clone();
        let member = crew.member(|stop| async move {
            stop.await;
            // In the other shard, which has had nobody until now.
            let brought = brings.brought(|stop| stop).unwrap();
            thread::spawn(move || block_on(brought));
        });
        let working = thread::spawn(move || {
            sit_in(1);
            block_on(member.unwrap());
        });
        crew.stop();
        assert!(crew.closed().wait_blocking(Duration::MAX));
        assert_eq!((crew.tally().completed, crew.at_work()), (2, 0));
        working.join().unwrap();
    });
}

/// Wakes a task, and says that it was woken by this one: what a `FuturesUnordered` does.
struct Relay {
    // Behind a lock: loom lets a store come between the two halves of an exchange.
    woken: Mutex<bool>,
    task: Waker,
}

impl Wake for Relay {
    fn wake(self: StdArc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.task.wake_by_ref();
    }
}

/// Polls a signal with a waker of its own, and only when that was woken.
async fn relayed(mut stop: Stop) {
    let mut relay = None;
    poll_fn(|context: &mut Context<'_>| {
        let first = relay.is_none();
        let relay = relay.get_or_insert_with(|| {
            StdArc::new(Relay { woken: Mutex::new(true), task: context.waker().clone() })
        });
        if !std::mem::take(&mut *relay.woken.lock().unwrap()) {
            return Poll::Pending;
        }
        let waker = Waker::from(StdArc::clone(relay));
        let poll = Pin::new(&mut stop).poll(&mut Context::from_waker(&waker));
        assert!(first || poll.is_ready(), "woken for nothing");
        poll
    })
    .await;
}

#[test]
fn crew_a_signal_that_its_member_polls_with_another_waker_is_woken_by_that() {
    explore("crew, stop against a member that relays it", Bound::Three, || {
        let crew = Crew::new();
        let member = crew.member(relayed);
        let working = thread::spawn(move || block_on(member.unwrap()));
        crew.stop();
        assert!(crew.closed().wait_blocking(Duration::MAX));
        assert_eq!(crew.tally().completed, 1);
        working.join().unwrap();
    });
}

/// It hears the stop, stays, and is only then aborted.
#[test]
fn crew_a_member_that_stays_after_a_stop_is_woken_for_the_abort() {
    explore("crew, stop, and then abort, against a member that stays", Bound::Three, || {
        let crew = Crew::new();
        let member = crew.member(|stop| async move {
            stop.await;
            std::future::pending::<()>().await;
        });
        let working = thread::spawn(move || block_on(member.unwrap()));
        crew.stop();
        crew.abort();
        assert!(crew.closed().wait_blocking(Duration::MAX));
        assert_eq!(crew.tally().aborted, 1);
        working.join().unwrap();
    });
}

#[test]
fn crew_twin_that_adds_up_its_shards_closes_on_a_member() {
    must_be_caught("crew, shards added up one after another", "closed on a member", || {
        let shards = Arc::new([AtomicUsize::new(0), AtomicUsize::new(1)]);
        let bringing = thread::spawn({
            let shards = Arc::clone(&shards);
            move || {
                // The member of the second brings one to the first, and leaves.
                shards[0].fetch_add(1, Ordering::SeqCst);
                shards[1].fetch_sub(1, Ordering::SeqCst);
            }
        });
        let at_work: usize = shards.iter().map(|shard| shard.load(Ordering::SeqCst)).sum();
        assert!(at_work > 0, "closed on a member");
        bringing.join().unwrap();
    });
}

/// What a signal would do that knows its member by the thread, and does not compare wakers.
#[test]
fn crew_twin_that_does_not_compare_wakers_is_never_polled_again() {
    must_be_caught("crew, its own member by any waker", "never polled again", || {
        let told = Arc::new(AtomicBool::new(false));
        let registered = Arc::new(Mutex::new(Vec::new()));
        let telling = thread::spawn({
            let (told, registered) = (Arc::clone(&told), Arc::clone(&registered));
            move || {
                told.store(true, Ordering::SeqCst);
                std::mem::take(&mut *registered.lock().unwrap())
            }
        });
        // The member leaves its waker, and polls the signal with another, which leaves nothing.
        registered.lock().unwrap().push("member");
        let pending = !told.load(Ordering::SeqCst);
        let woken = telling.join().unwrap();
        assert!(!pending || woken.contains(&"relay"), "never polled again");
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

/// What the crew did at first. A member leaves its waker once for each thing that it hears of, and
/// does not ask whether the wake-up for that has been there: the one for a stop that it has heard of
/// already takes the waker, and none is left for the abort.
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
