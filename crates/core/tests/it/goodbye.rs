//! A goodbye that a destructor says over a socket. Once the runtime of the socket is down it is lost, and the report
//! says what the kit can know of that. A server beside each report hears the goodbye, or does not.

use std::{
    future::pending,
    io::Read as _,
    pin::Pin,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use sundown::{
    NotCovered, RuntimeOwner, Session, TaskGroup,
    runtime::{RuntimeBuilder, State},
    session::{CloseReport, SessionRuntime},
    teardown_blocking,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle, Runtime},
    sync::mpsc,
    time::{Sleep, sleep},
};

use crate::fixtures::{PLENTY, SHORT, until};

const TICK: Duration = Duration::from_millis(1);

const GOODBYE: &[u8] = b"QUIT";

/// How the clients of databases, brokers and web sockets say goodbye when they are dropped.
enum Client {
    /// In a task, on whatever runtime there is.
    Spawns(Option<TcpStream>),
    /// In a task on the runtime that the client was made on.
    SpawnsAtHome(Option<TcpStream>, Handle),
    /// In a task, after a timer that was set before.
    Waits(Option<(TcpStream, Pin<Box<Sleep>>)>),
    /// By asking the task that has the socket.
    Asks(mpsc::UnboundedSender<()>),
    /// At once, without asking the driver.
    Tries(TcpStream),
}

/// Makes a client of a kind, on the current runtime.
type Connect = fn(TcpStream) -> Client;

/// The kinds that need the runtime of their socket.
const KINDS: [(&str, Connect); 4] = [
    ("spawns", |socket| Client::Spawns(Some(socket))),
    ("spawns at home", |socket| Client::SpawnsAtHome(Some(socket), Handle::current())),
    ("waits", |socket| {
        let timer = sleep(TICK);
        Client::Waits(Some((socket, Box::pin(timer))))
    }),
    ("asks", |mut socket| {
        let (ask, mut asked) = mpsc::unbounded_channel();
        drop(tokio::spawn(async move {
            if asked.recv().await.is_some() {
                let _ = socket.write_all(GOODBYE).await;
            }
        }));
        Client::Asks(ask)
    }),
];

impl Client {
    /// Takes the socket of one that spawns.
    fn take(&mut self) -> Option<TcpStream> {
        match self {
            Self::Spawns(socket) => socket.take(),
            _ => None,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let goodbye = async |mut socket: TcpStream| {
            let _ = socket.write_all(GOODBYE).await;
        };
        match self {
            Self::Spawns(socket) => drop(socket.take().map(|it| tokio::spawn(goodbye(it)))),
            Self::SpawnsAtHome(socket, home) => {
                drop(socket.take().map(|it| home.spawn(goodbye(it))));
            }
            Self::Waits(both) => drop(both.take().map(|(socket, timer)| {
                tokio::spawn(async move {
                    timer.await;
                    goodbye(socket).await;
                })
            })),
            Self::Asks(ask) => drop(ask.send(())),
            Self::Tries(socket) => drop(socket.try_write(GOODBYE)),
        }
    }
}

/// A client, and the server's end.
async fn connected(client: Connect) -> (Client, std::net::TcpStream) {
    let (socket, server) = sockets().await;
    (client(socket), server)
}

/// A socket, and the server's end.
async fn sockets() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = listener.accept().await.unwrap().0.into_std().unwrap();
    server.set_nonblocking(false).unwrap();
    (socket, server)
}

/// Whether the server hears a goodbye until the connection is closed.
fn hears(mut server: std::net::TcpStream) -> bool {
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).unwrap();
    heard == GOODBYE
}

/// A runtime of Tokio, which its own thread or somebody else drives.
fn tokios() -> [Runtime; 2] {
    [Builder::new_multi_thread(), Builder::new_current_thread()]
        .map(|mut builder| builder.worker_threads(2).enable_all().build().unwrap())
}

/// How many values the report counts that outlived the runtime.
fn outlived(report: &CloseReport) -> usize {
    let count = |what: &NotCovered| match what {
        NotCovered::OutlivedRuntime { values } => Some(*values),
        _ => None,
    };
    report.not_covered.iter().find_map(count).unwrap_or(0)
}

