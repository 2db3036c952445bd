//! The end of a process, in which its other threads are held so that they outlive the first: for the policy
//! `outliving`.
//!
//! At an exit the first thread takes down what the others still use: an interpreter, statics, a library. A thread that
//! has just answered the first one, and has something left to do, mostly does it in time. Here it does not: it is held
//! where it has answered, for as long as the first thread gets on. When that is about to end, it is held in its turn,
//! and the others run.

use fastrand::Rng;

use crate::survey::{self, Survey};

/// How often the first thread gets on, at least, while it comes to its end.
const LEAST: u32 = 8;

/// The end of a process. Its first thread's places are counted, without those at which it only waits or wakes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The first thread's place in the tree, as in the survey.
    first: String,
    /// The place with which the end begins.
    pub(crate) from: u32,
    /// The place at which the first thread is held, and the others are let go: the exit if it is `None`.
    pub(crate) until: Option<u32>,
}

impl Ending {
    /// One of this seed, of a process that has several threads.
    pub(crate) fn of(survey: &Survey, rng: &mut Rng) -> Option<Self> {
        let (first, count) = survey.first(rng)?;
        // A small one as often as a large one.
        let up_to = |most: u32, rng: &mut Rng| f64::from(most.max(1)).powf(rng.f64()) as u32;
        // The number of places may differ a little from that of the survey, so the exit is drawn by itself.
        let last = match rng.u32(..3) {
            0 => None,
            1 => Some(rng.u32(..4)),
            _ => Some(up_to(count, rng)),
        };
        let distance = (LEAST * up_to(count / LEAST, rng)).max(last.unwrap_or(0));
        let from = count.saturating_sub(distance).max(1);
        let until = last.map(|last| count.saturating_sub(last).max(from + 1));
        Some(Self { first: first.to_owned(), from, until })
    }

    /// Whether it is the end of the process whose first thread is at this place in the tree.
    pub(crate) fn is_of(&self, path: &[u32]) -> bool {
        self.first == survey::name(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{place::Place, survey::Counts};

    fn surveyed() -> Survey {
        let mut survey = Survey::default();
        survey.add(&[], Counts::from([(Place::Close, 7)]));
        survey.add(&[2], Counts::from([(Place::Close, 400), (Place::Futex, 9000)]));
        survey.add(&[2, 0], Counts::from([(Place::Message, 20)]));
        survey.has_another(&[2]);
        survey
    }

    #[test]
    fn a_seed_draws_the_same_end_again_of_the_process_with_several_threads() {
        let survey = surveyed();
        let of = |seed| Ending::of(&survey, &mut Rng::with_seed(seed)).unwrap();
        for seed in 0..100 {
            assert_eq!(of(seed), of(seed));
            assert!(of(seed).is_of(&[2]) && !of(seed).is_of(&[]) && !of(seed).is_of(&[2, 0]));
        }
        assert_eq!(Ending::of(&Survey::default(), &mut Rng::with_seed(1)), None);
    }

    #[test]
    fn threads_are_held_to_the_last_place_in_most_trials_and_begin_to_be_anywhere() {
        let survey = surveyed();
        let all: Vec<_> =
            (0..300).filter_map(|seed| Ending::of(&survey, &mut Rng::with_seed(seed))).collect();
        let often = |of: &dyn Fn(&Ending) -> bool| all.iter().filter(|it| of(it)).count();
        assert!((60..140).contains(&often(&|it| it.until.is_none())));
        assert!(often(&|it| it.until.is_some_and(|until| until > 396)) > 60);
        assert!(often(&|it| it.from > 380) > 30 && often(&|it| it.from < 200) > 30);
        let is_in_order = |it: &Ending| {
            (1..=392).contains(&it.from)
                && it.until.is_none_or(|it_is| (it.from + 1..=400).contains(&it_is))
        };
        assert_eq!(often(&is_in_order), all.len());
    }
}
