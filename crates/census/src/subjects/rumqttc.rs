//! rumqttc, with a server that counts what is published.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
};

use lab::TrialResult;
use rumqttc::{AsyncClient, Client, Connection, MqttOptions, QoS};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    server,
    subject::{Card, Subject},
};

static PUBLISHED: AtomicUsize = AtomicUsize::new(0);

/// What a client of MQTT 3.1.1 needs to hear.
fn mqtt(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut first = [0; 2];
        stream.read_exact(&mut first)?;
        let [kind, length] = first;
        // The packets of the census are shorter than 128 bytes, so their length is one byte.
        let mut body = vec![0; usize::from(length)];
        stream.read_exact(&mut body)?;
        match kind >> 4 {
            1 => stream.write_all(&[0x20, 2, 0, 0])?,
            3 => drop(PUBLISHED.fetch_add(1, Ordering::SeqCst)),
            12 => stream.write_all(&[0xD0, 0])?,
            // After DISCONNECT, the standard has the server close the connection if the client has not.
            14 => return Ok(()),
            _ => {}
        }
    }
}

struct OfClient;

impl Subject for OfClient {
    type Live = (AsyncClient, JoinHandle<()>);

    const CODE: &'static str = "rumqttc-client";
    const PACKAGE: &'static str = "rumqttc";
    const VALUE: &'static str = "an `AsyncClient`, and the `JoinHandle` of a task that polls its `EventLoop` until an error";
    const CALL: &'static str = "a message is published at most once (`QoS::AtMostOnce`)";
    const CLOSE: Result<&'static str, &'static str> = Ok("AsyncClient::disconnect");
    const ACCEPTS: Result<&'static str, &'static str> =
        Ok("messages at most once (`QoS::AtMostOnce`), which its `EventLoop` sends");

    async fn live() -> TrialResult<Self::Live> {
        let address = server::serve(mqtt)?;
        let options = MqttOptions::new("census", address.ip().to_string(), address.port());
        let (client, mut events) = AsyncClient::new(options, 200);
        // Connected before its first use.
        events.poll().await?;
        let task = tokio::spawn(async move { while events.poll().await.is_ok() {} });
        Ok((client, task))
    }

    async fn call((client, _): &mut Self::Live) -> TrialResult {
        Ok(client.publish("a", QoS::AtMostOnce, false, "row").await?)
    }

    async fn close((client, _): &mut Self::Live) -> TrialResult {
        Ok(client.disconnect().await?)
    }

    async fn accept(live: &mut Self::Live) -> TrialResult {
        Self::call(live).await
    }

    fn arrived() -> usize {
        PUBLISHED.load(Ordering::SeqCst)
    }
}

/// The blocking client, whose connection has a runtime of its own.
struct OfConnection;

impl Subject for OfConnection {
    type Live = (Client, Option<Connection>);

    const CODE: &'static str = "rumqttc-connection";
    const PACKAGE: &'static str = "rumqttc";
    const VALUE: &'static str = "a blocking `Client` and its `Connection`";
    const CALL: &'static str =
        "a message is published, and the connection polled once, on a thread of `spawn_blocking`";
    const CLOSE: Result<&'static str, &'static str> = Err(
        "a `Connection` has no close: it ends when somebody polls it after `Client::disconnect`",
    );

    async fn live() -> TrialResult<Self::Live> {
        let address = server::serve(mqtt)?;
        let options = MqttOptions::new("census", address.ip().to_string(), address.port());
        let (client, connection) = spawn_blocking(move || Client::new(options, 200)).await?;
        Ok((client, Some(connection)))
    }

    async fn call((client, connection): &mut Self::Live) -> TrialResult {
        let mut polled = connection.take().ok_or("its last call was cancelled")?;
        client.try_publish("a", QoS::AtMostOnce, false, "row")?;
        let (event, polled) = spawn_blocking(move || (polled.recv(), polled)).await?;
        *connection = Some(polled);
        event.map_err(|_| "its requests have ended")??;
        Ok(())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfConnection>(file!()), Card::of::<OfClient>(file!())]
}
