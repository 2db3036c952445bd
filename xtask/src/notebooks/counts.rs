//! The counts in a text, such as `3 of 20`, and whether a result has them.

use std::fmt;

use lab::{
    Outcome,
    results::{ExperimentResult, VariantResult},
};

/// A count as a text has it: `3 of 20`. A count of 100 may be a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    hits: u32,
    trials: u32,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.hits, self.trials)
    }
}

/// Finds the counts in a text. `none of 40`, `3 of the 40` and `3 out of 40` are counts, too; `2 and 3 of 40` and
/// `2, 3 and 5 of 40` are several.
pub fn in_text(text: &str) -> Vec<Count> {
    let words = text.replace(" out of ", " of ").replace(" of the ", " of ");
    let words: Vec<_> = words.split_whitespace().collect();
    let mut counts = Vec::new();
    for (at, trials) in words.iter().enumerate().skip(2) {
        let Some(trials) = number(trials).filter(|_| words[at - 1] == "of") else { continue };
        let mut before = words[..at - 1].iter().rev().peekable();
        let mut next = before.next();
        while let Some(hits) = next.and_then(|word| number(word)) {
            counts.push(Count { hits, trials });
            let joined = before.next_if(|word| **word == "and").is_some()
                || before.peek().is_some_and(|word| word.ends_with(','));
            next = before.next().filter(|_| joined);
        }
    }
    counts
}

fn number(word: &str) -> Option<u32> {
    match word.trim_matches(|mark: char| mark.is_ascii_punctuation()) {
        "none" | "None" => Some(0),
        digits => digits.parse().ok(),
    }
}

impl Count {
    /// Whether a variant of this experiment ended like this so often, or the verdicts rest on it.
    pub fn is_in(self, result: &ExperimentResult) -> bool {
        let said = format!(" {self} ");
        result.variants.iter().any(|variant| self.is_of(variant))
            || result
                .claims
                .iter()
                .flat_map(|claim| &claim.reasons)
                .any(|reason| format!(" {reason} ").contains(&said))
    }

    fn is_of(self, VariantResult { trials, outcomes, .. }: &VariantResult) -> bool {
        let failed = trials - outcomes.count(Outcome::Clean);
        let mut counts = outcomes.seen().map(|outcome| outcomes.count(outcome)).chain([failed]);
        let percent = f64::from(failed) / f64::from(*trials) * 100.0;
        *trials == self.trials && counts.any(|count| count == self.hits)
            || self.trials == 100 && (percent - f64::from(self.hits)).abs() <= 0.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_and_other_numbers_are_not() {
        let found = |text| {
            let counts = in_text(text).iter().map(ToString::to_string).collect::<Vec<_>>();
            counts.join("; ")
        };
        for (text, expected) in [
            ("crashes 2 and 3 of 40 exits, and without it 39", "3 of 40; 2 of 40"),
            ("closed (46, 73 and 5 of 400).", "5 of 400; 73 of 400; 46 of 400"),
            ("With 10 more, 5 of 20: so", "5 of 20"),
            ("none of 150 exits", "0 of 150"),
            ("work of 10 and of 50 ms", ""),
            ("28 of the 60 and so 3 out of 40", "28 of 60; 3 of 40"),
            ("one of 20 of them", ""),
            ("", ""),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }
}
