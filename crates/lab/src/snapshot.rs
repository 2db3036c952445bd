//! Renders the stable part of a result as text, for comparison with the committed snapshot.

use std::fmt::{self, Write as _};

use crate::{
    observation::{Observation, Spread, Value},
    results::{ExperimentResult, VariantResult},
};

/// How wide a text may be. Longer ones are broken, so that a difference is readable.
const WIDTH: usize = 96;

const INDENT: &str = "    ";
const NEXT_LINE: &str = "\n    ";

/// Renders the stable part of a result: the verdicts, with the texts that they are about, and then the
/// role, name, class, panic sites and kept observations of each variant.
///
/// ```text
/// hypothesis  supported
///     It panics, whatever is divided.
/// claim A2    refuted
///     Division never fails.
///
/// hazard   old/outside-alive  always aborted  at deadpool-runtime-0.1.4/src/lib.rs:101:22
///     open_files: 1 to 7
/// control  old/inside-alive   always clean
/// ```
#[must_use]
pub fn render(result: &ExperimentResult) -> String {
    let mut text = format!("hypothesis  {}\n", result.verdict);
    detail(&mut text, &result.hypothesis);
    if let Some(expected) = &result.first_expected {
        detail(&mut text, &format!("First expected: {expected}"));
    }
    for claim in &result.claims {
        let label = format!("claim {}", claim.id);
        let _ = writeln!(text, "{label:<12}{}", claim.kept_verdict());
        let what = if claim.finding { "Finding: " } else { "" };
        detail(&mut text, &format!("{what}{}", claim.statement));
    }
    text.push('\n');
    let width = |of: fn(&VariantResult) -> &str| {
        result.variants.iter().map(|variant| of(variant).len()).max().unwrap_or(0)
    };
    let (names, classes) = (width(|v| &v.name), width(|v| &v.class));
    for variant in &result.variants {
        let role = variant.role;
        let mut line = format!("{role:<8} {:<names$}  {:<classes$}", variant.name, variant.class);
        if !variant.sites.is_empty() {
            let _ = write!(line, "  at {}", variant.sites.join(", "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
        for (name, edges) in &result.kept {
            if let Some(observation) = variant.observations.get(name) {
                detail(&mut text, &format!("{name}: {}", Kept { observation, edges }));
            }
        }
    }
    for name in result.kept.keys() {
        if result.variants.iter().all(|variant| !variant.observations.contains_key(name)) {
            detail(&mut text, &format!("no variant recorded {name}"));
        }
    }
    text
}

/// Adds a text below a line, indented and broken between words.
fn detail(text: &mut String, of: &str) {
    let mut width = 0;
    for word in of.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length <= WIDTH {
            text.push(' ');
            width += 1;
        } else {
            text.push_str(if width == 0 { INDENT } else { NEXT_LINE });
            width = 0;
        }
        text.push_str(word);
        width += length;
    }
    text.push('\n');
}

/// The stable part of an observation.
struct Kept<'a> {
    observation: &'a Observation,
    edges: &'a [i64],
}

/// `false, true`, `3`, `1 to 3`, or for a bucket `200 to 300`, `below 200`, `300 or more`.
impl fmt::Display for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Spread { min, max, .. }, value): (_, fn(i64) -> Value) = match self.observation {
            Observation::Integer(spread) => (*spread, Value::Integer),
            Observation::Nanoseconds(spread) => (*spread, Value::Nanoseconds),
            Observation::Count { values } => {
                return f
                    .write_str(&values.keys().map(String::as_str).collect::<Vec<_>>().join(", "));
            }
        };
        let (low, high) = match self.edges {
            [] if min == max => return write!(f, "{}", value(min)),
            [] => (Some(min), Some(max)),
            edges => (
                edges.iter().rfind(|edge| **edge <= min).copied(),
                edges.iter().find(|edge| **edge > max).copied(),
            ),
        };
        match (low.map(value), high.map(value)) {
            (Some(low), Some(high)) => write!(f, "{low} to {high}"),
            (None, Some(high)) => write!(f, "below {high}"),
            (Some(low), None) => write!(f, "{low} or more"),
            (None, None) => f.write_str("in no bucket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(values: &[Value], edges: &[i64]) -> String {
        Kept { observation: &Observation::of(values).unwrap(), edges }.to_string()
    }

    #[test]
    fn noise_within_a_bucket_does_not_change_a_snapshot_and_a_change_beyond_it_does() {
        let bytes = |bytes: [i32; 2]| kept(&bytes.map(Value::from), &[200, 350]);
        assert_eq!(bytes([272, 272]), "200 to 350");
        assert_eq!(bytes([260, 281]), bytes([272, 272]));
        assert_eq!(bytes([90, 90]), "below 200");
        assert_eq!(bytes([272, 350]), "200 or more");
        assert_eq!(bytes([90, 400]), "in no bucket");
    }

    #[test]
    fn without_buckets_numbers_stand_as_they_are_and_words_once_each() {
        assert_eq!(kept(&[Value::from(3), Value::from(3)], &[]), "3");
        assert_eq!(kept(&[Value::from(3), Value::from(1)], &[]), "1 to 3");
        assert_eq!(kept(&[true, false, true].map(Value::from), &[]), "false, true");
        let quick = Value::Nanoseconds(20_000_000);
        assert_eq!(kept(&[quick], &[1_000_000_000]), "below 1.0s");
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        for word in ["a", "word", "sentence", "difference"] {
            let mut text = String::new();
            detail(&mut text, &[word; 40].join(" "));
            let fits = |line: &str| {
                line.strip_prefix(INDENT)
                    .is_some_and(|it| it.starts_with(word) && it.len() <= WIDTH)
            };
            assert!(text.lines().all(fits), "{text}");
            assert_eq!(text.split_whitespace().collect::<Vec<_>>(), [word; 40]);
        }
    }
}
