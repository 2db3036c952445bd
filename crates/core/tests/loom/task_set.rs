//! The tasks of a group: which come in, what they are told, and which are left.

use std::{
    future::{Future as _, pending, poll_fn},
    pin::Pin,
    // Not loom's: a waker is made of it, and `TaskSet` keeps its own references.
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
    oneshot,
    stop::Stop,
    task_set::{Count, Label, Member, Place, SpawnedBy, TaskSet},
    this_thread,
};

use crate::{Bound, beside, explore, member, must_be_caught, poll_once, shared};

/// What a task owns. Loom finds it leaked if it is not dropped.
fn owned() -> Arc<()> {
    Arc::new(())
}

/// A task that one of the same set spawns.
fn spawned_inside(tasks: &StdArc<TaskSet>) -> impl Future<Output = ()> + use<> {
    let place = Place::new(tasks, Label::new("spawned inside"), SpawnedBy::Member).unwrap();
    Member::new(place, |stop| stop)
}

/// Runs a task on a thread of its own.
fn run<F: Future<Output = ()> + 'static>(task: Option<F>) -> thread::JoinHandle<()> {
    thread::spawn(|| block_on(task.unwrap()))
}

/// Waits until the set has closed, and returns how many tasks completed and how many were aborted.
fn closed(tasks: &TaskSet) -> (usize, usize) {
    assert!(tasks.closed().wait_blocking(Duration::MAX));
    let Count { running, completed, aborted } = tasks.registry().count();
    assert_eq!(running, 0, "closed on a task");
    (completed, aborted)
}

#[test]
fn tasks_a_stop_reaches_one_that_is_just_going_to_sleep() {
    explore("tasks, stop against one that awaits it", Bound::Three, || {
        let (tasks, owned) = (TaskSet::new(), owned());
        let running = run(member(&tasks, |stop| async move {
            stop.await;
            drop(owned);
        }));
        tasks.stop();
        assert_eq!(closed(&tasks), (1, 0));
        running.join().unwrap();
    });
}

#[test]
fn tasks_a_stop_races_with_a_spawn_and_every_task_is_accounted_for() {
    explore("tasks, stop against a spawn", Bound::Three, || {
        let tasks = TaskSet::new();
        let spawning = beside(&tasks, |tasks| member(&tasks, |stop| stop).map(block_on).is_some());
        tasks.stop();
        let ended = closed(&tasks);
        let accepted = spawning.join().unwrap();
        assert_eq!((ended, tasks.tally().refused), ((accepted.into(), 0), (!accepted).into()));
        assert!(member(&tasks, |stop| stop).is_none(), "closed is for good");
    });
}

#[test]
fn tasks_an_abort_drops_one_that_ignores_its_signal() {
    explore("tasks, abort against one that ignores it", Bound::Full, || {
        let (tasks, owned) = (TaskSet::new(), owned());
        let running = run(member(&tasks, |_| async move {
            pending::<()>().await;
            drop(owned);
        }));
        tasks.abort();
        assert_eq!(closed(&tasks), (0, 1));
        running.join().unwrap();
    });
}

/// The last handle is dropped (an abort) while another still calls `shutdown` (a stop).
#[test]
fn tasks_an_abort_after_a_stop_is_not_lost() {
    explore("tasks, stop and abort against one that ignores both", Bound::Three, || {
        let tasks = TaskSet::new();
        let running = run(member(&tasks, |_| pending()));
        let aborting = beside(&tasks, |tasks| tasks.abort());
        tasks.stop();
        assert_eq!(closed(&tasks), (0, 1));
        running.join().unwrap();
        aborting.join().unwrap();
    });
}

#[test]
fn tasks_two_who_stop_them_close_the_set_once() {
    explore("tasks, two stops against one", Bound::Three, || {
        let tasks = TaskSet::new();
        let running = run(member(&tasks, |stop| stop));
        let stopping = beside(&tasks, |tasks| tasks.stop());
        tasks.stop();
        assert_eq!(closed(&tasks), (1, 0));
        running.join().unwrap();
        stopping.join().unwrap();
    });
}

#[test]
fn tasks_one_that_is_dropped_instead_of_polled_leaves_its_place() {
    explore("tasks, stop against one that its runtime drops", Bound::Full, || {
        let tasks = TaskSet::new();
        let task = member(&tasks, |stop| stop);
        let dropping = thread::spawn(move || drop(task));
        tasks.stop();
        assert_eq!(closed(&tasks), (0, 1));
        dropping.join().unwrap();
    });
}

