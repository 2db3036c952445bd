//! A forked child says that it is one.

use crate::fork;

/// Tells the kit that this process is a forked child. The kit finds that out by itself, by the id of the process,
/// unless the child has the id of an ancestor: in a PID namespace of its own, or after the ancestor has ended.
///
/// Signals that its parent watches for (a service or an exit plan) have their default effect in the
/// child from now on, until it watches for them itself. Without this call they have none there.
///
/// Call it in the child's handler of `pthread_atfork`, or before anything else in the child. It takes no lock. It is
/// seen by 1,023 generations of children that have the same id.
pub fn forked_child() {
    fork::told();
    #[cfg(all(feature = "service", unix))]
    crate::signals::release_in_child();
}
