//! What prevents a panic on the way: a context that is entered, a question whether there is one, a field that the
//! destructor has taken out before.
//!
//! A context that was entered on some way counts, until its guard is dropped: also one that a function has entered for
//! its caller. The others count if they are on every way.

use std::{fmt, ops::BitOrAssign};

use crate::{kind::Kind, sinks};

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
    /// A branch decided, and not about whether something is there.
    pub const CONDITION: Self = Self(8);
    /// It is held in one variant of an enum, or in one of two fields, and another would hold something else.
    pub const VARIANT: Self = Self(16);
    /// The destructor has made another owner of it, and given that away.
    pub const SHARED: Self = Self(32);

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
            Kind::Context if is_worded => Self::HELD.or(Self::ENTERED),
            _ if is_worded => Self::HELD,
            Kind::Context => Self::HELD.or(Self::ENTERED).or(Self::ASKED),
            Kind::Runtime | Kind::Block | Kind::InPlace => Self::HELD.or(Self::ASKED),
            Kind::Local => Self::HELD.or(Self::ENTERED),
        }
    }

    /// What a destructor does to a field.
    pub const OF_FIELD: Self = Self(Self::TAKEN.0 | Self::SHARED.0);

    /// The value may not be there, or have another owner.
    const HELD: Self = Self(Self::OF_FIELD.0 | Self::VARIANT.0);

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
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
            (Self::CONDITION, "behind a condition"),
            (Self::VARIANT, "if it holds that and not the other"),
            (Self::SHARED, "the destructor has made another owner before"),
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

/// The guards of a context: the context is left when one is dropped.
pub const GUARDS: [&str; 2] =
    ["tokio::runtime::handle::EnterGuard", "tokio::task::local::LocalEnterGuard"];

/// Whether a function enters a context, and returns its guard.
pub fn enters(path: &str) -> bool {
    matches!(
        path,
        "tokio::runtime::handle::Handle::enter"
            | "tokio::runtime::runtime::Runtime::enter"
            | "tokio::runtime::local_runtime::runtime::LocalRuntime::enter"
            | "tokio::task::local::LocalSet::enter"
    )
}

/// Whether a function asks whether there is a context.
pub fn asks(path: &str) -> bool {
    path == "tokio::runtime::handle::Handle::try_current"
}

/// Whether a function asks that, or how many threads the runtime has.
pub fn asks_of_runtime(path: &str) -> bool {
    asks(path) || path == "tokio::runtime::handle::Handle::runtime_flavor"
}

/// Whether a function panics or ends the process, each time.
pub fn never_returns(path: &str) -> bool {
    sinks::panics(path)
        || path.starts_with("alloc::alloc::handle_alloc_error")
        || path.starts_with("alloc::raw_vec::handle_error")
        || matches!(
            path,
            "std::process::exit" | "std::process::abort" | "std::panic::resume_unwind"
        )
}

/// What a function takes out of its place, leaving something empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken<'a> {
    /// A value of this type.
    Of(&'a str),
    /// An `Option` of something: the legacy mangling has no generic arguments.
    AnyOption,
    /// Anything.
    Any,
    /// Nothing, but what shares a value of this type has another owner now.
    Shared(&'a str),
}

impl<'a> Taken<'a> {
    pub fn by(name: &'a str) -> Option<Self> {
        let clones = |name: &'a str| name.strip_prefix('<')?.strip_suffix(CLONES);
        if let Some(cloned) = clones(name) {
            return is_shared(cloned).then_some(Self::Shared(cloned));
        }
        match name {
            "core::option::Option<T>::take" => return Some(Self::AnyOption),
            "core::mem::take" | "core::mem::replace" => return Some(Self::Any),
            _ => {}
        }
        let option = name.strip_prefix('<').and_then(|name| name.strip_suffix(">::take"));
        let option = option.filter(|of| of.starts_with(OPTION));
        let of = |function| name.strip_prefix(function)?.strip_suffix('>');
        let of_type = option.or_else(|| of("core::mem::take::<"));
        of_type.or_else(|| of("core::mem::replace::<")).map(Self::Of)
    }

    /// What is true of the field from now on.
    pub const fn guard(self) -> Guards {
        match self {
            Self::Of(_) | Self::AnyOption | Self::Any => Guards::TAKEN,
            Self::Shared(_) => Guards::SHARED,
        }
    }

    /// Whether a value of a type may be what was taken.
    pub fn may_be(self, of_type: &str) -> bool {
        match self {
            Self::Of(taken) => taken == of_type,
            Self::Shared(shared) => {
                shared == of_type || is_shared(of_type) && ANY_SHARED.contains(&shared)
            }
            Self::AnyOption => of_type.starts_with(OPTION),
            Self::Any => true,
        }
    }
}

const OPTION: &str = "core::option::Option<";
const CLONES: &str = " as core::clone::Clone>::clone";
/// The legacy mangling has no generic arguments.
const ANY_SHARED: [&str; 2] = ["alloc::sync::Arc<T,A>", "alloc::rc::Rc<T,A>"];

fn is_shared(of_type: &str) -> bool {
    of_type.starts_with("alloc::sync::Arc<") || of_type.starts_with("alloc::rc::Rc<")
}

/// These hand the worker's tasks over, and then the thread may wait. What they do is a kind of its own.
const IN_PLACE: [&str; 2] =
    ["tokio::task::blocking::block_in_place", "tokio::runtime::scheduler::block_in_place::"];

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
            ]) || begins(&["tokio::runtime::builder::Builder::build_"]) || begins(&IN_PLACE),
            Kind::Block => begins(&IN_PLACE),
            Kind::InPlace | Kind::Local => false,
        }
}

/// The kinds of panic that dropping a value of this type does not lead to. Read once by a person, and tried by a test that
/// drops such values in the wrong place: the code alone does not show it.
pub fn vetted(of_type: &str) -> &'static [Kind] {
    let path = of_type.split('<').next().unwrap_or(of_type);
    match path {
        // The thread of a lane keeps the runtime until everybody else has given theirs back, and drops it where it may
        // wait.
        "sundown_core::teardown::lane::Serving" => &[Kind::Runtime],
        // Its destructor always takes the value out, and queues it for such a thread.
        "sundown_core::session::guarded::Value" => &Kind::ALL,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_is_known_in_both_manglings() {
        let of = |of_type| Some(Taken::Of(of_type));
        assert_eq!(
            Taken::by("<core::option::Option<app::Pool>>::take"),
            of("core::option::Option<app::Pool>")
        );
        assert_eq!(Taken::by("core::mem::take::<app::Pool>"), of("app::Pool"));
        assert_eq!(Taken::by("core::option::Option<T>::take"), Some(Taken::AnyOption));
        assert_eq!(Taken::by("core::mem::replace"), Some(Taken::Any));
        assert_eq!(Taken::by("app::Pool::take"), None);
        assert!(Taken::AnyOption.may_be("core::option::Option<app::Pool>"));
        assert!(!Taken::AnyOption.may_be("app::Pool"));
        let shared = Taken::by("<alloc::sync::Arc<app::Pool> as core::clone::Clone>::clone");
        assert_eq!(shared, Some(Taken::Shared("alloc::sync::Arc<app::Pool>")));
        assert_eq!(Taken::by("<app::Pool as core::clone::Clone>::clone"), None);
        let any = Taken::by("<alloc::sync::Arc<T,A> as core::clone::Clone>::clone").unwrap();
        assert!(any.may_be("alloc::sync::Arc<app::Pool>"));
        assert!(!any.may_be("alloc::rc::Weak<app::Pool>"));
    }
}
