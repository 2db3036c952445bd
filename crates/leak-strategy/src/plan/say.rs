//! Standard error, which may be a pipe that nobody reads, or locked for good.

use std::{
    io::{self, Write as _},
    thread::Builder,
    time::Duration,
};

use sundown_core::oneshot;

/// How long an exit waits for it.
const AT_MOST: Duration = Duration::from_millis(100);

/// Writes on another thread, and does not wait for long.
pub(super) fn say(text: String) {
    if text.is_empty() {
        return;
    }
    let (sender, mut written) = oneshot::channel();
    let write = move || {
        let _ = io::stderr().write_all(text.as_bytes());
        let _ = sender.send(());
    };
    if Builder::new().name("exit says".to_owned()).spawn(write).is_ok() {
        let _ = written.wait_blocking(AT_MOST);
    }
}
