//! Parses command-line arguments that several programs have.

/// Parses a count: a whole number that is not 0.
///
/// # Errors
///
/// Returns a message for the user if `text` is not a count.
///
/// ```
/// use lab::arguments::parse_count;
///
/// assert_eq!(parse_count("20"), Ok(20));
/// assert!(parse_count("0").is_err());
/// ```
pub fn parse_count(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("expected a whole number from 1 to {}", u32::MAX))
}
