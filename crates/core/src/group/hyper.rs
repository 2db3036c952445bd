//! A group runs what hyper spawns.

use std::future::Future;

use hyper::rt::Executor;

use crate::task_set::Stop;

/// What hyper spawns for a connection, such as the streams of HTTP/2, becomes a task of the group, even while
/// the group is draining. A drain waits for these tasks, and names those that it aborts. hyper gives them no
/// name: they are called `spawned by hyper`.
///
/// Where a [`Stop`] cannot [spawn](Stop::spawn), the future is dropped, and hyper answers that the connection
/// was lost.
///
/// ```
/// use std::time::Duration;
/// use hyper::rt::Executor as _;
/// use sundown::TaskGroup;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let connections = TaskGroup::new("connections");
/// // As `hyper_util::server::conn::auto::Builder::new(connections.stop_signal())` does.
/// connections.stop_signal().execute(async { "a stream" });
/// let report = connections.drain(Duration::from_secs(5)).await;
/// assert_eq!((report.ended, report.foreign), (1, 0));
/// # }
/// ```
impl<F> Executor<F> for Stop
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let _refused = self.spawn("spawned by hyper", |_| async {
            let _ = future.await;
        });
    }
}
