//! The codes that functions return.

use std::ffi::{CStr, c_char};

use sundown::{
    gate::Closed,
    runtime::{RuntimeError, StartError},
    shutdown::{ShutdownErrorKind, SignalLoss},
};

/// What a function returns. Zero is success.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SundownCode {
    /// What was asked for has happened. After a stop: everything has ended.
    Ok = 0,
    /// A pointer that must not be null is null.
    NullPointer = 1,
    /// The operating system refused a thread or a descriptor.
    NoThread = 2,
    /// The runtime is stopping or has stopped.
    ShutDown = 3,
    /// This process is a forked child of the one that has the runtime's threads. Restart it here.
    Forked = 4,
    /// The limit has passed. What is left is still ending; call again to keep waiting.
    TimedOut = 5,
    /// The call was made inside a job of the runtime, and would wait for its own end. The runtime has been
    /// asked to stop.
    FromInside = 6,
    /// Everything has ended, and a job that was written in Rust had panicked.
    JobPanicked = 7,
    /// Something other than this library ended the runtime's own thread.
    ThreadEnded = 8,
    /// The runtime has not ended. Stop it first.
    NotEnded = 9,
    /// The gate is closed.
    Closed = 10,
    /// The limit has passed, and threads are still inside the gate.
    StillInside = 11,
    /// This entry is not inside a gate: it has left already.
    NotInside = 12,
    /// Something of the library is still in use.
    InUse = 13,
    /// A panic inside the library, which is a bug.
    Panicked = 14,
}

impl SundownCode {
    /// All, in order.
    const ALL: [(Self, &'static CStr); 15] = [
        (Self::Ok, c"ok"),
        (Self::NullPointer, c"null pointer"),
        (Self::NoThread, c"no thread"),
        (Self::ShutDown, c"shut down"),
        (Self::Forked, c"forked"),
        (Self::TimedOut, c"timed out"),
        (Self::FromInside, c"from inside"),
        (Self::JobPanicked, c"job panicked"),
        (Self::ThreadEnded, c"thread ended"),
        (Self::NotEnded, c"not ended"),
        (Self::Closed, c"closed"),
        (Self::StillInside, c"still inside"),
        (Self::NotInside, c"not inside"),
        (Self::InUse, c"in use"),
        (Self::Panicked, c"panicked"),
    ];
}

/// The name of a code, which is never freed: `"timed out"`. `"unknown"` for a number that is no code.
#[unsafe(no_mangle)]
pub extern "C" fn sundown_error_name(code: i32) -> *const c_char {
    let known = SundownCode::ALL.iter().find(|(known, _)| *known as i32 == code);
    known.map_or(c"unknown", |(_, name)| name).as_ptr()
}

impl From<&RuntimeError> for SundownCode {
    fn from(error: &RuntimeError) -> Self {
        match error {
            RuntimeError::Forked { .. } => Self::Forked,
            // The others are of functions that are not called here.
            _ => Self::ShutDown,
        }
    }
}

impl From<&StartError> for SundownCode {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::NotEnded { .. } => Self::NotEnded,
            StartError::Runtime(error) => error.into(),
            _ => Self::NoThread,
        }
    }
}

impl From<&ShutdownErrorKind> for SundownCode {
    fn from(kind: &ShutdownErrorKind) -> Self {
        match kind {
            ShutdownErrorKind::TimedOut => Self::TimedOut,
            ShutdownErrorKind::FromInside => Self::FromInside,
            ShutdownErrorKind::Panicked(_) => Self::JobPanicked,
            ShutdownErrorKind::SignalLost(SignalLoss::Forked { .. }) => Self::Forked,
            ShutdownErrorKind::SignalLost(_) => Self::ThreadEnded,
            // The owner thread runs no code of others.
            _ => Self::Panicked,
        }
    }
}

impl From<Closed> for SundownCode {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own_and_another_number_has_none() {
        let name = |code| {
            // SAFETY: the name is a constant.
            unsafe { CStr::from_ptr(sundown_error_name(code)) }
        };
        for (number, (code, text)) in SundownCode::ALL.iter().enumerate() {
            assert_eq!(*code as usize, number);
            assert_eq!(name(*code as i32), *text);
            assert_eq!(SundownCode::ALL.iter().filter(|(_, other)| other == text).count(), 1);
        }
        assert_eq!(name(SundownCode::ALL.len() as i32), c"unknown");
        assert_eq!(name(-1), c"unknown");
    }
}
