//! Parses seeds, and derives the seed of each trial.

/// Parses a seed: decimal, or `0x` and hexadecimal.
///
/// # Errors
///
/// Returns a message for the user if it is not a 64-bit number.
pub fn parse(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a seed is a number of 64 bits, decimal or 0x and hexadecimal".to_owned())
}

/// Derives the seed of one trial. It depends only on the run's seed, the variant's name and the trial's
/// number, so that the trial can be repeated alone.
#[must_use]
pub fn of_trial(run: u64, name: &str, trial: u32) -> u64 {
    // FNV-1a over the name and the number, then the finalizer of SplitMix64 to spread the bits.
    let bytes = name.bytes().chain(trial.to_le_bytes());
    let hash = bytes.fold(run ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_keeps_its_seed_when_others_change() {
        let seed = of_trial(7, "old/outside", 3);
        assert_eq!(seed, of_trial(7, "old/outside", 3));
        let others = [
            of_trial(8, "old/outside", 3),
            of_trial(7, "old/outside", 4),
            of_trial(7, "current/outside", 3),
        ];
        assert!(!others.contains(&seed));
    }

    #[test]
    fn a_seed_is_decimal_or_hexadecimal() {
        assert_eq!(parse("42"), Ok(42));
        assert_eq!(parse("0xffffffffffffffff"), Ok(u64::MAX));
        assert!(parse("0x").is_err());
        assert!(parse("-1").is_err());
    }
}
