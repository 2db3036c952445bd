//! The types that the check was written with: Tokio, pools and what is around them.

use std::{convert::Infallible, io, mem, process::Stdio, time::Duration};

use async_compat::CompatExt as _;
use async_dropper::{AsyncDrop, AsyncDropper};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioExecutor;
use sqlx::sqlite::SqlitePoolOptions;
use tokio::{
    fs, io as aio, net, process,
    runtime::{Builder, Runtime},
    sync::{broadcast, mpsc, oneshot, watch},
    task, time,
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, JoinMap, LocalPoolHandle, TaskTracker},
    time::DelayQueue,
};
use trials::Case;

use crate::Row;

type Wrapper = deadpool_sync::SyncWrapper<Row>;

async fn wrapper() -> Wrapper {
    let made =
        Wrapper::new(deadpool_runtime::Runtime::Tokio1, || Ok::<_, Infallible>(vec![1])).await;
    made.expect("infallible")
}

/// What makes the connections of a pool.
struct Wrapped;

impl deadpool::managed::Manager for Wrapped {
    type Type = Wrapper;
    type Error = Infallible;

    async fn create(&self) -> Result<Wrapper, Infallible> {
        Ok(wrapper().await)
    }

    async fn recycle(
        &self,
        _: &mut Wrapper,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

impl deadpool_0_12::managed::Manager for Wrapped {
    type Type = Wrapper;
    type Error = Infallible;

    async fn create(&self) -> Result<Wrapper, Infallible> {
        Ok(wrapper().await)
    }

    async fn recycle(
        &self,
        _: &mut Wrapper,
        _: &deadpool_0_12::managed::Metrics,
    ) -> deadpool_0_12::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

struct Plain;

impl deadpool::managed::Manager for Plain {
    type Type = Row;
    type Error = Infallible;

    async fn create(&self) -> Result<Row, Infallible> {
        Ok(vec![1])
    }

    async fn recycle(
        &self,
        _: &mut Row,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

impl bb8::ManageConnection for Plain {
    type Connection = Row;
    type Error = Infallible;

    async fn connect(&self) -> Result<Row, Infallible> {
        Ok(vec![1])
    }

    async fn is_valid(&self, _: &mut Row) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, row: &mut Row) -> bool {
        row.is_empty()
    }
}

#[async_trait::async_trait]
impl mobc::Manager for Plain {
    type Connection = Row;
    type Error = Infallible;

    async fn connect(&self) -> Result<Row, Infallible> {
        Ok(vec![1])
    }

    async fn check(&self, row: Row) -> Result<Row, Infallible> {
        Ok(row)
    }
}

#[derive(Default)]
struct Closes;

#[async_trait::async_trait]
impl AsyncDrop for Closes {
    async fn async_drop(&mut self) {
        task::yield_now().await;
    }
}

/// A pool that has a connection.
async fn warm<M>(manager: M) -> deadpool::managed::Pool<M>
where
    M: deadpool::managed::Manager<Error = Infallible>,
{
    let pool = deadpool::managed::Pool::builder(manager).max_size(2).build().expect("a pool");
    drop(pool.get().await.expect("a connection"));
    pool
}

async fn sqlite() -> sqlx::SqlitePool {
    let pool = SqlitePoolOptions::new().connect("sqlite::memory:").await.expect("a pool");
    drop(pool.acquire().await.expect("a connection"));
    pool
}

async fn accepting() -> net::TcpListener {
    net::TcpListener::bind("127.0.0.1:0").await.expect("a listener")
}

pub fn cases() -> Vec<Case> {
    let tokio = || {
        vec![
            Case::of("tokio", || async { Runtime::new().expect("a runtime") })
                .when("several threads"),
            Case::of("tokio", || async {
                Builder::new_current_thread().enable_all().build().expect("a runtime")
            })
            .when("one thread"),
            Case::of("tokio", || async { tokio::spawn(std::future::pending::<()>()) }),
            Case::of("tokio", || async { Box::pin(time::sleep(Duration::from_secs(9))) }),
            Case::of("tokio", || async { time::interval(Duration::from_secs(9)) }),
            Case::of("tokio", || async {
                time::timeout(Duration::from_secs(9), std::future::pending::<()>())
            }),
            Case::of("tokio", accepting),
            Case::of("tokio", || async {
                let listener = accepting().await;
                let stream =
                    net::TcpStream::connect(listener.local_addr().expect("an address")).await;
                mem::forget(listener);
                stream.expect("a stream")
            }),
            Case::of("tokio", || async {
                net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket")
            }),
            Case::of("tokio", || async {
                let mut set = task::JoinSet::new();
                set.spawn(std::future::pending::<()>());
                set
            }),
            Case::of("tokio", || async {
                let local = task::LocalSet::new();
                local.spawn_local(std::future::pending::<()>());
                local
            }),
            Case::of("tokio", || async {
                process::Command::new("sleep")
                    .stdout(Stdio::null())
                    .arg("9")
                    .kill_on_drop(true)
                    .spawn()
                    .expect("a child")
            })
            .when("killed on drop"),
            Case::of("tokio", || async {
                process::Command::new("sleep")
                    .stdout(Stdio::null())
                    .arg("1")
                    .spawn()
                    .expect("a child")
            }),
            Case::of("tokio", || async {
                let mut file = fs::File::create("/dev/null").await.expect("a file");
                aio::AsyncWriteExt::write_all(&mut file, b"a row").await.expect("written");
                file
            }),
            Case::of("tokio", || async {
                let (sender, receiver) = mpsc::channel::<Row>(1);
                sender.send(vec![1]).await.expect("sent");
                mem::forget(sender);
                receiver
            }),
            Case::of("tokio", || async {
                let (sender, receiver) = oneshot::channel::<Row>();
                mem::forget(receiver);
                sender
            }),
            Case::of("tokio", || async {
                let (sender, receiver) = broadcast::channel::<Row>(1);
                mem::forget(receiver);
                sender
            }),
            Case::of("tokio", || async { watch::channel::<Row>(vec![]).0 }),
            Case::of("tokio", || async {
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
                    .expect("a signal")
            }),
        ]
    };
    let util = || {
        vec![
            Case::of("tokio-util", || async {
                CancellationToken::new().child_token().drop_guard()
            }),
            Case::of("tokio-util", || async {
                let tracker = TaskTracker::new();
                tracker.spawn(std::future::pending::<()>());
                tracker
            }),
            Case::of("tokio-util", || async {
                let mut queue = DelayQueue::new();
                queue.insert(vec![1_u8], Duration::from_secs(9));
                queue
            }),
            Case::of("tokio-util", || async { LocalPoolHandle::new(1) }),
            Case::of("tokio-util", || async {
                AbortOnDropHandle::new(tokio::spawn(std::future::pending::<()>()))
            }),
            Case::of("tokio-util", || async {
                let mut map = JoinMap::<u8, ()>::new();
                map.spawn(1, std::future::pending());
                map
            }),
            Case::of("tokio-util", || async {
                tokio_util::io::SyncIoBridge::new(aio::duplex(8).0)
            }),
            Case::of("tokio-util", || async {
                tokio_util::sync::PollSender::new(mpsc::channel::<Row>(1).0)
            }),
        ]
    };
    let pools = || {
        vec![
            Case::of("deadpool-sync", wrapper).when("unused"),
            Case::of("deadpool-sync", || async {
                let wrapper = wrapper().await;
                let panicked = wrapper.interact(|_| panic!("while it has the row")).await;
                panicked.expect_err("a panic");
                wrapper
            })
            .when("poisoned"),
            Case::of("deadpool 0.13", || warm(Wrapped)),
            Case::of("deadpool 0.13", || async {
                warm(Wrapped).await.get().await.expect("an object")
            })
            .when("after its pool"),
            Case::of("deadpool 0.13", || async {
                let pool = warm(Wrapped).await;
                let object = pool.get().await.expect("an object");
                mem::forget(pool);
                object
            })
            .when("before its pool"),
            Case::of("deadpool 0.13", || warm(Plain)),
            Case::of("deadpool 0.13", || async {
                warm(Plain).await.get().await.expect("an object")
            }),
            Case::of("deadpool 0.13", || async {
                deadpool::unmanaged::Pool::from(vec![wrapper().await])
            }),
            Case::of("deadpool 0.13", || async {
                let pool = deadpool::unmanaged::Pool::from(vec![wrapper().await]);
                pool.get().await.expect("an object")
            })
            .when("after its pool"),
            Case::of("deadpool 0.13", || async {
                let pool = deadpool::unmanaged::Pool::from(vec![wrapper().await]);
                let object = pool.get().await.expect("an object");
                mem::forget(pool);
                object
            })
            .when("before its pool"),
            Case::of("deadpool 0.12", || async {
                let pool = deadpool_0_12::managed::Pool::builder(Wrapped).build();
                let pool: deadpool_0_12::managed::Pool<Wrapped> = pool.expect("a pool");
                drop(pool.get().await.expect("an object"));
                pool
            }),
            Case::of("deadpool 0.12", || async {
                let pool = deadpool_0_12::managed::Pool::builder(Wrapped).build();
                let pool: deadpool_0_12::managed::Pool<Wrapped> = pool.expect("a pool");
                pool.get().await.expect("an object")
            })
            .when("after its pool"),
            Case::of("deadpool 0.12", || async {
                let pool = deadpool_0_12::managed::Pool::builder(Wrapped).build();
                let pool: deadpool_0_12::managed::Pool<Wrapped> = pool.expect("a pool");
                let object = pool.get().await.expect("an object");
                mem::forget(pool);
                object
            })
            .when("before its pool"),
            Case::of("bb8", || async { bb8::Pool::builder().build(Plain).await.expect("a pool") }),
            Case::of("bb8", || async {
                let pool = bb8::Pool::builder().build(Plain).await.expect("a pool");
                pool.get_owned().await.expect("a connection")
            })
            .when("valid"),
            Case::of("bb8", || async {
                let pool = bb8::Pool::builder()
                    .max_size(1)
                    .min_idle(1)
                    .build(Plain)
                    .await
                    .expect("a pool");
                let mut row = pool.get_owned().await.expect("a connection");
                row.clear();
                row
            })
            .when("broken"),
            Case::of("mobc", || async {
                let pool = mobc::Pool::new(Plain);
                drop(pool.get().await.expect("a connection"));
                pool
            }),
            Case::of("mobc", || async {
                mobc::Pool::new(Plain).get().await.expect("a connection")
            }),
            Case::of("sqlx", sqlite),
            Case::of("sqlx", || async { sqlite().await.acquire().await.expect("a connection") })
                .when("its pool is open"),
            Case::of("sqlx", || async {
                let pool = sqlite().await;
                let connection = pool.acquire().await.expect("a connection");
                // Waits for the connection.
                tokio::spawn(async move { pool.close().await });
                task::yield_now().await;
                connection
            })
            .when("its pool is closing"),
            Case::of("sqlx", || async { sqlite().await.begin().await.expect("a transaction") }),
            Case::of("sqlx", || async {
                <sqlx::SqliteConnection as sqlx::Connection>::connect("sqlite::memory:")
                    .await
                    .expect("a connection")
            }),
        ]
    };
    let others = || {
        vec![
            Case::of("reqwest", || async { reqwest::Client::new() }),
            Case::of("reqwest", || async {
                task::spawn_blocking(reqwest::blocking::Client::new).await.expect("a client")
            }),
            Case::of("rumqttc", || async {
                let (client, connection) =
                    rumqttc::Client::new(rumqttc::MqttOptions::new("a", "127.0.0.1", 9), 1);
                mem::forget(client);
                connection
            }),
            Case::of("rumqttc", || async {
                let (client, connection) =
                    rumqttc::Client::new(rumqttc::MqttOptions::new("a", "127.0.0.1", 9), 1);
                mem::forget(connection);
                client
            }),
            Case::of("rumqttc", || async {
                let (client, events) =
                    rumqttc::AsyncClient::new(rumqttc::MqttOptions::new("a", "127.0.0.1", 9), 1);
                mem::forget(client);
                events
            }),
            Case::of("tower", || async {
                let echo = tower::service_fn(|row: Row| async { Ok::<_, io::Error>(row) });
                tower::buffer::Buffer::new(tower::util::BoxService::new(echo), 1)
            }),
            Case::of("tower", || async {
                let echo = tower::service_fn(std::future::ready::<Result<Row, io::Error>>);
                tower::limit::RateLimit::new(
                    tower::util::BoxService::new(echo),
                    tower::limit::rate::Rate::new(1, Duration::from_secs(9)),
                )
            }),
            Case::of("hyper-util", || async {
                hyper_util::client::legacy::Client::builder(TokioExecutor::new())
                    .build_http::<Full<Bytes>>()
            }),
            Case::of("hyper-util", || async {
                hyper_util::server::graceful::GracefulShutdown::new()
            }),
            Case::of("hyper-util", || async {
                hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
            }),
            Case::of("async-compat", || async { aio::duplex(8).0.compat() }),
            Case::of("async-compat", || async {
                Box::pin(time::sleep(Duration::from_secs(9)).compat())
            }),
            Case::of("async-dropper", || async { AsyncDropper::new(Closes) }),
            Case::of("actix-rt", || async { actix_rt::Runtime::new().expect("a runtime") }),
            Case::of("actix-rt", || async {
                // A system belongs to its thread.
                std::thread::spawn(|| {
                    let system = actix_rt::System::new();
                    let arbiter = actix_rt::Arbiter::new();
                    mem::forget(system);
                    arbiter
                })
                .join()
                .expect("an arbiter")
            }),
        ]
    };
    [tokio(), util(), pools(), others()].into_iter().flatten().collect()
}
