//! Where threads are held back, which ones, and for how long.
//!
//! A delay for every thread slows both sides of a race down, and hides it. So a policy is lopsided: it holds a few
//! threads, or a few kinds of places, and spares the rest. Nobody knows beforehand which one a race needs;
//! [`Policy::of`] takes another one for each seed.
//!
//! The decisions of a thread depend on the seed, on the thread's place in the tree of threads, and on how many
//! places it has come to, and not on time. So a seed makes the same decisions again, but the program does not
//! come to the same places in the same order again: a seed makes a failure likelier, and does not replay it.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use fastrand::Rng;

use crate::{
    ending::Ending,
    place::Place,
    survey::{Counts, Survey},
};

/// The longest that a thread is held at once. Correct programs have time-outs of some tens of milliseconds; with
/// holds of that length they would fail of them.
pub const LONGEST: Duration = Duration::from_millis(5);

/// How often a thread is held, at most: usually, and if it is to fall behind all others.
const HOLDS: u32 = 12;
const MOST_HOLDS: u32 = 60;

/// The most places that a thread passes before its first hold, as a power of two.
const MOST_PASSED: u32 = 9;

/// In so many parts of [`LONGEST`] a thread is held that is to outlive the first: after each, it is looked at whether
/// that one still gets on.
const SLICES: u32 = 5;

/// The most instructions that a thread runs one by one, as a power of two. In [`LONGEST`] it runs about so many.
const MOST_STEPS: u32 = 11;

/// Which threads a policy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// None.
    Nobody,
    /// The first thread of a process.
    Main,
    /// All but those.
    Others,
    /// One in three, whichever the seed takes.
    Few,
}

/// A way to hold threads.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    places: &'static [Place],
    whose: Whose,
    when: When,
}

/// When a thread is held that comes to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Before the system call.
    Before,
    /// When it has returned.
    After,
    /// Before, and when it has returned; always for the longest time, and often: whoever can run gets ahead.
    Always,
    /// When it has returned, instruction by instruction: so a race is reached that has no system call in it.
    Steps,
    /// When it has returned, and for as long as the first thread of the process gets on, which is held at its end.
    Outliving,
}

/// The policy that holds nothing, and counts the places.
pub const NONE: Policy = Policy {
    name: "none",
    about: "nothing: counts the places",
    places: &Place::ALL,
    whose: Whose::Nobody,
    when: When::Before,
};

/// Every policy.
pub const POLICIES: [Policy; 14] = [
    Policy {
        name: "few",
        about: "one thread in three, everywhere",
        places: &Place::ALL,
        whose: Whose::Few,
        when: When::Before,
    },
    Policy {
        name: "starts",
        about: "new threads, before they begin",
        places: &[Place::Start],
        whose: Whose::Others,
        when: When::Before,
    },
    Policy {
        name: "ends",
        about: "threads that end, before others see it",
        places: &[Place::End, Place::Exit],
        whose: Whose::Others,
        when: When::Before,
    },
    Policy {
        name: "unmapping",
        about: "all threads but the first, before and after they give memory or a descriptor back",
        places: &[Place::Unmap, Place::Close, Place::End],
        whose: Whose::Others,
        when: When::Always,
    },
    Policy {
        name: "main",
        about: "the first thread, everywhere",
        places: &Place::ALL,
        whose: Whose::Main,
        when: When::Before,
    },
    Policy {
        name: "others",
        about: "all threads but the first, everywhere",
        places: &Place::ALL,
        whose: Whose::Others,
        when: When::Before,
    },
    Policy {
        name: "files",
        about: "one thread in three, where it changes files or closes them",
        places: &[Place::File, Place::Close],
        whose: Whose::Few,
        when: When::Before,
    },
    Policy {
        name: "waits",
        about: "one thread in three, before it waits for another, wakes it or sends it something",
        places: &[Place::Futex, Place::Message, Place::Signal],
        whose: Whose::Few,
        when: When::Before,
    },
    Policy {
        name: "replies",
        about: "all threads but the first, when they have woken another or sent it something",
        places: &[Place::Futex, Place::Message],
        whose: Whose::Others,
        when: When::After,
    },
    Policy {
        name: "woken",
        about: "one thread in three, when it has been woken or has woken another",
        places: &[Place::Futex, Place::Message, Place::Wait],
        whose: Whose::Few,
        when: When::After,
    },
    Policy {
        name: "behind",
        about: "one thread in three, everywhere, before and after, so that all others get ahead",
        places: &Place::ALL,
        whose: Whose::Few,
        when: When::Always,
    },
    Policy {
        name: "last",
        about: "all threads but the first, before and after they wait, wake, send, close or unmap",
        places: &[Place::Futex, Place::Message, Place::Close, Place::Unmap, Place::End],
        whose: Whose::Others,
        when: When::Always,
    },
    Policy {
        name: "steps",
        about: "one thread in three, instruction by instruction, when it has waited or woken another",
        places: &[Place::Futex, Place::Message, Place::Wait],
        whose: Whose::Few,
        when: When::Steps,
    },
    Policy {
        name: "outliving",
        about: "all threads but the first, when they have answered it, so that they outlive it",
        // Threads are held at two of them. At the others it shows how far the process is.
        places: &Place::ALL,
        whose: Whose::Others,
        when: When::Outliving,
    },
];

