//! An answer instead of a pause.
//!
//! "Give the user interface a moment to let go of the client" is a guess, and wrong on another machine
//! (experiments 03, 05). The thread that lets go can say so. You can await its answer, or wait for it on
//! a plain thread with a limit. If the limit passes, nothing is lost.
//!
//! ```text
//! awaited: 3 tabs closed
//! with a limit: no confirmation came within 0ns; it may still come
//! with a longer one: 3 tabs closed
//! the thread is gone: the sender was dropped without a confirmation; what it should have confirmed did not end
//! ```

use std::{error::Error, sync::mpsc, thread, time::Duration};

use sundown::oneshot::{self, Sender};

const LIMIT: Duration = Duration::from_secs(5);

/// What the user interface is asked to do, and where to confirm it.
enum Action {
    CloseTabs(Sender<usize>),
    Crash(Sender<usize>),
}

fn main() -> Result<(), Box<dyn Error>> {
    let (actions, received) = mpsc::channel();
    let user_interface = thread::spawn(move || run(received));

    let (confirm, closed) = oneshot::channel();
    actions.send(Action::CloseTabs(confirm))?;
    println!("awaited: {} tabs closed", futures::executor::block_on(closed)?);

    let (confirm, mut closed) = oneshot::channel();
    // This limit passes, because nobody has been asked yet.
    if let Err(too_early) = closed.wait_blocking(Duration::ZERO) {
        println!("with a limit: {too_early}");
    }
    actions.send(Action::CloseTabs(confirm))?;
    println!("with a longer one: {} tabs closed", closed.wait_blocking(LIMIT)?);

    let (confirm, mut closed) = oneshot::channel();
    actions.send(Action::Crash(confirm))?;
    if let Err(abandoned) = closed.wait_blocking(LIMIT) {
        println!("the thread is gone: {abandoned}");
    }
    user_interface.join().map_err(|_| "the user interface panicked")?;
    Ok(())
}

/// The loop of a user interface.
fn run(actions: mpsc::Receiver<Action>) {
    for action in actions {
        match action {
            Action::CloseTabs(confirm) => {
                // … the tabs are closed here, and only then:
                let _ = confirm.send(3);
            }
            // It ends without an answer, as by a panic.
            Action::Crash(_confirm) => return,
        }
    }
}
