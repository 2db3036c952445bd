//! A program that sees SIGTERM by its own means and returns from `main`. Its plan is carried out before the process
//! ends, and decides on the exit code: 143.

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::{thread, time::Duration};

    use signal_hook::{consts::SIGTERM, iterator::Signals, low_level::raise};
    use sundown::exit::{
        plan::ExitPlan,
        resource::{Policy, Resource},
        signals::SignalGuard,
    };

    let plan = ExitPlan::builder(Duration::from_secs(3)).build();
    let policy = Policy::TearDown { within: Duration::from_secs(1) };
    plan.add(Resource::new("cache", policy, |_exit| {
        thread::sleep(Duration::from_millis(200));
        println!("the cache is written");
        Ok(())
    }))?;
    let _guard = SignalGuard::install(&plan)?;

    // As a server with a graceful shutdown does.
    let mut signals = Signals::new([SIGTERM])?;
    raise(SIGTERM)?;
    signals.forever().next();
    println!("main returns");
    Ok(())
}

#[cfg(not(unix))]
fn main() {}
