//! Suggests a name for a mistyped one.

/// How similar two names must be, from 0 to 1, for a suggestion.
const NEAR: f64 = 0.7;

/// Returns the name most similar to `typed`, if one is similar enough.
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
