//! A program whose event loop exits the process by itself, as that of tao does, and that of winit on macOS
//! when the user quits. Nothing after the loop runs. So the plan leaves in the loop's last event.
//!
//! ```text
//! loop: opened a window
//! loop: exiting
//! the cache is written
//! ```
//!
//! `event_loop forgets` does not leave there. Then nothing is torn down, and `run` says so on standard error.

use std::{env, process, time::Duration};

use sundown::exit::{
    plan::{ExitPlan, PlanError},
    resource::{Policy, Resource},
};

/// What the loop tells the program.
enum Event {
    Opened,
    /// The last one: `Event::LoopDestroyed` of tao, `ApplicationHandler::exiting` of winit.
    Exiting,
}

fn main() -> Result<(), PlanError> {
    let forgets = env::args().any(|argument| argument == "forgets");
    let plan = ExitPlan::builder(Duration::from_secs(3)).build();
    let policy = Policy::TearDown { within: Duration::from_secs(1) };
    plan.add(Resource::new("cache", policy, |_exit| {
        println!("the cache is written");
        Ok(())
    }))?;
    plan.run(|| {
        run_loop(|event| match event {
            Event::Opened => println!("loop: opened a window"),
            Event::Exiting if forgets => {}
            Event::Exiting => {
                println!("loop: exiting");
                plan.leave(0)
            }
        })
    })
}

/// The loop of a library.
fn run_loop(mut handle: impl FnMut(Event)) -> ! {
    handle(Event::Opened);
    handle(Event::Exiting);
    process::exit(0)
}
