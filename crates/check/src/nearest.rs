//! Suggests a name for a mistyped one.

/// How similar two names must be, from 0 to 1, for a suggestion.
const NEAR: f64 = 0.7;

/// The most similar name, if one is similar enough.
pub fn of<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.into_iter().map(|name| (strsim::jaro_winkler(typed, name), name));
    let best = near.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(similarity, _)| *similarity > NEAR).map(|(_, name)| name)
}

/// That something of this name is not there, and what is.
pub fn missing<'a>(
    what: &str,
    typed: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let has_some = names.clone().next().is_some();
    match of(typed, names.clone()) {
        Some(near) => format!("there is no {what} `{typed}`; did you mean `{near}`?"),
        None if has_some => {
            let names: Vec<_> = names.take(20).collect();
            format!("there is no {what} `{typed}`; there is: {}", names.join(", "))
        }
        None => format!("there is no {what} `{typed}`, and none at all"),
    }
}
