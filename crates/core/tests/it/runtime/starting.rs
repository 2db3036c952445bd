//! Runtimes that start, start again, and cannot; and the cell that starts one when it is needed.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use futures::executor;
use sundown::{
    runtime::{RuntimeCell, RuntimeError, RuntimeOwner, StartError, State},
    shutdown::GracefulShutdown as _,
};

use super::{no_thread_is_left, on_both_flavours};
use crate::fixtures::PLENTY;

#[test]
fn a_restart_is_a_new_generation_and_the_old_one_stays_ended() {
    on_both_flavours("again", |builder| {
        let owner = builder.start().unwrap();
        for generation in 1..=4 {
            let handle = owner.current().unwrap();
            assert_eq!(handle.generation(), generation);
            assert_eq!(owner.block_on(async { generation }), Ok(generation));
            assert!(matches!(owner.restart(), Err(StartError::NotEnded { .. })), "it runs");
            let _ = owner.shutdown_blocking(PLENTY).unwrap();
            owner.clone().restart().unwrap();
            assert!(
                matches!(handle.block_on(async {}), Err(RuntimeError::ShutDown { generation: of, .. }) if of == generation)
            );
            assert!(handle.handle().is_err());
        }
        assert_eq!(owner.stats().generation, 5);
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}

#[test]
fn what_cannot_start_says_why() {
    on_both_flavours("cannot", |builder| {
        let no_stack = usize::MAX / 4;
        let error = builder.clone().stack_size(no_stack).start().unwrap_err();
        let text = error.to_string();
        match &error {
            StartError::NoThread { .. } => assert!(text.contains("cannot-c"), "{text}"),
            StartError::NoRuntime { .. } => assert!(text.contains("worker thread"), "{text}"),
            _ => panic!("{text}"),
        }
        let error = builder.clone().blocking_threads(0).start().unwrap_err();
        assert!(matches!(error, StartError::NoSuchNumber { .. }), "{error}");
        let error = builder.clone().stack_size(16 << 10).start().unwrap_err();
        assert!(error.to_string().contains("at least 65536"), "{error}");
        let least = builder.stack_size(64 << 10).start().unwrap();
        assert_eq!(least.block_on(async { tokio::spawn(async { 7 }).await.unwrap() }), Ok(7));
        let _ = least.shutdown_blocking(PLENTY).unwrap();
    });
    let error = RuntimeOwner::builder("none").workers(0).start().unwrap_err();
    assert!(error.to_string().contains("0 workers"), "{error}");
    let error = RuntimeOwner::builder("none").workers(usize::MAX).start().unwrap_err();
    assert!(error.to_string().contains("at most 32768"), "{error}");
    let odd = RuntimeOwner::builder("a name\0with a zero byte").workers(1).start().unwrap();
    let _ = odd.shutdown_blocking(PLENTY).unwrap();
}

#[test]
fn a_cell_starts_once_and_again_only_after_a_restart() {
    static CELL: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("cell").workers(1));
    assert_eq!(CELL.stats().state, State::NotStarted);
    let old = CELL.get().unwrap();
    assert_eq!((old.generation(), CELL.get().unwrap().generation()), (1, 1));
    assert_eq!(old.block_on(async { 1 }), Ok(1));
    let _ = CELL.shutdown_blocking(PLENTY).unwrap();
    assert!(matches!(CELL.get(), Err(StartError::Runtime(_))), "not by itself");
    CELL.restart().unwrap();
    assert_eq!(CELL.get().unwrap().generation(), 2);
    assert!(old.handle().is_err());
    let _ = executor::block_on(CELL.shutdown(None)).unwrap();
    let _ = executor::block_on(CELL.shutdown_within(PLENTY)).unwrap();
    no_thread_is_left("cell");
}

#[test]
fn a_cell_that_is_shut_down_before_it_starts_does_not_start_by_itself() {
    static CELL: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("early"));
    assert_eq!(CELL.shutdown_blocking(PLENTY).unwrap().aborted, 0);
    assert!(matches!(CELL.get(), Err(StartError::Runtime(RuntimeError::ShutDown { .. }))));
    CELL.restart().unwrap();
    assert_eq!(CELL.get().unwrap().generation(), 1);
    let _ = CELL.shutdown_blocking(PLENTY).unwrap();
}

#[test]
fn a_cell_whose_runtime_cannot_be_built_tries_again() {
    static ROOM: AtomicBool = AtomicBool::new(false);
    static CELL: RuntimeCell = RuntimeCell::new(|| {
        let builder = RuntimeOwner::builder("retry").current_thread();
        if ROOM.load(Ordering::SeqCst) { builder } else { builder.stack_size(usize::MAX / 4) }
    });
    assert!(matches!(CELL.get(), Err(StartError::NoThread { .. })));
    ROOM.store(true, Ordering::SeqCst);
    assert_eq!(CELL.get().unwrap().block_on(async { 1 }), Ok(1));
    let _ = CELL.shutdown_blocking(PLENTY).unwrap();
}

static ASKS_ITSELF: RuntimeCell = RuntimeCell::new(|| {
    assert_eq!(ASKS_ITSELF.stats().state, State::NotStarted);
    RuntimeOwner::builder("asks itself").current_thread()
});

#[test]
fn the_builder_of_a_cell_may_use_the_cell() {
    let (send, started) = mpsc::channel();
    thread::spawn(move || send.send(ASKS_ITSELF.get().is_ok()));
    assert_eq!(started.recv_timeout(PLENTY), Ok(true));
    let _ = ASKS_ITSELF.shutdown_blocking(PLENTY).unwrap();
}
