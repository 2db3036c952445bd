//! What a call of a function says that is not looked into any further.

use crate::names;

/// How a call of a function that is not looked into any further decides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `Some` or `true` if there is something, as its argument has it.
    There,
    /// The contrary.
    Missing,
    /// The argument itself, or a place in it.
    Same,
    /// `Ok`, as a lock that is not poisoned.
    Good,
    /// `Some` for each thing that is there, and then `None`: an iterator.
    Each,
    /// Whether this is the last owner.
    Last,
    /// `Handle::try_current`.
    Context,
    /// `Handle::runtime_flavor`.
    Flavor,
    /// Whether two flavors are one, or are not.
    IsFlavor(bool),
    /// `false`, unless something has panicked before.
    Never,
    /// Anything else.
    State,
}

impl Answer {
    pub fn of(name: &str, path: &str) -> Self {
        let (owner, method) = path.rsplit_once("::").unwrap_or(("", path));
        match (owner, method) {
            ("tokio::runtime::handle::Handle", "try_current") => Self::Context,
            ("tokio::runtime::handle::Handle", "runtime_flavor") => Self::Flavor,
            (
                "core::option::Option",
                "take" | "replace" | "as_ref" | "as_mut" | "as_deref" | "as_deref_mut" | "map"
                | "cloned" | "copied" | "as_pin_mut",
            )
            | ("core::result::Result", "as_ref" | "as_mut" | "map" | "map_err")
            | ("core::pin::Pin", "get_mut" | "get_unchecked_mut" | "as_mut" | "as_ref")
            | ("std::sync::once_lock::OnceLock" | "core::cell::once::OnceCell", "get") => {
                Self::Same
            }
            // Of a flag, these are the flag.
            ("core::mem", "take" | "replace")
            | ("core::mem::manually_drop::ManuallyDrop", "take")
            | ("core::cell::Cell", "take" | "replace")
                if is_of_option(name) =>
            {
                Self::Same
            }
            ("core::option::Option", "is_some") | ("core::result::Result", "is_err") => Self::There,
            ("core::option::Option", "is_none") | ("core::result::Result", "is_ok" | "ok") => {
                Self::Missing
            }
            (_, "panicking") if owner.starts_with("std::thread") => Self::Never,
            (_, "is_empty") if owner.starts_with("std::") || owner.starts_with("alloc::") => {
                Self::Missing
            }
            ("std::sync::poison::mutex::Mutex", "lock")
            | ("std::sync::poison::rwlock::RwLock", "read" | "write") => Self::Good,
            ("alloc::sync::Arc" | "alloc::rc::Rc", "strong_count") => Self::Last,
            (_, "fetch_sub") if owner.starts_with("core::sync::atomic::") => Self::Last,
            ("alloc::sync::Arc" | "alloc::rc::Rc", "get_mut" | "into_inner") => Self::There,
            (_, "pop" | "pop_front" | "pop_back") if owner.starts_with("alloc::") => Self::Each,
            _ => Self::of_trait(name).unwrap_or(Self::State),
        }
    }

    fn of_trait(name: &str) -> Option<Self> {
        let (of_type, of_trait) = names::implementation(name)?;
        let method = names::after_implementation(name)?;
        match (of_trait, method) {
            ("core::iter::traits::iterator::Iterator", "::next")
            | ("core::iter::traits::double_ended::DoubleEndedIterator", "::next_back") => {
                Some(Self::Each)
            }
            ("core::ops::deref::Deref" | "core::ops::deref::DerefMut", _) => Some(Self::Same),
            ("core::cmp::PartialEq", "::eq" | "::ne") if of_type == FLAVOR => {
                Some(Self::IsFlavor(method == "::eq"))
            }
            ("core::clone::Clone", _) => of_type.starts_with(OPTION).then_some(Self::Same),
            _ => None,
        }
    }
}

const OPTION: &str = "core::option::Option<";
const FLAVOR: &str = "tokio::runtime::runtime::RuntimeFlavor";

/// Whether a function of the standard library is about an `Option`, by its first generic argument.
fn is_of_option(name: &str) -> bool {
    let Some((_, arguments)) = name.trim_start_matches('<').split_once('<') else { return false };
    arguments.starts_with(OPTION)
}
