//! Catches panics of foreign code as text. Public, but undocumented, because the other packages of the
//! kit need the same guard.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs foreign code. If it panics, returns the panic's message.
pub fn catch<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

/// The message of a panic whose payload was caught.
#[must_use]
pub fn message(payload: Box<dyn Any + Send>) -> String {
    let text = text(&*payload);
    discard(payload);
    text
}

/// The message of a panic, as far as its payload is text.
#[must_use]
pub fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("(the panic carried no text)").to_owned()
}

/// Drops a payload. It may have a destructor, and that may panic in its turn.
pub fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(second);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            panic_any(Self);
        }
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_is_caught_too() {
        assert_eq!(catch(|| panic_any(Panics)), Err::<(), _>(message(Box::new(7))));
        assert_eq!(catch(|| panic_any("text".to_owned())), Err::<(), _>("text".to_owned()));
        assert_eq!(catch(|| 7), Ok(7));
    }
}
