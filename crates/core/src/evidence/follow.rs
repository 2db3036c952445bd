//! What all evidence from the system has in common: it confirms the end only of what it saw.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Evidence, Unconfirmed};

/// Where evidence comes from.
pub(super) trait Source: Send + Sync {
    /// What stays the same when a name changes.
    type Identity: Clone + Eq + Hash + Send;

    /// Whether it finds more if it is thorough.
    const CAN_BE_THOROUGH: bool = false;

    /// Finds what exists now: what fits, and what was seen earlier and fits no more. If `thorough` is
    /// false, it may leave out what is hard to find; what it finds need not include what was seen.
    fn find(
        &self,
        seen: &HashSet<Self::Identity>,
        thorough: bool,
    ) -> Result<Vec<Found<Self::Identity>>, Unconfirmed>;

    /// What it finds, after a number.
    fn fmt_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Why there may have been nothing to see, and what to do.
    fn why_never_seen(&self) -> String;
}

/// Something that has not ended.
pub(super) struct Found<I> {
    /// `None` if it changed while it was looked at.
    pub(super) identity: Option<I>,
    pub(super) name: String,
}

/// A source, and what was seen of it.
pub(super) struct Follow<S: Source> {
    source: S,
    seen: Mutex<Seen<S::Identity>>,
}

struct Seen<I> {
    /// What is followed, and how many thorough looks in a row have not found it.
    followed: HashMap<I, u8>,
    /// Whether anything was ever found.
    ever: bool,
    /// Why the last look failed, if it did.
    failed: Option<String>,
}

/// The system's lists are not read in one piece. What moves while they are read can be missed once.
const LOOKS: u8 = 2;

/// How many names a text contains at most.
const NAMES: usize = 16;

/// A look is thorough, so that what has ended is forgotten, if it found this much less than is followed.
const FORGOTTEN: usize = 64;

impl<S: Source> Follow<S> {
    pub(super) fn new(source: S) -> Self {
        let seen = Seen { followed: HashMap::new(), ever: false, failed: None };
        Self { source, seen: Mutex::new(seen) }
    }

    /// No foreign code runs under this lock, and none of ours panics there.
    fn seen(&self) -> MutexGuard<'_, Seen<S::Identity>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds what exists now, and follows it.
    fn find(&self, thorough: bool) -> Result<Vec<Found<S::Identity>>, Unconfirmed> {
        let before: HashSet<_> = self.seen().followed.keys().cloned().collect();
        // Reading the system's lists takes a while.
        let found = self.source.find(&before, thorough);
        let mut seen = self.seen();
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                seen.failed = Some(error.to_string());
                return Err(error);
            }
        };
        seen.failed = None;
        seen.ever |= !found.is_empty();
        if thorough {
            // What another thread has seen in the meantime keeps its count.
            before
                .iter()
                .filter_map(|one| seen.followed.get_mut(one).map(|missed| *missed += 1))
                .count();
        }
        seen.followed.extend(found.iter().filter_map(|one| Some((one.identity.clone()?, 0))));
        seen.followed.retain(|_, missed| *missed < LOOKS);
        Ok(found)
    }

    fn look_now(&self) -> Result<(), Unconfirmed> {
        let found = self.find(!S::CAN_BE_THOROUGH)?.len();
        if !S::CAN_BE_THOROUGH {
            return Ok(());
        }
        if found == 0 || self.seen().followed.len() > found + FORGOTTEN {
            self.find(true)?;
        }
        Ok(())
    }
}

impl<S: Source> Evidence for Follow<S> {
    fn look(&self) {
        // A failure is kept for the text of the check.
        let _ = self.look_now();
    }

    fn check(&self) -> Result<(), Unconfirmed> {
        let failed = self.seen().failed.take();
        for _ in 0..LOOKS {
            let found = self.find(true)?;
            if !found.is_empty() {
                return Err(Unconfirmed::Against(against(&self.source, found)));
            }
        }
        if self.seen().ever {
            return Ok(());
        }
        let mut why = self.source.why_never_seen();
        why.push_str("; have it look while there is one (`Session::look`, or `look` of the check)");
        if let Some(failed) = failed {
            why.push_str(&format!(" (the last look failed: {failed})"));
        }
        Err(Unconfirmed::Unavailable(why))
    }
}

fn against<S: Source>(source: &S, found: Vec<Found<S::Identity>>) -> String {
    let mut names: Vec<_> = found.into_iter().map(|one| one.name).collect();
    names.sort_unstable();
    let count = names.len();
    let named = names.chunk_by(PartialEq::eq).map(|same| match same {
        [one] => one.clone(),
        [one, ..] => format!("{one} ({} times)", same.len()),
        [] => String::new(),
    });
    let mut names: Vec<_> = named.collect();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let names = names.join(", ");
    let what = crate::newer_std::from_fn(|f| source.fmt_what(f));
    match more {
        0 => format!("{count} {what}: {names}"),
        more => format!("{count} {what}: {names}, and {more} more"),
    }
}

