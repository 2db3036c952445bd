//! Types that the check was judged with, and not corrected.

use std::{
    convert::Infallible,
    mem,
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use async_dropper::{AsyncDrop, AsyncDropper};
use tokio::{
    sync::mpsc,
    task::{self, spawn_blocking},
    time,
};
use trials::Case;

type Row = Vec<u8>;

/// A server that treats each connection so, on threads of its own.
fn serve(treat: fn(TcpStream) -> std::io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || treat(stream));
        }
    });
    address
}

/// Says nothing.
fn silent() -> SocketAddr {
    serve(|mut stream| std::io::copy(&mut stream, &mut std::io::sink()).map(drop))
}

struct Plain;

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

fn connections() -> Vec<Case> {
    vec![
        Case::of("mobc", || async {
            let pool = mobc::Pool::new(Plain);
            drop(pool.get().await.expect("a connection"));
            pool
        }),
        Case::of("mobc", || async { mobc::Pool::new(Plain).get().await.expect("a connection") }),
        Case::of("tokio-modbus", || async {
            let address = silent();
            let connected =
                spawn_blocking(move || tokio_modbus::client::sync::tcp::connect(address));
            connected.await.expect("a thread").expect("a connection")
        }),
        Case::of("tokio-modbus", || async {
            tokio_modbus::client::tcp::connect(silent()).await.expect("a connection")
        }),
    ]
}

fn helpers() -> Vec<Case> {
    vec![
        Case::of("flume", || async {
            let (sender, receiver) = flume::bounded::<Row>(1);
            sender.send_async(vec![1]).await.expect("sent");
            mem::forget(sender);
            receiver
        }),
        Case::of("leaky-bucket", || async {
            leaky_bucket::RateLimiter::builder().initial(1).build()
        }),
        Case::of("deadqueue", || async {
            let queue = deadqueue::limited::Queue::<Row>::new(1);
            queue.push(vec![1]).await;
            queue
        }),
        Case::of("async-dropper", || async { AsyncDropper::new(Closes) }),
        Case::of("async-scoped", || async {
            // SAFETY: the future borrows nothing, so it may outlive the scope.
            let mut scope =
                unsafe { async_scoped::TokioScope::<'static, ()>::create(Default::default()) };
            scope.spawn(async { task::yield_now().await });
            scope
        }),
        Case::of("tokio-stream", || async {
            tokio_stream::wrappers::IntervalStream::new(time::interval(Duration::from_secs(9)))
        }),
        Case::of("tokio-stream", || async {
            tokio_stream::wrappers::ReceiverStream::new(mpsc::channel::<Row>(1).1)
        }),
        Case::of("tokio-stream", || async {
            let mut map = tokio_stream::StreamMap::new();
            map.insert(
                1_u8,
                tokio_stream::wrappers::ReceiverStream::new(mpsc::channel::<Row>(1).1),
            );
            map
        }),
    ]
}

fn main() -> ExitCode {
    let cases: Vec<_> = [connections(), helpers()].into_iter().flatten().collect();
    trials::run(&cases)
}
