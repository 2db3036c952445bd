//! Counts the live handles of a session by the place in the program where each was made. This is what
//! [`Session::held`](crate) and `StillHeld` list.
//!
//! Nothing is captured here. The callers capture a place by `#[track_caller]` and
//! `Location::caller()`, and pass it in: `Session::guard` in `session.rs`, and `Guarded::clone` and
//! `Guarded::map` in `session/guarded.rs`. If a line number is wrong, look there.

use std::{panic::Location, ptr, sync::OnceLock};

use crate::sync::{AtomicUsize, Ordering};

/// How many chains the call sites are spread over.
const CHAINS: usize = 32;

/// The call sites at which handles were made, with the number of live handles of each. There are few,
/// and they are only ever added. A handle finds its site with a load or two, because making a handle must
/// not cost much more than cloning an `Arc`.
#[derive(Default)]
pub struct CallSites {
    chains: [Link; CHAINS],
}

type Link = OnceLock<Box<CallSite>>;

struct CallSite {
    made_at: &'static Location<'static>,
    handles: AtomicUsize,
    next: Link,
}

impl CallSites {
    /// Counts a handle that was made at this place.
    #[inline]
    pub fn add(&self, made_at: &'static Location<'static>) {
        // Relaxed, here and in `remove`: a number for a report. What is done with a value is ordered by
        // the reference count of its handles, and by the handle count.
        self.at(made_at).handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a handle that was made at this place as gone.
    #[inline]
    pub fn remove(&self, made_at: &'static Location<'static>) {
        self.at(made_at).handles.fetch_sub(1, Ordering::Relaxed);
    }

    /// Live handles by call site, most first (a snapshot).
    pub fn held(&self) -> Vec<(&'static Location<'static>, usize)> {
        let mut held: Vec<(&'static Location<'static>, usize)> = Vec::new();
        for site in self.iter() {
            let handles = site.handles.load(Ordering::Relaxed);
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
        self.chains.iter().flat_map(|chain| {
            std::iter::successors(chain.get(), |site| site.next.get()).map(Box::as_ref)
        })
    }
}

/// Adds a call site to the end of a chain, or finds that another thread was faster.
#[cold]
fn append<'a>(mut link: &'a Link, made_at: &'static Location<'static>) -> &'a CallSite {
    loop {
        let site = link.get_or_init(|| {
            Box::new(CallSite { made_at, handles: AtomicUsize::new(0), next: Link::new() })
        });
        if ptr::eq(site.made_at, made_at) {
            return site;
        }
        link = &site.next;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// More call sites than chains, so that some chains have several.
    static PLACES: LazyLock<Vec<Location<'static>>> =
        LazyLock::new(|| vec![*Location::caller(); 5 * CHAINS]);

    #[test]
    fn handles_are_counted_by_the_place_where_they_were_made() {
        let sites = CallSites::default();
        for (index, place) in PLACES.iter().enumerate() {
            (0..=index % 3).for_each(|_| sites.add(place));
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
        sites.add(once);
        sites.add(twice);
        sites.add(twice);
        assert_eq!(sites.held(), [(twice, 2), (once, 1)]);
    }
}
