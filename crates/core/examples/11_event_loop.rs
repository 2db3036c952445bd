//! An application with an event loop, on the thread that draws everything.
//!
//! The loop must never wait, and has no runtime context. So a logout runs on a runtime in the background:
//! it has the loop close the tabs and *confirm* that, closes the session, and posts the result to the
//! loop. The loop happens to drop the last handle, on a thread where the client's destructor could not
//! run.
//!
//! The program ends in the loop's last event, and not after the loop: many loops exit the process by
//! themselves. With an exit plan, that event is the place for `plan.leave(0)`.
//!
//! ```text
//! loop: 2 rooms are open, logging out
//! loop: drew a frame
//! loop: tabs closed
//! loop: logged out, Ok(HandlesOnly)
//! background: ended, 0 dropped
//! ```

use std::{error::Error, sync::mpsc, time::Duration};

use sundown::{
    Guarded, RuntimeOwner, Session,
    limit::within,
    oneshot::{self, Sender},
    session::Confirmation,
};

const LIMIT: Duration = Duration::from_secs(5);

/// How long the loop may take to close the tabs.
const TABS: Duration = Duration::from_secs(2);

/// What is posted to the loop, from any thread.
enum Action {
    OpenRoom,
    LogOut,
    Frame,
    CloseTabs(Sender<()>),
    LoggedOut(Result<Confirmation, String>),
    /// The last one: `Event::LoopDestroyed` of tao, `ApplicationHandler::exiting` of winit.
    Exiting,
}

fn main() -> Result<(), Box<dyn Error>> {
    let background = RuntimeOwner::builder("background").workers(1).start()?;
    let session = Session::new("login")?;
    let client = session.guard(Client)?;
    let (post, actions) = mpsc::channel();
    // The user.
    for action in [Action::OpenRoom, Action::OpenRoom, Action::LogOut, Action::Frame] {
        post.send(action)?;
    }
    run(&background, &session, client, &post, actions)
}

fn run(
    background: &RuntimeOwner,
    session: &Session,
    client: Guarded<Client>,
    post: &mpsc::Sender<Action>,
    actions: mpsc::Receiver<Action>,
) -> Result<(), Box<dyn Error>> {
    let (mut client, mut tabs) = (Some(client), Vec::new());
    for action in actions {
        match action {
            Action::OpenRoom => tabs.extend(client.as_ref().map(|client| client.map(Room::of))),
            Action::LogOut => {
                println!("loop: {} rooms are open, logging out", tabs.len());
                let (session, post) = (session.clone(), post.clone());
                // Drops the receiver of the result; the task goes on.
                drop(background.spawn("logout", |_stop| log_out(session, post))?);
            }
            Action::Frame => println!("loop: drew a frame"),
            Action::CloseTabs(confirm) => {
                // The last handles, on a thread without runtime context.
                tabs.clear();
                client = None;
                println!("loop: tabs closed");
                let _ = confirm.send(());
            }
            Action::LoggedOut(answer) => {
                println!("loop: logged out, {answer:?}");
                post.send(Action::Exiting)?;
            }
            Action::Exiting => {
                // Nothing is drawn any more, and this thread may wait.
                let report = background.shutdown_blocking(LIMIT)?;
                println!("background: ended, {} dropped", report.aborted);
                break;
            }
        }
    }
    Ok(())
}

/// Runs in the background, where it may wait for the loop and for the session.
async fn log_out(session: Session, post: mpsc::Sender<Action>) {
    let (confirm, closed) = oneshot::channel();
    // If the loop is gone, nobody confirms, and nobody wants the answer.
    let _ = post.send(Action::CloseTabs(confirm));
    // If it is stuck, the session's error says where the handles were made that it has.
    let _ = within(TABS, closed).await;
    let answer = session.close(LIMIT).await;
    let answer = answer.map(|report| report.confirmation).map_err(|error| error.to_string());
    let _ = post.send(Action::LoggedOut(answer));
}

struct Client;

/// Needs a runtime, like that of a client over a pool.
impl Drop for Client {
    fn drop(&mut self) {
        tokio::task::spawn_blocking(|| {});
    }
}

struct Room {
    _client: Client,
}

impl Room {
    const fn of(_: &Client) -> Self {
        Self { _client: Client }
    }
}
