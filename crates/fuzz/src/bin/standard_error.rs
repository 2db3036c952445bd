//! What a program writes to standard error, in which panics are looked for.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| lab::fuzzing::standard_error(input));
