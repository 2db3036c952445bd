//! The token that a teardown receives; nothing can be leaked without it.

use std::{
    any::type_name,
    fmt,
    mem::ManuallyDrop,
    ops::Deref,
    panic::Location,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::ledger::Leak;

/// Proof that the process is leaving.
///
/// An [`ExitPlan`](crate::plan::ExitPlan) lends one to each teardown, and nothing else can make, clone or
/// keep one. A logout has no token, so it cannot leak anything. This does not compile:
///
/// ```compile_fail,E0624
/// use sundown::exit::exit_token::{ExitToken, Leaked};
///
/// fn log_out(client: String) -> Leaked<String> {
///     let token = ExitToken::new();
///     token.leak(client, "it would not close")
/// }
/// ```
///
/// This does not compile either, because a token does not outlive its teardown:
///
/// ```compile_fail,E0521
/// use std::sync::Mutex;
/// use sundown::exit::{exit_token::ExitToken, resource::{Policy, Resource}};
///
/// static KEPT: Mutex<Option<&'static ExitToken>> = Mutex::new(None);
/// let policy = Policy::Leak { why: "a trick" };
/// let _trick = Resource::new("trick", policy, |token| {
///     *KEPT.lock().unwrap() = Some(token);
///     Ok(())
/// });
/// ```
///
/// A function that takes a token compiles:
///
/// ```
/// use sundown::exit::exit_token::{ExitToken, Leaked};
///
/// fn leave(token: &ExitToken, client: String) -> Leaked<String> {
///     token.leak(client, "it would not close")
/// }
/// ```
#[derive(Debug)]
pub struct ExitToken {
    limit: Duration,
    leaks: Arc<Mutex<Vec<Leak>>>,
}

impl ExitToken {
    pub(crate) const fn new(limit: Duration, leaks: Arc<Mutex<Vec<Leak>>>) -> Self {
        Self { limit, leaks }
    }

    /// How long the teardown may take, from its start. The plan does not wait longer: the teardown runs
    /// on, and its result is ignored.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// Leaks a value: its destructor will not run. The ledger names the value's type, the place of
    /// this call and the reason.
    #[track_caller]
    pub fn leak<T>(&self, value: T, why: impl Into<String>) -> Leaked<T> {
        let leak = Leak {
            what: type_name::<T>().to_owned(),
            leaked_at: Location::caller().to_string(),
            why: why.into(),
        };
        self.leaks.lock().unwrap_or_else(PoisonError::into_inner).push(leak);
        Leaked(ManuallyDrop::new(value))
    }
}

/// A value whose destructor will not run; use it by reference. Only [`ExitToken::leak`] makes one.
pub struct Leaked<T>(ManuallyDrop<T>);

impl<T> Deref for Leaked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Leaked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leaked").field(&*self.0).finish()
    }
}
