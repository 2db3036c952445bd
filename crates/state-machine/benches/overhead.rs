//! The cost of the driver: a logout of an application that answers at once, compared with the same
//! calls made by hand.
//!
//! The two take turns in one process, in rounds whose order changes, and medians are compared. In the
//! second figure each answer comes one turn later, so that each limit must be set. Most of that cost is
//! the thread that keeps the limits: the first limit starts it, and the end of the logout joins it.
//! `cargo bench -p state-machine` prints microseconds per logout.

#[path = "../tests/by_effect/mod.rs"]
mod by_effect;

use std::{
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use by_effect::{ByEffect, Perform};
use futures::executor::block_on;
use state_machine::{
    application::{Failure, Runtime, Server, Session, Storage, SyncService, UserInterface},
    config::LogoutConfig,
    driver::Driver,
    transition::Effect,
};

const ROUNDS: usize = 51;
const LOGOUTS: u32 = 200;

fn main() -> Result<(), Failure> {
    for (name, late) in [("at once", false), ("a turn later", true)] {
        let app = Arc::new(ByEffect(Answers { late }));
        let (mut by_hand, mut driven, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                by_hand.push(time_by_hand(&app)?);
                driven.push(time_driven(&app)?);
            } else {
                driven.push(time_driven(&app)?);
                by_hand.push(time_by_hand(&app)?);
            }
            added.push(driven[round].saturating_sub(by_hand[round]));
        }
        println!(
            "answers {name:<12}  by hand {:>8.2} µs   driven {:>8.2} µs   of its own {:>8.2} µs per logout",
            median_micros(by_hand),
            median_micros(driven),
            median_micros(added)
        );
    }
    Ok(())
}

fn time_driven(app: &Arc<ByEffect<Answers>>) -> Result<Duration, Failure> {
    let began = Instant::now();
    for _ in 0..LOGOUTS {
        // Making the driver counts too.
        let driver = Driver::new(Arc::clone(app), LogoutConfig::default());
        let _ = block_on(driver.run())?;
    }
    Ok(began.elapsed() / LOGOUTS)
}

fn time_by_hand(app: &ByEffect<Answers>) -> Result<Duration, Failure> {
    let began = Instant::now();
    for _ in 0..LOGOUTS {
        block_on(by_hand(app))?;
    }
    Ok(began.elapsed() / LOGOUTS)
}

/// The calls of a logout, with nothing around them.
async fn by_hand(app: &ByEffect<Answers>) -> Result<(), Failure> {
    app.check_logged_in().await?;
    app.stop_sync(Duration::ZERO).await?;
    app.record_intent().await?;
    app.log_out().await?;
    app.delete_latest_user_id().await?;
    app.clear_intent().await?;
    app.close_tabs().await?;
    app.clean_app_state().await?;
    app.close_session(Duration::ZERO).await?;
    app.shut_down_tasks(Duration::ZERO).await?;
    app.restart_runtime().await
}

fn median_micros(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// An application that has nothing to do, and answers at once or one turn later.
struct Answers {
    late: bool,
}

impl Perform for Answers {
    async fn perform(&self, _: Effect, _: Option<Duration>) -> Result<(), Failure> {
        let mut waits = self.late;
        poll_fn(|context| {
            if !waits {
                return Poll::Ready(());
            }
            waits = false;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        Ok(())
    }
}
