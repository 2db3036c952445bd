//! An application with an event loop, which owns the thread that everything is drawn on.
//!
//! The loop must never wait, and has no runtime context; what waits runs on a runtime in the
//! background. At a logout the two have to meet: the loop lets go of the tabs and *confirms* it, the
//! background closes the session and tells the loop, and the loop goes on meanwhile. It is of no
//! importance who drops the last handle; here it is the loop, on a thread where the client's
//! destructor could not run.
//!
//! ```text
//! loop: 2 rooms are open
//! loop: logging out
//! loop: drew a frame
//! loop: tabs closed
//! loop: logged out, Ok(HandlesOnly)
//! background: ended, 0 dropped
//! ```

use std::{error::Error, sync::mpsc, time::Duration};

use sundown::{
    oneshot::{self, Sender},
    runtime::RuntimeOwner,
    session::{Confirmation, Guarded, Session},
};

const LIMIT: Duration = Duration::from_secs(5);

/// What is posted to the loop, from any thread.
enum Action {
    Open(&'static str),
    LogOut,
    Frame,
    CloseTabs(Sender<()>),
    LoggedOut(Result<Confirmation, String>),
}

fn main() -> Result<(), Box<dyn Error>> {
    let background = RuntimeOwner::builder("background").workers(1).start()?;
    let session = Session::new("login")?;
    let client = session.guard(Client)?;
    let (post, actions) = mpsc::channel();

    // The user.
    for action in [Action::Open("first"), Action::Open("second"), Action::LogOut, Action::Frame] {
        post.send(action)?;
    }
    let window = Window { client: Some(client), tabs: Vec::new(), session, post };
    window.run(actions, &background)?;

    // The loop has ended, and this thread may wait.
    let report = background.shutdown_blocking(LIMIT)?;
    println!("background: ended, {} dropped", report.aborted);
    Ok(())
}

struct Window {
    client: Option<Guarded<Client>>,
    tabs: Vec<Guarded<Room>>,
    session: Session,
    post: mpsc::Sender<Action>,
}

impl Window {
    fn run(
        mut self,
        actions: mpsc::Receiver<Action>,
        background: &RuntimeOwner,
    ) -> Result<(), Box<dyn Error>> {
        for action in actions {
            match action {
                Action::Open(name) => {
                    let room = self.client.as_ref().map(|it| it.map(|client| client.room(name)));
                    self.tabs.extend(room);
                }
                Action::LogOut => {
                    println!("loop: {} rooms are open", self.tabs.len());
                    println!("loop: logging out");
                    let (session, post) = (self.session.clone(), self.post.clone());
                    drop(background.spawn("logout", |_stop| log_out(session, post))?);
                }
                Action::Frame => println!("loop: drew a frame"),
                Action::CloseTabs(confirm) => {
                    // The last owners, in the context of nothing at all.
                    self.tabs.clear();
                    self.client = None;
                    println!("loop: tabs closed");
                    let _ = confirm.send(());
                }
                Action::LoggedOut(answer) => {
                    println!("loop: logged out, {answer:?}");
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Runs in the background: it may wait, for the loop and for the session.
async fn log_out(session: Session, post: mpsc::Sender<Action>) {
    let (confirm, closed) = oneshot::channel();
    // Where the loop is gone there is nobody to confirm, and nobody to tell.
    let _ = post.send(Action::CloseTabs(confirm));
    let _ = closed.await;
    let answer = session.close(LIMIT).await;
    let answer = answer.map(|report| report.confirmation).map_err(|error| error.to_string());
    let _ = post.send(Action::LoggedOut(answer));
}

struct Client;

impl Client {
    const fn room(&self, name: &'static str) -> Room {
        Room { _name: name, _client: Self }
    }
}

struct Room {
    _name: &'static str,
    _client: Client,
}

/// Needs a runtime, as that of a client over a pool does.
impl Drop for Client {
    fn drop(&mut self) {
        tokio::task::spawn_blocking(|| {});
    }
}
