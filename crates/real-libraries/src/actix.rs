//! Values on the threads of actix-rt, whose tasks need not be `Send`.

use std::{
    future::pending,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use actix_rt::{Arbiter, System};
use anyhow::{Context as _, Result, bail, ensure};
use sundown::{TaskGroup, session::Session};
use tokio::{
    sync::{mpsc as channel, oneshot},
    time::sleep,
};

use crate::{
    PLENTY,
    report::{check, record},
};

/// How long it takes to save a document.
const SAVING: Duration = Duration::from_millis(20);

/// A document that its destructor saves, in a task of its thread. It cannot leave that thread.
struct Document {
    saved: Arc<AtomicUsize>,
    _not_send: Rc<()>,
}

impl Document {
    fn open(saved: &Arc<AtomicUsize>) -> Self {
        Self { saved: Arc::clone(saved), _not_send: Rc::default() }
    }

    /// Saves it, and waits until that is done.
    async fn save(self) {
        let saved = Arc::clone(&self.saved);
        drop(self);
        while saved.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        let saved = Arc::clone(&self.saved);
        drop(actix_rt::spawn(async move {
            sleep(SAVING).await;
            saved.fetch_add(1, Ordering::SeqCst);
        }));
    }
}

/// Opens a document on a thread of actix, and ends that.
pub fn document(how: &str) -> Result<()> {
    let (system, saved) = (System::new(), Arc::default());
    match how {
        "awaited" => system.block_on(Document::open(&saved).save()),
        "outside" => {
            let document = system.block_on(async { Document::open(&saved) });
            drop(document);
        }
        "stopped" => {
            let (tell, opened) = mpsc::channel();
            let arbiter = on_an_arbiter(&saved, async move |document| {
                let _ = tell.send(());
                pending::<()>().await;
                drop(document);
            });
            opened.recv_timeout(PLENTY)?;
            stop(arbiter)?;
        }
        "hook" => {
            let (ask, mut asked) = channel::unbounded_channel::<oneshot::Sender<()>>();
            let arbiter = on_an_arbiter(&saved, async move |document| {
                let answer = asked.recv().await;
                document.save().await;
                let _ = answer.map(|answer| answer.send(()));
            });
            let session = Session::new("editor")?;
            let ask = session.guard(ask).ok().context("the session refuses the sender")?;
            let hook = session.before_close_with(&ask, async |ask| {
                let (answer, answered) = oneshot::channel();
                if ask.send(answer).is_ok() {
                    let _ = answered.await;
                }
            });
            ensure!(hook.is_ok(), "the session refuses the hook");
            drop(ask);
            let _ = session.close_blocking(PLENTY)?;
            stop(arbiter)?;
        }
        "place" => {
            let group = TaskGroup::new("editors");
            let (place, stop_signal) = (group.hold("editor")?, group.stop_signal());
            let arbiter = on_an_arbiter(&saved, async move |document| {
                let _place = place;
                stop_signal.await;
                document.save().await;
            });
            let report = group.drain_blocking(PLENTY).into_result()?;
            check("the place is given back without an abort", report.aborted == 0);
            stop(arbiter)?;
        }
        _ => bail!("there is no way `{how}`"),
    }
    let saved = saved.load(Ordering::SeqCst);
    record("times_saved", saved);
    check("the document is saved", saved == 1);
    Ok(())
}

/// A thread with a runtime of its own, and a document there.
fn on_an_arbiter<W>(saved: &Arc<AtomicUsize>, work: W) -> Arbiter
where
    W: AsyncFnOnce(Document) + Send + 'static,
{
    let (arbiter, saved) = (Arbiter::new(), Arc::clone(saved));
    arbiter.spawn_fn(move || {
        actix_rt::spawn(async move { work(Document::open(&saved)).await });
    });
    arbiter
}

fn stop(arbiter: Arbiter) -> Result<()> {
    ensure!(arbiter.stop(), "the thread has ended by itself");
    ensure!(arbiter.join().is_ok(), "the thread panicked");
    Ok(())
}
