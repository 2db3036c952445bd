//! The `Debug` of an error is its text: `fn main() -> Result<(), …>` prints it, and so does `{error:?}` in a
//! log. Public, but undocumented, because the other packages of the kit need the same.

use std::{error::Error, fmt};

/// Writes the text of an error, and then the texts of its sources, unless they are part of it.
///
/// # Errors
///
/// Those of the formatter.
pub fn describe(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut said = error.to_string();
    f.write_str(&said)?;
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !said.contains(&text) {
            write!(f, "; caused by: {text}")?;
            said = text;
        }
        source = cause.source();
    }
    Ok(())
}

/// Implements `Debug` for errors by their text. `{:#?}` writes the fields, if they are listed.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_as_text {
    ($($error:ident $(<$value:ident>)? $({ $($field:ident),+ })?),+ $(,)?) => {$(
        impl $(<$value>)? ::std::fmt::Debug for $error $(<$value>)? {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                $(if f.alternate() {
                    let mut fields = f.debug_struct(stringify!($error));
                    $(fields.field(stringify!($field), &self.$field);)+
                    return fields.finish();
                })?
                $crate::errors::describe(self, f)
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use std::io;

    use thiserror::Error;

    #[derive(Error)]
    enum Wrong {
        #[error("cannot start: {source}; try again")]
        WithItsText { source: io::Error },
        #[error("cannot start")]
        Without { source: Box<Self> },
    }

    debug_as_text!(Wrong);

    #[test]
    fn the_debug_of_an_error_says_the_text_of_each_source_once() {
        let source = io::Error::other("no thread");
        let inner = Wrong::WithItsText { source };
        assert_eq!(format!("{inner:?}"), "cannot start: no thread; try again");
        let outer = Wrong::Without { source: Box::new(inner) };
        let expected = "cannot start; caused by: cannot start: no thread; try again";
        assert_eq!(format!("{outer:?}"), expected);
    }
}
