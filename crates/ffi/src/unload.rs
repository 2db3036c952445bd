//! Whether the library may be unloaded.

use std::sync::atomic::Ordering;

use sundown::shutdown::NotCovered;

use crate::{
    SundownAnswer, SundownCode,
    border::{self, guarded},
    gate::GATES,
    runtime::RUNTIMES,
};

/// Whether the library may be unloaded: every runtime and gate was freed, nobody is inside a gate, and no thread
/// of the library exists. The answer says what is left; it may be null. Never waits.
///
/// The library cannot see who is inside one of its functions. Call this on the thread that unloads it, when no
/// other thread calls it any more.
///
/// After OK, unloading is safe. It may not take the library out of memory at once: glibc keeps it until each
/// thread that has used it has ended, the main thread included, and macOS and musl until the process ends. What
/// is kept is neither run nor started again. To have it gone, use it on threads that end before you unload it.
///
/// Fails with IN_USE.
///
/// # Safety
///
/// `answer` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_may_unload(answer: *mut SundownAnswer) -> SundownCode {
    guarded(|| {
        // Relaxed: see `Counted`.
        let [runtimes, gates] = [&RUNTIMES, &GATES].map(|kind| kind.load(Ordering::Relaxed));
        let threads = match NotCovered::kit_threads() {
            Some(NotCovered::KitThreads { alive }) => alive,
            _ => 0,
        };
        let counts = [(runtimes, "runtime"), (gates, "gate"), (threads, "thread")];
        let left: Vec<_> = counts
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{number} {what}{}", if number == 1 { "" } else { "s" }))
            .collect();
        let told = || match &*left {
            [] => SundownAnswer::empty(),
            left => SundownAnswer {
                threads: threads as u64,
                ..SundownAnswer::said(format!("still in use: {}", left.join(", ")))
            },
        };
        // SAFETY: the caller promises that it can be written.
        unsafe { border::answer(answer, told) };
        if left.is_empty() { Ok(()) } else { Err(SundownCode::InUse) }
    })
}
