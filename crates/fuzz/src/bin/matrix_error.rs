//! The answer of a homeserver, as the client reads it. The first line is the status.
#![no_main]

use homeserver::matrix_error::MatrixError;

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::change_json(data, size, max_size, seed)
});

libfuzzer_sys::fuzz_target!(|input: &str| {
    let Some((status, body)) = input.split_once('\n') else { return };
    let Ok(status) = status.parse() else { return };
    let Ok(body) = serde_json::from_str(body) else { return };
    if let Some(error) = MatrixError::from_json(status, &body) {
        // Only the codes of the list stay what they are.
        let again = MatrixError::from_json(status, &error.to_json());
        assert_eq!(again, Some(error));
    }
});
