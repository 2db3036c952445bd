//! What the standard library has in a newer Rust than the oldest that the kit builds with.

use std::fmt;
#[cfg(not(loom))]
use std::panic::PanicHookInfo;

/// `Vec::extract_if`, except that the order changes.
pub(crate) fn extract_if<T>(list: &mut Vec<T>, mut holds: impl FnMut(&mut T) -> bool) -> Vec<T> {
    let (mut taken, mut at) = (Vec::new(), 0);
    while let Some(item) = list.get_mut(at) {
        if holds(item) {
            taken.push(list.swap_remove(at));
        } else {
            at += 1;
        }
    }
    taken
}

/// `str::floor_char_boundary`: the longest part of a text that is not longer than this ends here.
pub(crate) fn floor_char_boundary(text: &str, longest: usize) -> usize {
    (0..=longest.min(text.len())).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// `fmt::from_fn`.
pub(crate) fn from_fn(
    show: impl Fn(&mut fmt::Formatter<'_>) -> fmt::Result,
) -> impl fmt::Debug + fmt::Display {
    struct FromFn<F>(F);
    impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for FromFn<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0(f)
        }
    }
    impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Debug for FromFn<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0(f)
        }
    }
    FromFn(show)
}

/// `PanicHookInfo::payload_as_str`.
#[cfg(not(loom))]
pub(crate) fn payload_as_str<'a>(panic: &'a PanicHookInfo<'_>) -> Option<&'a str> {
    let payload = panic.payload();
    payload.downcast_ref::<&str>().copied().or_else(|| Some(payload.downcast_ref::<String>()?))
}

#[cfg(test)]
mod tests {
    use super::{extract_if, floor_char_boundary};

    #[test]
    fn a_text_is_cut_between_characters() {
        let ends = [0, 1, 2, 9].map(|longest| floor_char_boundary("ä!", longest));
        assert_eq!(ends, [0, 0, 2, 3]);
    }

    #[test]
    fn what_is_taken_and_what_is_left_are_the_whole() {
        for taken in 0..32_u32 {
            let mut list = vec![0, 1, 2, 3, 4];
            let is_taken = |item: &u32| taken & (1 << item) != 0;
            let mut found = extract_if(&mut list, |item| is_taken(item));
            assert!(found.iter().all(is_taken) && !list.iter().any(is_taken));
            found.extend(list);
            found.sort_unstable();
            assert_eq!(found, [0, 1, 2, 3, 4]);
        }
    }
}
