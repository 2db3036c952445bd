//! Hooks: when they run, where, how often, and what becomes of a close if they do not end well.

use std::{
    future::{Future, pending, poll_fn},
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, executor::block_on};
use sundown::{
    latch::Latch,
    runtime::{RuntimeHandle, RuntimeOwner},
    session::{
        Builder as SessionBuilder, CloseError, CloseErrorKind, CloseReport, Confirmation, Guarded,
        HookFailureKind, Inside, Session, SessionRuntime,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Handle, Runtime},
};

use super::{from_inside, session, still_held};
use crate::fixtures::{PLENTY, SHORT, current_thread, multi_thread, on_drop, pool, until};

type Answer = Result<CloseReport, CloseError>;

#[track_caller]
fn is_hook(answer: Answer) -> CloseError {
    let error = answer.unwrap_err();
    assert!(matches!(error.kind, CloseErrorKind::Hook), "{error}");
    error
}

#[test]
fn a_hook_runs_once_with_the_value_that_its_handle_keeps() {
    let (session, (pool, closed)) = (session(), pool());
    let client = session.guard(pool).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let (hook, closed_before, seen) = (client.clone(), closed.clone(), Arc::clone(&calls));
    session
        .before_close(async move || {
            tokio::task::yield_now().await;
            assert_eq!(closed_before(), 0, "its handle keeps the value");
            seen.fetch_add(1, Ordering::SeqCst);
            drop(hook);
        })
        .unwrap();
    drop(client);
    for _ in 0..2 {
        let _ = session.close_blocking(PLENTY).unwrap();
        assert_eq!((closed(), calls.load(Ordering::SeqCst)), (2, 1));
    }
    assert!(session.before_close(async || ()).is_err(), "it is too late");
}

/// Adds a hook that keeps a handle, and counts its calls.
fn hook_with<T: Send + Sync + 'static>(
    session: &Session,
    handle: &Guarded<T>,
) -> impl Fn() -> usize + use<T> {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let hook = async move |_handle: Guarded<T>| _ = seen.fetch_add(1, Ordering::SeqCst);
    session.before_close_with(handle, hook).unwrap();
    move || calls.load(Ordering::SeqCst)
}

/// Polls a close once. Without a runtime, that calls the hooks if it need not wait for anything.
fn begin_to_close(session: &Session) {
    drop(session.close(PLENTY).now_or_never());
}

#[test]
fn the_handle_that_a_hook_is_given_keeps_the_value_until_the_hook_has_ended() {
    for owner in [None, Some(RuntimeOwner::builder("test").workers(2).start().unwrap())] {
        let builder = owner.into_iter().fold(Session::builder("test"), SessionBuilder::runtime);
        let (session, (pool, closed)) = (builder.start().unwrap(), pool());
        let (client, (tell, told)) = (session.guard(pool).unwrap(), mpsc::channel());
        let closed_before = closed.clone();
        let (hook, given_at) = (
            async move |client| {
                tokio::task::yield_now().await;
                tell.send(closed_before()).unwrap();
                drop(client);
            },
            line!() + 2,
        );
        session.before_close_with(&client, hook).unwrap();
        let client = client.into_inner().err().unwrap();
        drop(client);
        let [held] = &*session.held() else { panic!("{:?}", session.held()) };
        assert_eq!((held.made_at.line(), held.handles), (given_at, 1), "{held}");
        let _ = session.close_blocking(PLENTY).unwrap();
        assert_eq!((told.try_iter().collect(), closed()), (vec![0], 2));
    }
}

#[test]
fn a_hook_is_called_at_once_when_only_hooks_hold_handles() {
    let session = session();
    let (client, other) = (session.guard("client").unwrap(), session.guard("other").unwrap());
    let calls =
        [hook_with(&session, &client), hook_with(&session, &client), hook_with(&session, &other)];
    let weak = client.downgrade();
    let called = || calls.each_ref().map(|calls| calls());
    begin_to_close(&session);
    assert_eq!(called(), [0; 3], "two handles are in use");
    drop((client, other));
    let upgraded = weak.upgrade().unwrap();
    begin_to_close(&session);
    assert_eq!(called(), [0; 3], "one was made from a weak handle");
    let derived = upgraded.map(|client| client.len());
    drop(upgraded);
    begin_to_close(&session);
    assert_eq!(called(), [0; 3], "a derived value is in use");
    drop(derived);
    // What was derived may still be on its way through the closing service.
    until("the hooks", || {
        begin_to_close(&session);
        called() == [1; 3]
    });
    assert!(weak.upgrade().is_none());
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(called(), [1; 3]);
}

