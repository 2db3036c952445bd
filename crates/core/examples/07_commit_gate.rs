//! The point of no return: cancelled or committed, and never both.
//!
//! With one flag for "cancelled" and another for "too late", a user can be told that the logout was
//! cancelled while it continues (experiment 22). A gate is one atomic: the first call decides, and the
//! other gets to know it.
//!
//! ```text
//! in time: Accepted, and the commit is refused
//! too late: TooLate, and the commit stands
//! 1000 races, 1000 times both got the same answer
//! ```

use std::{error::Error, sync::Barrier, thread};

use sundown::gate::{Cancel, CommitGate};

fn main() -> Result<(), Box<dyn Error>> {
    let gate = CommitGate::new();
    let (answer, committed) = (gate.cancel(), gate.commit());
    println!("in time: {answer:?}, and the commit is {}", said(committed.is_ok()));

    let gate = CommitGate::new();
    let (committed, answer) = (gate.commit(), gate.cancel());
    println!("too late: {answer:?}, and the commit {}", said(committed.is_ok()));

    let mut same = 0;
    for _ in 0..1000 {
        let (gate, start) = (CommitGate::new(), Barrier::new(2));
        let (committed, answer) = thread::scope(|scope| {
            let logout = scope.spawn(|| {
                start.wait();
                gate.commit().is_ok() // only now may the request leave
            });
            start.wait();
            let answer = gate.cancel();
            (logout.join(), answer)
        });
        let committed = committed.map_err(|_| "the logout panicked")?;
        same += usize::from(committed == (answer == Cancel::TooLate));
    }
    println!("1000 races, {same} times both got the same answer");
    Ok(())
}

const fn said(committed: bool) -> &'static str {
    if committed { "stands" } else { "refused" }
}
