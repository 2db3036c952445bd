//! Work that is too large for the stack.
//!
//! What is spawned passes through several functions, and without optimization each of them has room for it on its stack:
//! seven times 300 KB fill the 2 MB of a thread. So what is large goes to the heap at once.

use std::pin::Pin;

use super::stop::Stop;

/// The size from which on Tokio does the same.
const LARGE: usize = if cfg!(debug_assertions) { 2048 } else { 16 << 10 };

/// Whether work and its future belong on the heap. Use it in a `const` block: then what is not done is not compiled.
pub const fn is_large<W, F>() -> bool {
    size_of::<W>() > LARGE || size_of::<F>() > LARGE
}

/// The same work, whose future is made on the heap, too.
pub fn boxed<W, F>(work: Box<W>) -> impl FnOnce(Stop) -> Pin<Box<F>> + 'static
where
    W: FnOnce(Stop) -> F + 'static,
{
    move |stop| Box::pin(work(stop))
}
