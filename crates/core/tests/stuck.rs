//! Where a task waits that a shutdown had to abort: the report names the line of its `.await`, or the function where there
//! is no debug information. With lines:
//! `cargo --config 'profile.dev.package.core.debug="line-tables-only"' --config 'profile.dev.package.core.strip="none"' \
//! test -p core --features stuck --test stuck`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    backtrace::Backtrace,
    future::{Future, pending, poll_fn},
    io::{self, Write as _},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures::{
    StreamExt as _,
    future::join_all,
    stream::{self, FuturesUnordered},
};
use sundown::{Latch, RuntimeOwner, TaskGroup, shutdown::StillRunning, stuck};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Barrier, Notify, OnceCell, RwLock, Semaphore, broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::{interval_at, sleep, timeout},
};

const LONG: Duration = Duration::from_secs(3600);

async fn timer() {
    sleep(LONG).await; // timer
}

async fn ticks() {
    let mut interval = interval_at(tokio::time::Instant::now() + LONG, LONG);
    interval.tick().await; // ticks
}

async fn time_limit() {
    let _ = timeout(LONG, pending::<()>()).await; // time_limit
}

async fn receive() {
    let (_sender, mut receiver) = mpsc::channel::<()>(1);
    receiver.recv().await; // receive
}

async fn receive_unbounded() {
    let (_sender, mut receiver) = mpsc::unbounded_channel::<()>();
    receiver.recv().await; // receive_unbounded
}

async fn send() {
    let (sender, _receiver) = mpsc::channel(1);
    sender.send(()).await.unwrap();
    let _ = sender.send(()).await; // send
}

async fn answer() {
    let (_sender, receiver) = oneshot::channel::<()>();
    let _ = receiver.await; // answer
}

async fn change() {
    let (_sender, mut receiver) = watch::channel(());
    let _ = receiver.changed().await; // change
}

async fn news() {
    let (_sender, mut receiver) = broadcast::channel::<()>(1);
    let _ = receiver.recv().await; // news
}

async fn notice() {
    Notify::new().notified().await; // notice
}

async fn permit() {
    let _ = Semaphore::new(0).acquire().await; // permit
}

async fn lock() {
    let mutex = tokio::sync::Mutex::new(());
    let _held = mutex.lock().await;
    let _ = mutex.lock().await; // lock
}

async fn write_lock() {
    let lock = RwLock::new(());
    let _held = lock.read().await;
    let _ = lock.write().await; // write_lock
}

async fn read_lock() {
    let lock = RwLock::new(());
    let _held = lock.write().await;
    let _ = lock.read().await; // read_lock
}

async fn barrier() {
    Barrier::new(2).wait().await; // barrier
}

async fn accept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _ = listener.accept().await; // accept
}

async fn connected() -> (TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (TcpStream::connect(listener.local_addr().unwrap()).await.unwrap(), listener)
}

async fn read() {
    let (mut stream, _listener) = connected().await;
    let _ = stream.read(&mut [0; 8]).await; // read
}

async fn write() {
    let (mut stream, _listener) = connected().await;
    let _ = stream.write_all(&vec![0; 64 << 20]).await; // write
}

async fn datagram() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let _ = socket.recv(&mut [0; 8]).await; // datagram
}

async fn memory_pipe() {
    let (mut one, _other) = tokio::io::duplex(8);
    let _ = one.read_u8().await; // memory_pipe
}

async fn task() {
    let _ = tokio::spawn(sleep(LONG)).await; // task
}

async fn blocking_work() {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    let _ = tokio::task::spawn_blocking(move || receiver.recv()).await; // blocking_work
}

async fn set_of_tasks() {
    let mut tasks = JoinSet::new();
    tasks.spawn(sleep(LONG));
    tasks.join_next().await; // set_of_tasks
}

async fn one_of_two() {
    let (_sender, mut receiver) = mpsc::channel::<()>(1);
    // one_of_two
    tokio::select! { // one_of_two
        () = sleep(LONG) => {} // one_of_two
        _ = receiver.recv() => {} // one_of_two
    } // one_of_two
}

async fn both() {
    tokio::join!(sleep(LONG), sleep(LONG)); // both
}

async fn all() {
    join_all([sleep(LONG), sleep(LONG)]).await; // all
}

async fn unordered() {
    let mut futures: FuturesUnordered<_> = [sleep(LONG), sleep(LONG)].into_iter().collect();
    futures.next().await; // unordered
}

async fn next_of_a_stream() {
    let mut stream = Box::pin(stream::unfold((), |()| async {
        sleep(LONG).await; // next_of_a_stream
        Some(((), ()))
    }));
    stream.next().await; // next_of_a_stream
}

async fn innermost() {
    sleep(LONG).await; // calls
}

async fn middle() {
    innermost().await;
}

async fn calls() {
    middle().await;
}

async fn first_value() {
    let cell = OnceCell::<()>::new();
    let mut first = std::pin::pin!(cell.get_or_init(pending::<()>));
    poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending())).await;
    cell.get_or_init(|| async {}).await; // first_value
}