/// Where threads are held that are to outlive the first.
const OUTLIVING: [Place; 2] = [Place::Futex, Place::Message];

impl Policy {
    /// The policy of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        POLICIES.into_iter().chain([NONE]).find(|policy| policy.name == name)
    }

    /// The places at which threads have to stop for it.
    #[must_use]
    pub const fn places(&self) -> &'static [Place] {
        self.places
    }

    /// The longest that it holds a thread at once.
    #[must_use]
    pub fn longest(&self) -> Duration {
        if self.holds_on() { LONGEST * MOST_HOLDS } else { LONGEST }
    }

    fn most_holds(&self) -> u32 {
        match self.when {
            When::Always => MOST_HOLDS,
            When::Outliving => MOST_HOLDS * SLICES,
            _ => HOLDS,
        }
    }

    /// Whether it only counts.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.whose == Whose::Nobody
    }

    /// Whether it holds threads before a system call.
    pub(crate) fn is_before(&self) -> bool {
        matches!(self.when, When::Before | When::Always | When::Outliving)
    }

    /// Whether it holds threads when a system call has returned.
    pub(crate) fn is_after(&self) -> bool {
        self.when != When::Before
    }

    /// Whether a thread that is held stays where it is while others get on.
    pub(crate) fn holds_on(&self) -> bool {
        self.when == When::Outliving
    }

    /// Whether a thread that is held goes on instruction by instruction.
    pub(crate) fn steps(&self) -> bool {
        self.when == When::Steps
    }
}

/// The decisions of one trial.
#[derive(Debug)]
pub struct Trial<'a> {
    policy: &'a Policy,
    seed: u64,
    survey: Option<&'a Survey>,
    /// How likely a thread is held at a place, in percent: another seed holds more often, or less.
    percent: u32,
    /// Until when all threads pass, if they begin to be held together.
    passes: Option<Passes>,
    /// The part of the program in which threads are held, if only there, and if it is known.
    ending: Option<Ending>,
}

/// Places that are passed before a thread is held for the first time. Otherwise its holds would be used up long
/// before a shutdown begins.
#[derive(Clone, Copy, Debug)]
struct Passes {
    /// Which ones count; all of the policy if it is `None`.
    of: Option<Place>,
    left: u32,
}

/// The decisions of one thread.
#[derive(Debug)]
pub struct Decisions {
    rng: Rng,
    is_held: bool,
    passes: Passes,
    left: u32,
}

impl<'a> Trial<'a> {
    /// Those of this seed.
    #[must_use]
    pub fn of(policy: &'a Policy, seed: u64, survey: Option<&'a Survey>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let percent = match policy.when {
            When::Always | When::Outliving => 100,
            _ => [20, 60, 100][rng.usize(..3)],
        };
        // In one of three trials the whole program decides, since the same thread does not do the same again.
        let total = survey.filter(|_| !policy.holds_on() && rng.u32(..3) == 0).map(Survey::total);
        let passes = total.and_then(|total| {
            let of_policy = |place: &Place| *place == Place::End || policy.places.contains(place);
            Passes::up_to(&total, of_policy, &mut rng)
        });
        let ending = survey.filter(|_| policy.holds_on());
        let ending = ending.and_then(|survey| Ending::of(survey, &mut rng));
        Self { policy, seed, survey, percent, passes, ending }
    }