/// A handle that a hook has captured looks like one that somebody uses.
#[test]
fn a_hook_that_captured_a_handle_is_not_called_at_once() {
    let session = session();
    let client = session.guard("client").unwrap();
    let calls = hook_with(&session, &client);
    let captured = client.clone();
    session.before_close(async move || drop(captured)).unwrap();
    drop(client);
    begin_to_close(&session);
    assert_eq!(calls(), 0);
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(calls(), 1);
}

/// It keeps the other session from closing, and is no reason to call the hook at once.
#[test]
fn a_hook_may_be_given_a_handle_of_another_session() {
    let (session, other) = (session(), session());
    let (client, own) = (other.guard("client").unwrap(), session.guard("own").unwrap());
    let calls = hook_with(&session, &client);
    drop(client);
    begin_to_close(&session);
    assert_eq!(calls(), 0);
    drop(own);
    still_held(other.close_blocking(SHORT));
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(calls(), 1);
    let _ = other.close_blocking(PLENTY).unwrap();
}

#[test]
fn the_handle_of_a_hook_is_dropped_with_a_session_that_is_never_closed_and_with_a_refusal() {
    for is_dropped in [true, false] {
        let (session, (pool, closed)) = (session(), pool());
        let client = session.guard(pool).unwrap();
        if is_dropped {
            let calls = hook_with(&session, &client);
            drop((client, session));
            until("the closers", || closed() == 2);
            assert_eq!(calls(), 0);
        } else {
            still_held(session.close_blocking(SHORT));
            session.before_close_with(&client, async |_| ()).unwrap_err();
            drop(client);
            let _ = session.close_blocking(PLENTY).unwrap();
        }
        assert_eq!(closed(), 2);
    }
}

#[test]
fn a_hook_with_a_weak_handle_finds_the_value_only_while_somebody_holds_it() {
    for is_held in [true, false] {
        let session = session();
        let client = session.guard("client").unwrap();
        let (weak, (tell, found)) = (client.downgrade(), mpsc::channel());
        let holds = Mutex::new(is_held.then(|| client.clone()));
        session
            .before_close(async move || {
                tell.send(weak.upgrade().is_some()).unwrap();
                holds.lock().unwrap().take();
            })
            .unwrap();
        drop(client);
        let _ = session.close_blocking(PLENTY).unwrap();
        assert_eq!(found.recv().unwrap(), is_held);
    }
}

#[test]
fn hooks_run_one_after_another_those_of_the_builder_first() {
    let (tell, told) = mpsc::channel();
    let hook = |name| {
        let tell = tell.clone();
        async move || {
            tell.send((name, "begins")).unwrap();
            tokio::task::yield_now().await;
            tell.send((name, "ends")).unwrap();
        }
    };
    let builder = Session::builder("test").before_close(hook("first")).before_close(hook("second"));
    let session = builder.start().unwrap();
    session.before_close(hook("third")).unwrap();
    let _ = block_on(session.close(PLENTY)).unwrap();
    drop(tell);
    let order: Vec<_> = told.iter().collect();
    let expected = ["first", "second", "third"].map(|name| [(name, "begins"), (name, "ends")]);
    assert_eq!(order, expected.concat());
}

