//! A gate in front of something that will go away.
//!
//! Threads call into an interpreter, or into a library that can be unloaded. Joining those threads is not
//! enough: a join has a limit, and a thread that outlives it calls in later (experiment 60). A gate counts
//! who is inside. Once it is closed nobody enters, and you can wait until the last one has left.
//!
//! ```text
//! worker: inside
//! host: closed, with 1 inside
//! latecomer: refused
//! host: not yet, 1 still inside
//! host: everybody has left
//! ```

use std::{error::Error, sync::mpsc, thread, time::Duration};

use sundown::EntryGate;

/// In front of every call into the interpreter.
static GATE: EntryGate = EntryGate::new();

const LIMIT: Duration = Duration::from_secs(5);
const BRIEF: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn Error>> {
    let (entered, is_inside) = mpsc::channel();
    let (finish, is_to_finish) = mpsc::channel::<()>();
    let worker = thread::spawn(move || {
        // A thread that is refused must do without the call.
        let Ok(_inside) = GATE.enter() else { return };
        println!("worker: inside");
        let _ = entered.send(());
        let _ = is_to_finish.recv(); // calls into the interpreter
    });
    is_inside.recv()?;

    println!("host: closed, with {} inside", GATE.close());
    if GATE.enter().is_err() {
        println!("latecomer: refused");
    }
    if let Err(left) = GATE.wait_empty_blocking(BRIEF) {
        println!("host: not yet, {} still inside", left.inside);
    }
    drop(finish);
    GATE.wait_empty_blocking(LIMIT)?; // from here on it may go away
    println!("host: everybody has left");
    worker.join().map_err(|_| "the worker panicked")?;
    Ok(())
}