impl<S: Source> fmt::Debug for Follow<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.seen();
        f.debug_struct("Evidence")
            .field("no", &crate::newer_std::from_fn(|f| self.source.fmt_what(f)))
            .field("followed", &seen.followed.len())
            .field("ever_seen", &seen.ever)
            .finish_non_exhaustive()
    }
}

/// Declares a public type of evidence that follows a source.
macro_rules! follows {
    ($(#[$doc:meta])* $name:ident, $source:ty) => {
        $(#[$doc])*
        ///
        /// Clones share what was seen.
        #[derive(Clone)]
        pub struct $name(std::sync::Arc<$crate::evidence::follow::Follow<$source>>);

        impl $crate::evidence::Evidence for $name {
            fn look(&self) {
                self.0.look();
            }

            fn check(&self) -> Result<(), $crate::evidence::Unconfirmed> {
                self.0.check()
            }
        }

        impl $name {
            fn follow(source: $source) -> Self {
                Self(std::sync::Arc::new($crate::evidence::follow::Follow::new(source)))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(super) use follows;

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds what a test put there. A light look leaves out what is negative.
    struct Numbers {
        there: Mutex<Result<Vec<i32>, String>>,
    }

    impl Numbers {
        fn set(&self, there: Result<&[i32], &str>) {
            *self.there.lock().unwrap() = there.map(<[_]>::to_vec).map_err(str::to_owned);
        }
    }

    impl Default for Follow<Numbers> {
        fn default() -> Self {
            Self::new(Numbers { there: Mutex::new(Ok(Vec::new())) })
        }
    }

    impl Source for Numbers {
        type Identity = i32;

        const CAN_BE_THOROUGH: bool = true;

        fn find(&self, _: &HashSet<i32>, thorough: bool) -> Result<Vec<Found<i32>>, Unconfirmed> {
            let there = self.there.lock().unwrap().clone().map_err(Unconfirmed::Unavailable)?;
            let found = there.into_iter().filter(|number| thorough || *number >= 0);
            Ok(found
                .map(|number| Found { identity: Some(number), name: number.to_string() })
                .collect())
        }

        fn fmt_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("numbers")
        }

        fn why_never_seen(&self) -> String {
            "no number was there".to_owned()
        }
    }

    #[test]
    fn what_has_one_name_is_counted() {
        let evidence = Follow::<Numbers>::default();
        evidence.source.set(Ok(&[2, 1, 2]));
        evidence.look();
        let against = evidence.check().unwrap_err().to_string();
        assert_eq!(against, "3 numbers: 1, 2 (2 times)");
    }

    #[test]
    fn nothing_is_confirmed_unless_it_was_seen() {
        let evidence = Follow::<Numbers>::default();
        evidence.look();
        let never = evidence.check().unwrap_err().to_string();
        assert!(never.contains("no number was there; have it look"), "{never}");

        evidence.source.set(Ok(&[2, 1]));
        evidence.look();
        evidence.source.set(Ok(&[]));
        assert_eq!(evidence.check(), Ok(()));
    }

    #[test]
    fn a_check_that_sees_something_is_a_look_too() {
        let evidence = Follow::<Numbers>::default();
        evidence.source.set(Ok(&[2, 1]));
        assert_eq!(evidence.check(), Err(Unconfirmed::Against("2 numbers: 1, 2".to_owned())));
        evidence.source.set(Ok(&[]));
        assert_eq!(evidence.check(), Ok(()));
    }

    #[test]
    fn a_look_that_finds_nothing_looks_thoroughly() {
        let evidence = Follow::<Numbers>::default();
        evidence.source.set(Ok(&[-1]));
        evidence.look();
        evidence.source.set(Ok(&[]));
        assert_eq!(evidence.check(), Ok(()));
    }

    #[test]
    fn the_text_says_why_the_last_look_failed() {
        let evidence = Follow::<Numbers>::default();
        evidence.source.set(Err("too many"));
        evidence.look();
        evidence.source.set(Ok(&[]));
        let why = evidence.check().unwrap_err().to_string();
        assert!(why.contains("no number was there") && why.contains("too many"), "{why}");
        evidence.source.set(Err("too many"));
        assert_eq!(evidence.check(), Err(Unconfirmed::Unavailable("too many".to_owned())));
    }

    #[test]
    fn what_has_ended_is_forgotten_after_a_bounded_number_of_looks() {
        let evidence = Follow::<Numbers>::default();
        for number in 0..10_000 {
            evidence.source.set(Ok(&[number]));
            evidence.look();
        }
        let followed = evidence.seen().followed.len();
        assert!((1..3 * FORGOTTEN).contains(&followed), "{followed}");
    }

    #[test]
    fn a_long_list_is_cut_and_the_text_says_so() {
        let evidence = Follow::<Numbers>::default();
        evidence
            .source
            .set(Ok(&[7, 7, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]));
        let why = evidence.check().unwrap_err().to_string();
        assert!(why.starts_with("21 numbers: 1, 10, 11") && why.ends_with("and 4 more"), "{why}");
    }
}
