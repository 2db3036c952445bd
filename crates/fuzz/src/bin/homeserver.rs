//! Requests to the homeserver.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| homeserver::fuzzing::requests(input));
