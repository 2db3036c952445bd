//! Asynchronous generators of Python as streams.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pyo3::{exceptions::PyStopAsyncIteration, intern, prelude::*};
use pyo3_async_runtimes::TaskLocals;

use crate::{awaitable, delivery, entry::attach, exit, tokio::get_current_locals};

type Item = PyResult<Py<PyAny>>;

/// Makes a stream of an asynchronous generator. Each item is asked for when the stream is polled for it. What cannot be
/// asked for, because the event loop is closed for example, is an error, and the last item.
///
/// # Errors
///
/// There is no event loop.
pub fn into_stream_v1(
    generator: Bound<'_, PyAny>,
) -> PyResult<impl Stream<Item = Item> + 'static + use<>> {
    into_stream_with_locals_v1(get_current_locals(generator.py())?, generator)
}

/// The same, in this event loop.
///
/// # Errors
///
/// What is given is no asynchronous generator.
pub fn into_stream_with_locals_v1(
    locals: TaskLocals,
    generator: Bound<'_, PyAny>,
) -> PyResult<impl Stream<Item = Item> + 'static + use<>> {
    Items::new(locals, &generator)
}

/// The same without the exceptions: the first one ends the stream.
///
/// # Errors
///
/// There is no event loop.
pub fn into_stream_v2(
    generator: Bound<'_, PyAny>,
) -> PyResult<impl Stream<Item = Py<PyAny>> + 'static + use<>> {
    into_stream_with_locals_v2(get_current_locals(generator.py())?, generator)
}

/// The same, in this event loop.
///
/// # Errors
///
/// What is given is no asynchronous generator.
pub fn into_stream_with_locals_v2(
    locals: TaskLocals,
    generator: Bound<'_, PyAny>,
) -> PyResult<impl Stream<Item = Py<PyAny>> + 'static + use<>> {
    Ok(UntilError(Items::new(locals, &generator)?))
}

/// The items of a generator, or its exceptions.
struct Items {
    locals: TaskLocals,
    next: Option<Py<PyAny>>,
    awaited: Option<Pin<Box<dyn Future<Output = Item> + Send>>>,
}

impl Items {
    fn new(locals: TaskLocals, generator: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = generator.py();
        exit::install(py)?;
        let next = generator.getattr(intern!(py, "__anext__"))?.unbind();
        Ok(Self { locals, next: Some(next), awaited: None })
    }
}

impl Stream for Items {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let Self { locals, next, awaited } = self.get_mut();
        let Some(asks) = next else { return Poll::Ready(None) };
        let item = match awaited {
            Some(future) => ready!(future.as_mut().poll(context)),
            None => {
                let begun = attach(|py| {
                    let awaitable = asks.bind(py).call0()?;
                    PyResult::Ok(Box::pin(awaitable::begin(locals, awaitable)?))
                });
                match begun.unwrap_or_else(|_| Err(delivery::ended())) {
                    Ok(future) => ready!(awaited.insert(future).as_mut().poll(context)),
                    // Its event loop is closed, for example. It would be the same each time, and at once.
                    Err(error) => {
                        *next = None;
                        Err(error)
                    }
                }
            }
        };
        *awaited = None;
        let is_last = |error: &PyErr| {
            attach(|py| error.is_instance_of::<PyStopAsyncIteration>(py)).unwrap_or(true)
        };
        if item.as_ref().is_err_and(is_last) {
            *next = None;
            return Poll::Ready(None);
        }
        Poll::Ready(Some(item))
    }
}

/// The items before the first exception.
struct UntilError(Items);

impl Stream for UntilError {
    type Item = Py<PyAny>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Py<PyAny>>> {
        let item = ready!(Pin::new(&mut self.0).poll_next(context));
        if !matches!(item, Some(Ok(_))) {
            self.0.next = None;
        }
        Poll::Ready(item.and_then(Result::ok))
    }
}
