//! The handles of a session.

use std::{
    fmt,
    future::Future,
    mem,
    ops::Deref,
    panic::Location,
    sync::{Arc, Weak},
};

use super::{Core, GuardedWeak};

/// A handle to a value that belongs to a [`Session`](super::Session). Use it like a reference, and clone
/// it like an `Arc`.
///
/// The last clone of an `Arc` runs the destructor. The last handle sends the value to the session and
/// returns. That takes microseconds, whatever the destructor does, and works in async code, on plain
/// threads, and while a thread's locals are being destroyed.
///
/// # A value that is derived from this one
///
/// A room, a timeline or an `encryption()` of a client usually holds a clone of the client. If it outlives
/// the handles, it is the last owner, and its destructor runs wherever it is dropped: that is the panic
/// that a session prevents. So derive it *through* the handle, and the session owns it, too:
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use sundown::session::Session;
/// # #[derive(Clone)] struct Client;
/// # struct Room(#[allow(dead_code)] Client);
/// # impl Client { fn room(&self) -> Option<Room> { Some(Room(self.clone())) }
/// #   async fn join(&self) -> Room { Room(self.clone()) } }
/// # futures::executor::block_on(async {
/// # let session = Session::new("matrix")?;
/// let client = session.guard(Client)?;
/// let room = client.try_map(|client| client.room().ok_or("no such room"))?;
/// let joined = client.map_async(|client| client.join()).await;
/// drop(client); // the rooms are handles of their own
/// # drop((room, joined));
/// # let _ = session.close(Duration::from_secs(5)).await?;
/// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Where a `T` is wanted by value
///
/// A `Guarded<T>` is not a `T`. For a function that takes a `&T`, pass `&guard`. A function that takes a `T`
/// refuses a handle ("expected `Client`, found `Guarded<Client>`"):
///
/// ```compile_fail,E0308
/// # use sundown::session::Guarded;
/// # #[derive(Clone)] struct Client;
/// # struct Room(Client);
/// fn room(client: &Guarded<Client>) -> Room {
///     Room(client.clone())
/// }
/// ```
///
/// There are three ways:
///
/// - Call it inside [`map`](Self::map) or [`map_async`](Self::map_async) with a clone, and return what
///   holds the clone: `client.map(|client| Room(client.clone()))`. Then the session owns that as well.
/// - Clone the value out with `T::clone(&guard)`, if the clone is dropped before the last handle. This
///   clone *escapes*: the session does not see it. [Evidence](crate::evidence) does.
/// - Take the value out with [`into_inner`](Self::into_inner), if this is the only handle. It escapes, too,
///   and the session's reports say so.
#[must_use = "the value is torn down when its last handle is dropped"]
pub struct Guarded<T: Send + 'static> {
    /// `None` only while this is taken apart.
    value: Option<Arc<Value<T>>>,
    made_at: &'static Location<'static>,
}

/// State shared by all handles to a value. Dropped with the last handle.
pub(super) struct Value<T: Send + 'static> {
    /// `Some` until this is dropped.
    inner: Option<T>,
    core: Arc<Core>,
    /// Whether the session was given it, and it was not derived from another value.
    is_given: bool,
}

