//! The application holds what it got from the SDK however it is told to.

use std::{sync::Arc, time::Duration};

use mock_sdk::{
    app::{
        App, AppError,
        action::Action,
        globals::Globals,
        held::{Held, InSession},
    },
    homeserver::Endpoint,
};
use sundown::{
    evidence::no_open_files,
    session::{Confirmation, Session},
};

use crate::setting::{PLENTY, ROOM, Setting};

#[test]
fn clones_of_a_handle_are_clones_of_its_guard() {
    let guard = Arc::new("a room");
    let held = Held::by(guard.clone());
    let clone = held.clone();
    assert_eq!((*clone, Arc::strong_count(&guard)), ("a room", 3));
    drop((held, clone));
    assert_eq!(Arc::strong_count(&guard), 1);
}

#[test]
fn what_the_application_holds_keeps_the_client_alive_wherever_it_is() {
    let setting = Setting::new();
    let (app, ui) = setting.logged_in();
    setting.open(&app, ROOM);
    let globals: &Globals = app.globals();
    let client = globals.client.get().unwrap();
    assert!(!setting.open_files().is_empty());
    let _context = setting.runtime.enter();
    drop((globals.sync_service.take(), globals.client.take(), globals.all_joined_rooms.take()));
    assert_eq!(globals.holders(), 0);
    // A tab and a cache of the user interface are left, and the clone here.
    assert_eq!(setting.holds.rooms(), 1);
    assert_eq!(client.store().state.connections().open, 2);
    globals.client.replace(Some(client));
    drop(_context);
    setting.end(&app, ui);
}

#[test]
fn guarded_by_a_session_everything_can_be_let_go_of_anywhere_and_the_session_closes() {
    let setting = Setting::new();
    let directory = setting.directory.path();
    let session = Session::builder("matrix").evidence(no_open_files(directory)).start().unwrap();
    let mut config = setting.config();
    config.holding = Arc::new(InSession::of(&session));
    config.background_tasks = false;
    let (app, event_loop) = App::new(config);
    let ui = event_loop.spawn().unwrap();
    app.start_worker(setting.runtime.handle());
    setting.log_in(&app);
    setting.open(&app, ROOM);

    // As long as the interface holds a room, the session says so.
    let globals = app.globals();
    let taken = (globals.client.take(), globals.sync_service.take());
    drop((taken, globals.all_joined_rooms.take()));
    assert!(session.close_blocking(Duration::from_millis(20)).is_err());
    let refused = setting.runtime.block_on(app.log_in("me", "secret")).unwrap_err();
    assert!(matches!(refused, AppError::NotHeld(_)), "{refused}");

    // Dropped on the interface's thread, where it would abort the process if it were held plainly.
    app.ui().clean_app_state().wait_blocking(PLENTY).unwrap();
    let report = session.close_blocking(PLENTY).unwrap();
    assert_eq!(report.confirmation, Confirmation::Evidence);
    assert!(setting.open_files().is_empty());
    app.ui().post(Action::Quit).unwrap();
    ui.join().unwrap();
    assert_eq!(
        setting.server.count(Endpoint::Login),
        1,
        "nothing is asked for what cannot be held"
    );
}
