//! The body of an answer, which can break off in the middle.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// A body that announces a length, and keeps to it or not.
pub(crate) struct AnswerBody {
    length: u64,
    data: Option<Bytes>,
    ending: Ending,
}

#[derive(PartialEq)]
enum Ending {
    Proper,
    /// Breaks off, but first lets hyper write what it has.
    Flush,
    BreakOff,
}

impl AnswerBody {
    pub(crate) fn whole(text: String) -> Self {
        let data = Bytes::from(text);
        Self { length: data.len() as u64, data: Some(data), ending: Ending::Proper }
    }

    pub(crate) fn half(text: String) -> Self {
        let whole = Bytes::from(text);
        let half = whole.slice(..whole.len() / 2);
        Self { length: whole.len() as u64, data: Some(half), ending: Ending::Flush }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match self.ending {
            Ending::Proper => Poll::Ready(None),
            Ending::Flush => {
                self.ending = Ending::BreakOff;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::BreakOff => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
