//! Counts, as they are typed: how many trials, how many at a time.

/// Reads a count: a whole number that is not 0.
///
/// # Errors
///
/// When it is none, with words for the person who typed it.
///
/// ```
/// assert_eq!(lab::count::parse("20"), Ok(20));
/// assert!(lab::count::parse("0").is_err());
/// ```
pub fn parse(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("expected a whole number from 1 to {}", u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_count_is_a_whole_number_and_not_nothing() {
        assert_eq!(parse("4294967295"), Ok(u32::MAX));
        for wrong in ["", "0", "-1", "1.5", "4294967296", "many"] {
            let words = parse(wrong).unwrap_err();
            assert!(words.contains("from 1 to"), "{wrong}: {words}");
        }
    }
}