async fn latch_of_the_kit() {
    Latch::new().wait().await; // latch_of_the_kit
}

async fn boxed() {
    let future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(sleep(LONG));
    future.await; // boxed
}

type Spawned = fn(&TaskGroup);

macro_rules! stuck_tasks {
    ($($name:ident)*) => {
        [$((stringify!($name), (|group| group.spawn(stringify!($name), |_| $name()).unwrap()) as Spawned)),*]
    };
}

/// The lines with this mark at their end.
fn lines(mark: &str) -> Vec<String> {
    let mark = format!("// {mark}");
    let marked =
        include_str!("stuck.rs").lines().enumerate().filter(|(_, line)| line.ends_with(&mark));
    marked.map(|(at, _)| format!("tests/stuck.rs:{}:", at + 1)).collect()
}

/// Drains a group until all of its tasks are gone, whatever the machine is doing.
async fn drain(group: &TaskGroup) -> Vec<StillRunning> {
    loop {
        let report = group.drain(Duration::from_millis(300)).await;
        if group.is_empty() {
            return report.aborted_tasks;
        }
    }
}

fn on_a_runtime<F: Future>(test: F) -> F::Output {
    // A switch of the process: one test at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    stuck::note_awaits(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let output = runtime.block_on(test);
    runtime.shutdown_background();
    output
}

