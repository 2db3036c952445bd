//! The application holds what it got from the SDK however it is told to.

use mock_sdk::app::{globals::Globals, held::Held};

use crate::setting::{ROOM, Setting};

#[test]
fn clones_of_a_handle_are_clones_of_its_guard() {
    let guard = std::sync::Arc::new("a room");
    let held = Held::by(guard.clone());
    let clone = held.clone();
    assert_eq!((*clone, std::sync::Arc::strong_count(&guard)), ("a room", 3));
    drop((held, clone));
    assert_eq!(std::sync::Arc::strong_count(&guard), 1);
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