#[test]
fn tasks_one_may_spawn_another_while_the_set_drains() {
    explore("tasks, stop against one that spawns another", Bound::Three, || {
        let tasks = TaskSet::new();
        let spawns = StdArc::clone(&tasks);
        let running = run(member(&tasks, |stop| async move {
            stop.await;
            spawned_inside(&spawns).await;
        }));
        tasks.stop();
        assert_eq!(closed(&tasks), (2, 0));
        running.join().unwrap();
    });
}

/// A stop signal of these tasks that was given away.
pub(super) fn signal(tasks: &StdArc<TaskSet>) -> Stop {
    let (sender, receiver) = oneshot::channel();
    let task = member(tasks, |stop| async move {
        let _ = sender.send(stop);
    });
    block_on(task.unwrap());
    block_on(receiver).unwrap()
}

/// The signal is polled outside the task that it was given to.
#[test]
fn tasks_a_signal_that_was_given_away_wakes_where_it_went() {
    explore("tasks, stop against a signal given away", Bound::Full, || {
        let tasks = TaskSet::new();
        let signal = signal(&tasks);
        let waiting = thread::spawn(move || block_on(signal));
        tasks.stop();
        waiting.join().unwrap();
    });
}

#[test]
fn tasks_a_signal_may_be_dropped_while_it_is_woken_or_its_waker_replaced() {
    explore("tasks, stop against a signal replaced and dropped", Bound::Three, || {
        let tasks = TaskSet::new();
        let mut signal = signal(&tasks);
        let mut clone = signal.clone();
        let waiting = thread::spawn(move || {
            let _ = poll_once(&mut clone);
            drop(clone);
            if poll_once(&mut signal).is_pending() {
                block_on(signal);
            }
        });
        tasks.stop();
        waiting.join().unwrap();
    });
}

#[test]
fn tasks_a_signal_that_is_seen_raised_shows_what_was_done_before_the_stop() {
    explore("tasks, a look at the signal against stop", Bound::Full, || {
        let (tasks, done) = (TaskSet::new(), shared::<AtomicUsize>());
        let signal = signal(&tasks);
        let stopping = beside(&(tasks, Arc::clone(&done)), |(tasks, done)| {
            done.store(7, Ordering::Relaxed);
            tasks.stop();
        });
        if signal.is_raised() {
            assert_eq!(done.load(Ordering::Relaxed), 7, "stopped before it was done");
        }
        stopping.join().unwrap();
    });
}

#[test]
fn tasks_a_child_is_told_what_its_parent_is_told_and_is_waited_for() {
    explore("tasks, stop of a parent against the birth of a child", Bound::Three, || {
        let parent = TaskSet::new();
        let running = beside(&parent, |parent| {
            let Ok(child) = parent.child(Label::new("child")) else { return };
            if let Some(task) = member(&child, |stop| stop) {
                block_on(task);
            }
            closed(&child);
        });
        parent.stop();
        closed(&parent);
        running.join().unwrap();
    });
}

/// The last task of one shard leaves while another comes to the other.
#[test]
fn tasks_of_two_shards_close_after_the_last_of_both() {
    explore("tasks of two shards, last of one against a spawn in the other", Bound::Three, || {
        let tasks = TaskSet::with_two_shards();
        let task = member(&tasks, |stop| stop);
        let spawning = beside(&tasks, |tasks| {
            this_thread::set_number(1);
            usize::from(member(&tasks, |stop| stop).map(block_on).is_some())
        });
        tasks.stop();
        block_on(task.unwrap());
        let ended = closed(&tasks);
        let accepted = spawning.join().unwrap();
        assert_eq!((ended, tasks.tally().refused), ((1 + accepted, 0), 1 - accepted));
    });
}

#[test]
fn tasks_of_two_shards_wait_for_one_that_is_spawned_in_the_other() {
    explore("tasks of two shards, stop against one that spawns another", Bound::Three, || {
        let tasks = TaskSet::with_two_shards();
        let spawns = StdArc::clone(&tasks);
        let task = member(&tasks, |stop| async move {
            stop.await;
            // In the other shard, which has had no task until now.
            let other = spawned_inside(&spawns);
            thread::spawn(move || block_on(other));
        });
        let running = thread::spawn(move || {
            this_thread::set_number(1);
            block_on(task.unwrap());
        });
        tasks.stop();
        assert_eq!(closed(&tasks), (2, 0));
        running.join().unwrap();
    });
}

