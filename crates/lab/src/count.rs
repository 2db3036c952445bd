//! Counts, as they are typed: how many trials, how many at a time.

/// Reads a count: a whole number that is not 0.
///
/// # Errors
///
/// If it is not one. The message is for the person who typed it.
///
/// ```
/// assert_eq!(lab::count::parse("20"), Ok(20));
/// assert!(lab::count::parse("0").is_err());
/// ```
pub fn parse(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("expected a whole number from 1 to {}", u32::MAX))
}
