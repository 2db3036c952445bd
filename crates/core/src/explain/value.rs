//! Which value was being dropped, as far as a backtrace shows.

use std::fmt;

/// The longest name of a type, in characters.
const LONGEST: usize = 80;

/// The values whose destructors were running when a thread panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    /// The one whose destructor panicked.
    innermost: String,
    /// The one that was dropped, which contains the other. Often it is the only one the reader knows.
    outermost: String,
}

impl Dropped {
    /// The destructors in a backtrace that the standard library has printed: those between the panic
    /// and the code that dropped something.
    pub(super) fn on(backtrace: &str) -> Option<Self> {
        let frames = backtrace.lines().filter_map(frame);
        let mut destructors = frames
            .skip_while(|name| !is_of_a_destructor(name))
            .take_while(|name| is_of_a_destructor(name))
            .filter_map(dropped_type);
        let innermost = destructors.next()?;
        let outermost = destructors.last().unwrap_or(innermost);
        Some(Self { innermost: shortened(innermost), outermost: shortened(outermost) })
    }

    /// The value that was dropped, which contains the others.
    pub(super) fn outermost(&self) -> String {
        format!("`{}`", self.outermost)
    }
}

/// `` `SyncWrapper<Connection>` (in `Store`) ``
impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.innermost)?;
        if self.outermost == self.innermost {
            Ok(())
        } else {
            write!(f, " (in `{}`)", self.outermost)
        }
    }
}

/// The function's name on a line of a backtrace such as `  12: core::ptr::drop_in_place<a::B>`. The
/// lines between them, which give locations, have none.
fn frame(line: &str) -> Option<&str> {
    let (number, name) = line.trim_start().split_once(": ")?;
    let is_numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_numbered.then_some(name)
}

/// Whether a function is part of dropping something: drop glue, a `Drop`, or an `Arc`'s `drop_slow`.
fn is_of_a_destructor(name: &str) -> bool {
    let is_called = |what: &str| {
        // An inlined method has no path, and others have no parameters.
        let (path, parameters) = (format!("::{what}"), format!("{what}<"));
        name.ends_with(&path)
            || name.starts_with(&parameters)
            || name.contains(&format!("::{parameters}"))
    };
    dropped_type(name).is_some() || is_called("drop") || is_called("drop_slow")
}

/// The type that a function drops, if it is drop glue.
fn dropped_type(name: &str) -> Option<&str> {
    let glue = ["drop_in_place", "drop_glue"];
    let (_, rest) = glue.iter().find_map(|glue| name.split_once(glue))?;
    rest.trim_start_matches(':').strip_prefix('<')?.strip_suffix('>')
}

/// The name of a type without the paths of its parts: `SyncWrapper<Connection>`.
fn shortened(name: &str) -> String {
    let mut short = String::new();
    for part in name.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        // `deadpool_sync::SyncWrapper<` without what comes before the last `::`.
        short.push_str(part.rsplit_once("::").map_or(part, |(_, last)| last));
    }
    match short.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", short.get(..end).unwrap_or_default()),
        None => short,
    }
}

/// A file's path from its crate's folder on: `tokio-1.54.1/src/runtime/handle.rs`.
pub(super) fn below_its_crate(file: &str) -> &str {
    let registry = file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    registry.map_or(file, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKTRACE: &str = "\
   0: std::backtrace::Backtrace::create
   5: core::panicking::panic_display
             at /rustc/0/library/core/src/panicking.rs:259:5
   6: tokio::task::blocking::spawn_blocking
   7: deadpool_runtime::Runtime::spawn_blocking_background
   8: <deadpool_sync::SyncWrapper<T> as core::ops::drop::Drop>::drop
             at /registry/deadpool-sync-0.1.4/src/lib.rs:166:10
   9: core::ptr::drop_in_place<deadpool_sync::SyncWrapper<rusqlite::Connection>>
  10: core::ptr::drop_in_place<deadpool::managed::Slot<a::b::Manager>>
  11: drop<a::b::Manager, alloc::alloc::Global>
  11: alloc::sync::Arc<T,A>::drop_slow
  12: core::ptr::drop_in_place<mock_sdk::store::Store>
  13: core::mem::drop
  14: app::log_out
  15: core::ptr::drop_in_place<not::This>
";

    #[test]
    fn the_value_that_died_is_named_and_the_one_it_was_in() {
        let dropped = Dropped::on(BACKTRACE).unwrap();
        assert_eq!(dropped.to_string(), "`SyncWrapper<Connection>` (in `Store`)");
        assert_eq!(dropped.outermost(), "`Store`");
    }

    #[test]
    fn without_a_destructor_there_is_no_value() {
        assert_eq!(Dropped::on("  0: app::main\n  at src/main.rs: 7\n"), None);
        assert_eq!(Dropped::on(""), None);
        assert_eq!(Dropped::on("<disabled>"), None);
    }

    #[test]
    fn names_are_short() {
        assert_eq!(shortened("a::B<c::D, (e::F, &dyn g::H)>"), "B<D, (F, &dyn H)>");
        assert_eq!(shortened("[a::B]"), "[B]");
        assert!(shortened(&"x".repeat(500)).chars().count() <= LONGEST + 1);
    }
}
