//! The ledger of an exit. What can be read can be written and read again.
#![no_main]

use leak_strategy::ledger::Ledger;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(ledger) = serde_json::from_slice::<Ledger>(input) else { return };
    let _ = format!("{ledger:?}");
    // A number of seconds has fewer digits than a duration, so the second time nothing changes any more.
    let again = |ledger: &Ledger| -> Ledger {
        let text = serde_json::to_string(ledger).expect("a ledger can be written");
        serde_json::from_str(&text).expect("a ledger can be read again")
    };
    let written = again(&ledger);
    assert_eq!(again(&written), written);
});
