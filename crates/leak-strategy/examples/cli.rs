//! A command-line program with a log, a pool of connections and a runtime. It exits by one plan: when its work is
//! done, when that panics, at SIGTERM and at Ctrl-C.

use std::{error::Error, time::Duration};

use sundown::{
    RuntimeOwner,
    exit::{app, leftovers, plan::ExitPlan, resource::Policy, signals::SignalGuard},
};

fn main() -> Result<(), Box<dyn Error>> {
    let within = Duration::from_secs(1);
    let plan = ExitPlan::builder(Duration::from_secs(3)).build();
    let _signals = SignalGuard::install(&plan)?;

    // What is registered first is torn down last.
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    tracing_subscriber::fmt().with_writer(writer).init();
    plan.add(leftovers::dropped("log", Policy::TearDown { within }, guard).writes_the_log())?;

    let owner = RuntimeOwner::builder("program").workers(2).start()?;
    let runtime = owner.handle()?;
    plan.add(app::runtime(Policy::TearDownOrLeak { within }, owner))?;

    let pool = Pool;
    let close = {
        let pool = pool.clone();
        move || async move {
            pool.close().await;
            Ok(())
        }
    };
    let database = leftovers::closed("database", Policy::TearDown { within }, &runtime, close);
    plan.add(database.needs(app::RUNTIME))?;

    plan.run(|| {
        runtime.block_on(work(&pool));
        0
    })
}

/// Stands for a pool of sqlx, of `mysql_async` or of another driver whose close is asynchronous.
#[derive(Clone)]
struct Pool;

impl Pool {
    async fn close(&self) {
        tokio::task::yield_now().await;
        println!("closed");
    }
}

/// What the program is for.
async fn work(_: &Pool) {
    println!("at work");
    if std::env::args().nth(1).is_some() {
        std::future::pending().await
    }
}
