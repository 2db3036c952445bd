//! The ledger of an exit. What can be read can be written and read again, with any limit. Bytes after the ledger are
//! the seconds of the limit.
#![no_main]

use std::time::Duration;

use leak_strategy::ledger::Ledger;
use serde_json::Deserializer;

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::change_json(data, size, max_size, seed)
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut ledgers = Deserializer::from_slice(input).into_iter::<Ledger>();
    let Some(Ok(mut ledger)) = ledgers.next() else { return };
    let rest = input.get(ledgers.byte_offset()..).unwrap_or_default();
    if let Some(seconds) = rest.first_chunk() {
        ledger.limit = Duration::from_secs(u64::from_le_bytes(*seconds));
    }
    let _ = format!("{ledger:?}");
    // A number of seconds has fewer digits than a duration, so the second time nothing changes any more.
    let again = |ledger: &Ledger| -> Ledger {
        let text = serde_json::to_string(ledger).expect("a ledger can be written");
        serde_json::from_str(&text).expect("a ledger can be read again")
    };
    let written = again(&ledger);
    assert_eq!(again(&written), written);
});
