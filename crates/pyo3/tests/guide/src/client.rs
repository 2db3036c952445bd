use std::sync::Arc;

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use pyo3_async_runtimes::{
    into_future_with_locals,
    tokio::{future_into_py, get_current_locals},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    sync::Mutex,
};

type Connection = Arc<Mutex<Option<BufStream<TcpStream>>>>;

/// A connection, until `await client.close()`.
#[pyclass]
pub struct Client(Connection);

#[pymethods]
impl Client {
    #[staticmethod]
    fn connect(py: Python<'_>, address: String) -> PyResult<Bound<'_, PyAny>> {
        future_into_py(py, async move {
            let stream = BufStream::new(TcpStream::connect(address).await?);
            Ok(Self(Arc::new(Mutex::new(Some(stream)))))
        })
    }

    fn ask<'py>(&self, py: Python<'py>, question: String) -> PyResult<Bound<'py, PyAny>> {
        let connection = Arc::clone(&self.0);
        future_into_py(py, async move { ask(&connection, &question).await })
    }

    /// Calls a coroutine function of Python with the answer, and awaits it.
    fn tell<'py>(
        &self,
        question: String,
        listener: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = listener.py();
        let locals = get_current_locals(py)?; // the event loop in which the coroutine runs
        let (connection, listener) = (Arc::clone(&self.0), listener.unbind());
        future_into_py(py, async move {
            let answer = ask(&connection, &question).await?;
            let told = Python::attach(|py| {
                into_future_with_locals(&locals, listener.bind(py).call1((answer,))?)
            })?;
            told.await
        })
    }

    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let connection = Arc::clone(&self.0);
        future_into_py(py, async move {
            if let Some(mut stream) = connection.lock().await.take() {
                stream.shutdown().await?;
            }
            Ok(())
        })
    }
}

async fn ask(connection: &Connection, question: &str) -> PyResult<String> {
    let mut connection = connection.lock().await;
    let closed = || PyRuntimeError::new_err("the client is closed");
    let stream = connection.as_mut().ok_or_else(closed)?;
    stream.write_all(format!("{question}\n").as_bytes()).await?;
    stream.flush().await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(answer)
}
