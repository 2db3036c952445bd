//! Closing: again, at the same time, given up, too short, and in a list of other things.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use futures::{FutureExt as _, executor::block_on};
use sundown::{
    latch::Latch,
    session::{CloseError, CloseErrorKind, CloseReport, Session},
    shutdown::{GracefulShutdown, ShutdownErrorKind, shutdown_in_order},
    task::BackgroundTask,
};

use super::{session, still_held};
use crate::fixtures::{Counting, PLENTY, SHORT, both_flavours, on_drop, pool, stuck, until};

#[test]
fn a_close_again_gives_the_same_answer() {
    let (session, (pool, closed)) = (session(), pool());
    drop(session.guard(pool).unwrap());
    for _ in 0..3 {
        let _ = session.close_blocking(PLENTY).unwrap();
        assert_eq!(closed(), 2);
    }
    assert!(session.clone().close(Duration::ZERO).now_or_never().unwrap().is_ok());
}

#[test]
fn every_caller_of_close_waits_for_the_real_end() {
    let (session, (pool, closed)) = (session(), pool());
    let guard = session.guard(pool).unwrap();
    still_held(session.close_blocking(SHORT));
    let (blocking, awaiting) =
        (|| session.close_blocking(PLENTY), || block_on(session.close(PLENTY)));
    thread::scope(|scope| {
        for close in [&blocking as &(dyn Fn() -> _ + Sync), &awaiting] {
            for _ in 0..4 {
                scope.spawn(|| {
                    let _ = close().unwrap();
                    assert_eq!(closed(), 2);
                });
            }
        }
        drop(guard);
    });
}

/// The waker of a close runs on the thread that drops the last handle. A value that left the count
/// before it was handed over would be missed here, and the session would count as closed.
#[test]
fn a_close_that_is_woken_by_the_last_handle_finds_its_value_handed_over() {
    type Answer = Result<CloseReport, CloseError>;
    struct ClosesAgain(Session, Mutex<mpsc::Sender<Answer>>);
    impl Wake for ClosesAgain {
        fn wake(self: Arc<Self>) {
            let answer = self.0.close_blocking(Duration::ZERO);
            let _ = self.1.lock().unwrap().send(answer);
        }
    }
    let (session, latch) = (session(), Arc::new(Latch::new()));
    let guard = session.guard(on_drop({
        let latch = Arc::clone(&latch);
        move || assert!(latch.wait_blocking(PLENTY))
    }));
    let (sender, answers) = mpsc::channel();
    let waker = Waker::from(Arc::new(ClosesAgain(session.clone(), Mutex::new(sender))));
    let mut close: Pin<&mut _> = pin!(session.close(Duration::MAX));
    assert!(close.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(guard);
    let error = answers.recv_timeout(PLENTY).unwrap().unwrap_err();
    latch.fire();
    assert!(matches!(error.kind, CloseErrorKind::StillRunning), "{error}");
    let _ = session.close_blocking(PLENTY).unwrap();
}

#[test]
fn a_dropped_close_loses_nothing() {
    let (session, (pool, closed)) = (session(), pool());
    let guard = session.guard(pool).unwrap();
    assert!(session.close(PLENTY).now_or_never().is_none());
    session.guard(()).unwrap_err();
    drop(guard);
    assert!(session.close(PLENTY).now_or_never().is_none_or(|result| result.is_ok()));
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed(), 2);
}

/// Whatever a close waits for, it leaves no waker there when it is given up.
#[test]
fn a_close_that_is_given_up_leaves_nothing_behind() {
    let (hangs, blocks) = stuck();
    let blocks = Mutex::new(Some(blocks));
    let hung = Session::builder("test").evidence(move || {
        blocks.lock().unwrap().take().into_iter().for_each(|blocks| blocks());
        Ok(())
    });
    let hung = hung.start().unwrap();
    drop(hung.close_blocking(SHORT));
    let pending_hook = Session::builder("test").before_close(std::future::pending::<()>);
    let (in_destructor, blocks) = stuck();
    let torn_down = session();
    drop(torn_down.guard(on_drop(blocks)).unwrap());
    let held = session();
    let guard = held.guard(()).unwrap();
    for session in [hung, pending_hook.start().unwrap(), torn_down, held] {
        let (counting, waker) = Counting::waker();
        for _ in 0..100 {
            let mut close = pin!(session.close(PLENTY));
            assert!(close.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        {
            let mut close = pin!(session.close(PLENTY));
            assert!(close.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert!(Arc::strong_count(&counting) > 2, "the control: it waits");
        }
        until("the wakers", || Arc::strong_count(&counting) == 2);
    }
    drop((hangs.let_go, in_destructor.let_go, guard));
}

#[test]
fn a_limit_of_zero_looks_once_and_the_longest_means_no_limit() {
    both_flavours(async || {
        let (session, (pool, closed)) = (session(), pool());
        let guard = session.guard(pool).unwrap();
        still_held(session.close(Duration::ZERO).await);
        drop(guard);
        let _ = session.close(Duration::MAX).await.unwrap();
        let _ = session.close_blocking(Duration::ZERO).unwrap();
        assert_eq!(closed(), 2);
    });
}

#[test]
fn a_session_that_is_dropped_unclosed_is_torn_down_all_the_same() {
    let (session, (first, first_closed), (second, second_closed)) = (session(), pool(), pool());
    let guard = session.guard(first).unwrap();
    drop(session.guard(second).unwrap());
    drop(session);
    // The handle is as good as before.
    let (third, third_closed) = pool();
    let derived = guard.map(|_| third);
    drop((guard, derived));
    let closed = || (first_closed(), second_closed(), third_closed());
    until("the closers", || closed() == (2, 2, 2));
}

#[test]
fn a_session_is_shut_down_in_its_turn() {
    both_flavours(async || {
        let (session, (pool, closed)) = (session(), pool());
        let guard = session.guard(pool).unwrap();
        let task = BackgroundTask::spawn("sync", |stop| async move {
            stop.await;
            drop(guard);
        });
        let task = task.unwrap();
        let components: [&dyn GracefulShutdown; 2] = [&task, &session];
        let results = shutdown_in_order(components, PLENTY).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(closed(), 2);
    });
}

#[test]
fn the_error_of_a_shutdown_says_what_keeps_the_session_from_closing() {
    let session = session();
    let _guard = session.guard(()).unwrap();
    let error = block_on(session.shutdown_within(SHORT)).unwrap_err();
    let ShutdownErrorKind::Failed(why) = &error.kind else { panic!("{error}") };
    let why = why.downcast_ref::<CloseError>().unwrap();
    assert!(matches!(why.kind, CloseErrorKind::StillHeld));
    assert!(error.to_string().contains(file!()), "{error}");
}
