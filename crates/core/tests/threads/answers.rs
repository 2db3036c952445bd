//! One test for each answer of the kit. Those of a session have a file of their own.

use std::{
    future::{Future, pending, ready},
    pin::{Pin, pin},
    sync::mpsc,
    task::{Context, Waker},
    thread,
    time::Duration,
};

use futures::executor::block_on;
use sundown::{
    gate::EntryGate,
    group::TaskGroup,
    latch::Latch,
    limit::{PLENTY, within},
    oneshot,
    runtime::{RuntimeBuilder, RuntimeCell, RuntimeOwner},
    shutdown::GracefulShutdown,
    stop::Stop,
    task::BackgroundTask,
    teardown::{teardown, teardown_blocking},
};
use tokio::{runtime::Runtime, task::spawn_blocking};

use crate::look::Looks;

/// A limit that passes.
pub const SHORT: Duration = Duration::from_millis(1);

/// Like a pooled connection: its destructor needs a runtime.
pub struct Connection;

impl Drop for Connection {
    fn drop(&mut self) {
        drop(spawn_blocking(|| ()));
    }
}

/// A runtime of the test's own, which the group's and the task's tasks run on.
pub fn of_the_test() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

pub fn both_flavours() -> [RuntimeBuilder; 2] {
    // Its foreign task never ends: it gets no time.
    let builder = || RuntimeOwner::builder("owned").foreign_time(Duration::ZERO);
    [builder().current_thread(), builder().workers(2)]
}

/// Has used a worker and a blocking thread, and has a task of the kit.
pub fn used(owner: &RuntimeOwner) {
    drop(owner.spawn("listens", |stop| stop).unwrap());
    owner.block_on(async { spawn_blocking(|| ()).await.unwrap() }).unwrap();
}

/// Has also a foreign task, which never ends by itself.
pub fn busy(owner: &RuntimeOwner) {
    used(owner);
    drop(owner.handle().unwrap().spawn(pending::<()>()));
}

pub fn after_a_runtime_was_shut_down_no_thread_is_left() {
    for flavour in both_flavours() {
        let looks = Looks::in_rounds(|looks| {
            let owner = flavour.clone().start().unwrap();
            busy(&owner);
            let _ = owner.shutdown_blocking(PLENTY).unwrap();
            looks.look();
            owner.restart().unwrap();
            busy(&owner);
            let _ = block_on(owner.shutdown(PLENTY)).unwrap();
            looks.look();
        });
        looks.assert_none();
    }
}

/// No system has that much memory for a stack.
pub fn after_a_runtime_could_not_start_no_thread_is_left() {
    let hook = std::panic::take_hook();
    // Tokio panics with it.
    std::panic::set_hook(Box::new(|_| {}));
    let looks = Looks::in_rounds(|looks| {
        let refused = RuntimeOwner::builder("refused").workers(1).stack_size(1 << 46).start();
        looks.look();
        assert!(refused.is_err());
    });
    std::panic::set_hook(hook);
    looks.assert_none();
}

pub fn after_a_cell_was_shut_down_no_thread_is_left() {
    fn builder() -> RuntimeBuilder {
        RuntimeOwner::builder("cell").workers(2).foreign_time(Duration::ZERO)
    }
    static CELL: RuntimeCell = RuntimeCell::new(builder);
    let looks = Looks::in_rounds(|looks| {
        CELL.restart().unwrap();
        drop(CELL.get().unwrap().handle().unwrap().spawn(pending::<()>()));
        let _ = CELL.shutdown_blocking(PLENTY).unwrap();
        looks.look();
        CELL.restart().unwrap();
        let _ = block_on(CELL.shutdown(PLENTY)).unwrap();
        looks.look();
    });
    looks.assert_none();
}

/// The first caller is on a thread of the test.
pub fn after_the_answer_to_the_second_caller_no_thread_of_the_runtime_is_left() {
    let [_, builder] = both_flavours();
    let (ask, asked) = mpsc::channel::<RuntimeOwner>();
    let (answer, answered) = mpsc::channel();
    let first = thread::spawn(move || {
        for owner in asked {
            answer.send(owner.shutdown_blocking(PLENTY).is_ok()).unwrap();
        }
    });
    let looks = Looks::in_rounds(|looks| {
        let owner = builder.clone().start().unwrap();
        busy(&owner);
        ask.send(owner.clone()).unwrap();
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
        looks.look();
        assert!(answered.recv().unwrap());
    });
    looks.assert_none();
    drop(ask);
    first.join().unwrap();
}

pub fn after_a_group_was_drained_no_thread_is_left() {
    let runtime = of_the_test();
    let spawned = || {
        let group = TaskGroup::new("group");
        for _ in 0..5 {
            group.spawn_on(runtime.handle(), "member", |stop| stop).unwrap();
        }
        group
    };
    let looks = Looks::in_rounds(|looks| {
        let group = spawned();
        assert_eq!(group.drain_blocking(PLENTY).ended, 5);
        looks.look();
        let group = spawned();
        assert_eq!(block_on(group.drain(PLENTY)).ended, 5);
        looks.look();
        let group = spawned();
        let _ = runtime.block_on(group.shutdown_within(PLENTY)).unwrap();
        looks.look();
        let group = spawned();
        group.spawn_on(runtime.handle(), "deaf", |_| pending()).unwrap();
        // Its limit passes. Whether the abort takes effect within it is up to the machine.
        let hurried = group.drain_blocking(SHORT);
        if hurried.still_running.is_empty() {
            looks.look();
        }
        let patient = group.drain_blocking(PLENTY);
        assert_eq!(patient.ended + patient.aborted, 6, "{patient:?}");
        looks.look();
    });
    looks.assert_none();
}

