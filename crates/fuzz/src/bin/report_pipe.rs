//! What a trial reports.
#![no_main]

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::change_json(data, size, max_size, seed)
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| lab::fuzzing::report(input));
