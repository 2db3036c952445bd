//! What a session did not take.

use thiserror::Error;

/// The session took no new value or hook, because it is closed or closing, or because this is a forked child.
/// This returns the value.
///
/// - If the session is closed or closing, tear the value down yourself, by [`teardown`](crate::teardown()), unless
///   its destructor can run here.
/// - In a forked child ([`forked_from`](Self::forked_from) is set), start a session of this process's
///   own and guard the value there.
#[derive(Error)]
#[error("the session `{session}` {}", why_refused(*.forked_from))]
pub struct Refused<T> {
    /// The value. It has not been changed.
    pub value: T,
    /// The name of the session.
    pub session: String,
    /// In a forked child: the process that the session belongs to.
    pub forked_from: Option<u32>,
}

fn why_refused(forked_from: Option<u32>) -> String {
    match forked_from {
        None => "is closed, or is closing, and takes no new value; tear the value down yourself"
            .to_owned(),
        Some(process) => format!(
            "belongs to process {process}, which this one was forked from; start a session in this \
             process"
        ),
    }
}

// Without the value, which need not be `Debug`.
crate::debug_as_text!(Refused<T>);
