//! Every interleaving of a cancel with the logout request and the server's answer, explored by loom
//! on the shipped source of the cancel token.
//!
//! `cargo xtask loom` runs this with the models of package `core`. So does, without a table,
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
    thread::{self, JoinHandle},
};
use state_machine::cancel::{CancelToken, Cancellation};
use sundown_core::gate::Cancelled;

/// Whether the server has forgotten the token. Relaxed, so that only the cancel token makes it
/// visible.
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

fn cancel_on_a_thread(token: &Arc<CancelToken>) -> JoinHandle<Cancellation> {
    let token = Arc::clone(token);
    thread::spawn(move || token.cancel())
}

/// Sends the request as the driver does. Returns whether it left.
fn request(token: &CancelToken, server: &Server) -> bool {
    match block_on(token.request(async { server.forget() })) {
        Ok(answer) => {
            assert_eq!(answer, Some(()), "a ready answer is taken");
            token.commit();
            true
        }
        Err(Cancelled) => false,
    }
}

/// A cancel against a request, which returns whether it left.
fn cancel_against(request: fn(&CancelToken, &Server) -> bool) {
    let (token, server) = (Arc::new(CancelToken::new()), Arc::new(Server::default()));
    let canceller = thread::spawn({
        let (token, server) = (Arc::clone(&token), Arc::clone(&server));
        move || {
            let answer = token.cancel();
            if answer == Cancellation::TooLate {
                assert!(server.has_forgotten(), "too late, and the server has not forgotten");
            }
            answer
        }
    });
    let requested = request(&token, &server);
    match canceller.join().unwrap() {
        Cancellation::Accepted => assert!(!requested && !server.has_forgotten()),
        Cancellation::UpToServer | Cancellation::TooLate => assert!(requested),
        answer => panic!("one cancel, during a run, was answered {answer:?}"),
    }
    assert!(token.is_requested() || token.is_committed());
}

#[test]
fn driver_a_cancel_is_honoured_or_answered_truly() {
    explore("driver, cancel against request and answer", Bound::Full, || cancel_against(request));
}

#[test]
fn driver_twin_that_commits_before_the_answer_is_caught() {
    let says = "too late, and the server has not forgotten";
    must_be_caught("driver, committed before the answer", says, || {
        cancel_against(|token, server| {
            let request = token.request(async {
                token.commit();
                server.forget();
            });
            block_on(request).is_ok()
        });
    });
}

#[test]
fn driver_of_two_cancels_at_most_one_is_accepted_and_none_after_the_request_left() {
    explore("driver, two cancels against request and answer", Bound::Full, || {
        let (token, server) = (Arc::new(CancelToken::new()), Arc::new(Server::default()));
        let cancellers = [(); 2].map(|()| cancel_on_a_thread(&token));
        let requested = request(&token, &server);
        let answers = cancellers.map(|canceller| canceller.join().unwrap());
        let accepted = answers.iter().filter(|answer| **answer == Cancellation::Accepted).count();
        assert_eq!(accepted, usize::from(!requested));
        if requested {
            assert!(!answers.contains(&Cancellation::AlreadyCancelled));
        } else {
            assert!(answers.contains(&Cancellation::AlreadyCancelled));
        }
    });
}

/// The cancel comes before the request leaves, or while the driver waits.
#[test]
fn driver_waiting_for_the_server_is_woken_by_a_cancel() {
    explore("driver, cancel against a server that does not answer", Bound::Full, || {
        let token = Arc::new(CancelToken::new());
        let canceller = cancel_on_a_thread(&token);
        let (answer, left) = match block_on(token.request(pending::<()>())) {
            Ok(answer) => {
                assert_eq!(answer, None);
                (Cancellation::UpToServer, true)
            }
            Err(Cancelled) => (Cancellation::Accepted, false),
        };
        assert_eq!(canceller.join().unwrap(), answer);
        assert_eq!(token.is_cancelled(), !left);
    });
}

#[test]
fn driver_waiting_for_a_step_is_woken_by_a_cancel() {
    explore("driver, cancel against a step that does not end", Bound::Full, || {
        let token = Arc::new(CancelToken::new());
        let canceller = cancel_on_a_thread(&token);
        assert_eq!(block_on(token.run_until_cancelled(pending::<()>())), Err(Cancelled));
        assert!(token.is_cancelled(), "an interrupted step finds the cancel accepted");
        assert_eq!(canceller.join().unwrap(), Cancellation::Accepted);
        assert_eq!(block_on(token.request(pending::<()>())), Err(Cancelled));
    });
}
