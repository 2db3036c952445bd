//! Many pieces of work, so many at a time.

use std::{
    ops::ControlFlow,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// Does the pieces of work `0..count` on so many threads, and tells of each as it is done, on the
/// calling thread, until the listener breaks off: then nothing more is begun, and what was under way
/// is still told of. A piece that returns nothing ends its thread's share: it was told to stop.
///
/// # Errors
///
/// The first error of a piece; nothing is begun after it.
pub fn run<T: Send, E: Send>(
    jobs: usize,
    count: usize,
    piece: impl Fn(usize) -> Result<Option<T>, E> + Sync,
    mut on_done: impl FnMut(T) -> ControlFlow<()>,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut failure = None;
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            let (sender, next, piece) = (sender.clone(), &next, &piece);
            scope.spawn(move || {
                loop {
                    // Each number is taken once, and none beyond the count, so that it cannot wrap.
                    // What a number stands for was there before the threads: nothing to order.
                    let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
                        (number < count).then(|| number + 1)
                    });
                    let Ok(number) = taken else { return };
                    let Some(done) = piece(number).transpose() else { return };
                    let failed = done.is_err();
                    if sender.send(done).is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for done in receiver {
            let flow = match done {
                Ok(done) => on_done(done),
                Err(error) => {
                    failure.get_or_insert(error);
                    ControlFlow::Break(())
                }
            };
            if flow.is_break() {
                next.store(count, Ordering::Relaxed);
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once() {
        let mut done = Vec::new();
        let ran = run(
            3,
            100,
            |number| Ok::<_, ()>(Some(number)),
            |number| {
                done.push(number);
                ControlFlow::Continue(())
            },
        );
        done.sort_unstable();
        assert_eq!((ran, done), (Ok(()), (0..100).collect::<Vec<_>>()));
    }

    #[test]
    fn nothing_is_begun_after_the_listener_has_broken_off_or_a_piece_has_failed() {
        // However many there are: this would not end.
        let broken_off = run(2, usize::MAX, |_| Ok::<_, ()>(Some(())), |()| ControlFlow::Break(()));
        assert_eq!(broken_off, Ok(()));
        let piece = |number| if number < 5 { Ok(Some(())) } else { Err(number) };
        let failed = run(1, usize::MAX, piece, |()| ControlFlow::Continue(()));
        assert_eq!(failed, Err(5));
    }

    #[test]
    fn what_was_told_to_stop_is_not_told_of() {
        let mut done = 0;
        let piece = |number| Ok::<_, ()>((number < 5).then_some(()));
        let ran = run(1, usize::MAX, piece, |()| {
            done += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((ran, done), (Ok(()), 5));
    }
}
