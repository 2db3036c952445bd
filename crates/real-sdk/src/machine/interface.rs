//! The user interface: a thread without a context, which keeps what it shows.

use std::{
    any::Any,
    sync::mpsc::{self, Sender},
    thread::{self, JoinHandle},
};

use anyhow::{Result, anyhow};
use sundown::oneshot;

/// Something that is shown: a room with its timeline, the members of a room.
pub type Shown = Box<dyn Any + Send>;

enum Action {
    Open(Shown),
    Cache(Shown),
    CloseTabs(oneshot::Sender<()>),
    Clean(oneshot::Sender<()>),
}

pub struct Interface {
    actions: Sender<Action>,
    thread: JoinHandle<()>,
}

impl Interface {
    pub fn start() -> Result<Self> {
        let (actions, to_do) = mpsc::channel();
        let thread = thread::Builder::new().name("interface".to_owned()).spawn(move || {
            let (mut tabs, mut cache) = (Vec::new(), Vec::new());
            for action in to_do {
                match action {
                    Action::Open(tab) => tabs.push(tab),
                    Action::Cache(shown) => cache.push(shown),
                    Action::CloseTabs(done) => {
                        tabs.clear();
                        let _ = done.send(());
                    }
                    Action::Clean(done) => {
                        tabs.clear();
                        cache.clear();
                        let _ = done.send(());
                    }
                }
            }
        })?;
        Ok(Self { actions, thread })
    }

    pub fn open(&self, tab: Shown) -> Result<()> {
        self.post(Action::Open(tab))
    }

    pub fn cache(&self, shown: Shown) -> Result<()> {
        self.post(Action::Cache(shown))
    }

    pub async fn close_tabs(&self) -> Result<()> {
        self.confirmed(Action::CloseTabs).await
    }

    /// Forgets everything that it shows.
    pub async fn clean(&self) -> Result<()> {
        self.confirmed(Action::Clean).await
    }

    pub fn end(self) -> Result<()> {
        drop(self.actions);
        self.thread.join().map_err(|_| anyhow!("the user interface panicked"))
    }

    async fn confirmed(&self, action: fn(oneshot::Sender<()>) -> Action) -> Result<()> {
        let (done, confirmed) = oneshot::channel();
        self.post(action(done))?;
        Ok(confirmed.await?)
    }

    fn post(&self, action: Action) -> Result<()> {
        self.actions.send(action).map_err(|_| anyhow!("the user interface has ended"))
    }
}
