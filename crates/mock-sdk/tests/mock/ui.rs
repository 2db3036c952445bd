//! The user interface: what it shows, what it drops, and how it confirms.

use std::{thread, time::Duration};

use mock_sdk::app::{
    App,
    action::{Action, Confirmed, Mode},
    ui::{Shown, UiFault, UiGone},
};
use sundown::oneshot::{Abandoned, WaitError};

use crate::setting::{OTHER_ROOM, PLENTY, Plain, ROOM, SHORT, Setting, open, screen};

#[test]
fn a_desktop_shows_every_room_in_a_tab_and_a_phone_shows_one() {
    let plain = Plain::logged_in();
    let app = &plain.app;
    open(app, ROOM);
    open(app, OTHER_ROOM);
    let shown = screen(app, |screen| screen.tabs.len() == 2);
    assert_eq!(shown.shown, Shown::Rooms { user: "@me:example.org".to_owned() });
    assert_eq!((shown.tabs, shown.cached_rooms), (vec![ROOM.to_owned(), OTHER_ROOM.to_owned()], 2));

    app.ui().post(Action::SetMode(Mode::Mobile)).unwrap();
    open(app, ROOM);
    screen(app, |screen| screen.room.as_deref() == Some(ROOM));
    open(app, OTHER_ROOM);
    let shown = screen(app, |screen| screen.room.as_deref() == Some(OTHER_ROOM));
    assert_eq!((shown.mode, shown.tabs.len()), (Mode::Mobile, 2), "the tabs stay, unseen");

    // The next login drops the rooms of the one before, and the tabs only on a desktop.
    for (mode, tabs) in [(Mode::Mobile, 2), (Mode::Desktop, 0)] {
        app.ui().post(Action::SetMode(mode)).unwrap();
        app.ui().post(Action::LoggedIn { user: format!("{mode:?}") }).unwrap();
        let user = Shown::Rooms { user: format!("{mode:?}") };
        let shown = screen(app, |screen| screen.shown == user);
        assert_eq!((shown.room, shown.tabs.len(), shown.cached_rooms), (None, tabs, 0));
    }
    plain.end();
}

#[test]
fn a_confirmation_means_that_it_is_done() {
    let plain = Plain::logged_in();
    let app = &plain.app;
    open(app, ROOM);
    app.ui().post(Action::SetMode(Mode::Mobile)).unwrap();
    open(app, OTHER_ROOM);
    let look = || app.ui().screen().borrow().clone();
    app.ui().close_all_tabs().wait_blocking(PLENTY).unwrap();
    // Drawn in the same frame, and confirmed before that.
    let shown = screen(app, |screen| screen.tabs.is_empty());
    assert_eq!((shown.room.as_deref(), shown.cached_rooms), (Some(OTHER_ROOM), 2));
    app.ui().clean_app_state().wait_blocking(PLENTY).unwrap();
    screen(app, |screen| screen.room.is_none());
    assert_eq!(look().cached_rooms, 0);
    plain.end();
}

#[test]
fn every_fault_of_the_interface_does_what_it_says() {
    for fault in [
        UiFault::Late(SHORT),
        UiFault::Twice,
        UiFault::Silent,
        UiFault::Never,
        UiFault::Abandoned,
        UiFault::AfterGiveUp,
    ] {
        let plain = Plain::logged_in();
        let ui = plain.app.ui();
        open(&plain.app, ROOM);
        ui.fail_next(Confirmed::CloseAllTabs, fault);
        let mut confirmed = ui.close_all_tabs();
        let (limit, expected) = match fault {
            UiFault::Late(_) | UiFault::Twice => (PLENTY, Ok(())),
            UiFault::Abandoned => (PLENTY, Err(Abandoned.into())),
            _ => (SHORT, Err(WaitError::TimedOut { limit: SHORT })),
        };
        assert_eq!(confirmed.wait_blocking(limit), expected, "{fault:?}");
        let tabs = ui.screen().borrow().tabs.len();
        if matches!(fault, UiFault::Never | UiFault::Abandoned | UiFault::AfterGiveUp) {
            assert_eq!(tabs, 1, "{fault:?}");
        } else {
            screen(&plain.app, |screen| screen.tabs.is_empty());
        }
        drop(confirmed);
        if fault == UiFault::AfterGiveUp {
            screen(&plain.app, |screen| screen.tabs.is_empty());
        }
        // The fault was for one action.
        ui.clean_app_state().wait_blocking(PLENTY).unwrap();
        screen(&plain.app, |screen| screen.tabs.is_empty() && screen.cached_rooms == 0);
        plain.end();
    }
}

#[test]
fn what_is_never_confirmed_is_abandoned_when_the_interface_ends() {
    let setting = Setting::new();
    for frame in [Duration::ZERO, SHORT] {
        let mut config = setting.config();
        config.frame = frame;
        let (app, event_loop) = App::new(config);
        let ui = app.ui().clone();
        // Also without frames, what is late is confirmed.
        ui.fail_next(Confirmed::CloseAllTabs, UiFault::Late(SHORT));
        ui.fail_next(Confirmed::CleanAppState, UiFault::Never);
        let user = thread::spawn(move || {
            ui.close_all_tabs().wait_blocking(PLENTY).unwrap();
            let mut confirmed = ui.clean_app_state();
            ui.post(Action::Quit).unwrap();
            assert_eq!(confirmed.wait_blocking(PLENTY), Err(Abandoned.into()));
            while ui.post(Action::LogoutSuccess) != Err(UiGone) {
                thread::yield_now();
            }
            assert_eq!(ui.close_all_tabs().wait_blocking(PLENTY), Err(Abandoned.into()));
        });
        // On any thread.
        event_loop.run();
        user.join().unwrap();
    }
}
