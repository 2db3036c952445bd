//! Results of a run or of a shard, and all that is written from them.
#![no_main]

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::change_json(data, size, max_size, seed)
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| xtask::fuzzing::results(input));