/// Panics when it is called, when it is polled, and when it is dropped.
#[test]
fn a_hook_that_panics_is_reported_when_everything_has_ended_and_the_next_one_runs() {
    let calls: [fn() -> futures::future::BoxFuture<'static, ()>; 3] = [
        || panic!("out of luck"),
        || async { panic!("out of luck") }.boxed(),
        || {
            let bomb = on_drop(|| panic!("out of luck"));
            async move { drop(bomb) }.boxed()
        },
    ];
    for call in calls {
        let (session, (pool, closed)) = (session(), pool());
        let (guard, next) = (session.guard(pool).unwrap(), Arc::new(Latch::new()));
        let (fires, given_at) = (Arc::clone(&next), line!() + 1);
        session.before_close(call).unwrap();
        session.before_close(async move || _ = fires.fire()).unwrap();
        drop(guard);
        for _ in 0..2 {
            let error = is_hook(session.close_blocking(PLENTY));
            let [failure] = &*error.seen.hooks else { panic!("{error}") };
            assert_eq!(failure.kind, HookFailureKind::Panicked("out of luck".to_owned()));
            assert_eq!((failure.given_at.line(), failure.given_at.file()), (given_at, file!()));
            assert!(error.to_string().contains("out of luck"), "{error}");
            assert!(closed() == 2 && next.has_fired(), "{error}");
        }
    }
}

#[test]
fn a_hook_that_hangs_costs_a_close_its_limit_and_is_named_and_waited_for_again() {
    let owner = RuntimeOwner::builder("test").workers(1).start().unwrap();
    let runtimes: [Option<SessionRuntime>; 2] = [None, Some(owner.into())];
    for runtime in runtimes {
        let (latch, given_at) = (Arc::new(Latch::new()), line!() + 5);
        let mut builder = Session::builder("test");
        builder = runtime.into_iter().fold(builder, |builder, runtime| builder.runtime(runtime));
        let (session, (pool, closed)) = (builder.start().unwrap(), pool());
        let waits = Arc::clone(&latch);
        session.before_close(async move || waits.wait().await).unwrap();
        drop(session.guard(pool).unwrap());
        for limit in [SHORT, Duration::ZERO] {
            let began = Instant::now();
            let error = is_hook(session.close_blocking(limit));
            assert!(began.elapsed() >= limit, "{error}");
            let [failure] = &*error.seen.hooks else { panic!("{error}") };
            assert_eq!(failure.kind, HookFailureKind::StillRunning);
            assert_eq!(failure.given_at.line(), given_at);
            assert!(error.to_string().contains("has not ended"), "{error}");
        }
        until("the value, which waits for no hook", || closed() == 2);
        latch.fire();
        let _ = session.close_blocking(PLENTY).unwrap();
    }
}

/// Nobody drives the runtime, so the hooks do not even begin.
#[test]
fn a_hook_that_cannot_begin_is_named_and_reported_when_it_is_dropped() {
    let runtime = current_thread();
    let session = Session::builder("test").runtime(runtime.handle().clone()).start().unwrap();
    let given_at = line!() + 2;
    for _ in 0..2 {
        session.before_close(async || ()).unwrap();
    }
    let error = is_hook(session.close_blocking(SHORT));
    let kinds = |error: &CloseError| {
        let hooks = error.seen.hooks.iter();
        hooks.map(|it| (it.given_at.line(), it.kind.clone())).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&error), [(given_at, HookFailureKind::StillRunning)], "{error}");
    drop(runtime);
    let error = is_hook(session.close_blocking(PLENTY));
    assert_eq!(kinds(&error), [(); 2].map(|()| (given_at, HookFailureKind::Dropped)), "{error}");
}

#[test]
fn a_hook_that_closes_its_own_session_is_answered_from_inside() {
    let owner = RuntimeOwner::builder("test").workers(1).start().unwrap();
    let (foreign, inner) = (multi_thread(), multi_thread());
    let runtimes: [Option<SessionRuntime>; 3] =
        [None, Some(owner.into()), Some(foreign.handle().clone().into())];
    for runtime in runtimes {
        let (tell, told) = mpsc::channel();
        let mut builder = Session::builder("test");
        builder = runtime.into_iter().fold(builder, |builder, runtime| builder.runtime(runtime));
        let session = builder.start().unwrap();
        let (again, inner) = (session.clone(), inner.handle().clone());
        session
            .before_close(async move || {
                tell.send(again.close(Duration::MAX).await).unwrap();
                tell.send(again.close_blocking(Duration::MAX)).unwrap();
                let _context = inner.enter();
                tell.send(block_on(again.close(Duration::MAX))).unwrap();
            })
            .unwrap();
        let _ = session.close_blocking(PLENTY).unwrap();
        assert_eq!(told.iter().map(|answer| from_inside(Inside::Hook, answer)).count(), 3);
    }
}

