//! Runs pieces of work in parallel, with a limit on how many run at a time.

use std::{
    ops::ControlFlow,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// Pieces of work, and how many of them run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// How many pieces run at a time.
    pub jobs: usize,
    /// How many pieces there are: `0..count`.
    pub count: usize,
}

/// Runs the pieces `0..count` on this many threads. Calls the listener on the calling thread when a piece
/// ends. If the listener breaks, no further piece starts; the listener is still called for the running
/// ones. A piece that returns `None` ends its thread.
///
/// # Errors
///
/// The first error of a piece. No piece starts after it.
pub fn run<T: Send, E: Send>(
    jobs: usize,
    count: usize,
    piece: impl Fn(usize) -> Result<Option<T>, E> + Sync,
    on_done: impl FnMut(T) -> ControlFlow<()>,
) -> Result<(), E> {
    side_by_side(&[Lane { jobs, count }], |_, number| piece(number), on_done)
}

/// Like [`run`], with several lanes at the same time, each on its own threads. A piece gets the index of its
/// lane and its number in the lane.
///
/// # Errors
///
/// Same errors as [`run`].
pub fn side_by_side<T: Send, E: Send>(
    lanes: &[Lane],
    piece: impl Fn(usize, usize) -> Result<Option<T>, E> + Sync,
    mut on_done: impl FnMut(T) -> ControlFlow<()>,
) -> Result<(), E> {
    let next: Vec<_> = lanes.iter().map(|_| AtomicUsize::new(0)).collect();
    let (sender, receiver) = mpsc::channel();
    let mut failure = None;
    thread::scope(|scope| {
        for (place, (lane, next)) in lanes.iter().zip(&next).enumerate() {
            let Lane { jobs, count } = *lane;
            for _ in 0..jobs.max(1).min(count) {
                let (sender, piece) = (sender.clone(), &piece);
                scope.spawn(move || {
                    loop {
                        // Each number is taken once, and none beyond the count, so it cannot wrap.
                        // Relaxed: the work that a number stands for existed before the threads.
                        let taken =
                            next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
                                (number < count).then(|| number + 1)
                            });
                        let Ok(number) = taken else { return };
                        let Some(done) = piece(place, number).transpose() else { return };
                        let failed = done.is_err();
                        if sender.send(done).is_err() || failed {
                            return;
                        }
                    }
                });
            }
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
                for (lane, next) in lanes.iter().zip(&next) {
                    next.store(lane.count, Ordering::Relaxed);
                }
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Condvar, Mutex};

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
    fn a_lane_in_which_everything_waits_delays_no_other() {
        let lanes =
            [Lane { jobs: 1, count: 100 }, Lane { jobs: 3, count: 3 }, Lane { jobs: 2, count: 0 }];
        let (worked, waiting) = (AtomicUsize::new(0), Barrier::new(3));
        let all_worked = Condvar::new();
        let turn = Mutex::new(());
        let piece = |lane, number| {
            if lane == 0 {
                let _turn = turn.lock().unwrap();
                worked.fetch_add(1, Ordering::Relaxed);
                all_worked.notify_all();
            } else {
                // All three at a time, and until the other lane is through.
                waiting.wait();
                let turn = turn.lock().unwrap();
                drop(
                    all_worked.wait_while(turn, |()| worked.load(Ordering::Relaxed) < 100).unwrap(),
                );
            }
            Ok::<_, ()>(Some((lane, number)))
        };
        let mut done = Vec::new();
        let ran = side_by_side(&lanes, piece, |one| {
            done.push(one);
            ControlFlow::Continue(())
        });
        done.sort_unstable();
        let expected = (0..100).map(|number| (0, number)).chain((0..3).map(|number| (1, number)));
        assert_eq!((ran, done), (Ok(()), expected.collect::<Vec<_>>()));
    }

    #[test]
    fn no_piece_begins_after_the_listener_breaks_off_or_a_piece_fails() {
        // With so many pieces this would not end.
        let broken_off = run(2, usize::MAX, |_| Ok::<_, ()>(Some(())), |()| ControlFlow::Break(()));
        assert_eq!(broken_off, Ok(()));
        let piece = |number| if number < 5 { Ok(Some(())) } else { Err(number) };
        let failed = run(1, usize::MAX, piece, |()| ControlFlow::Continue(()));
        assert_eq!(failed, Err(5));
    }

    #[test]
    fn the_listener_is_not_called_for_a_piece_that_was_told_to_stop() {
        let mut done = 0;
        let piece = |number| Ok::<_, ()>((number < 5).then_some(()));
        let ran = run(1, usize::MAX, piece, |()| {
            done += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((ran, done), (Ok(()), 5));
    }
}