#[test]
fn a_goodbye_over_a_socket_whose_runtime_is_gone_is_lost_and_the_report_of_a_teardown_says_so() {
    for (kind, client) in KINDS {
        for runtime_is_gone in [false, true] {
            let [runtime, _] = tokios();
            let (client, server) = runtime.block_on(connected(client));
            let runtime = (!runtime_is_gone).then_some(runtime);
            let report = teardown_blocking(client, PLENTY).unwrap();
            assert_eq!(hears(server), !runtime_is_gone, "{kind}: the control hears it");
            assert!(report.not_covered.contains(&NotCovered::Success), "{kind}: {report}");
            drop(runtime);
        }
    }
}

#[test]
fn a_goodbye_of_a_value_that_outlives_the_sessions_own_runtime_is_lost_and_the_report_counts_it() {
    let flavors: [fn(RuntimeBuilder) -> RuntimeBuilder; 2] =
        [RuntimeBuilder::current_thread, |builder| builder.workers(2)];
    for (kind, client) in KINDS {
        for (is_held, flavor) in [false, true].into_iter().flat_map(|it| flavors.map(|of| (it, of)))
        {
            let owner = flavor(RuntimeOwner::builder("owned").foreign_time(SHORT)).start().unwrap();
            let session = Session::builder("session").runtime(owner.clone()).start().unwrap();
            let (client, server) = owner.block_on(connected(client)).unwrap();
            let client = session.guard(client).unwrap();
            if is_held {
                thread::spawn(move || {
                    until("the runtime", || owner.stats().state == State::Ended);
                    drop(client);
                });
            } else {
                drop(client);
            }
            let report = session.close_blocking(PLENTY).unwrap();
            assert_eq!(hears(server), !is_held, "{kind}: the control hears it");
            assert_eq!(outlived(&report), usize::from(is_held), "{kind}: {report}");
        }
    }
}

#[test]
fn a_goodbye_of_a_value_that_outlives_a_runtime_of_tokio_is_lost_and_the_report_counts_it() {
    for (kind, client) in KINDS {
        for runtime in tokios() {
            let start = || Session::builder("session").runtime(runtime.handle()).start().unwrap();
            let (sessions, clients) =
                ([start(), start()], [(); 2].map(|()| runtime.block_on(connected(client))));
            let [early, late] = sessions;
            let [(of_early, hears_early), (of_late, hears_late)] = clients;
            let of_early = early.guard(of_early).unwrap();
            let of_late = late.guard(of_late).unwrap();
            let closed = thread::spawn(move || {
                drop(of_early);
                (hears(hears_early), early.close_blocking(PLENTY).unwrap())
            });
            // Somebody drives the runtime meanwhile, as `#[tokio::main]` does.
            runtime.block_on(async {
                while !closed.is_finished() {
                    sleep(TICK).await
                }
            });
            let (heard, report) = closed.join().unwrap();
            assert!(heard && outlived(&report) == 0, "the control, {kind}: {report}");
            drop(runtime);
            drop(of_late);
            let report = late.close_blocking(PLENTY).unwrap();
            assert!(!hears(hears_late), "{kind}");
            assert_eq!(outlived(&report), 1, "{kind}: {report}");
        }
    }
}

/// Tokio remembers that such a socket can be written to, and promises nothing of the kind.
#[test]
fn a_goodbye_that_asks_no_driver_is_counted_all_the_same() {
    let [runtime, _] = tokios();
    let session = Session::builder("session").runtime(runtime.handle()).start().unwrap();
    let (client, server) = runtime.block_on(connected(Client::Tries));
    let client = session.guard(client).unwrap();
    drop(runtime);
    drop(client);
    let report = session.close_blocking(PLENTY).unwrap();
    assert!(hears(server) && outlived(&report) == 1, "{report}");
}

/// A task of an SDK often holds the client for as long as its runtime runs. A hook runs before that.
#[test]
fn a_goodbye_that_a_hook_says_is_heard_although_a_task_holds_the_value_until_the_runtime_ends() {
    let owner = RuntimeOwner::builder("owned").foreign_time(SHORT).start().unwrap();
    let session = Session::builder("session").runtime(owner.clone()).start().unwrap();
    let (client, server) =
        owner.block_on(connected(|socket| Client::Spawns(Some(socket)))).unwrap();
    let client = session.guard(Mutex::new(client)).unwrap();
    session
        .before_close_with(&client, async |client| {
            let socket = client.lock().unwrap().take();
            socket.unwrap().write_all(GOODBYE).await.unwrap();
        })
        .unwrap();
    drop(owner.handle().unwrap().spawn(async move {
        let _held = client;
        pending::<()>().await;
    }));
    let report = session.close_blocking(PLENTY).unwrap();
    assert!(hears(server), "{report}");
    // The kit cannot know what the destructor would have said.
    assert_eq!(outlived(&report), 1, "{report}");
}

