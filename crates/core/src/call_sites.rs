//! Counts the live handles of a session by the place in the program where each was made. This is what
//! [`Session::held`](crate) and `StillHeld` list.
//!
//! Nothing is captured here. The callers capture a place by `#[track_caller]` and
//! `Location::caller()`, and pass it in: `Session::guard` in `session.rs`, and the methods of `Guarded`
//! and `GuardedWeak` in `session/guarded.rs` and `session/weak.rs`. If a line number is wrong, look there.

use std::{hint::black_box, panic::Location, ptr};

use once_cell::race::OnceBox;

use crate::{
    sync::{AtomicUsize, Ordering},
    this_thread,
};

/// How many chains the call sites are spread over.
const CHAINS: usize = 32;

/// How many threads can count at a call site without an atomic read-modify-write.
const OWNED: usize = 8;

/// The call sites at which handles were made, with the number of live handles of each. There are few,
/// and they are only ever added. A handle finds its site with a load or two, because making a handle must
/// not cost much more than cloning an `Arc`.
#[derive(Default)]
pub struct CallSites {
    chains: [Link; CHAINS],
}

/// Set by one compare-and-swap. While a `OnceLock` is being set, others wait for it, and in a child that is forked
/// meanwhile they would wait for ever.
type Link = OnceBox<CallSite>;

struct CallSite {
    made_at: &'static Location<'static>,
    /// The place is in the standard library, which cloned a handle for somebody else.
    is_in_std: bool,
    handles: Balance,
    next: Link,
}

impl CallSites {
    /// Counts a handle that was made at this place, and returns the place. If the place is in the
    /// standard library (a `Vec` of handles was cloned), the handle counts as made where `original` was.
    #[inline]
    pub fn add(
        &self,
        made_at: &'static Location<'static>,
        original: &'static Location<'static>,
    ) -> &'static Location<'static> {
        let mut site = self.at(made_at);
        if site.is_in_std {
            site = self.at(original);
        }
        site.handles.add(1);
        site.made_at
    }

    /// Counts a handle that was made at this place as gone. Pass in what [`add`](Self::add) returned.
    #[inline]
    pub fn remove(&self, made_at: &'static Location<'static>) {
        self.at(made_at).handles.add(usize::MAX);
    }

    /// Live handles by call site, most first (a snapshot).
    pub fn held(&self) -> Vec<(&'static Location<'static>, usize)> {
        let mut held: Vec<(&'static Location<'static>, usize)> = Vec::new();
        for site in self.iter() {
            let handles = site.handles.sum();
            // One place may have several addresses: a generic function that was compiled twice.
            match held.iter_mut().find(|(made_at, _)| *made_at == site.made_at) {
                _ if handles == 0 => {}
                Some((_, sum)) => *sum += handles,
                None => held.push((site.made_at, handles)),
            }
        }
        held.sort_by(|(one_at, one), (other_at, other)| other.cmp(one).then(one_at.cmp(other_at)));
        held
    }

    /// The call site at this address. It is added if it is new.
    #[inline]
    fn at(&self, made_at: &'static Location<'static>) -> &CallSite {
        // The compiler keeps locations next to each other, each three words long: these bits differ.
        let mut link = &self.chains[(ptr::from_ref(made_at).addr() >> 3) % CHAINS];
        while let Some(site) = link.get() {
            if ptr::eq(site.made_at, made_at) {
                return site;
            }
            link = &site.next;
        }
        append(link, made_at)
    }

    fn iter(&self) -> impl Iterator<Item = &CallSite> {
        self.chains
            .iter()
            .flat_map(|chain| std::iter::successors(chain.get(), |site| site.next.get()))
    }
}

/// Adds a call site to the end of a chain, or finds that another thread was faster.
#[cold]
fn append<'a>(mut link: &'a Link, made_at: &'static Location<'static>) -> &'a CallSite {
    loop {
        let site = link.get_or_init(|| {
            let (is_in_std, handles) = (is_in_std(made_at), Balance::default());
            Box::new(CallSite { made_at, is_in_std, handles, next: Link::new() })
        });
        if ptr::eq(site.made_at, made_at) {
            return site;
        }
        link = &site.next;
    }
}

/// A count that threads add to and subtract from. An atomic read-modify-write takes as long as half of an
/// `Arc`'s clone and drop, and a handle needs two. So the first threads that use a count have a part of
/// it each, which nobody else writes: a load and a store are enough there.
#[derive(Default)]
struct Balance {
    owned: [Part; OWNED],
    /// The part of all other threads.
    shared: AtomicUsize,
}

#[derive(Default)]
struct Part {
    /// The number of the thread that owns this part, plus one; 0 until there is one. No other thread ever
    /// has that number.
    owner: AtomicUsize,
    /// May wrap around: a handle is made by one thread and dropped by another.
    balance: AtomicUsize,
}

