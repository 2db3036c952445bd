//! What prevents a panic on the way: a context that is entered, a question whether there is one, a field that the
//! destructor has taken out before.
//!
//! Each is looked for on *every* way: a finding is sure if one way has none.

use std::{fmt, ops::BitOrAssign};

use crate::kind::Kind;

/// What has happened on every way to a call, within the function that calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guards(u8);

impl Guards {
    pub const NONE: Self = Self(0);
    /// A context was entered.
    pub const ENTERED: Self = Self(1);
    /// `Handle::try_current` was asked.
    pub const ASKED: Self = Self(2);
    /// The destructor has taken the value out of the field, which is empty when it is dropped.
    pub const TAKEN: Self = Self(4);

    /// In each function these are looked for.
    pub const IN_CODE: [Self; 2] = [Self::ENTERED, Self::ASKED];

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The guards that prevent a panic of this kind. `try_current` does not prevent one with a message of the
    /// caller's: such code asks, and then panics. `enter` does not prevent a panic about blocking: that is refused in a
    /// context.
    pub const fn that_count(kind: Kind, is_worded: bool) -> Self {
        match kind {
            Kind::Context if is_worded => Self(Self::ENTERED.0 | Self::TAKEN.0),
            Kind::Context => Self(Self::ENTERED.0 | Self::ASKED.0 | Self::TAKEN.0),
            Kind::Runtime | Kind::Block | Kind::InPlace => Self(Self::ASKED.0 | Self::TAKEN.0),
            Kind::Local => Self::TAKEN,
        }
    }
}

impl BitOrAssign for Guards {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (Self::ENTERED, "behind `enter()`"),
            (Self::ASKED, "behind `try_current()`"),
            (Self::TAKEN, "the destructor has taken it out before"),
        ];
        let mut separator = "";
        for (guard, word) in words {
            if !self.and(guard).is_empty() {
                write!(f, "{separator}{word}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// The guard that a call of this function is for all that follows it.
pub fn guard_of(path: &str) -> Guards {
    match path {
        "tokio::runtime::handle::Handle::enter" | "tokio::runtime::runtime::Runtime::enter" => {
            Guards::ENTERED
        }
        "tokio::runtime::handle::Handle::try_current" => Guards::ASKED,
        _ => Guards::NONE,
    }
}

/// The types whose value a function takes out of its place, leaving an empty one.
pub fn taken_out(name: &str) -> Option<&str> {
    let option = name.strip_prefix('<').and_then(|name| name.strip_suffix(">::take"));
    let option = option.filter(|of| of.starts_with("core::option::Option<"));
    let of = |function| name.strip_prefix(function)?.strip_suffix('>');
    option.or_else(|| of("core::mem::take::<")).or_else(|| of("core::mem::replace::<"))
}

/// Whether no panic of this kind comes through this function.
pub fn is_closed(path: &str, kind: Kind) -> bool {
    let is = |names: &[&str]| names.contains(&path);
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    // A panic has happened already, or is caught here.
    begins(&["core::panicking::", "std::panicking::", "core::fmt::", "std::process::", "std::rt::"])
        // What the new thread does, it does to itself.
        || (path.starts_with("std::thread::") && path.contains("spawn"))
        || match kind {
            // `block_on` has a context. And a worker that is about to block has one, for its substitute.
            Kind::Context => {
                is(&["tokio::runtime::context::runtime::enter_runtime"])
                    || begins(&["tokio::runtime::scheduler::multi_thread::worker::maybe_move_runtime"])
            }
            // Read once by a person: the limit is zero there, and then nothing waits; a runtime that was not built
            // has no thread to wait for.
            Kind::Runtime => is(&[
                "tokio::runtime::runtime::Runtime::shutdown_background",
                "tokio::runtime::builder::Builder::build",
            ]) || begins(&["tokio::runtime::builder::Builder::build_"]),
            // It hands the worker's tasks over, and then the thread may wait. It is a kind of its own.
            Kind::Block => begins(&["tokio::task::blocking::block_in_place", "tokio::runtime::scheduler::block_in_place::"]),
            Kind::InPlace | Kind::Local => false,
        }
}