async fn turns(number: usize) {
    for _ in 0..number {
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_report_names_the_place_where_each_stuck_task_waits() {
    let tasks = stuck_tasks! {
        timer ticks time_limit receive receive_unbounded send answer change news notice permit lock write_lock read_lock
        barrier accept read write datagram memory_pipe task blocking_work set_of_tasks one_of_two both all unordered
        next_of_a_stream calls first_value latch_of_the_kit boxed polls_itself many_and_one
    };
    let aborted = on_a_runtime(async {
        let group = TaskGroup::new("stuck");
        tasks.iter().for_each(|(_, spawn)| spawn(&group));
        sleep(Duration::from_millis(200)).await;
        drain(&group).await
    });
    // A build has lines, or it has none.
    let has_lines = Backtrace::force_capture().to_string().contains("tests/stuck.rs:");
    if !has_lines {
        // Not `println!`, which the harness shows only of a test that fails.
        let skipped = "skipped: at which lines tasks wait: this build has functions alone\n";
        io::stdout().write_all(skipped.as_bytes()).unwrap();
    }
    let mut wrong = Vec::new();
    for (name, _) in tasks {
        let task = aborted.iter().find(|task| task.name == name);
        let awaits = task.and_then(|task| task.awaits.clone());
        let places = awaits.iter().flat_map(|awaits| awaits.places()).cloned().collect::<Vec<_>>();
        let function = if name == "calls" { "innermost" } else { name };
        let is_right = |place: &String| match has_lines {
            true => lines(name).iter().any(|line| place.contains(line)),
            false => place == &format!("stuck::{function}"),
        };
        if places.is_empty() || !places.iter().all(is_right) {
            wrong.push(format!("{name}: {places:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong: {wrong:#?}", wrong.len(), tasks.len());
}

#[test]
fn a_task_that_nothing_will_wake_is_told_apart() {
    let aborted = on_a_runtime(async {
        let group = TaskGroup::new("group");
        group.spawn("asleep", |_| pending()).unwrap();
        drain(&group).await
    });
    let text = aborted[0].to_string();
    assert!(text.contains("which waits without a waker: "), "{text}");
}

/// It keeps no waker, and is not asleep either.
async fn polls_itself() {
    poll_fn(|context| {
        context.waker().wake_by_ref(); // polls_itself
        Poll::<()>::Pending
    })
    .await;
}

async fn many_and_one() {
    let (_sender, mut receiver) = mpsc::channel::<()>(1);
    tokio::select! { // many_and_one
        _ = join_all((0..20).map(|_| sleep(LONG))) => {} // many_and_one
        _ = receiver.recv() => {} // many_and_one
    } // many_and_one
}

/// Counts how often a task is polled.
fn counted(polls: &Arc<AtomicUsize>) -> impl Future<Output = ()> + Send + use<> {
    let polls = Arc::clone(polls);
    poll_fn(move |_| {
        polls.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    })
}

#[test]
fn a_task_is_polled_once_more_at_the_limit_and_only_if_that_was_asked_for() {
    on_a_runtime(async {
        // Its first poll, the one for the stop, and the last.
        for (is_on, by_abort, expected) in [(true, false, 3), (false, false, 2), (true, true, 1)] {
            stuck::note_awaits(is_on);
            let (group, polls) = (TaskGroup::new("group"), Arc::default());
            let body = counted(&polls);
            group.spawn("counts", |_| body).unwrap();
            turns(8).await;
            if by_abort {
                group.abort();
                turns(8).await;
            }
            let aborted = drain(&group).await;
            assert_eq!(polls.load(Ordering::Relaxed), expected, "{is_on} {by_abort}");
            assert_eq!(aborted[0].awaits.is_some(), expected == 3);
        }
    });
}

#[test]
fn what_the_last_poll_brings_counts() {
    on_a_runtime(async {
        let group = TaskGroup::new("group");
        let (mut polls, mut others) = (0, 0);
        group
            .spawn("ends", move |_| {
                poll_fn(move |_| {
                    polls += 1;
                    if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
                })
            })
            .unwrap();
        group
            .spawn("panics", move |_| {
                poll_fn(move |_| {
                    others += 1;
                    if others == 3 { panic!("in the last poll") } else { Poll::Pending }
                })
            })
            .unwrap();
        turns(8).await;
        let _ = drain(&group).await;
        let report = group.drain(Duration::ZERO).await;
        assert_eq!((report.ended, report.aborted, report.panics), (1, 0, 1));
        assert_eq!(report.panicked[0].message, "in the last poll");
    });
}

/// It takes a waker, and then panics in the poll that it gets when its time is up.
async fn takes_a_waker_and_panics() {
    let (mut polls, mut timer) = (0, Box::pin(sleep(LONG)));
    poll_fn(move |context| {
        polls += 1;
        assert!(timer.as_mut().poll(context).is_pending()); // takes_a_waker_and_panics
        if polls == 3 { panic!("in the last poll") } else { Poll::<()>::Pending }
    })
    .await;
}

#[test]
fn a_task_that_panics_in_its_last_poll_keeps_its_place() {
    on_a_runtime(async {
        let group = TaskGroup::new("group");
        group.spawn("panics", |_| takes_a_waker_and_panics()).unwrap();
        turns(8).await;
        let _ = drain(&group).await;
        let text = group.drain(Duration::ZERO).await.panicked[0].to_string();
        let (_, place) = text.split_once("in the last poll (its last poll came to ").expect(&text);
        let is_line = lines("takes_a_waker_and_panics").iter().any(|line| place.contains(line));
        assert!(is_line || place.starts_with("stuck::takes_a_waker_and_panics"), "{text}");
    });
}

/// Blocks in the poll that it gets when its time is up, for longer than that time.
fn blocks_in_the_last_poll(blocked: &Arc<AtomicUsize>) -> impl Future<Output = ()> + Send + use<> {
    let (blocked, mut polls) = (Arc::clone(blocked), 0);
    poll_fn(move |_| {
        polls += 1;
        if polls == 3 {
            blocked.fetch_add(1, Ordering::Relaxed);
            // What the test is about: a poll that does not return in time.
            std::thread::sleep(Duration::from_millis(400));
        }
        Poll::Pending
    })
}

#[test]
fn after_a_last_poll_that_blocks_no_other_is_polled_and_the_report_says_so() {
    on_a_runtime(async {
        let (group, child_of_it) = (TaskGroup::new("group"), "of_a_child");
        let child = group.child("child").unwrap();
        let blocked = Arc::default();
        for number in 0..8 {
            let (group, name) = if number < 4 { (&group, "blocks") } else { (&child, child_of_it) };
            let body = blocks_in_the_last_poll(&blocked);
            group.spawn(name, |_| body).unwrap();
        }
        turns(16).await;
        // What is left when it is time to abort is 300 ms at most.
        let aborted = loop {
            let report = group.drain(Duration::from_secs(3)).await;
            if group.is_empty() {
                break report.aborted_tasks;
            }
        };
        assert_eq!(blocked.load(Ordering::Relaxed), 1);
        let texts: Vec<_> = aborted.iter().map(ToString::to_string).collect();
        let count = |text: &str| texts.iter().filter(|it| it.contains(text)).count();
        assert_eq!((texts.len(), count(", and blocked for ")), (8, 1), "{texts:#?}");
        assert_eq!(count("which was not asked where it waits"), 7, "{texts:#?}");
    });
}

async fn aborted_on_a_runtime() -> Vec<StillRunning> {
    let owner = RuntimeOwner::builder("owner").workers(1).start().unwrap();
    owner.spawn("timer", |_| timer()).unwrap();
    loop {
        match owner.shutdown(Some(Duration::from_millis(500))).await {
            Ok(report) => return report.aborted_tasks,
            Err(error) => println!("{error}"),
        }
    }
}

#[test]
fn tasks_of_a_child_group_and_of_a_runtime_are_asked_too() {
    let (of_child, of_runtime) = on_a_runtime(async {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        child.spawn("timer", |_| timer()).unwrap();
        turns(8).await;
        let of_child = drain(&parent).await;
        // A busy machine may not poll the task before the runtime is dropped.
        for _ in 0..50 {
            let of_runtime = aborted_on_a_runtime().await;
            if of_runtime[0].awaits.is_some() {
                return (of_child, of_runtime);
            }
        }
        panic!("no place is known");
    });
    for aborted in [of_child, of_runtime] {
        let text = aborted[0].to_string();
        let (_, place) = text.split_once(", which waits at ").expect(&text);
        assert!(
            lines("timer").iter().any(|line| place.contains(line)) || place == "stuck::timer",
            "{text}"
        );
    }
}
