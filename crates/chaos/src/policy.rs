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
use serde::{Deserialize, Serialize};

/// The longest that a thread is held at once. Correct programs have time-outs of some tens of milliseconds; with
/// holds of that length they would fail of them.
pub const LONGEST: Duration = Duration::from_millis(5);

/// How often a thread is held, at most.
const HOLDS: u32 = 12;

/// The most places that a thread passes before its first hold, as a power of two.
const MOST_PASSED: u32 = 9;

/// A place at which a thread may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A new thread, before its first instruction.
    Start,
    /// A thread that has run its last instruction.
    End,
    /// A process that is about to exit.
    Exit,
    /// A lock, a condition, a join: a thread waits for others, or wakes them.
    Futex,
    /// A descriptor is closed, or a connection shut down.
    Close,
    /// Memory is unmapped: a thread's stack, or a library that is unloaded.
    Unmap,
    /// A file is written, synchronized, renamed, shortened, unlinked.
    File,
    /// A pipe, an event or a socket is written or read.
    Message,
    /// A thread waits for events of its descriptors, or sleeps.
    Wait,
    /// A signal is sent to a process or a thread.
    Signal,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 10] = [
        Self::Start,
        Self::End,
        Self::Exit,
        Self::Futex,
        Self::Close,
        Self::Unmap,
        Self::File,
        Self::Message,
        Self::Wait,
        Self::Signal,
    ];
}

/// Which threads a policy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
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
    /// Whether a thread is held when the system call has returned, and not before it.
    after: bool,
}

/// Every policy.
pub const POLICIES: [Policy; 10] = [
    Policy {
        name: "few",
        about: "one thread in three, everywhere",
        places: &Place::ALL,
        whose: Whose::Few,
        after: false,
    },
    Policy {
        name: "starts",
        about: "new threads, before they begin",
        places: &[Place::Start],
        whose: Whose::Others,
        after: false,
    },
    Policy {
        name: "ends",
        about: "threads that end, before others see it",
        places: &[Place::End, Place::Exit],
        whose: Whose::Others,
        after: false,
    },
    Policy {
        name: "unmapping",
        about: "threads other than the first, where they give memory or a descriptor back",
        places: &[Place::Unmap, Place::Close, Place::End],
        whose: Whose::Others,
        after: false,
    },
    Policy {
        name: "main",
        about: "the first thread, everywhere",
        places: &Place::ALL,
        whose: Whose::Main,
        after: false,
    },
    Policy {
        name: "others",
        about: "all threads but the first, everywhere",
        places: &Place::ALL,
        whose: Whose::Others,
        after: false,
    },
    Policy {
        name: "files",
        about: "one thread in three, where it changes files or closes them",
        places: &[Place::File, Place::Close],
        whose: Whose::Few,
        after: false,
    },
    Policy {
        name: "waits",
        about: "one thread in three, before it waits for another, wakes it or sends it something",
        places: &[Place::Futex, Place::Message, Place::Signal],
        whose: Whose::Few,
        after: false,
    },
    Policy {
        name: "replies",
        about: "all threads but the first, when they have woken another or sent it something",
        places: &[Place::Futex, Place::Message],
        whose: Whose::Others,
        after: true,
    },
    Policy {
        name: "woken",
        about: "one thread in three, when it has been woken or has woken another",
        places: &[Place::Futex, Place::Message, Place::Wait],
        whose: Whose::Few,
        after: true,
    },
];

impl Policy {
    /// The policy of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        // The seeds of neighbouring trials differ in every bit.
        let at = usize::try_from(seed % POLICIES.len() as u64).unwrap_or(0);
        POLICIES[at]
    }

    /// The policy of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        POLICIES.into_iter().find(|policy| policy.name == name)
    }

    /// The places at which threads have to stop for it.
    #[must_use]
    pub const fn places(&self) -> &'static [Place] {
        self.places
    }

    /// Whether it holds threads when a system call has returned.
    #[must_use]
    pub const fn is_after(&self) -> bool {
        self.after
    }
}

/// The decisions of one thread.
#[derive(Debug)]
pub struct Decisions {
    rng: Rng,
    /// How likely it is held, in percent; 0 if never.
    percent: u32,
    /// How many places it passes before it is held for the first time. Otherwise its holds would be used up long
    /// before a shutdown begins.
    passes: u32,
    left: u32,
}

impl Decisions {
    /// Those of the thread at this place in the tree: `[]` is the first of the first process, `[2, 0]` the first
    /// that its third one has started.
    #[must_use]
    pub fn of(policy: &Policy, seed: u64, path: &[u32], is_first: bool) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, path).hash(&mut hasher);
        let mut rng = Rng::with_seed(hasher.finish());
        let is_held = match policy.whose {
            Whose::Main => is_first,
            Whose::Others => !is_first,
            Whose::Few => rng.u32(..3) == 0,
        };
        // Another seed holds more often, or less.
        let percent = if is_held { [20, 60, 100][Rng::with_seed(seed).usize(..3)] } else { 0 };
        // Few as often as many: nobody knows how many there are.
        let passes = (1 << rng.u32(..=MOST_PASSED)) - 1;
        Self { rng, percent, passes, left: HOLDS }
    }

    /// How long the thread is held at this place, if it is.
    pub fn hold(&mut self, policy: &Policy, place: Place) -> Option<Duration> {
        if self.percent == 0 || self.left == 0 || !policy.places.contains(&place) {
            return None;
        }
        // A thread comes to these once.
        let is_once = matches!(place, Place::Start | Place::End | Place::Exit);
        if self.passes > 0 && !is_once {
            self.passes -= 1;
            return None;
        }
        if self.rng.u32(..100) >= self.percent {
            return None;
        }
        self.left -= 1;
        if self.rng.bool() {
            return Some(LONGEST);
        }
        let [tenth, whole] = [LONGEST / 10, LONGEST].map(|it| it.as_micros() as u64);
        let micros =
            if self.rng.bool() { self.rng.u64(50..tenth) } else { self.rng.u64(tenth..=whole) };
        Some(Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(policy: &Policy, seed: u64, path: &[u32], is_first: bool) -> Vec<Option<Duration>> {
        let mut decisions = Decisions::of(policy, seed, path, is_first);
        (0..2000).map(|_| decisions.hold(policy, policy.places[0])).collect()
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
                    assert!(held.len() <= HOLDS as usize, "{policy:?}");
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
        let mut decisions = Decisions::of(&starts, 3, &[1], false);
        assert!((0..2000).all(|_| decisions.hold(&starts, Place::Futex).is_none()));
        let few = Policy::named("few").unwrap();
        let held =
            (0..300).filter(|path| holds(&few, 3, &[*path], false).iter().any(Option::is_some));
        assert!((50..150).contains(&held.count()));
    }

    #[test]
    fn every_policy_has_its_turn_and_its_name() {
        for (seed, policy) in (0..).zip(POLICIES) {
            assert_eq!(Policy::of(seed).name, policy.name);
            assert_eq!(Policy::named(policy.name).unwrap().about, policy.about);
        }
        assert!(Policy::named("none").is_none());
    }
}