#[test]
fn values_that_are_left_when_somebody_else_takes_the_runtime_down_are_counted() {
    /// Starts a session on a runtime. Returns what takes that down.
    type Start = fn() -> (SessionRuntime, Box<dyn FnOnce()>);
    let starts: [Start; 4] = [
        || {
            let owner = RuntimeOwner::builder("owned").start().unwrap();
            (owner.clone().into(), Box::new(move || drop(owner.shutdown_blocking(PLENTY).unwrap())))
        },
        || {
            let owner = RuntimeOwner::builder("owned").start().unwrap();
            let handle = owner.current().unwrap();
            (handle.into(), Box::new(move || drop(owner.shutdown_blocking(PLENTY).unwrap())))
        },
        || {
            let [runtime, _] = tokios();
            (runtime.handle().into(), Box::new(|| drop(runtime)))
        },
        || {
            let [_, runtime] = tokios();
            (runtime.handle().into(), Box::new(|| runtime.shutdown_background()))
        },
    ];
    for (which, start) in starts.into_iter().enumerate() {
        let (runtime, take_down) = start();
        let session = Session::builder("session").runtime(runtime).start().unwrap();
        let left = [(); 2].map(|()| session.guard(()).unwrap());
        take_down();
        drop(left);
        let report = session.close_blocking(PLENTY).unwrap();
        assert_eq!(outlived(&report), 2, "{which}: {report}");
    }
}

/// The control: the runtime is there. One that nobody drives is there, too, and has no task of the session's.
#[test]
fn no_value_is_counted_while_the_runtime_is_there() {
    for runtime in tokios() {
        let session = Session::builder("session").runtime(runtime.handle()).start().unwrap();
        for _ in 0..10 {
            drop(session.guard(()).unwrap());
        }
        let report = session.close_blocking(PLENTY).unwrap();
        let is_counted = |what: &NotCovered| {
            matches!(what, NotCovered::ForeignTasks { .. } | NotCovered::OutlivedRuntime { .. })
        };
        assert!(!report.not_covered.iter().any(is_counted), "{report}");
    }
}

/// A client whose goodbye is a member of a group.
struct Known {
    socket: Option<TcpStream>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Where it says goodbye, unless that is wherever there is a runtime.
    home: Option<Handle>,
    goodbyes: Arc<TaskGroup>,
}

impl Drop for Known {
    fn drop(&mut self) {
        let (socket, timer) = (self.socket.take(), self.timer.take());
        let goodbye = |_| async move {
            if let Some(timer) = timer {
                timer.await;
            }
            socket.unwrap().write_all(GOODBYE).await
        };
        let home = self.home.take().or_else(|| Handle::try_current().ok());
        self.goodbyes.try_spawn_on(&home.unwrap(), "goodbye", goodbye).unwrap();
    }
}

#[test]
fn a_goodbye_that_is_a_member_of_a_group_is_known_to_be_lost_whichever_way_it_is() {
    for (has_timer, is_at_home, lost) in [
        (false, false, "being shutdown"),
        (true, false, "panicked"),
        (false, true, "1 task aborted"),
    ] {
        for runtime_is_gone in [false, true] {
            let ([runtime, _], goodbyes) = (tokios(), Arc::new(TaskGroup::new("goodbyes")));
            let (client, server) = runtime.block_on(async {
                let (socket, server) = sockets().await;
                let timer = has_timer.then(|| Box::pin(sleep(TICK)));
                let home = is_at_home.then(Handle::current);
                (
                    Known { socket: Some(socket), timer, home, goodbyes: Arc::clone(&goodbyes) },
                    server,
                )
            });
            let runtime = (!runtime_is_gone).then_some(runtime);
            drop(teardown_blocking(client, PLENTY).unwrap());
            let said = match goodbyes.drain_blocking(PLENTY).into_result() {
                Ok(report) => report.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(hears(server), !runtime_is_gone, "the control hears it");
            assert_eq!(said.contains(lost), runtime_is_gone, "{said}");
            drop(runtime);
        }
    }
}
