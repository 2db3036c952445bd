//! Results of a run or of a shard, and all that is written from them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| xtask::fuzzing::results(input));
