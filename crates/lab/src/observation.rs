//! Observations: the values that trials recorded.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// One value that a trial recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// A count.
    Integer(i64),
    /// A length of time, in nanoseconds.
    Nanoseconds(i64),
    /// True or false.
    Flag(bool),
    /// One of a few words.
    Text(String),
}

/// For people: `3`, `1.5ms`, `true`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Nanoseconds(time) => write!(f, "{:.1?}", duration(*time)),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// No measured length of time is negative.
const fn duration(nanoseconds: i64) -> Duration {
    Duration::from_nanos(nanoseconds.unsigned_abs())
}

macro_rules! values {
    ($($from:ty as $name:ident => $value:expr,)*) => {
        $(impl From<$from> for Value {
            fn from($name: $from) -> Self {
                $value
            }
        })*
    };
}
values! {
    i32 as it => Self::Integer(it.into()),
    i64 as it => Self::Integer(it),
    u32 as it => Self::Integer(it.into()),
    u64 as it => Self::Integer(it.try_into().unwrap_or(i64::MAX)),
    usize as it => Self::Integer(it.try_into().unwrap_or(i64::MAX)),
    Duration as it => Self::Nanoseconds(it.as_nanos().try_into().unwrap_or(i64::MAX)),
    bool as it => Self::Flag(it),
    &str as it => Self::Text(it.to_owned()),
    String as it => Self::Text(it),
}

/// The values that the trials of one variant recorded under one name.
///
/// In JSON the `kind` is `integer`, `nanoseconds` or `count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Observation {
    /// Counts, one from each trial that recorded one.
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
    /// The median. Of an even number of values it is the lower of the middle two, so that it is a value
    /// that occurred.
    pub median: i64,
    /// The largest.
    pub max: i64,
}

impl Spread {
    /// The spread of these numbers, or `None` if there are none.
    #[must_use]
    pub fn of(mut values: Vec<i64>) -> Option<Self> {
        values.sort_unstable();
        Some(Self {
            n: u32::try_from(values.len()).unwrap_or(u32::MAX),
            min: *values.first()?,
            median: *values.get((values.len() - 1) / 2)?,
            max: *values.last()?,
        })
    }
}

impl Observation {
    /// How many trials recorded it.
    #[must_use]
    pub fn recorded(&self) -> u32 {
        match self {
            Self::Integer(spread) | Self::Nanoseconds(spread) => spread.n,
            Self::Count { values } => values.values().sum(),
        }
    }

    /// Combines the values of several trials; `None` if there are none. Values of different kinds are
    /// counted as words.
    #[must_use]
    pub fn of(values: &[Value]) -> Option<Self> {
        let all = |number: fn(&Value) -> Option<i64>| {
            values.iter().map(number).collect::<Option<Vec<_>>>()
        };
        let integer = |value: &Value| match value {
            Value::Integer(number) => Some(*number),
            _ => None,
        };
        let nanoseconds = |value: &Value| match value {
            Value::Nanoseconds(number) => Some(*number),
            _ => None,
        };
        if let Some(numbers) = all(integer) {
            return Spread::of(numbers).map(Self::Integer);
        }
        if let Some(numbers) = all(nanoseconds) {
            return Spread::of(numbers).map(Self::Nanoseconds);
        }
        let mut counts = BTreeMap::new();
        for value in values {
            let word = match value {
                Value::Nanoseconds(number) => number.to_string(),
                other => other.to_string(),
            };
            *counts.entry(word).or_insert(0) += 1;
        }
        Some(Self::Count { values: counts })
    }

    /// The spread, if these are numbers.
    #[must_use]
    pub const fn spread(&self) -> Option<Spread> {
        match self {
            Self::Integer(spread) | Self::Nanoseconds(spread) => Some(*spread),
            Self::Count { .. } => None,
        }
    }

    /// How many trials recorded this word (`true` or `false` for a flag).
    #[must_use]
    pub fn count(&self, word: &str) -> u32 {
        match self {
            Self::Count { values } => values.get(word).copied().unwrap_or(0),
            Self::Integer(_) | Self::Nanoseconds(_) => 0,
        }
    }
}

/// `always 3`, `1 … 2 … 3` (smallest, median, largest), or `false 1, true 4`.
impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (spread, value): (_, fn(i64) -> Value) = match self {
            Self::Integer(spread) => (spread, Value::Integer),
            Self::Nanoseconds(spread) => (spread, Value::Nanoseconds),
            Self::Count { values } => {
                let counts = values.iter().map(|(word, count)| format!("{word} {count}"));
                return f.write_str(&counts.collect::<Vec<_>>().join(", "));
            }
        };
        let [min, median, max] = [spread.min, spread.median, spread.max].map(value);
        if min == max {
            write!(f, "always {min}")
        } else {
            write!(f, "{min} … {median} … {max}")
        }
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
        let observed = |values: &[Value]| Observation::of(values).unwrap();
        let numbers = observed(&[4, 1, 3, 2].map(Value::from));
        let spread = Spread { n: 4, min: 1, median: 2, max: 4 };
        assert_eq!(
            (&numbers, numbers.to_string()),
            (&Observation::Integer(spread), "1 … 2 … 4".into())
        );

        let flags = observed(&[true, false, true].map(Value::from));
        assert_eq!((flags.count("true"), flags.count("false")), (2, 1));

        let mixed = observed(&[Value::from(1), Value::from("one")]);
        assert_eq!((mixed.spread(), mixed.to_string()), (None, "1 1, one 1".into()));
        assert_eq!(Observation::of(&[]), None);
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
