//! The signals of a supervisor, and the exit of the process.

use std::{
    env,
    future::pending,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    process::{self, Child},
    thread,
    time::{Duration, Instant},
};

use fork::{Fork, WTERMSIG, fork, waitpid};
use rustix::process::{Pid, Signal, kill_process};
use sundown::{
    RuntimeOwner,
    runtime::RuntimeBuilder,
    service::{AskedBy, Service},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::process::{
    Done, Ended, SERVICE, SHORT, SLACK, can_start_under, leaves_within_the_limit, service, start,
    start_under,
};

/// Prints `ready`, waits until it should stop, and prints `saved`.
async fn saves(service: Service) -> Done {
    service.ready();
    println!("ready");
    service.stop_signal().await;
    println!("saved");
    Ok(())
}

#[test]
fn a_signal_ends_a_service_well() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let Some(mut process) = start(|| service().run(saves)) else { return };
        process.wait_for("ready");
        process.send(signal);
        let stdout = process.wait().well();
        assert!(stdout.starts_with("saved\nservice `tested`, asked by "), "{stdout}");
        assert!(stdout.contains(name) && stdout.contains("has ended after"), "{stdout}");
    }
}

/// A subscriber whose log nobody reads.
#[cfg(feature = "tracing")]
mod blocks {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        thread,
    };

    use tracing::{
        Event, Metadata, Subscriber,
        span::{Attributes, Id, Record},
        subscriber::set_global_default,
    };

    /// With how many events it does not.
    struct Blocks(AtomicUsize);

    impl Subscriber for Blocks {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            let Self(before) = self;
            while before.try_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err() {
                thread::park();
            }
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    pub fn after(events: usize) {
        set_global_default(Blocks(AtomicUsize::new(events))).unwrap();
    }
}

#[cfg(feature = "tracing")]
#[test]
fn a_service_whose_log_blocks_leaves_within_its_limit_and_says_what_holds_it() {
    let at_first = start(|| {
        blocks::after(0);
        service().limit(SHORT).run(saves)
    });
    if let Some(process) = at_first {
        let stderr = leaves_within_the_limit(process);
        assert!(stderr.contains("`service end`"), "{stderr}");
    }
    fn spins(events: usize) -> Ended {
        blocks::after(events);
        service().limit(SHORT).run(|service| async move {
            service.spawn("spins", |_| spins_on());
            service.stop_signal().await;
            Ok(())
        })
    }
    for process in [start(|| spins(0)), start(|| spins(1))].into_iter().flatten() {
        let stderr = leaves_within_the_limit(process);
        assert!(stderr.contains("`service end`"), "{stderr}");
        assert!(stderr.contains("`spins` (spawned at "), "{stderr}");
    }
}

/// A child that is forked without `exec` inherits the handler, and nobody there listens to it.
#[test]
fn a_signal_ends_a_forked_child_that_says_that_it_is_one() {
    fn forks(says_so: bool) -> i32 {
        let (mut is_ready, mut ready) = io::pipe().unwrap();
        match fork().unwrap() {
            Fork::Child => {
                if says_so {
                    sundown::forked_child();
                }
                ready.write_all(&[1]).unwrap();
                loop {
                    thread::park();
                }
            }
            Fork::Parent(child) => {
                is_ready.read_exact(&mut [0]).unwrap();
                let child = Pid::from_raw(child).unwrap();
                kill_process(child, Signal::TERM).unwrap();
                if !says_so {
                    // The control. A signal is delivered within microseconds.
                    another_signal_counts();
                    kill_process(child, Signal::KILL).unwrap();
                }
                WTERMSIG(waitpid(child.as_raw_nonzero().get()).unwrap())
            }
        }
    }
    let started = start(|| {
        service().run(|_| async {
            println!("{} {}", forks(true), forks(false));
            Ok(())
        })
    });
    let Some(process) = started else { return };
    let stdout = process.wait().well();
    assert!(stdout.starts_with("15 9\n"), "{stdout}");
}

/// Does not yield.
async fn spins_on() {
    println!("ready");
    loop {
        thread::yield_now();
    }
}

