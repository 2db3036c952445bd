//! The server's connections, each of which can be told to end in a reset instead of a proper close.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Bytes, HttpBody},
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use hyper::body::{Frame, SizeHint};
use sundown::flag::Flag;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// Accepts connections that can be reset.
pub(super) struct Connections(pub(super) TcpListener);

/// Raised, it makes the connection end in a reset.
#[derive(Clone)]
pub(super) struct Reset(pub(super) Arc<Flag>);

pub(super) struct Connection {
    stream: TcpStream,
    reset: Reset,
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Axum's own way to go on after a failure.
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Connection { stream, reset: Reset(Arc::default()) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Connections>> for Reset {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        stream.io().reset.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.reset.0.is_raised() {
            // To close a socket that lingers for no time is to reset it. Where that fails it is
            // closed properly, and the answer is cut off all the same.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.0.is_raised() {
            // A proper end is what is not wanted here.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A body that announces its full length and breaks off in the middle.
pub(super) struct BrokenBody {
    length: u64,
    half: Option<Bytes>,
    flushed: bool,
}

impl BrokenBody {
    pub(super) fn of(body: &Bytes) -> Self {
        let half = body.slice(..body.len() / 2);
        Self { length: body.len() as u64, half: Some(half), flushed: false }
    }
}

impl HttpBody for BrokenBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if !self.flushed {
            // Whoever finds nothing to write writes out what there is.
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