    /// Those of the thread at this place in the tree: `[]` is the first of the first process, `[2, 0]` the first
    /// that its third one has started.
    #[must_use]
    pub fn thread(&self, path: &[u32], is_first: bool) -> Decisions {
        let mut hasher = DefaultHasher::new();
        (self.seed, path).hash(&mut hasher);
        let mut rng = Rng::with_seed(hasher.finish());
        let is_held = match self.policy.whose {
            Whose::Nobody => false,
            Whose::Main => is_first,
            Whose::Others => !is_first,
            Whose::Few => rng.u32(..3) == 0,
        };
        if self.ending.is_some() {
            let passes = Passes { of: None, left: 0 };
            return Decisions { rng, is_held, passes, left: self.policy.most_holds() };
        }
        // Few as often as many: nobody knows how many there are.
        let some = Passes { of: None, left: (1 << rng.u32(..=MOST_PASSED)) - 1 };
        let known = self.survey.filter(|_| rng.u32(..4) > 0).and_then(|it| it.of(path));
        let of_policy = |place: &Place| !place.is_once() && self.policy.places.contains(place);
        let passes = known.and_then(|known| Passes::up_to(known, of_policy, &mut rng));
        Decisions { rng, is_held, passes: passes.unwrap_or(some), left: self.policy.most_holds() }
    }

    /// How long a thread is held at the place to which it has come, if it is.
    pub fn hold(&mut self, thread: &mut Decisions, place: Place) -> Option<Duration> {
        let together = self.passes.as_mut().map(|passes| passes.passes(place));
        let passes = together.unwrap_or_else(|| !place.is_once() && thread.passes.passes(place));
        if passes || self.policy.holds_on() { None } else { self.hold_again(thread, place) }
    }

    /// The same for a place at which the thread has stopped before: it does not count once more.
    pub fn hold_again(&self, thread: &mut Decisions, place: Place) -> Option<Duration> {
        let passes = match self.passes {
            Some(together) => together.left > 0,
            None => !place.is_once() && thread.passes.left > 0,
        };
        let places = if self.policy.holds_on() { &OUTLIVING } else { self.policy.places };
        let can_be = thread.is_held && thread.left > 0 && places.contains(&place);
        let rng = &mut thread.rng;
        if passes || !can_be || rng.u32(..100) >= self.percent {
            return None;
        }
        thread.left -= 1;
        if self.policy.holds_on() {
            return Some(LONGEST / SLICES);
        }
        if rng.bool() || self.policy.when == When::Always {
            return Some(LONGEST);
        }
        let [tenth, whole] = [LONGEST / 10, LONGEST].map(|it| it.as_micros() as u64);
        let micros = if rng.bool() { rng.u64(50..tenth) } else { rng.u64(tenth..=whole) };
        Some(Duration::from_micros(micros))
    }

    /// How much longer a thread is held whose hold is over, while others get on.
    pub(crate) fn hold_on(&self, thread: &mut Decisions) -> Option<Duration> {
        if !self.policy.holds_on() || thread.left == 0 {
            return None;
        }
        thread.left -= 1;
        Some(LONGEST / SLICES)
    }

    /// The part of the program in which threads are held, if only there.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }
}

impl Decisions {
    /// Whether the thread is one of those that the policy holds.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// How many instructions a thread runs one by one before it is only held: few as often as many.
    pub(crate) fn steps(&mut self) -> u32 {
        1 << self.rng.u32(..=MOST_STEPS)
    }
}

impl Passes {
    /// All before one that is drawn: first its kind, since the rare ones would otherwise hardly ever be drawn, then
    /// its distance, from the first or, more often, from the last: in half of the draws one that the holds of a
    /// thread bridge, otherwise a small one as often as a large one.
    fn up_to(counts: &Counts, is_of: impl Fn(&Place) -> bool, rng: &mut Rng) -> Option<Self> {
        let counts: Vec<_> =
            counts.iter().filter(|(place, count)| **count > 0 && is_of(place)).collect();
        let (place, count) = rng.choice(counts)?;
        let distance = match rng.bool() {
            true => rng.u32(1..=HOLDS.min(*count)),
            false => f64::from(*count).powf(rng.f64()) as u32,
        };
        let left = if rng.u32(..4) > 0 { count.saturating_sub(distance) } else { distance - 1 };
        Some(Self { of: Some(*place), left })
    }

