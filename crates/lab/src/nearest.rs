//! The name that was probably meant by one that does not exist.

/// How similar two names must be, from 0 to 1, for a suggestion.
const NEAR: f64 = 0.7;

/// The name nearest to what was typed, if one is near.
///
/// ```
/// let names = ["drop-context", "fork"];
/// assert_eq!(lab::nearest::of("drop-contxt", names), Some("drop-context"));
/// assert_eq!(lab::nearest::of("99", names), None);
/// ```
pub fn of<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.into_iter().map(|name| (strsim::jaro_winkler(typed, name), name));
    let best = near.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(similarity, _)| *similarity > NEAR).map(|(_, name)| name)
}
