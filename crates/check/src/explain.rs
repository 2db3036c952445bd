//! `cargo sundown explain`: prints the page of a code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{
    failure::{Failure, Result},
    flags::Explain,
    nearest, output,
};

macro_rules! pages {
    ($($code:literal),* $(,)?) => {
        /// The pages of the book, by code.
        const PAGES: &[(&str, &str)] =
            &[$(($code, include_str!(concat!("../../../docs/src/explain/", $code, ".md")))),*];
    };
}

pages![
    "SD0001", "SD0002", "SD0003", "SD0004", "SD0005", "SD0006", "SD0007", "SD0008", "SD0009",
    "SD0010", "SD0011", "SD0012", "SD0013", "SD0014", "SD0015", "SD0016",
];

pub fn run(flags: &Explain) -> Result<ExitCode> {
    let code = flags.code.trim().to_uppercase();
    let Some((_, page)) = PAGES.iter().find(|(of, _)| *of == code) else {
        let codes = PAGES.iter().map(|(code, _)| *code);
        return Err(Failure::Usage(nearest::missing("code", &code, codes)));
    };
    output::written(io::stdout().lock().write_all(without_paths(page).as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

/// A page without the targets of its links that are files of the book, which the reader may not have.
fn without_paths(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("](") {
        let target = after.split_once(')').filter(|(target, _)| target.contains(".md"));
        match (before.rsplit_once('['), target) {
            (Some((head, title)), Some((_, after))) => {
                text.extend([head, title]);
                rest = after;
            }
            _ => {
                text.extend([before, "]("]);
                rest = after;
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use sundown_core::explain::Cause;

    use super::*;

    #[test]
    fn every_code_has_its_page() {
        let codes: Vec<_> = PAGES.iter().map(|(code, _)| *code).collect();
        let mut known: Vec<_> = (0..=9999)
            .filter_map(|number| Cause::from_code(&format!("SD{number:04}")).map(Cause::code))
            .collect();
        known.sort_unstable();
        assert_eq!(codes, known);
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# {code} ")), "{code}");
        }
    }

    #[test]
    fn files_of_the_book_are_not_named() {
        assert_eq!(
            without_paths("See [01 a](../01-a.md#b), [b](https://a.b) and `a[0](1)`."),
            "See 01 a, [b](https://a.b) and `a[0](1)`."
        );
        for (code, page) in PAGES {
            assert!(!without_paths(page).contains(".md)"), "{code}");
        }
    }
}
