//! The point of no return: cancelled or committed, and never both.
//!
//! With a flag for "cancelled" and another for "too late", a user can be told that the logout was
//! cancelled while it goes on (experiment 22). A gate is one atomic: whoever closes it first has
//! decided, and the other is told so. Here a user who cancels races with a logout that commits, a
//! thousand times, and each time both must tell the same story.
//!
//! ```text
//! in time: Accepted, and the commit is refused
//! too late: TooLate, and the commit stands
//! 1000 races, 1000 times both told the same
//! ```

use std::{error::Error, sync::Barrier, thread};

use sundown::gate::{Cancel, CommitGate};

fn main() -> Result<(), Box<dyn Error>> {
    let gate = CommitGate::new();
    let answer = gate.cancel();
    println!("in time: {answer:?}, and the commit is {}", said(gate.commit().is_ok()));

    let gate = CommitGate::new();
    let committed = gate.commit().is_ok();
    println!("too late: {:?}, and the commit {}", gate.cancel(), said(committed));

    let mut same = 0;
    for _ in 0..1000 {
        let (gate, start) = (CommitGate::new(), Barrier::new(2));
        let (committed, answer) = thread::scope(|scope| {
            let logout = scope.spawn(|| {
                start.wait();
                gate.commit().is_ok() // now the request may leave
            });
            start.wait();
            let answer = gate.cancel();
            (logout.join(), answer)
        });
        let committed = committed.map_err(|_| "the logout panicked")?;
        same += usize::from(committed == (answer == Cancel::TooLate));
    }
    println!("1000 races, {same} times both told the same");
    Ok(())
}

const fn said(committed: bool) -> &'static str {
    if committed { "stands" } else { "refused" }
}
