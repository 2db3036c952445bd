//! What the demangled name of a function says: whose destructor it is, which trait it implements.
//!
//! Both manglings of rustc occur in one program, because the standard library is compiled elsewhere.

/// The type whose drop glue has this name: `core::ptr::drop_in_place::<T>`, or without `::` in the legacy mangling.
pub fn glue_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("core::ptr::drop_in_place")?;
    rest.strip_prefix("::").unwrap_or(rest).strip_prefix('<')?.strip_suffix('>')
}

/// The path of a function without generic arguments: `tokio::runtime::handle::Handle::current`, also for what v0
/// prints as `<tokio::runtime::handle::Handle>::current`. `None` for a method of a trait.
pub fn path(name: &str) -> Option<String> {
    let Some(inner) = name.strip_prefix('<') else { return Some(without_generics(name)) };
    if implementation(name).is_some() {
        return None;
    }
    let (of, method) = inner.split_at(closing(inner)?);
    Some(without_generics(of) + &without_generics(method.get(1..)?))
}

/// The type and the trait of a method: `<T as Trait>::method`.
pub fn implementation(name: &str) -> Option<(&str, &str)> {
    let inner = name.strip_prefix('<')?;
    let inner = inner.get(..closing(inner)?)?;
    let mut depth = 0_usize;
    let mut before = b' ';
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'<' | b'(' | b'[' => depth += 1,
            b'>' if before == b'-' => {}
            b'>' | b')' | b']' => depth = depth.saturating_sub(1),
            b' ' if depth == 0 => {
                let (of, rest) = inner.split_at(at);
                if let Some(of_trait) = rest.strip_prefix(" as ") {
                    return Some((of, of_trait));
                }
            }
            _ => {}
        }
        before = byte;
    }
    None
}

/// What comes after the type and the trait of a method: `::method`, without the compiler's shims.
pub fn after_implementation(name: &str) -> Option<&str> {
    let inner = name.strip_prefix('<')?;
    let after = inner.get(closing(inner)? + 1..)?;
    let end = after.find("::{shim:").or_else(|| after.find("::{{vtable.shim}}"));
    after.get(..end.unwrap_or(after.len()))
}

/// The type whose hand-written destructor has this name.
pub fn destructor_of(name: &str) -> Option<&str> {
    let (of, of_trait) = implementation(name)?;
    (of_trait == "core::ops::drop::Drop" && name.ends_with(">::drop")).then_some(of)
}

/// Whether this is a hand-written destructor, or the function that `pin-project` makes of one.
pub fn is_destructor(name: &str) -> bool {
    let pinned = || {
        let (_, of_trait) = implementation(name)?;
        let inner = after_implementation(name)?.strip_prefix("::drop::__drop_inner")?;
        Some(of_trait == "pin_project::__private::PinnedDrop" && !inner.contains("::{"))
    };
    destructor_of(name).is_some() || pinned().unwrap_or(false)
}

/// The trait of the `dyn Trait` that a pointer owns, if this is the drop glue of the pointer, or the part of `Arc`
/// and `Rc` that drops what they own.
pub fn owned_trait_object(name: &str) -> Option<&str> {
    const POINTERS: [&str; 4] =
        ["core::pin::Pin<", "alloc::rc::Rc<", "alloc::sync::Arc<", "alloc::boxed::Box<"];
    /// What a pointer may have around the `dyn`.
    const CELLS: [&str; 8] = [
        "std::sync::poison::mutex::Mutex<",
        "std::sync::poison::rwlock::RwLock<",
        "core::cell::RefCell<",
        "core::cell::UnsafeCell<",
        "tokio::sync::mutex::Mutex<",
        "tokio::sync::rwlock::RwLock<",
        "lock_api::mutex::Mutex<parking_lot::raw_mutex::RawMutex, ",
        "lock_api::rwlock::RwLock<parking_lot::raw_rwlock::RawRwLock, ",
    ];
    let slow = || name.strip_suffix(">::drop_slow")?.strip_prefix('<');
    let mut owned = glue_of(name).or_else(slow)?;
    for holder in POINTERS.into_iter().chain(CELLS) {
        owned = owned.strip_prefix(holder).unwrap_or(owned);
    }
    let object = owned.strip_prefix("dyn ")?;
    let object = match object.strip_prefix("for<") {
        Some(bound) => bound.split_once("> ")?.1,
        None => object,
    };
    let end = object.find(['<', '+', '>', ',']).unwrap_or(object.len());
    Some(object.get(..end)?.trim())
}

