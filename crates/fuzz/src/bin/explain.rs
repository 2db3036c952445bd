//! The messages of panics, in which causes are looked for. The first line is the file.
#![no_main]

use sundown::explain::Cause;

libfuzzer_sys::fuzz_target!(|input: &str| {
    let (file, message) = input.split_once('\n').unwrap_or(("src/main.rs", input));
    for before in [None, Some(Cause::NoContext)] {
        if let Some(cause) = Cause::of(message, file, before) {
            assert_eq!(Cause::from_code(cause.code()), Some(cause));
        }
    }
});