/// Process 1 of a container gets no signal for which it has no handler.
#[test]
fn a_signal_ends_a_service_that_is_process_1() {
    const UNSHARE: &[&str] =
        &["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    if env::var_os(SERVICE).is_none() && !can_start_under(UNSHARE, "a service as process 1") {
        return;
    }
    /// The child of `unshare`, which does not pass signals on.
    fn only_child(of: &Child) -> Pid {
        let children = format!("/proc/{0}/task/{0}/children", of.id());
        let child = std::fs::read_to_string(children).unwrap();
        Pid::from_raw(child.trim().parse().unwrap()).unwrap()
    }
    let with_the_kit = start_under(UNSHARE, || {
        assert_eq!(process::id(), 1);
        service().run(saves)
    });
    let without = start_under(UNSHARE, || {
        println!("ready");
        let _ = io::stdin().read(&mut [0]);
        process::exit(0)
    });
    let after_it = start_under(UNSHARE, || {
        let report = service().run(|_| async { Ok(()) });
        println!("ready");
        let _ = io::stdin().read(&mut [0]);
        report
    });
    let (Some(mut with_the_kit), Some(mut without), Some(mut after_it)) =
        (with_the_kit, without, after_it)
    else {
        return;
    };
    for process in [&mut with_the_kit, &mut without, &mut after_it] {
        process.wait_for("ready");
        kill_process(only_child(&process.child), Signal::TERM).unwrap();
    }
    assert_eq!(after_it.wait().code, Some(143));
    let stdout = with_the_kit.wait().well();
    assert!(stdout.starts_with("saved\n"), "{stdout}");
    // The control: without a handler nothing happens. A signal is delivered within microseconds.
    thread::sleep(Duration::from_millis(300));
    assert!(without.child.try_wait().unwrap().is_none(), "SIGTERM has ended process 1");
    drop(without.stdin.take());
    assert_eq!(without.wait().code, Some(0));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let started = start(|| {
        service().run(|service| async move {
            println!("ready");
            service.stop_signal().await;
            // A signal that comes sooner is taken for the first.
            tokio::time::sleep(Duration::from_millis(500)).await;
            println!("stopping");
            pending::<Done>().await
        })
    });
    let Some(mut process) = started else { return };
    process.wait_for("ready");
    process.send(Signal::TERM);
    process.wait_for("stopping");
    process.send(Signal::INT);
    let exited = process.wait();
    assert_eq!((exited.code, &*exited.stdout), (Some(130), ""));
}