/// A name with the traits of its `dyn` types in the order of the alphabet, as `type_name` prints them. In a symbol they have
/// an order of the compiler's.
pub fn in_order(name: String) -> String {
    const SEPARATOR: &str = " + ";
    if !name.contains(SEPARATOR) {
        return name;
    }
    let is_of_path = |char: char| char.is_alphanumeric() || matches!(char, '_' | ':');
    let mut sorted = String::with_capacity(name.len());
    let mut rest = &*name;
    // What stands before the first separator is the principal trait, which may have arguments.
    while let Some((before, after)) = rest.split_once(SEPARATOR) {
        sorted.push_str(before);
        let mut traits = Vec::new();
        rest = after;
        loop {
            let end = rest.find(|char| !is_of_path(char)).unwrap_or(rest.len());
            let (of_trait, behind) = rest.split_at(end);
            traits.push(of_trait);
            rest = behind;
            match behind.strip_prefix(SEPARATOR) {
                Some(more) => rest = more,
                None => break,
            }
        }
        traits.sort_unstable();
        for of_trait in traits {
            sorted.push_str(SEPARATOR);
            sorted.push_str(of_trait);
        }
    }
    sorted + rest
}

/// A path without its generic arguments.
pub fn without_generics(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut depth = 0_usize;
    let mut before = ' ';
    for char in path.chars() {
        match char {
            '<' => {
                if depth == 0 && plain.ends_with("::") {
                    plain.truncate(plain.len() - 2);
                }
                depth += 1;
            }
            '>' if before == '-' => {}
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(char),
            _ => {}
        }
        before = char;
    }
    plain
}

/// A type for a reader: `SyncWrapper<Vec<u8>>`, without the modules.
pub fn short(of_type: &str) -> String {
    let mut short = String::with_capacity(of_type.len());
    let mut begin = 0; // of the path that is being read
    let mut before = ' ';
    for char in of_type.chars() {
        if char == ':' && before == ':' {
            short.truncate(begin);
        } else {
            short.push(char);
            if !(char.is_alphanumeric() || matches!(char, '_' | ':')) {
                begin = short.len();
            }
        }
        before = char;
    }
    short
}

/// A function for a reader: `Handle::current`, `SyncWrapper::drop`, `drop of SyncWrapper<Vec<u8>>`.
pub fn short_function(name: &str) -> String {
    if let Some(of_type) = glue_of(name) {
        return format!("drop of {}", short(of_type));
    }
    let plain = match (implementation(name), path(name)) {
        (Some((of, _)), _) => {
            let method = name.get(1..).and_then(|rest| rest.get(closing(rest)? + 1..));
            without_generics(of) + &without_generics(method.unwrap_or_default())
        }
        (None, Some(path)) => path,
        (None, None) => return short(name),
    };
    // The last name, and the type or module that it is in.
    let begin = plain.rmatch_indices("::").nth(1).map_or(0, |(at, colons)| at + colons.len());
    plain.get(begin..).unwrap_or(&plain).to_owned()
}

/// The crate that defines a type; `None` for a reference, a tuple and the like.
pub fn crate_of(of_type: &str) -> Option<&str> {
    let (name, _) = of_type.trim_start_matches('<').split_once("::")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_name).then_some(name)
}

/// Whether a type has, also as a generic argument, a type of another crate than Tokio and the standard library.
pub fn has_of_others(of_type: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'}');
    let begins = of_type.match_indices("::").map(|(at, _)| {
        let rest = of_type.as_bytes()[..at].iter().rev();
        let begin = at - rest.take_while(|byte| is_part(**byte)).count();
        &of_type[begin..at]
    });
    let is_root = |it: &&str| !it.is_empty() && !it.contains(':') && !it.contains('}');
    begins.filter(is_root).any(|it| !matches!(it, "tokio" | "core" | "alloc" | "std"))
}

/// Whether a function is in a module.
pub fn is_in(name: &str, module: &str) -> bool {
    let rest = name.trim_start_matches('<').strip_prefix(module);
    rest.is_some_and(|rest| rest.starts_with("::"))
}

/// Whether a type only holds another, as a pointer, an option or a cell of the standard library does. It says nothing
/// that the other does not say.
pub fn is_wrapper(of_type: &str) -> bool {
    crate_of(of_type).is_none_or(|name| matches!(name, "core" | "alloc" | "std"))
}

/// Whether a program can write the name of a type, and has one that its next build has, too: no part of it is a closure, and
/// it is not a part of Tokio that nobody else can have.
pub fn is_named(of_type: &str) -> bool {
    !is_wrapper(of_type)
        && !of_type.contains('{')
        && !of_type.starts_with('<')
        && !is_internal(of_type)
}

/// Whether a type is in a module of Tokio that exports nothing with a destructor.
pub fn is_internal(of_type: &str) -> bool {
    const MODULES: [&str; 11] = [
        "loom",
        "runtime::blocking",
        "runtime::driver",
        "runtime::io",
        "runtime::scheduler",
        "runtime::task::core",
        "runtime::time",
        "sync::batch_semaphore",
        "sync::mpsc::block",
        "sync::mpsc::chan",
        "util",
    ];
    let Some(in_tokio) = of_type.strip_prefix("tokio::") else { return false };
    MODULES
        .iter()
        .any(|module| in_tokio.strip_prefix(module).is_some_and(|rest| rest.starts_with("::")))
}

/// Whether a type has no name of its own: a closure, an `async` block.
pub fn is_anonymous(of_type: &str) -> bool {
    of_type.starts_with('<') || without_generics(of_type).contains('{')
}

