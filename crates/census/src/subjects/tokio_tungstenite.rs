//! tokio-tungstenite, with a server on loopback.

use std::{io, net::TcpStream};

use futures_util::{SinkExt as _, StreamExt as _};
use lab::TrialResult;
use tokio::net;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message},
};

use crate::{
    server,
    subject::{Card, Subject},
};

/// Sends back what it reads.
fn echo(stream: TcpStream) -> io::Result<()> {
    let Ok(mut socket) = tungstenite::accept(stream) else {
        return Ok(());
    };
    while let Ok(message) = socket.read() {
        if message.is_text() && socket.send(message).is_err() {
            break;
        }
    }
    Ok(())
}

struct OfStream;

impl Subject for OfStream {
    type Live = WebSocketStream<MaybeTlsStream<net::TcpStream>>;

    const CODE: &'static str = "tokio-tungstenite-stream";
    const PACKAGE: &'static str = "tokio-tungstenite";
    const VALUE: &'static str = "a `WebSocketStream`, which has its socket";
    const CALL: &'static str = "a message, and its echo";
    const CLOSE: Result<&'static str, &'static str> = Ok("WebSocketStream::close");

    async fn live() -> TrialResult<Self::Live> {
        let address = server::serve(echo)?;
        Ok(tokio_tungstenite::connect_async(format!("ws://{address}/")).await?.0)
    }

    async fn call(stream: &mut Self::Live) -> TrialResult {
        stream.send(Message::text("a row")).await?;
        stream.next().await.ok_or("the stream has ended")??;
        Ok(())
    }

    async fn close(stream: &mut Self::Live) -> TrialResult {
        Ok(stream.close(None).await?)
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfStream>(file!())]
}
