//! The versions in a lock file.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| xtask::fuzzing::lock_file(input));