/// Where the `<` before this text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    let mut before = b' ';
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if before == b'-' => {}
            b'>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        before = byte;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_drop_glue_is_read_in_both_manglings() {
        assert_eq!(glue_of("core::ptr::drop_in_place::<app::Store>"), Some("app::Store"));
        assert_eq!(glue_of("core::ptr::drop_in_place<app::Store>"), Some("app::Store"));
        assert_eq!(glue_of("core::ptr::drop_in_place"), None);
        assert_eq!(glue_of("core::mem::drop::<app::Store>"), None);
        assert!(has_of_others("tokio::task::Cell<core::option::Option<app::Store>>"));
        assert!(has_of_others("tokio::task::Cell<<app::Store as core::ops::drop::Drop>::drop>"));
        assert!(!has_of_others("tokio::task::Cell<core::option::Option<tokio::sync::Mutex<u8>>>"));
        assert!(!has_of_others("tokio::task::Cell<tokio::fs::open::{closure#0}::{closure#1}>"));
    }

    #[test]
    fn the_traits_of_a_dyn_are_in_order() {
        let in_order = |name: &str| in_order(name.to_owned());
        assert_eq!(
            in_order("Box<dyn a::B<u8> + core::marker::Sync + core::marker::Send>, u8"),
            "Box<dyn a::B<u8> + core::marker::Send + core::marker::Sync>, u8"
        );
        assert_eq!(
            in_order("(dyn a::A + c::C, dyn b::B + c::C + b::B)"),
            "(dyn a::A + c::C, dyn b::B + b::B + c::C)"
        );
        assert_eq!(in_order("a::B"), "a::B");
    }

    #[test]
    fn a_path_has_no_generic_arguments_in_both_manglings() {
        let current = Some("tokio::runtime::handle::Handle::current".to_owned());
        assert_eq!(path("<tokio::runtime::handle::Handle>::current"), current);
        assert_eq!(path("tokio::runtime::handle::Handle::current"), current);
        assert_eq!(path("<a::Cell<fn() -> u8>>::get::<u8>"), Some("a::Cell::get".to_owned()));
        assert_eq!(path("<a::Cell<u8> as core::clone::Clone>::clone"), None);
    }

    #[test]
    fn a_destructor_is_known_by_its_trait() {
        let name = "<app::Cell<<u8 as app::Of>::Part> as core::ops::drop::Drop>::drop";
        assert_eq!(destructor_of(name), Some("app::Cell<<u8 as app::Of>::Part>"));
        assert_eq!(destructor_of(&format!("{name}::{{closure#0}}")), None);
        assert_eq!(destructor_of("<app::Cell as app::Drop>::drop"), None);
        assert!(is_destructor(name) && !is_destructor("<app::Cell as app::Drop>::drop"));
    }

    #[test]
    fn a_pinned_destructor_is_known_by_its_inner_function() {
        let name =
            "<app::Cell<u8> as pin_project::__private::PinnedDrop>::drop::__drop_inner::<u8>";
        assert!(is_destructor(name));
        assert!(!is_destructor(&format!("{name}::{{closure#0}}")));
        assert!(!is_destructor(&name.replace("pin_project", "app")));
    }

    #[test]
    fn a_pointer_owns_its_trait_object() {
        let of = |owner: &str| {
            owned_trait_object(&format!("core::ptr::drop_in_place::<{owner}>")).map(str::to_owned)
        };
        let state = Some("app::State".to_owned());
        assert_eq!(of("alloc::boxed::Box<dyn app::State + core::marker::Send>"), state);
        assert_eq!(of("core::pin::Pin<alloc::boxed::Box<dyn app::State>>"), state);
        assert_eq!(of("alloc::vec::Vec<alloc::boxed::Box<dyn app::State>>"), None);
        assert_eq!(of("alloc::sync::Arc<std::sync::poison::mutex::Mutex<dyn app::State>>"), state);
        assert_eq!(of("alloc::rc::Rc<core::cell::RefCell<dyn app::State>>"), state);
        assert_eq!(of("alloc::boxed::Box<dyn for<'a> app::State<'a> + core::marker::Send>"), state);
        let slow = "<alloc::sync::Arc<dyn app::State>>::drop_slow";
        assert_eq!(owned_trait_object(slow), Some("app::State"));
    }

    #[test]
    fn a_function_is_shown_with_the_type_that_it_is_of() {
        let of = |name| short_function(name);
        assert_eq!(of("<tokio::runtime::handle::Handle>::current"), "Handle::current");
        assert_eq!(of("<a::Cell<b::C> as core::ops::drop::Drop>::drop"), "Cell::drop");
        assert_eq!(of("tokio::task::spawn::<a::b::{closure#0}>"), "task::spawn");
        assert_eq!(of("core::ptr::drop_in_place::<a::Cell<b::C>>"), "drop of Cell<C>");
    }

    #[test]
    fn a_short_type_has_no_modules() {
        assert_eq!(short("a_b::SyncWrapper<alloc::vec::Vec<u8>>"), "SyncWrapper<Vec<u8>>");
        assert_eq!(short("&'a (a::B, [c::D; 2])"), "&'a (B, [D; 2])");
    }
}