/// The first close is dropped in the middle of the hook. Without a runtime the second goes on with it.
#[test]
fn a_hook_whose_close_was_dropped_is_continued_by_the_next_close() {
    let (session, latch) = (session(), Arc::new(Latch::new()));
    let (waits, calls) = (Arc::clone(&latch), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&calls);
    session
        .before_close(async move || {
            seen.fetch_add(1, Ordering::SeqCst);
            waits.wait().await;
        })
        .unwrap();
    let begun = || calls.load(Ordering::SeqCst);
    assert!(session.close(PLENTY).now_or_never().is_none());
    assert_eq!(begun(), 1);
    latch.fire();
    let _ = block_on(session.close(PLENTY)).unwrap();
    assert_eq!(begun(), 1);
}

#[test]
fn a_hook_on_a_runtime_goes_on_without_a_close() {
    let (runtime, latch) = (multi_thread(), Arc::new(Latch::new()));
    let session = Session::builder("test").runtime(runtime.handle().clone()).start().unwrap();
    let (fires, (tell, told)) = (Arc::clone(&latch), mpsc::channel());
    session
        .before_close(async move || {
            tell.send(Handle::current().id()).unwrap();
            tokio::task::yield_now().await;
            fires.fire();
        })
        .unwrap();
    drop(session.close(PLENTY).now_or_never());
    assert!(latch.wait_blocking(PLENTY));
    assert_eq!(told.recv().unwrap(), runtime.handle().id());
    let _ = session.close_blocking(PLENTY).unwrap();
}

/// Whoever polls the hook may be dropped at any moment; the others must be woken to go on.
#[test]
fn callers_that_give_up_leave_the_hook_to_the_others() {
    for _ in 0..10 {
        let session = session();
        session
            .before_close(async || {
                for _ in 0..100 {
                    wakes_itself().await;
                }
            })
            .unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for micros in 0..50 {
                        drop(session.close_blocking(Duration::from_micros(micros)));
                    }
                });
            }
            let _ = session.close_blocking(PLENTY).unwrap();
        });
    }
}

