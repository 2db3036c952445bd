//! Bench `drop`: what happens to the tasks when the thing that holds them is dropped without a
//! shutdown. It measures no time; it counts what happened to the tasks' futures.

use std::{
    io,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    figure::Figure,
    flavour::{Flavour, cores},
    group::peers::{MAKERS, Maker},
    options::Options,
    output::{note, print},
    workload::{ABORTED, COMPLETED, UNREGISTERED, Work},
};

/// How many tasks are left behind.
const TASKS: usize = 8;

/// How long to look. A task that has not ended by then runs on.
const LIMIT: Duration = Duration::from_millis(250);

/// Runs the bench.
pub fn run(options: &Options) -> io::Result<()> {
    for flavour in options.flavours() {
        note(&format!("drop, {TASKS} tasks, {flavour}"));
        let mut figures = Vec::new();
        for (case, work) in [("listening", Work::Listening), ("deaf", Work::Deaf)] {
            for maker in options.subjects(&MAKERS, |maker| maker.subject) {
                let observed = Some(observe(flavour, &maker, work)?);
                let figure = Figure::new("drop", case, TASKS, flavour, maker.subject);
                figures.push(Figure { observed, ..figure });
            }
        }
        print(options.format, &figures)?;
    }
    Ok(())
}

fn observe(flavour: Flavour, maker: &Maker, work: Work) -> io::Result<String> {
    let runtime = flavour.runtime(cores())?;
    Ok(runtime.block_on(async {
        UNREGISTERED.begin(TASKS);
        COMPLETED.store(0, Ordering::SeqCst);
        ABORTED.store(0, Ordering::SeqCst);
        let mut group = (maker.make)(TASKS);
        group.spawn(TASKS, work);
        UNREGISTERED.at_zero().await;
        drop(group);

        let began = Instant::now();
        let ended = || (COMPLETED.load(Ordering::SeqCst), ABORTED.load(Ordering::SeqCst));
        while ended().0 + ended().1 < TASKS && began.elapsed() < LIMIT {
            tokio::task::yield_now().await;
        }
        describe(ended())
    }))
}

/// `aborted`, or `3 stopped, 5 run on` if there is more than one fate.
fn describe((stopped, aborted): (usize, usize)) -> String {
    let running = TASKS.saturating_sub(stopped + aborted);
    let fates = [(stopped, "stopped"), (aborted, "aborted"), (running, "run on")];
    let fates: Vec<_> = fates.into_iter().filter(|(count, _)| *count > 0).collect();
    match fates.as_slice() {
        [(_, fate)] => (*fate).to_owned(),
        fates => fates.iter().map(|(n, fate)| format!("{n} {fate}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fate_is_one_word() {
        assert_eq!(describe((0, 8)), "aborted");
        assert_eq!(describe((0, 0)), "run on");
        assert_eq!(describe((3, 0)), "3 stopped, 5 run on");
    }
}
