//! The count of a [`Session`](crate): how many values it has, whether it still takes any, when the
//! last one has gone, and where the handles that are left were made.

use std::{panic::Location, ptr, sync::OnceLock};

use crate::{
    latch::Latch,
    sync::{AtomicUsize, Ordering},
};

/// Set once the session closes. It stands beside the number of values in one word, so that "nobody
/// is left" and "nobody comes any more" become true at once.
const CLOSING: usize = 1 << (usize::BITS - 1);

/// How many chains the places are spread over.
const CHAINS: usize = 32;

/// Who belongs to a session. A *value* belongs to it from when it is guarded until it has been
/// handed to the reaper; a *handle* is one of the many through which a value is used.
///
/// Open, it takes whatever comes. Closing, it takes only what somebody brings who belongs to it,
/// and so keeps it from being closed. Closed is no third state: it is closing with nobody left, and
/// then there is nobody who could bring anybody.
pub(crate) struct Roster {
    word: AtomicUsize,
    closed: Latch,
    places: Places,
}

impl Roster {
    pub(crate) fn new() -> Self {
        Self { word: AtomicUsize::new(0), closed: Latch::new(), places: Places::default() }
    }

    /// A value comes from outside. Whether it is taken: not once closing has begun.
    #[must_use]
    pub(crate) fn enter(&self) -> bool {
        // Relaxed on success: who comes publishes nothing, and a read-modify-write keeps up the
        // chain of those who left. Acquire on failure: who is refused sees what was done before
        // closing began.
        let entered = self.word.fetch_update(Ordering::Relaxed, Ordering::Acquire, |word| {
            (word & CLOSING == 0).then_some(word + 1)
        });
        entered.is_ok()
    }

    /// A value is brought by one that is here, and stays here meanwhile: always welcome.
    pub(crate) fn bring(&self) {
        // Relaxed: as in `enter`.
        self.word.fetch_add(1, Ordering::Relaxed);
    }

    /// A value has gone. All that was done with it before is visible to whoever sees the roster
    /// closed: each departure releases it, in one chain of read-modify-writes that the last one
    /// acquires.
    pub(crate) fn leave(&self) {
        if self.word.fetch_sub(1, Ordering::AcqRel) == CLOSING | 1 {
            self.closed.fire();
        }
    }

    /// Begins to close. Again, it changes nothing.
    pub(crate) fn close(&self) {
        // Release, for those who are refused; Acquire, for what those did who left, because it may
        // be this thread that tells of it.
        if self.word.fetch_or(CLOSING, Ordering::AcqRel) & !CLOSING == 0 {
            self.closed.fire();
        }
    }

    /// Fires when it is closing, every value has gone, and none comes any more.
    pub(crate) const fn closed(&self) -> &Latch {
        &self.closed
    }

    /// How many values are here, at some moment.
    pub(crate) fn values(&self) -> usize {
        // Relaxed: a number for a report, which decides nothing.
        self.word.load(Ordering::Relaxed) & !CLOSING
    }

    /// A handle was made at this place.
    #[inline]
    pub(crate) fn made(&self, at: &'static Location<'static>) {
        // Relaxed, like the next: these numbers are for a report. What is done with a value is
        // ordered by the handles' own count, and by the word above.
        self.places.at(at).handles.fetch_add(1, Ordering::Relaxed);
    }

    /// A handle that was made at this place has gone.
    #[inline]
    pub(crate) fn gone(&self, at: &'static Location<'static>) {
        self.places.at(at).handles.fetch_sub(1, Ordering::Relaxed);
    }

    /// Where the handles that are left were made, and how many at each place, at some moment; most
    /// handles first.
    pub(crate) fn held(&self) -> Vec<(&'static Location<'static>, usize)> {
        let mut held: Vec<(&'static Location<'static>, usize)> = Vec::new();
        for place in self.places.iter() {
            let handles = place.handles.load(Ordering::Relaxed);
            // One place may have several addresses: a generic function that was compiled twice.
            match held.iter_mut().find(|(made_at, _)| *made_at == place.made_at) {
                _ if handles == 0 => {}
                Some((_, sum)) => *sum += handles,
                None => held.push((place.made_at, handles)),
            }
        }
        held.sort_by(|(one_at, one), (other_at, other)| other.cmp(one).then(one_at.cmp(other_at)));
        held
    }
}

/// The places of the program at which handles were made. There are few, they are only ever added,
/// and a handle finds its own with a load or two: making a handle must not cost much more than
/// cloning an `Arc`.
#[derive(Default)]
struct Places {
    chains: [Link; CHAINS],
}

type Link = OnceLock<Box<Place>>;

struct Place {
    made_at: &'static Location<'static>,
    handles: AtomicUsize,
    next: Link,
}

impl Places {
    /// The place at this address, added if it is new.
    #[inline]
    fn at(&self, made_at: &'static Location<'static>) -> &Place {
        // The compiler keeps locations side by side, each three words long: these bits differ.
        let mut link = &self.chains[(ptr::from_ref(made_at).addr() >> 3) % CHAINS];
        while let Some(place) = link.get() {
            if ptr::eq(place.made_at, made_at) {
                return place;
            }
            link = &place.next;
        }
        add(link, made_at)
    }

    fn iter(&self) -> impl Iterator<Item = &Place> {
        self.chains.iter().flat_map(|chain| {
            std::iter::successors(chain.get(), |place| place.next.get()).map(Box::as_ref)
        })
    }
}

/// Adds a place to the end of a chain, or finds that somebody was faster.
#[cold]
fn add<'a>(mut link: &'a Link, made_at: &'static Location<'static>) -> &'a Place {
    loop {
        let place = link.get_or_init(|| {
            Box::new(Place { made_at, handles: AtomicUsize::new(0), next: Link::new() })
        });
        if ptr::eq(place.made_at, made_at) {
            return place;
        }
        link = &place.next;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// More places than chains, so that there are some with several.
    static PLACES: LazyLock<Vec<Location<'static>>> =
        LazyLock::new(|| vec![*Location::caller(); 5 * CHAINS]);

    #[test]
    fn handles_are_counted_by_the_place_where_they_were_made() {
        let roster = Roster::new();
        for (index, place) in PLACES.iter().enumerate() {
            (0..=index % 3).for_each(|_| roster.made(place));
        }
        let expected: usize = (0..PLACES.len()).map(|index| index % 3 + 1).sum();
        assert_eq!(roster.held(), [(&PLACES[0], expected)], "one place, whatever its address");
        for (index, place) in PLACES.iter().enumerate() {
            (0..=index % 3).for_each(|_| roster.gone(place));
        }
        assert!(roster.held().is_empty());
    }

    #[test]
    fn the_place_with_most_handles_is_first() {
        let roster = Roster::new();
        let (once, twice) = (Location::caller(), Location::caller());
        roster.made(once);
        roster.made(twice);
        roster.made(twice);
        assert_eq!(roster.held(), [(twice, 2), (once, 1)]);
    }
}