/// A stop signal that is awaited outside of Tokio's tasks has a waker of its own.
pub fn after_a_group_with_a_signal_elsewhere_was_drained_no_thread_is_left() {
    let (send, signals) = mpsc::channel::<Stop>();
    let (tell, stopped) = mpsc::channel();
    let listens = thread::spawn(move || {
        for mut signal in signals {
            let mut context = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut signal).poll(&mut context).is_pending());
            tell.send(()).unwrap();
            block_on(signal);
            tell.send(()).unwrap();
        }
    });
    let looks = Looks::in_rounds(|looks| {
        let group = TaskGroup::new("group");
        send.send(group.stop_signal()).unwrap();
        stopped.recv().unwrap();
        assert!(group.drain_blocking(PLENTY).still_running.is_empty());
        looks.look();
        stopped.recv().unwrap();
    });
    looks.assert_none();
    drop(send);
    listens.join().unwrap();
}

pub fn after_a_task_was_shut_down_no_thread_is_left() {
    let runtime = of_the_test();
    let spawned = || BackgroundTask::spawn_on(runtime.handle(), "task", |stop| stop);
    let looks = Looks::in_rounds(|looks| {
        let _ = block_on(spawned().shutdown()).unwrap();
        looks.look();
        let _ = runtime.block_on(spawned().shutdown_within(PLENTY)).unwrap();
        looks.look();
        let _ = block_on(spawned().shutdown_with(PLENTY, ready(()))).unwrap();
        looks.look();
        assert!(block_on(spawned().finish(PLENTY)).unwrap().is_some());
        looks.look();
    });
    looks.assert_none();
}

pub fn after_a_teardown_no_thread_is_left() {
    let looks = Looks::in_rounds(|looks| {
        let _ = teardown_blocking(Connection, PLENTY).unwrap();
        looks.look();
        let _ = block_on(teardown(Connection, PLENTY)).unwrap();
        looks.look();
        let _ = teardown_blocking(Connection, Duration::MAX).unwrap();
        looks.look();
    });
    looks.assert_none();
}

pub fn after_a_limit_no_thread_is_left() {
    let runtime = of_the_test();
    let looks = Looks::in_rounds(|looks| {
        assert!(block_on(within(SHORT, pending::<()>())).is_none());
        looks.look();
        let (sender, receiver) = oneshot::channel();
        runtime.spawn(async { sender.send(()) });
        assert!(block_on(within(PLENTY, receiver)).is_some());
        looks.look();
        {
            let mut limited = pin!(within(PLENTY, pending::<()>()));
            let mut context = Context::from_waker(Waker::noop());
            assert!(limited.as_mut().poll(&mut context).is_pending());
        }
        looks.look();
    });
    looks.assert_none();
}

pub fn after_a_blocking_wait_no_thread_is_left() {
    let runtime = of_the_test();
    let looks = Looks::in_rounds(|looks| {
        let (sender, mut receiver) = oneshot::channel();
        runtime.spawn(async { sender.send(()) });
        receiver.wait_blocking(PLENTY).unwrap();
        looks.look();
        assert!(!Latch::new().wait_blocking(SHORT));
        looks.look();
        let gate = EntryGate::new();
        let _inside = gate.enter().unwrap();
        gate.close();
        gate.wait_empty_blocking(SHORT).unwrap_err();
        looks.look();
    });
    looks.assert_none();
}

/// The descriptors of drivers in this process: `eventpoll` and `eventfd`.
fn descriptors() -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("anon_inode:[event")).count()
}

pub fn after_a_runtime_was_shut_down_no_descriptor_is_left_while_its_owner_is_kept() {
    static CELL: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("cell").workers(2));
    let before = descriptors();
    for builder in both_flavours() {
        let owner = builder.start().unwrap();
        busy(&owner);
        assert!(descriptors() > before, "the control");
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
        assert_eq!(descriptors(), before);
        assert!(owner.handle().is_err() && owner.block_on(async {}).is_err());
        assert_eq!(owner.stats().tasks, 0);
    }
    CELL.get().unwrap();
    assert!(descriptors() > before, "the control");
    let _ = CELL.shutdown_blocking(PLENTY).unwrap();
    assert_eq!(descriptors(), before);
}

pub fn after_a_restart_no_descriptor_of_an_earlier_generation_is_left() {
    let before = descriptors();
    let owner = RuntimeOwner::builder("owned").current_thread().start().unwrap();
    let earlier = owner.current().unwrap();
    let (release, released) = mpsc::channel::<()>();
    owner.handle().unwrap().spawn_blocking(move || _ = released.recv());
    // Nobody is told that this generation has ended.
    let _timed_out = owner.shutdown_blocking(SHORT).unwrap_err();
    release.send(()).unwrap();
    while owner.restart().is_err() {
        thread::yield_now();
    }
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
    assert_eq!(descriptors(), before);
    assert!(earlier.handle().is_err());
}