impl Balance {
    /// Adds a number, which may be `-1` as a `usize`.
    #[inline]
    fn add(&self, number: usize) {
        // All orderings here are Relaxed: a number for a report, which publishes nothing. What is done
        // with a value is ordered by the reference count of its handles and by the handle count. These
        // also make the numbers exact for whoever has seen that the last handle is gone.
        let this = this_thread::number();
        let part = &self.owned[this % OWNED];
        if part.is_owned_by(this + 1) {
            let balance = part.balance.load(Ordering::Relaxed);
            part.balance.store(balance.wrapping_add(number), Ordering::Relaxed);
        } else {
            self.shared.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// The sum (a snapshot). It is exact if no thread adds meanwhile. Otherwise a handle that is made and
    /// dropped meanwhile may be missed or counted, and no other.
    fn sum(&self) -> usize {
        let parts = self.owned.iter().map(|part| part.balance.load(Ordering::Relaxed));
        let sum = parts.fold(self.shared.load(Ordering::Relaxed), usize::wrapping_add);
        // Below zero: a handle was made after its part was read, and dropped before the other was.
        if sum > usize::MAX / 2 { 0 } else { sum }
    }
}

impl Part {
    /// Whether this thread owns the part, or now does.
    #[inline]
    fn is_owned_by(&self, thread: usize) -> bool {
        match self.owner.load(Ordering::Relaxed) {
            0 => self.claim(thread),
            owner => owner == thread,
        }
    }

    #[cold]
    fn claim(&self, thread: usize) -> bool {
        self.owner.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Whether a place is in the standard library, or in a crate that it is built from.
fn is_in_std(place: &Location<'_>) -> bool {
    /// Where this build has the sources of the standard library, learned from a place in it.
    fn library() -> Option<&'static str> {
        struct Probe(Option<&'static Location<'static>>);
        impl Clone for Probe {
            #[track_caller]
            fn clone(&self) -> Self {
                Self(Some(Location::caller()))
            }
        }
        let Probe(place) = black_box(Some(Probe(None))).clone()?;
        place?.file().strip_suffix("core/src/option.rs")
    }
    let file = place.file();
    // As released toolchains name the sources of the library and of its dependencies.
    file.starts_with("/rustc/")
        || file.starts_with("/rust/deps/")
        || library().is_some_and(|library| file.starts_with(library))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{sync::LazyLock, thread};

    use super::*;

    /// More call sites than chains, so that some chains have several.
    static PLACES: LazyLock<Vec<Location<'static>>> =
        LazyLock::new(|| vec![*Location::caller(); 5 * CHAINS]);

    #[test]
    fn handles_are_counted_by_the_place_where_they_were_made() {
        let sites = CallSites::default();
        for (index, place) in PLACES.iter().enumerate() {
            (0..=index % 3).for_each(|_| _ = sites.add(place, place));
        }
        let expected: usize = (0..PLACES.len()).map(|index| index % 3 + 1).sum();
        assert_eq!(sites.held(), [(&PLACES[0], expected)], "one place, whatever its address");
        for (index, place) in PLACES.iter().enumerate() {
            (0..=index % 3).for_each(|_| sites.remove(place));
        }
        assert!(sites.held().is_empty());
    }

    #[test]
    fn the_place_with_most_handles_is_first() {
        let sites = CallSites::default();
        let (once, twice) = (Location::caller(), Location::caller());
        sites.add(once, once);
        sites.add(twice, twice);
        sites.add(twice, twice);
        assert_eq!(sites.held(), [(twice, 2), (once, 1)]);
    }

    #[test]
    fn more_threads_than_parts_are_counted_and_a_handle_may_be_dropped_elsewhere() {
        let (sites, here) = (CallSites::default(), Location::caller());
        let on_threads = |what: fn(&CallSites, &'static Location<'static>)| {
            thread::scope(|scope| {
                (0..3 * OWNED).for_each(|_| _ = scope.spawn(|| what(&sites, here)));
            });
        };
        on_threads(|sites, here| (0..100).for_each(|_| _ = sites.add(here, here)));
        assert_eq!(sites.held(), [(here, 300 * OWNED)]);
        on_threads(|sites, here| (0..100).for_each(|_| sites.remove(here)));
        assert!(sites.held().is_empty());
    }

    #[test]
    fn a_place_in_the_standard_library_gives_way_to_that_of_the_original() {
        struct Probe(&'static Location<'static>);
        impl Clone for Probe {
            #[track_caller]
            fn clone(&self) -> Self {
                Self(Location::caller())
            }
        }
        let original = Location::caller();
        let in_std = vec![Probe(original)].clone().remove(0).0;
        assert!(is_in_std(in_std) && !is_in_std(original), "{in_std}");
        let sites = CallSites::default();
        assert_eq!(sites.add(in_std, original), original);
        assert_eq!(sites.held(), [(original, 1)]);
    }
}