async fn wakes_itself() {
    let mut woken = false;
    poll_fn(|context| {
        if std::mem::replace(&mut woken, true) {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        thread::spawn(move || waker.wake());
        Poll::Pending
    })
    .await;
}

#[test]
fn a_hook_whose_runtime_went_down_is_reported_as_dropped() {
    let runtime = multi_thread();
    let session = Session::builder("test").runtime(runtime.handle().clone()).start().unwrap();
    session.before_close(pending::<()>).unwrap();
    drop(runtime);
    let error = is_hook(session.close_blocking(PLENTY));
    let [failure] = &*error.seen.hooks else { panic!("{error}") };
    assert_eq!(failure.kind, HookFailureKind::Dropped);
    assert!(error.to_string().contains("its runtime went down"), "{error}");
}

#[test]
fn the_hook_of_a_session_that_is_never_closed_is_dropped_and_not_called() {
    let (session, (pool, closed)) = (session(), pool());
    let hook = session.guard(pool).unwrap();
    session
        .before_close(async move || {
            drop(hook);
            panic!("called");
        })
        .unwrap();
    drop(session);
    until("the closers", || closed() == 2);
}

fn runtimes_of_others() -> [(Runtime, &'static str); 2] {
    [(current_thread(), "current-thread"), (multi_thread(), "multi-thread")]
}

#[test]
fn a_task_of_a_runtime_that_the_session_does_not_own_can_close_it() {
    for (runtime, flavour) in runtimes_of_others() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (hook, is_over) = (Arc::clone(&asked), Arc::clone(&asked));
        let session = Session::builder("test").runtime(runtime.handle().clone());
        let session = session
            .before_close(async move || _ = hook.fetch_add(1, Ordering::SeqCst))
            .evidence(move || {
                assert_eq!(is_over.load(Ordering::SeqCst), 1);
                Ok(())
            })
            .start()
            .unwrap();
        let (pool, closed) = pool();
        drop(session.guard(pool).unwrap());
        let report = runtime.block_on(async {
            tokio::spawn(async move { session.close(PLENTY).await }).await.unwrap().unwrap()
        });
        assert_eq!((report.confirmation, closed()), (Confirmation::Evidence, 2), "{flavour}");
        assert_eq!(runtime.block_on(async { tokio::spawn(async { 7 }).await.unwrap() }), 7);
    }
}

/// A kit's runtime is not taken down either, if the session has a handle and not the owner.
#[test]
fn a_handle_of_the_kit_lends_its_runtime_to_the_hook_only() {
    let owner = RuntimeOwner::builder("test").current_thread().start().unwrap();
    let handle: RuntimeHandle = owner.current().unwrap();
    let (tell, told) = mpsc::channel();
    let session = Session::builder("test").runtime(handle).before_close(async move || {
        tell.send(Handle::current().id()).unwrap();
    });
    let session = session.start().unwrap();
    let in_task = owner.spawn("closes", |_| async move { session.close(PLENTY).await }).unwrap();
    let report = block_on(in_task).unwrap().unwrap();
    assert_eq!(report.confirmation, Confirmation::HandlesOnly);
    let handle = owner.handle().unwrap();
    assert_eq!(told.recv().unwrap(), handle.id());
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
}

#[test]
fn a_blocking_close_on_the_only_thread_that_can_run_the_hook_is_refused() {
    let runtime = current_thread();
    let session = Session::builder("test").runtime(runtime.handle().clone());
    let session = session.before_close(async || ()).start().unwrap();
    let again = session.clone();
    let inside = async move { again.close_blocking(Duration::MAX) };
    from_inside(
        Inside::HooksThread,
        runtime.block_on(async { tokio::spawn(inside).await.unwrap() }),
    );
    // The control: it can be awaited there, and a hook that has ended is in nobody's way.
    let _ = runtime.block_on(session.close(PLENTY)).unwrap();
    let _ = runtime.block_on(async { session.close_blocking(PLENTY) }).unwrap();
}

/// A thread of the blocking pool may block, and so may one that has only entered the context.
#[test]
fn a_blocking_close_waits_for_the_hook_on_every_thread_that_does_not_run_it() {
    type Close = Box<dyn FnOnce() -> Answer + Send>;
    let on_the_pool = |runtime: &Runtime, close: Close| {
        runtime.block_on(async { tokio::task::spawn_blocking(close).await.unwrap() })
    };
    let in_its_context = |runtime: &Runtime, close: Close| {
        let (closed, has_closed) = sundown::oneshot::channel();
        let handle = runtime.handle().clone();
        let thread = thread::spawn(move || {
            let _context = handle.enter();
            let _ = closed.send(close());
        });
        let answer = runtime.block_on(has_closed).unwrap();
        thread.join().unwrap();
        answer
    };
    let in_a_task = |runtime: &Runtime, close: Close| {
        runtime.block_on(async { tokio::spawn(async { close() }).await.unwrap() })
    };
    let in_block_on = |runtime: &Runtime, close: Close| runtime.block_on(async { close() });
    for (make, polls_itself) in [(current_thread as fn() -> Runtime, true), (multi_thread, false)] {
        let each = |on: &dyn Fn(&Runtime, Close) -> Answer| {
            let runtime = make();
            let session = Session::builder("test").runtime(runtime.handle());
            let session = session.before_close(tokio::task::yield_now).start().unwrap();
            on(&runtime, Box::new(move || session.close_blocking(PLENTY)))
        };
        for on in [&on_the_pool as &dyn Fn(&Runtime, Close) -> Answer, &in_its_context] {
            let _ = each(on).unwrap();
        }
        for on in [&in_a_task as &dyn Fn(&Runtime, Close) -> Answer, &in_block_on] {
            match polls_itself {
                true => from_inside(Inside::HooksThread, each(on)),
                false => drop(each(on).unwrap()),
            }
        }
    }
}

/// The same on a runtime of the kit, which somebody else owns.
#[test]
fn a_blocking_close_in_spawn_blocking_of_an_owned_runtime_waits_for_the_hook() {
    for builder in
        [RuntimeOwner::builder("test").current_thread(), RuntimeOwner::builder("test").workers(1)]
    {
        let owner = builder.start().unwrap();
        let session = Session::builder("test").runtime(owner.current().unwrap());
        let session = session.before_close(tokio::task::yield_now).start().unwrap();
        let handle = owner.handle().unwrap();
        let _ = block_on(handle.spawn_blocking(move || session.close_blocking(PLENTY)))
            .unwrap()
            .unwrap();
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    }
}

/// The only worker is blocked by the close; another thread takes its tasks over.
#[test]
fn a_blocking_close_on_a_worker_does_not_keep_the_hook_from_running() {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let session = Session::builder("test").runtime(runtime.handle().clone());
    let session = session.before_close(tokio::task::yield_now).start().unwrap();
    let inside = async move { session.close_blocking(PLENTY) };
    let _ = runtime.block_on(async { tokio::spawn(inside).await.unwrap() }).unwrap();
}

/// A destructor would say it on the runtime of the closing threads, where its socket is dead once its own
/// runtime is.
#[test]
fn a_goodbye_over_a_socket_reaches_its_server_from_a_hook() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let mut quit = [0; 4];
        connection.read_exact(&mut quit).unwrap();
        connection.write_all(b"BYE").unwrap();
        quit
    });
    let owner = RuntimeOwner::builder("test").workers(1).start().unwrap();
    let socket = owner.block_on(TcpStream::connect(address)).unwrap().unwrap();
    let session = Session::builder("test").runtime(owner).start().unwrap();
    let (tell, told) = mpsc::channel();
    let socket = session.guard(tokio::sync::Mutex::new(socket)).unwrap();
    session
        .before_close(async move || {
            let (mut socket, mut bye) = (socket.lock().await, [0; 3]);
            socket.write_all(b"QUIT").await.unwrap();
            socket.read_exact(&mut bye).await.unwrap();
            tell.send(bye).unwrap();
        })
        .unwrap();
    let report = session.close_blocking(PLENTY).unwrap();
    assert_eq!(report.confirmation, Confirmation::OwnRuntime);
    assert_eq!((told.recv().unwrap(), server.join().unwrap()), (*b"BYE", *b"QUIT"));
}