/// Each writes without ordering. Only the way in which it leaves makes that visible.
#[test]
fn tasks_of_two_shards_have_done_everything_when_the_set_has_closed() {
    explore("tasks of two shards, what they did", Bound::Three, || {
        let (tasks, done) = (TaskSet::with_two_shards(), shared::<[AtomicUsize; 2]>());
        let task = |shard: usize| {
            this_thread::set_number(shard);
            let done = Arc::clone(&done);
            member(&tasks, move |_| async move { done[shard].store(7, Ordering::Relaxed) })
        };
        let (one, other) = (task(0), task(1));
        let running = [run(one), run(other)];
        tasks.stop();
        // Not `closed`: that counts, and the locks of the shards would make everything visible.
        assert!(tasks.closed().wait_blocking(Duration::MAX));
        assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 7), "closed too early");
        for running in running {
            running.join().unwrap();
        }
    });
}

/// Wakes a task, and records that it was this waker that did: as a `FuturesUnordered` does.
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

/// Polls a signal with a waker of its own, and only if that was woken.
async fn relayed(mut stop: Stop) {
    let mut relay = None;
    poll_fn(|context: &mut Context<'_>| {
        let is_first = relay.is_none();
        let relay = relay.get_or_insert_with(|| {
            StdArc::new(Relay { woken: Mutex::new(true), task: context.waker().clone() })
        });
        if !std::mem::take(&mut *relay.woken.lock().unwrap()) {
            return Poll::Pending;
        }
        let waker = Waker::from(StdArc::clone(relay));
        let poll = Pin::new(&mut stop).poll(&mut Context::from_waker(&waker));
        assert!(is_first || poll.is_ready(), "woken for nothing");
        poll
    })
    .await;
}

#[test]
fn tasks_a_signal_that_is_polled_with_another_waker_is_woken_by_that() {
    explore("tasks, stop against one that relays it", Bound::Three, || {
        let tasks = TaskSet::new();
        let running = run(member(&tasks, relayed));
        tasks.stop();
        assert_eq!(closed(&tasks), (1, 0));
        running.join().unwrap();
    });
}

async fn stays(stop: Stop) {
    stop.await;
    pending::<()>().await;
}

/// It sees the stop, stays, and is aborted only then.
#[test]
fn tasks_one_that_stays_after_a_stop_is_woken_for_the_abort() {
    explore("tasks, stop, and then abort, against one that stays", Bound::Three, || {
        let tasks = TaskSet::new();
        let running = run(member(&tasks, stays));
        tasks.stop();
        tasks.abort();
        assert_eq!(closed(&tasks), (0, 1));
        running.join().unwrap();
    });
}

/// The wake-up for the stop takes several rounds. The second task must not believe that it has passed
/// while it is still on its way.
#[test]
fn tasks_one_that_stays_is_woken_for_the_abort_though_another_is_woken_first() {
    explore("tasks, stop, and then abort, against the second of two", Bound::Three, || {
        let tasks = TaskSet::new();
        let mut first = Box::pin(member(&tasks, |_| pending()).unwrap());
        assert!(poll_once(&mut first).is_pending());
        let running = run(member(&tasks, stays));
        tasks.stop();
        tasks.abort();
        drop(first);
        assert_eq!(closed(&tasks), (0, 2));
        running.join().unwrap();
    });
}

/// Sets a flag when it is woken, or asserts that it is set.
struct Told {
    told: Arc<AtomicBool>,
    is_task: bool,
}

impl Wake for Told {
    fn wake(self: StdArc<Self>) {
        if self.is_task {
            self.told.store(true, Ordering::Relaxed);
        } else {
            assert!(self.told.load(Ordering::Relaxed), "a signal was woken before the task");
        }
    }
}

/// The signal comes first in the shard. It is woken by foreign code, which may block.
#[test]
fn tasks_are_woken_before_the_signals_that_others_poll() {
    explore("tasks, two stops against a task and a signal", Bound::Three, || {
        let (tasks, told) = (TaskSet::new(), Arc::new(AtomicBool::new(false)));
        let poll = |future: Pin<&mut dyn Future<Output = ()>>, is_task| {
            let waker = Waker::from(StdArc::new(Told { told: Arc::clone(&told), is_task }));
            future.poll(&mut Context::from_waker(&waker)).is_pending()
        };
        let mut signal = Box::pin(signal(&tasks));
        assert!(poll(signal.as_mut(), false));
        let mut task = Box::pin(member(&tasks, |stop| stop).unwrap());
        assert!(poll(task.as_mut(), true));
        let stopping = beside(&tasks, |tasks| tasks.stop());
        tasks.stop();
        stopping.join().unwrap();
        assert!(told.load(Ordering::Relaxed), "the task was not woken");
        drop(task);
    });
}

