//! What a trial observed, and what many trials observed together.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::statistics;

/// One value that a trial recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// A count.
    Integer(i64),
    /// A length of time, in nanoseconds.
    Nanoseconds(i64),
    /// Something that was or was not so.
    Flag(bool),
    /// One of a few words.
    Text(String),
}

/// As a person would write it: `3`, `1.5ms`, `true`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            // No length of time that was measured is negative.
            Self::Nanoseconds(time) => {
                write!(f, "{:.1?}", Duration::from_nanos(time.unsigned_abs()))
            }
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

macro_rules! integer_values {
    ($($integer:ty),*) => {
        $(impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
            }
        })*
    };
}
integer_values!(i32, i64, u32, u64, usize);

impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Self::Nanoseconds(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// What the trials of one variant recorded under one name.
///
/// In JSON the `kind` is `integer`, `nanoseconds` or `count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Observation {
    /// Counts, of as many trials as recorded one.
    Integer(Spread),
    /// Lengths of time, in nanoseconds.
    Nanoseconds(Spread),
    /// How often each word or flag was recorded.
    Count {
        /// From the word (`true` and `false` for a flag) to the number of trials.
        values: BTreeMap<String, u32>,
    },
}

/// The spread of a number over trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// How many trials recorded it.
    pub n: u32,
    /// The smallest.
    pub min: i64,
    /// The middle (of an even number of values, the lower of the two).
    pub median: i64,
    /// The largest.
    pub max: i64,
}

impl Spread {
    /// The spread of these numbers; `None` of none.
    #[must_use]
    pub fn of(values: Vec<i64>) -> Option<Self> {
        let n = u32::try_from(values.len()).unwrap_or(u32::MAX);
        let (min, median, max) = statistics::spread(values)?;
        Some(Self { n, min, median, max })
    }
}

impl Observation {
    /// Puts together what several trials recorded under one name; `None` of nothing.
    ///
    /// Values of different kinds under one name are counted as words.
    #[must_use]
    pub fn of(values: &[Value]) -> Option<Self> {
        let integers = values.iter().map(|value| match value {
            Value::Integer(number) => Some(*number),
            _ => None,
        });
        if let Some(numbers) = integers.collect::<Option<Vec<_>>>() {
            return Spread::of(numbers).map(Self::Integer);
        }
        let durations = values.iter().map(|value| match value {
            Value::Nanoseconds(number) => Some(*number),
            _ => None,
        });
        if let Some(numbers) = durations.collect::<Option<Vec<_>>>() {
            return Spread::of(numbers).map(Self::Nanoseconds);
        }
        let mut counts = BTreeMap::new();
        for value in values {
            let word = match value {
                Value::Integer(number) | Value::Nanoseconds(number) => number.to_string(),
                Value::Flag(flag) => flag.to_string(),
                Value::Text(text) => text.clone(),
            };
            *counts.entry(word).or_insert(0) += 1;
        }
        Some(Self::Count { values: counts })
    }

    /// The spread, if this is of numbers.
    #[must_use]
    pub const fn spread(&self) -> Option<Spread> {
        match self {
            Self::Integer(spread) | Self::Nanoseconds(spread) => Some(*spread),
            Self::Count { .. } => None,
        }
    }

    /// In how many trials this word, or `true` or `false`, was recorded.
    #[must_use]
    pub fn count(&self, word: &str) -> u32 {
        match self {
            Self::Count { values } => values.get(word).copied().unwrap_or(0),
            Self::Integer(_) | Self::Nanoseconds(_) => 0,
        }
    }
}

/// `always 3`, `1 … 2 … 3` (smallest, middle, largest), or `false 1, true 4`.
impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(spread) => write_spread(f, *spread, |number| number.to_string()),
            Self::Nanoseconds(spread) => write_spread(f, *spread, |nanoseconds| {
                format!("{:.1?}", Duration::from_nanos(nanoseconds.unsigned_abs()))
            }),
            Self::Count { values } => {
                let counts = values.iter().map(|(word, count)| format!("{word} {count}"));
                f.write_str(&counts.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn write_spread(
    f: &mut fmt::Formatter<'_>,
    Spread { min, median, max, .. }: Spread,
    show: impl Fn(i64) -> String,
) -> fmt::Result {
    if min == max {
        write!(f, "always {}", show(min))
    } else {
        write!(f, "{} … {} … {}", show(min), show(median), show(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_a_person_would() {
        let values = [3.into(), Duration::from_micros(1_500).into(), true.into(), "gone".into()];
        assert_eq!(values.map(|value: Value| value.to_string()), ["3", "1.5ms", "true", "gone"]);
    }

    #[test]
    fn numbers_become_a_spread_and_words_are_counted() {
        let numbers: Vec<Value> = [3, 1, 2].map(Value::from).to_vec();
        let spread = Observation::of(&numbers).and_then(|seen| seen.spread()).unwrap();
        assert_eq!((spread.n, spread.min, spread.median, spread.max), (3, 1, 2, 3));

        assert_eq!(Observation::Integer(spread).to_string(), "1 … 2 … 3");

        let flags: Vec<Value> = [true, false, true].map(Value::from).to_vec();
        let flags = Observation::of(&flags).unwrap();
        assert_eq!((flags.count("true"), flags.count("false")), (2, 1));
    }

    #[test]
    fn kinds_that_do_not_fit_together_are_counted_as_words() {
        let mixed = [Value::from(1), Value::from("one")];
        let mixed = Observation::of(&mixed).unwrap();
        assert_eq!((mixed.count("1"), mixed.count("one")), (1, 1));
        assert_eq!(mixed.to_string(), "1 1, one 1");
        assert_eq!(mixed.spread(), None);
    }

    #[test]
    fn observations_survive_json() {
        let spread = Observation::of(&[Value::from(Duration::from_micros(5))]).unwrap();
        let json = serde_json::to_string(&spread).unwrap();
        assert_eq!(json, r#"{"kind":"nanoseconds","n":1,"min":5000,"median":5000,"max":5000}"#);
        assert_eq!(serde_json::from_str::<Observation>(&json).unwrap(), spread);
        assert_eq!(spread.to_string(), "always 5.0µs");
    }
}