/// Waits longer than signals count as one.
fn another_signal_counts() {
    thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_second_signal_calls_a_closure_instead_and_a_third_ends_the_process_at_once() {
    fn runs(on_second: impl Fn(i32) + Send + Sync + 'static) -> Ended {
        service().on_second_signal(on_second).run(|service| async move {
            println!("ready");
            service.stop_signal().await;
            another_signal_counts();
            println!("stopping");
            pending::<Done>().await
        })
    }
    let leaves = start(|| runs(|code| process::exit(100 + code)));
    let hangs = start(|| {
        runs(|code| {
            println!("second: {code}");
            another_signal_counts();
            println!("hangs");
            loop {
                thread::park();
            }
        })
    });
    let (Some(mut leaves), Some(mut hangs)) = (leaves, hangs) else { return };
    for process in [&mut leaves, &mut hangs] {
        process.wait_for("ready");
        // The two are one.
        process.send(Signal::TERM);
        process.send(Signal::TERM);
        process.wait_for("stopping");
        process.send(Signal::INT);
    }
    hangs.wait_for("second: 130");
    hangs.wait_for("hangs");
    hangs.send(Signal::TERM);
    assert_eq!(leaves.wait().code, Some(230));
    assert_eq!(hangs.wait().code, Some(143));
}

#[test]
fn a_service_with_something_for_a_second_signal_keeps_the_signals_when_it_has_ended() {
    let started = start(|| {
        let called = |code| println!("second: {code}");
        let report = service().on_second_signal(called).run(saves)?;
        // It need not wait for a signal that is the same as the first.
        another_signal_counts();
        println!("ended");
        another_signal_counts();
        let again = service().run(|_| async { Ok(()) });
        println!("again: {}", again.is_err());
        assert_eq!(io::stdin().read(&mut [0]).unwrap(), 0);
        Ok(report)
    });
    let Some(mut process) = started else { return };
    process.wait_for("ready");
    process.send(Signal::TERM);
    process.wait_for("ended");
    process.send(Signal::TERM);
    process.wait_for("second: 143");
    process.wait_for("again: true");
    drop(process.stdin.take());
    process.wait().well();
}

#[test]
fn signals_that_come_at_once_are_one() {
    let Some(mut process) = start(|| service().run(saves)) else { return };
    process.wait_for("ready");
    for signal in [Signal::TERM, Signal::INT, Signal::TERM] {
        process.send(signal);
    }
    assert!(process.wait().well().starts_with("saved\n"));
}

/// A service that has nothing to do ends within a millisecond, and then the program saves something.
#[test]
fn a_signal_that_is_the_same_as_the_first_does_not_end_what_comes_after_the_service() {
    let started = start(|| {
        let ended = service().run(|service| async move {
            println!("ready");
            service.stop_signal().await;
            Ok(())
        });
        thread::sleep(Duration::from_millis(20));
        println!("saved by main");
        ended
    });
    let Some(mut process) = started else { return };
    process.wait_for("ready");
    process.send(Signal::TERM);
    // A wrapper that passes the signal on takes about that long.
    thread::sleep(Duration::from_millis(2));
    process.send(Signal::TERM);
    assert!(process.wait().well().starts_with("saved by main\n"));
}

#[test]
fn after_the_service_a_signal_has_its_default_effect() {
    let started = start(|| {
        let report = service().run(|_| async { Ok(()) })?;
        assert_eq!(report.asked_by, AskedBy::Work);
        println!("ready");
        loop {
            thread::park();
        }
    });
    let Some(mut process) = started else { return };
    process.wait_for("ready");
    process.send(Signal::TERM);
    assert_eq!(process.wait().signal, Some(Signal::TERM.as_raw()));
}

#[test]
fn a_read_of_standard_input_does_not_keep_a_service() {
    let started = start(|| {
        service().limit(SHORT).run(|service| async move {
            service.spawn("reads", |mut stop| async move {
                // As `tokio::io::stdin` does.
                let read = tokio::task::spawn_blocking(|| io::stdin().read(&mut [0]));
                tokio::select! { () = &mut stop => {}, _ = read => {} }
            });
            saves(service).await
        })
    });
    let Some(process) = started else { return };
    let error = leaves_within_the_limit(process);
    assert!(error.contains("a read of standard input"), "{error}");
}

#[test]
fn a_task_that_does_not_yield_does_not_keep_a_service_and_is_named() {
    fn spins(runtime: RuntimeBuilder) -> Ended {
        service().limit(SHORT).runtime(runtime).run(|service| async move {
            service.spawn("spins", |_| spins_on());
            service.stop_signal().await;
            Ok(())
        })
    }
    let on_one_thread = start(|| spins(RuntimeOwner::builder("one").current_thread()));
    let on_workers = start(|| spins(RuntimeOwner::builder("two").workers(2)));
    for process in [on_one_thread, on_workers].into_iter().flatten() {
        let error = leaves_within_the_limit(process);
        assert!(error.contains("`spins` (spawned at "), "{error}");
    }
}

#[test]
fn a_service_is_not_ready_during_the_grace_and_still_serves() {
    let started = start(|| {
        service().grace(Duration::from_secs(2)).run(|service| async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            println!("at {}", listener.local_addr()?);
            assert!(!service.is_ready());
            service.ready();
            println!("ready");
            let mut stop = service.stop_signal();
            loop {
                let (mut socket, _) = tokio::select! {
                    () = &mut stop => return Ok(()),
                    accepted = listener.accept() => accepted?,
                };
                let answer = if service.is_ready() { "y" } else { "n" };
                socket.write_all(answer.as_bytes()).await?;
            }
        })
    });
    let Some(mut process) = started else { return };
    let address = process.wait_for("at ")[3..].to_owned();
    process.wait_for("ready");
    let answer = || {
        let mut answer = String::new();
        TcpStream::connect(&address)
            .and_then(|mut it| it.read_to_string(&mut answer))
            .map(|_| answer)
    };
    assert_eq!(answer().unwrap(), "y");
    process.send(Signal::TERM);
    let sent = Instant::now();
    while answer().unwrap() != "n" {
        assert!(sent.elapsed() < SLACK, "it is still ready");
    }
    process.wait().well();
    assert!(answer().is_err(), "nothing listens after the answer");
}

#[test]
fn a_signal_that_comes_while_a_service_goes_down_is_in_the_report() {
    let started = start(|| {
        let report = service().run(|service| async move {
            service.spawn("slow", |stop| async move {
                stop.await;
                println!("ready");
                tokio::time::sleep(Duration::from_millis(500)).await;
            });
            Ok(())
        });
        let report = report?;
        println!("{:?} {:?}", report.asked_by, report.signal);
        Ok(report)
    });
    let Some(mut process) = started else { return };
    process.wait_for("ready");
    process.send(Signal::TERM);
    let stdout = process.wait().well();
    assert!(stdout.starts_with("Work Some(15)\n"), "{stdout}");
}

#[test]
fn the_clients_of_a_service_get_the_answers_that_were_begun() {
    let started = start(|| {
        service().run(|service| async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            println!("at {}", listener.local_addr()?);
            let mut stop = service.stop_signal();
            loop {
                let (mut socket, _) = tokio::select! {
                    () = &mut stop => return Ok(()),
                    accepted = listener.accept() => accepted?,
                };
                let _ = stop.spawn("connection", |_| async move {
                    let mut request = [0; 4];
                    if socket.read_exact(&mut request).await.is_ok() {
                        println!("begun");
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        let _ = socket.write_all(b"pong").await;
                    }
                });
            }
        })
    });
    let Some(mut process) = started else { return };
    let address = process.wait_for("at ")[3..].to_owned();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(b"ping").unwrap();
    process.wait_for("begun");
    process.send(Signal::TERM);
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "pong");
    process.wait().well();
}
