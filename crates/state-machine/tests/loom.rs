//! The driver's use of the commit gate, every interleaving of it, explored by loom on the shipped
//! source: a cancel against the departure of the logout request and the server's answer.
//!
//! `cargo xtask loom` runs this beside the models of package `core`; so does, without a table,
//! `RUSTFLAGS="--cfg loom" cargo test -p state-machine --release --test loom`.
#![cfg(loom)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a model fails by panicking"
)]

// ANCHOR: explore
#[path = "../../core/tests/loom/explore.rs"]
mod explore;
// ANCHOR_END: explore

use std::future::pending;

use explore::{Bound, explore, must_be_caught};
use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use state_machine::passage::{Cancellation, Passage};
use sundown::gate::Cancelled;

/// What the server knows: whether it has forgotten the token. Relaxed, so that only the passage
/// makes it visible.
#[derive(Default)]
struct Server(AtomicBool);

impl Server {
    fn forget(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_forgotten(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the driver does about the request, and whether it left.
fn request(passage: &Passage, server: &Server) -> bool {
    match block_on(passage.request(async { server.forget() })) {
        Ok(answer) => {
            assert_eq!(answer, Some(()), "an answer that is there is not given up");
            passage.commit();
            true
        }
        Err(Cancelled) => false,
    }
}

#[test]
fn driver_a_cancel_is_honoured_or_told_the_truth() {
    explore("driver, cancel against request and answer", Bound::Full, || {
        let (passage, server) = (Arc::new(Passage::new()), Arc::new(Server::default()));
        let canceller = thread::spawn({
            let (passage, server) = (Arc::clone(&passage), Arc::clone(&server));
            move || {
                let told = passage.cancel();
                if told == Cancellation::TooLate {
                    assert!(server.has_forgotten(), "too late, and nothing has happened");
                }
                told
            }
        });
        let requested = request(&passage, &server);
        match canceller.join().unwrap() {
            Cancellation::Accepted => assert!(!requested && !server.has_forgotten()),
            Cancellation::UpToServer | Cancellation::TooLate => assert!(requested),
            told => panic!("there was one cancel, during a run: {told:?}"),
        }
        assert!(passage.is_wished() || passage.is_committed());
    });
}

#[test]
fn driver_of_two_cancels_at_most_one_is_accepted_and_none_once_the_request_left() {
    explore("driver, two cancels against request and answer", Bound::Full, || {
        let (passage, server) = (Arc::new(Passage::new()), Arc::new(Server::default()));
        let cancellers = [(); 2].map(|()| {
            let passage = Arc::clone(&passage);
            thread::spawn(move || passage.cancel())
        });
        let requested = request(&passage, &server);
        let told = cancellers.map(|canceller| canceller.join().unwrap());
        let accepted = told.iter().filter(|told| **told == Cancellation::Accepted).count();
        assert_eq!(accepted, usize::from(!requested));
        if requested {
            assert!(!told.contains(&Cancellation::AlreadyCancelled));
        } else {
            assert!(told.contains(&Cancellation::AlreadyCancelled));
        }
    });
}

/// The server does not answer, and a cancel comes: before the request leaves, or while the driver
/// waits.
#[test]
fn driver_waiting_for_the_server_is_woken_by_a_cancel() {
    explore("driver, cancel against a server that does not answer", Bound::Full, || {
        let passage = Arc::new(Passage::new());
        let canceller = thread::spawn({
            let passage = Arc::clone(&passage);
            move || passage.cancel()
        });
        let (told, left) = match block_on(passage.request(pending::<()>())) {
            Ok(answer) => {
                assert_eq!(answer, None);
                (Cancellation::UpToServer, true)
            }
            Err(Cancelled) => (Cancellation::Accepted, false),
        };
        assert_eq!(canceller.join().unwrap(), told);
        assert_eq!(passage.is_cancelled(), !left);
    });
}

#[test]
fn driver_waiting_for_a_step_is_woken_by_a_cancel() {
    explore("driver, cancel against a step that does not end", Bound::Full, || {
        let passage = Arc::new(Passage::new());
        let canceller = thread::spawn({
            let passage = Arc::clone(&passage);
            move || passage.cancel()
        });
        assert_eq!(block_on(passage.unless_cancelled(pending::<()>())), Err(Cancelled));
        assert!(passage.is_cancelled(), "whoever is interrupted finds the cancel accepted");
        assert_eq!(canceller.join().unwrap(), Cancellation::Accepted);
        assert_eq!(block_on(passage.request(pending::<()>())), Err(Cancelled));
    });
}

/// As later versions of Robrix have it (claim B8): one flag for the wish, one for the point of no
/// return, and each party looks at the other's.
#[test]
fn driver_twin_of_two_flags_honours_both() {
    must_be_caught("driver, two separate flags", "accepted, and the request left", || {
        #[derive(Default)]
        struct TwoFlags {
            cancelled: AtomicBool,
            point_of_no_return: AtomicBool,
        }
        let flags = Arc::new(TwoFlags::default());
        let canceller = thread::spawn({
            let flags = Arc::clone(&flags);
            move || {
                if flags.point_of_no_return.load(Ordering::SeqCst) {
                    return Cancellation::TooLate;
                }
                flags.cancelled.store(true, Ordering::SeqCst);
                Cancellation::Accepted
            }
        });
        let requested = !flags.cancelled.load(Ordering::SeqCst);
        if requested {
            flags.point_of_no_return.store(true, Ordering::SeqCst);
        }
        let told = canceller.join().unwrap();
        assert!(told != Cancellation::Accepted || !requested, "accepted, and the request left");
    });
}
