//! What the driver itself costs: a whole logout of an application that answers at once, beside the
//! same calls made one after another by hand.
//!
//! The two take turns in one process, in rounds whose order changes, and medians are compared:
//! machines are noisy. Once more with answers that come one turn later, so that each limit has to be
//! set: then most of it is the thread that keeps the limits, which starts with the first of them
//! and ends with the last. `cargo bench -p state-machine` prints microseconds per logout, `cargo
//! bench -p state-machine -- --json` one object per line. No time is ever asserted.

use std::{
    env,
    future::poll_fn,
    process::ExitCode,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use state_machine::{
    application::{
        Failure, RequestError, Runtime, Server, Session, Storage, SyncService, Token, UserInterface,
    },
    config::LogoutConfig,
    driver::Driver,
    error::LogoutError,
};

const ROUNDS: usize = 51;
const LOGOUTS: u32 = 200;

fn main() -> ExitCode {
    let mut json = false;
    for argument in env::args().skip(1) {
        match argument.as_str() {
            // What `cargo bench` passes.
            "--bench" => {}
            "--json" => json = true,
            other => {
                eprintln!("error: {other} is no option of this bench; there is only --json");
                return ExitCode::from(2);
            }
        }
    }
    for (name, turns) in [("at once", 0), ("a turn later", 1)] {
        match measure(turns) {
            Ok(figure) if json => figure.print_json(name),
            Ok(figure) => figure.print(name),
            Err(error) => {
                eprintln!("error: the logout that was to be measured failed: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Medians over the rounds, each of a mean over many logouts.
struct Figure {
    by_hand: Duration,
    driven: Duration,
    added: Duration,
}

impl Figure {
    fn print(&self, name: &str) {
        println!(
            "answers {name:<12}  by hand {:>8.2} µs   driven {:>8.2} µs   of its own {:>8.2} µs per logout",
            micros(self.by_hand),
            micros(self.driven),
            micros(self.added)
        );
    }

    fn print_json(&self, name: &str) {
        println!(
            r#"{{"bench":"overhead","answers":"{name}","by_hand_us":{:.3},"driven_us":{:.3},"added_us":{:.3}}}"#,
            micros(self.by_hand),
            micros(self.driven),
            micros(self.added)
        );
    }
}

fn measure(turns: usize) -> Result<Figure, LogoutError> {
    let app = Arc::new(App { turns });
    let (mut by_hand, mut driven, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let hand_first = round % 2 == 0;
        let first = if hand_first { time_by_hand(&app) } else { time_driven(&app)? };
        let second = if hand_first { time_driven(&app)? } else { time_by_hand(&app) };
        let (hand, drive) = if hand_first { (first, second) } else { (second, first) };
        by_hand.push(hand);
        driven.push(drive);
        added.push(drive.saturating_sub(hand));
    }
    Ok(Figure { by_hand: median(by_hand), driven: median(driven), added: median(added) })
}

fn time_driven(app: &Arc<App>) -> Result<Duration, LogoutError> {
    let began = Instant::now();
    for _ in 0..LOGOUTS {
        // The making of a driver is counted too.
        let driver = Driver::new(Arc::clone(app), LogoutConfig::default());
        block_on(driver.run())?;
    }
    Ok(began.elapsed() / LOGOUTS)
}

fn time_by_hand(app: &App) -> Duration {
    let began = Instant::now();
    for _ in 0..LOGOUTS {
        let _ = block_on(by_hand(app));
    }
    began.elapsed() / LOGOUTS
}

/// The calls that a logout makes, with nothing around them.
async fn by_hand(app: &App) -> Result<(), Failure> {
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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// An application that has nothing to do.
struct App {
    turns: usize,
}

impl App {
    async fn answer(&self) -> Result<(), Failure> {
        for _ in 0..self.turns {
            let mut given = false;
            poll_fn(|context| {
                if given {
                    return Poll::Ready(());
                }
                given = true;
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
        Ok(())
    }
}

impl Session for App {
    async fn check_logged_in(&self) -> Result<(), Failure> {
        self.answer().await
    }

    async fn close_session(&self, _limit: Duration) -> Result<(), Failure> {
        self.answer().await
    }
}

impl SyncService for App {
    async fn stop_sync(&self, _limit: Duration) -> Result<(), Failure> {
        self.answer().await
    }

    fn restart_sync(&self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Server for App {
    async fn log_out(&self) -> Result<(), RequestError> {
        Ok(self.answer().await?)
    }

    async fn who_am_i(&self) -> Result<Token, Failure> {
        Ok(Token::Valid)
    }
}

impl UserInterface for App {
    async fn close_tabs(&self) -> Result<(), Failure> {
        self.answer().await
    }

    async fn clean_app_state(&self) -> Result<(), Failure> {
        self.answer().await
    }
}

impl Storage for App {
    async fn record_intent(&self) -> Result<(), Failure> {
        self.answer().await
    }

    async fn has_intent(&self) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn clear_intent(&self) -> Result<(), Failure> {
        self.answer().await
    }

    async fn delete_latest_user_id(&self) -> Result<(), Failure> {
        self.answer().await
    }
}

impl Runtime for App {
    async fn shut_down_tasks(&self, _limit: Duration) -> Result<(), Failure> {
        self.answer().await
    }

    async fn restart_runtime(&self) -> Result<(), Failure> {
        self.answer().await
    }
}