/// What the source did before: it woke in the order of the slots.
#[test]
fn tasks_twin_that_wakes_in_the_order_of_its_slots_lets_a_signal_delay_a_task() {
    must_be_caught("tasks, woken in the order of their slots", "woken before the task", || {
        // Whether each was woken: a signal, and a task.
        let twin = shared::<[AtomicBool; 2]>();
        let stopping = beside(&twin, |twin| {
            twin.iter().for_each(|woken| woken.store(true, Ordering::SeqCst));
        });
        if twin[0].load(Ordering::SeqCst) {
            assert!(twin[1].load(Ordering::SeqCst), "a signal was woken before the task");
        }
        stopping.join().unwrap();
    });
}

/// The second shard is made for the task while the wake-up looks which shards there are.
#[test]
fn tasks_a_stop_reaches_one_whose_shard_is_just_being_made() {
    explore("tasks of two shards, stop against the first of the second", Bound::Three, || {
        let tasks = TaskSet::with_two_shards();
        let running = beside(&tasks, |tasks| {
            this_thread::set_number(1);
            usize::from(member(&tasks, |stop| stop).map(block_on).is_some())
        });
        tasks.stop();
        let ended = closed(&tasks);
        assert_eq!(ended, (running.join().unwrap(), 0));
    });
}

/// The shard is published and the command is looked at, with no lock that the wake-up takes, too.
#[test]
fn tasks_twin_that_makes_a_shard_without_a_lock_is_never_woken() {
    must_be_caught("tasks, a shard made without a lock", "never woken", || {
        // Whether the command was given, and whether the shard was made.
        let twin = shared::<(AtomicBool, AtomicBool)>();
        let stopping = beside(&twin, |twin| {
            twin.0.swap(true, Ordering::AcqRel);
            twin.1.load(Ordering::Acquire)
        });
        twin.1.store(true, Ordering::Release);
        let waits = !twin.0.load(Ordering::Acquire);
        let is_found = stopping.join().unwrap();
        assert!(!waits || is_found, "never woken");
    });
}

#[test]
fn tasks_twin_that_adds_up_its_shards_closes_on_a_task() {
    must_be_caught("tasks, shards added up one after another", "closed on a task", || {
        let shards = Arc::new([AtomicUsize::new(0), AtomicUsize::new(1)]);
        let spawning = beside(&shards, |shards| {
            // The task of the second shard spawns one in the first, and leaves.
            shards[0].fetch_add(1, Ordering::SeqCst);
            shards[1].fetch_sub(1, Ordering::SeqCst);
        });
        let running: usize = shards.iter().map(|shard| shard.load(Ordering::SeqCst)).sum();
        assert!(running > 0, "closed on a task");
        spawning.join().unwrap();
    });
}

/// A signal that knows its task by the thread, and does not compare wakers.
#[test]
fn tasks_twin_that_does_not_compare_wakers_is_never_polled_again() {
    must_be_caught("tasks, a signal polled with any waker", "never polled again", || {
        // The command, and the wakers that are left.
        let twin = shared::<(AtomicBool, Mutex<Vec<&'static str>>)>();
        let stopping = beside(&twin, |twin| {
            twin.0.store(true, Ordering::SeqCst);
            std::mem::take(&mut *twin.1.lock().unwrap())
        });
        // The task leaves its waker, and polls the signal with another, which leaves none.
        twin.1.lock().unwrap().push("task");
        let pending = !twin.0.load(Ordering::SeqCst);
        let woken = stopping.join().unwrap();
        assert!(!pending || woken.contains(&"relay"), "never polled again");
    });
}

/// What the source did at first. A task leaves its waker once for each command that it sees, and does
/// not ask whether the wake-up for that command has passed. The wake-up for a stop that it has seen
/// already takes the waker, and none is left for the abort.
#[test]
fn tasks_twin_whose_wakers_are_used_up_forgets_one() {
    must_be_caught("tasks, wakers that are used up", "sleeps through the abort", || {
        // The command, and whether a waker is left.
        let twin = shared::<(AtomicUsize, AtomicBool)>();
        let tell = |twin: &(AtomicUsize, AtomicBool), command: usize| {
            twin.0.fetch_max(command, Ordering::SeqCst);
            twin.1.swap(false, Ordering::SeqCst)
        };
        let stopping = beside(&twin, move |twin| tell(&twin, 1));
        let mut seen = None;
        let mut poll = || {
            let command = twin.0.load(Ordering::SeqCst);
            if seen != Some(command) {
                seen = Some(command);
                twin.1.store(true, Ordering::SeqCst);
            }
        };
        poll();
        if stopping.join().unwrap() {
            poll();
        }
        assert!(tell(&twin, 2), "the task sleeps through the abort");
    });
}