fn _a_close_is_send(session: &Session) -> impl Future<Output = Answer> + Send + '_ {
    session.close(PLENTY)
}

/// Without a runtime the caller polls the hook. Its limit cannot be kept then, but that of another can.
#[test]
fn a_hook_that_blocks_its_thread_keeps_only_the_caller_that_polls_it_and_is_named() {
    let session = session();
    let (begins, has_begun) = mpsc::channel();
    let (let_go, is_let_go) = mpsc::channel::<()>();
    let may_end = Arc::new(Latch::new());
    let waits = Arc::clone(&may_end);
    let hook = || async move {
        begins.send(()).unwrap();
        assert!(is_let_go.recv_timeout(PLENTY).is_err());
        waits.wait().await;
    };
    session.before_close(hook).unwrap();
    let (kept, other) = thread::scope(|scope| {
        let kept = scope.spawn(|| is_hook(session.close_blocking(SHORT)));
        has_begun.recv_timeout(PLENTY).unwrap();
        let began = Instant::now();
        let other = is_hook(session.close_blocking(Duration::from_millis(500)));
        assert!(began.elapsed() < PLENTY / 2, "{other}");
        assert!(!kept.is_finished(), "the blockade is real");
        drop(let_go);
        (kept.join().unwrap(), other)
    });
    for error in [&kept, &other] {
        assert_eq!(error.seen.hooks[0].kind, HookFailureKind::StillRunning, "{error}");
    }
    assert_eq!(other.seen.blocked, None, "{other}");
    let blocked = kept.seen.blocked.unwrap();
    assert_eq!(blocked.given_at, kept.seen.hooks[0].given_at);
    assert!(kept.elapsed >= blocked.for_so_long && blocked.for_so_long > SHORT, "{kept}");
    assert!(kept.to_string().contains("blocked the caller's thread"), "{kept}");
    may_end.fire();
    assert!(session.close_blocking(PLENTY).is_ok());
}