impl<T: Send + 'static> Guarded<T> {
    /// Makes the first handle to a value that has been counted.
    pub(super) fn first(
        value: T,
        core: Arc<Core>,
        made_at: &'static Location<'static>,
        original: &'static Location<'static>,
        is_given: bool,
    ) -> Self {
        Self::to(Arc::new(Value { inner: Some(value), core, is_given }), made_at, original)
    }

    /// Makes another handle to a value.
    pub(super) fn to(
        value: Arc<Value<T>>,
        made_at: &'static Location<'static>,
        original: &'static Location<'static>,
    ) -> Self {
        let made_at = value.core.call_sites.add(made_at, original);
        Self { value: Some(value), made_at }
    }

    /// Whether the value belongs to this session.
    pub(super) fn is_of(&self, core: &Arc<Core>) -> bool {
        Arc::ptr_eq(&self.value().core, core)
    }

    /// The value, to count its handles by. It does not keep the value.
    pub(super) fn weak_value(&self) -> Weak<Value<T>> {
        Arc::downgrade(self.value())
    }

    /// Another handle, which counts as made there.
    pub(super) fn clone_at(&self, made_at: &'static Location<'static>) -> Self {
        Self::to(Arc::clone(self.value()), made_at, self.made_at)
    }

    fn value(&self) -> &Arc<Value<T>> {
        match &self.value {
            Some(value) => value,
            None => unreachable!("a handle is taken apart only when nobody can use it any more"),
        }
    }

    /// Derives a value from this one, for example a room from a client. The new value belongs to the
    /// same session and has its own handles. It may outlive this one.
    ///
    /// This also works while the session closes: the session is not closed as long as this handle
    /// exists.
    #[track_caller]
    pub fn map<U: Send + 'static>(&self, derive: impl FnOnce(&T) -> U) -> Guarded<U> {
        self.derived(derive(self), Location::caller())
    }

    /// Derives a value from this one, as [`map`](Self::map) does, if `derive` succeeds.
    ///
    /// # Errors
    ///
    /// The error of `derive`.
    #[track_caller]
    pub fn try_map<U: Send + 'static, E>(
        &self,
        derive: impl FnOnce(&T) -> Result<U, E>,
    ) -> Result<Guarded<U>, E> {
        Ok(self.derived(derive(self)?, Location::caller()))
    }

    /// Derives a value from this one in async code, as [`map`](Self::map) does. `derive` is called at
    /// once, and its future may borrow the value: it borrows this handle, so the handle outlives it. If
    /// the returned future is dropped, nothing is derived.
    ///
    /// A task that needs the future to be `'static` takes a clone of the handle:
    ///
    /// ```
    /// # use sundown::session::Guarded;
    /// # struct Client;
    /// # struct Room;
    /// # impl Client { async fn room(&self, _: &str) -> Room { Room } }
    /// fn in_background(client: &Guarded<Client>) {
    ///     let client = client.clone();
    ///     tokio::spawn(async move {
    ///         let room = client.map_async(|client| client.room("!lobby")).await;
    ///         // …
    /// #       drop(room);
    ///     });
    /// }
    /// ```
    #[track_caller]
    pub fn map_async<'a, U, F>(
        &'a self,
        derive: impl FnOnce(&'a T) -> F,
    ) -> impl Future<Output = Guarded<U>>
    where
        U: Send + 'static,
        F: Future<Output = U> + 'a,
    {
        let (made_at, deriving) = (Location::caller(), derive(self));
        async move { self.derived(deriving.await, made_at) }
    }

    /// Derives a value from this one in async code, as [`map_async`](Self::map_async) does, if the future
    /// succeeds.
    ///
    /// # Errors
    ///
    /// The error of the future.
    #[track_caller]
    pub fn try_map_async<'a, U, E, F>(
        &'a self,
        derive: impl FnOnce(&'a T) -> F,
    ) -> impl Future<Output = Result<Guarded<U>, E>>
    where
        U: Send + 'static,
        F: Future<Output = Result<U, E>> + 'a,
    {
        let (made_at, deriving) = (Location::caller(), derive(self));
        async move { Ok(self.derived(deriving.await?, made_at)) }
    }

    /// The caller has this handle, so the session is not closed yet.
    fn derived<U: Send + 'static>(
        &self,
        derived: U,
        made_at: &'static Location<'static>,
    ) -> Guarded<U> {
        let core = &self.value().core;
        core.count.add_derived();
        Guarded::first(derived, Arc::clone(core), made_at, self.made_at, false)
    }

    /// Makes a weak handle. It does not keep the value alive, and does not keep the session from closing.
    pub fn downgrade(&self) -> GuardedWeak<T> {
        GuardedWeak::new(self.weak_value(), self.made_at)
    }

    /// Takes the value out of the session, if this is its only handle. Weak handles do not count.
    ///
    /// The value *escapes*: from now on its destructor runs wherever you drop it, and the session does not
    /// wait for it. The session's reports count it ([`CloseReport::escaped`](super::CloseReport::escaped)).
    /// Tear it down by [`teardown`](crate::teardown()), unless you know that its destructor can run where
    /// you drop it.
    ///
    /// # Errors
    ///
    /// This handle, if there are others.
    pub fn into_inner(mut self) -> Result<T, Self> {
        let Some(value) = self.value.take() else { return Err(self) };
        match Arc::try_unwrap(value) {
            Ok(mut value) => {
                let Some(inner) = value.inner.take() else { return Err(self) };
                value.core.call_sites.remove(self.made_at);
                Ok(inner)
            }
            Err(value) => {
                self.value = Some(value);
                Err(self)
            }
        }
    }
}

impl<T: Send + 'static> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value().inner {
            Some(value) => value,
            None => unreachable!("the value exists until its last handle is dropped"),
        }
    }
}

impl<T: Send + 'static> Clone for Guarded<T> {
    #[track_caller]
    #[inline]
    fn clone(&self) -> Self {
        self.clone_at(Location::caller())
    }
}

impl<T: Send + 'static> Drop for Guarded<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(value) = &self.value {
            // Before the value is queued: no report lists a handle without a value.
            value.core.call_sites.remove(self.made_at);
        }
    }
}

impl<T: Send + 'static> Drop for Value<T> {
    fn drop(&mut self) {
        let Core { reaper, count, checks, .. } = &*self.core;
        if reaper.forked_from().is_some() {
            mem::forget(self.inner.take());
            return;
        }
        match self.inner.take() {
            Some(value) if self.is_given => reaper.take(checks.look_before_drop(value)),
            Some(value) => reaper.take(Box::new(value)),
            None => count.escape(),
        }
        // After it was queued: a caller who sees the session without values finds all of them in the
        // reaper.
        count.remove();
    }
}

impl<T: fmt::Debug + Send + 'static> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&**self).finish()
    }
}
