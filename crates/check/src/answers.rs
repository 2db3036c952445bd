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
    /// `Some` for each thing that is there, and then `None`: an iterator that leaves nothing out.
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
                gives_each(of_type).then_some(Self::Each)
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

/// Whether an iterator gives each thing that is there. A range counts, and a filter decides.
pub fn gives_each(iterator: &str) -> bool {
    /// They give as many as the iterator that is their first generic argument.
    const ADAPTORS: [&str; 9] = [
        "chain::Chain",
        "cloned::Cloned",
        "copied::Copied",
        "enumerate::Enumerate",
        "fuse::Fuse",
        "inspect::Inspect",
        "map::Map",
        "peekable::Peekable",
        "rev::Rev",
    ];
    /// What collections call theirs.
    const OF_COLLECTIONS: [&str; 11] = [
        "Drain",
        "DrainSorted",
        "IntoIter",
        "IntoIterSorted",
        "IntoKeys",
        "IntoValues",
        "Iter",
        "IterMut",
        "Keys",
        "Values",
        "ValuesMut",
    ];
    let iterator = iterator.strip_prefix("&mut ").unwrap_or(iterator);
    let (path, arguments) = iterator.split_once('<').unwrap_or((iterator, ""));
    let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
    match path.strip_prefix("core::iter::adapters::") {
        Some(adaptor) => ADAPTORS.contains(&adaptor) && gives_each(arguments),
        // That of a `Result` gives what is there if it went well.
        None => module != "core::result" && OF_COLLECTIONS.contains(&name),
    }
}

const OPTION: &str = "core::option::Option<";
const FLAVOR: &str = "tokio::runtime::runtime::RuntimeFlavor";

/// Whether a function of the standard library is about an `Option`, by its first generic argument.
fn is_of_option(name: &str) -> bool {
    let Some((_, arguments)) = name.trim_start_matches('<').split_once('<') else { return false };
    arguments.starts_with(OPTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iterator_over_a_collection_gives_each_thing_in_it() {
        for iterator in [
            "core::slice::iter::Iter<u8>",
            "alloc::vec::drain::Drain<core::option::Option<u8>>",
            "std::collections::hash::map::ValuesMut<u8, u8>",
            "&mut alloc::vec::into_iter::IntoIter<u8>",
            "dashmap::iter::Iter<u8, u8>",
            "core::option::Iter<u8>",
            "core::iter::adapters::map::Map<core::slice::iter::Iter<u8>, app::drop::{closure#0}>",
            "core::iter::adapters::rev::Rev<core::iter::adapters::enumerate::Enumerate<core::slice::iter::Iter<u8>>>",
        ] {
            assert!(gives_each(iterator), "{iterator}");
        }
        for iterator in [
            "core::ops::range::Range<usize>",
            "core::result::IntoIter<u8>",
            "core::iter::adapters::filter::Filter<core::slice::iter::Iter<u8>, app::drop::{closure#0}>",
            "core::iter::adapters::rev::Rev<core::iter::adapters::skip::Skip<core::slice::iter::Iter<u8>>>",
            "alloc::vec::extract_if::ExtractIf<u8>",
            "app::Dirty",
        ] {
            assert!(!gives_each(iterator), "{iterator}");
        }
    }
}
