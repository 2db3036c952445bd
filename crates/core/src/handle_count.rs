//! The counts of a [`Session`](crate): how many values it has, whether it takes more, when the last one
//! has gone, and where the handles that are left were made.

use std::{panic::Location, ptr, sync::OnceLock};

use crate::{
    latch::Latch,
    sync::{AtomicUsize, Ordering},
};

/// Set once the session closes. It is in one word with the number of values, so that "no value is
/// left" and "none comes any more" become true at once.
const CLOSING: usize = 1 << (usize::BITS - 1);

/// How many chains the places are spread over.
const CHAINS: usize = 32;

/// Counts the values and handles of a session. A *value* belongs to a session from when it is guarded
/// until it has been handed over to be torn down. A *handle* is one of many through which a value is
/// used.
///
/// An open session takes any value. A closing session takes only a value that is derived from one that
/// it still has, and which keeps it from being closed. Closed is no third state: a closing session
/// without values has nothing from which a value could be derived.
pub struct HandleCount {
    word: AtomicUsize,
    closed: Latch,
    places: Places,
}

impl HandleCount {
    /// An open session without values.
    #[must_use]
    pub fn new() -> Self {
        Self { word: AtomicUsize::new(0), closed: Latch::new(), places: Places::default() }
    }

    /// Adds a value from outside. Returns `false` once closing has begun.
    #[must_use]
    pub fn add(&self) -> bool {
        // Relaxed on success: a value that comes publishes nothing, and a read-modify-write continues
        // the release sequence of those that left. Acquire on failure: a caller who is refused sees
        // what was done before closing began.
        let added = self.word.fetch_update(Ordering::Relaxed, Ordering::Acquire, |word| {
            (word & CLOSING == 0).then_some(word + 1)
        });
        added.is_ok()
    }

    /// Adds a value that is derived from one that is here and stays here meanwhile.
    pub fn add_derived(&self) {
        // Relaxed: as in `add`.
        self.word.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a value. Everything that was done with it is visible to everyone who sees the session
    /// closed: each removal releases it, in a chain of read-modify-writes that the last one acquires.
    pub fn remove(&self) {
        if self.word.fetch_sub(1, Ordering::AcqRel) == CLOSING | 1 {
            self.closed.fire();
        }
    }

    /// Begins to close. A second call changes nothing.
    pub fn close(&self) {
        // Release: for those who are refused. Acquire: this thread may be the one that fires the
        // latch, and passes on what was done with the values that left.
        if self.word.fetch_or(CLOSING, Ordering::AcqRel) & !CLOSING == 0 {
            self.closed.fire();
        }
    }

    /// Fires when the session is closing, every value has gone, and none comes any more.
    pub const fn closed(&self) -> &Latch {
        &self.closed
    }

    /// How many values are here, at some moment.
    pub fn values(&self) -> usize {
        // Relaxed: a number for a report, which decides nothing.
        self.word.load(Ordering::Relaxed) & !CLOSING
    }

    /// Counts a handle that was made at this place.
    #[inline]
    pub fn add_handle(&self, made_at: &'static Location<'static>) {
        // Relaxed, here and in `remove_handle`: a number for a report. What is done with a value is
        // ordered by the reference count of its handles, and by the word above.
        self.places.at(made_at).handles.fetch_add(1, Ordering::Relaxed);
    }

    /// A handle that was made at this place is gone.
    #[inline]
    pub fn remove_handle(&self, made_at: &'static Location<'static>) {
        self.places.at(made_at).handles.fetch_sub(1, Ordering::Relaxed);
    }

    /// Where the handles that are left were made, and how many at each place, at some moment. Most
    /// handles first.
    pub fn held(&self) -> Vec<(&'static Location<'static>, usize)> {
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

/// The places in the program at which handles were made. There are few, and they are only ever added.
/// A handle finds its place with a load or two, because making a handle must not cost much more than
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
    /// The place at this address. It is added if it is new.
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

/// Adds a place to the end of a chain, or finds that another thread was faster.
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

    /// More places than chains, so that some chains have several.
    static PLACES: LazyLock<Vec<Location<'static>>> =
        LazyLock::new(|| vec![*Location::caller(); 5 * CHAINS]);

    #[test]
    fn handles_are_counted_by_the_place_where_they_were_made() {
        let count = HandleCount::new();
        for (index, place) in PLACES.iter().enumerate() {
            (0..=index % 3).for_each(|_| count.add_handle(place));
        }
        let expected: usize = (0..PLACES.len()).map(|index| index % 3 + 1).sum();
        assert_eq!(count.held(), [(&PLACES[0], expected)], "one place, whatever its address");
        for (index, place) in PLACES.iter().enumerate() {
            (0..=index % 3).for_each(|_| count.remove_handle(place));
        }
        assert!(count.held().is_empty());
    }

    #[test]
    fn the_place_with_most_handles_is_first() {
        let count = HandleCount::new();
        let (once, twice) = (Location::caller(), Location::caller());
        count.add_handle(once);
        count.add_handle(twice);
        count.add_handle(twice);
        assert_eq!(count.held(), [(twice, 2), (once, 1)]);
    }
}