    /// Whether this place is still passed.
    fn passes(&mut self, place: Place) -> bool {
        if self.left == 0 {
            return false;
        }
        if self.of.is_none_or(|of| of == place) {
            self.left -= 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(policy: &Policy, seed: u64, path: &[u32], is_first: bool) -> Vec<Option<Duration>> {
        let mut trial = Trial::of(policy, seed, None);
        let mut thread = trial.thread(path, is_first);
        (0..2000).map(|_| trial.hold(&mut thread, policy.places[0])).collect()
    }

    #[test]
    fn a_seed_decides_the_same_again_and_another_otherwise() {
        let policy = Policy::named("others").unwrap();
        assert_eq!(holds(&policy, 7, &[1], false), holds(&policy, 7, &[1], false));
        assert_ne!(holds(&policy, 7, &[1], false), holds(&policy, 8, &[1], false));
        assert_ne!(holds(&policy, 7, &[1], false), holds(&policy, 7, &[2], false));
    }

    #[test]
    fn holds_are_few_and_short() {
        for policy in POLICIES {
            for seed in 0..50 {
                for path in [&[] as &[u32], &[0], &[0, 3]] {
                    let held: Vec<_> =
                        holds(&policy, seed, path, path.is_empty()).into_iter().flatten().collect();
                    assert!(held.len() <= policy.most_holds() as usize, "{policy:?}");
                    assert!(held.iter().all(|it| *it <= LONGEST), "{policy:?}");
                }
            }
        }
    }

    #[test]
    fn a_policy_spares_the_threads_and_places_that_are_not_its_own() {
        let main = Policy::named("main").unwrap();
        let is_held = |first| holds(&main, 3, &[], first).iter().any(Option::is_some);
        assert!(is_held(true) && !is_held(false));
        let starts = Policy::named("starts").unwrap();
        let mut trial = Trial::of(&starts, 3, None);
        let mut thread = trial.thread(&[1], false);
        assert!((0..2000).all(|_| trial.hold(&mut thread, Place::Futex).is_none()));
        let few = Policy::named("few").unwrap();
        let held =
            (0..300).filter(|path| holds(&few, 3, &[*path], false).iter().any(Option::is_some));
        assert!((50..150).contains(&held.count()));
    }

    #[test]
    fn every_policy_has_its_name() {
        for policy in POLICIES.into_iter().chain([NONE]) {
            assert_eq!(Policy::named(policy.name).unwrap().about, policy.about);
        }
        assert!(Policy::named("nobody").is_none());
    }

    /// A thread that waits often, and unmaps twice, at its end.
    fn surveyed() -> Survey {
        let mut survey = Survey::default();
        survey.add(&[1], Counts::from([(Place::Close, 1000), (Place::Unmap, 2)]));
        survey
    }

    #[test]
    fn what_is_rare_and_what_is_last_is_held_often() {
        const SEEDS: u64 = 1000;
        let unmapping = Policy::named("unmapping").unwrap();
        let (survey, mut rare, mut last) = (surveyed(), 0, 0);
        for seed in 0..SEEDS {
            let mut trial = Trial::of(&unmapping, seed, Some(&survey));
            let mut thread = trial.thread(&[1], false);
            let closes: Vec<_> =
                (0..1000).map(|_| trial.hold(&mut thread, Place::Close).is_some()).collect();
            last += u32::from(closes[990..].contains(&true));
            let unmaps = [0, 1].map(|_| trial.hold(&mut thread, Place::Unmap).is_some());
            rare += u32::from(unmaps.contains(&true));
        }
        assert!(rare > 200, "{rare} of {SEEDS} hold the thread where it unmaps");
        assert!(last > 100, "{last} of {SEEDS} hold it at one of the last ten closes");
        let unknown = (0..SEEDS).filter(|seed| {
            let mut trial = Trial::of(&unmapping, *seed, None);
            let mut thread = trial.thread(&[1], false);
            (0..1000).for_each(|_| _ = trial.hold(&mut thread, Place::Close));
            trial.hold(&mut thread, Place::Unmap).is_some()
        });
        assert!((unknown.count() as u32) < rare / 3, "without a survey it is as frequent");
    }

    #[test]
    fn a_survey_decides_the_same_again() {
        let (others, survey) = (Policy::named("others").unwrap(), surveyed());
        for seed in 0..50 {
            let [one, other] = [0, 1].map(|_| {
                let mut trial = Trial::of(&others, seed, Some(&survey));
                let mut thread = trial.thread(&[1], false);
                (0..1000).map(|_| trial.hold(&mut thread, Place::Close)).collect::<Vec<_>>()
            });
            assert_eq!(one, other);
        }
    }
}
