//! The user interface: what it shows, what it holds, and how it confirms.

use std::{ops::Deref, thread, time::Duration};

use mock_sdk::app::{
    App,
    action::{Action, Confirmed, Mode, Tab},
    held::Held,
    ui::{Shown, Ui, UiFault, UiGone},
};
use sundown::oneshot::{Abandoned, WaitError};

use crate::setting::{OTHER_ROOM, PLENTY, ROOM, Setting};

#[test]
fn a_desktop_shows_every_room_in_a_tab_and_a_phone_shows_one() {
    let setting = Setting::new();
    let (app, ui) = setting.logged_in();
    setting.open(&app, ROOM);
    setting.open(&app, OTHER_ROOM);
    let screen = setting.screen(&app, "both", |screen| screen.tabs.len() == 2);
    assert_eq!(screen.shown, Shown::Rooms { user: "@me:example.org".to_owned() });
    assert_eq!((screen.tabs[0].as_str(), screen.tabs[1].as_str()), (ROOM, OTHER_ROOM));
    assert_eq!((screen.events, screen.cached_rooms, screen.cached_users), (2, 2, 1));

    app.ui().post(Action::SetMode(Mode::Mobile)).unwrap();
    setting.open(&app, ROOM);
    setting.screen(&app, "one", |screen| screen.room.as_deref() == Some(ROOM));
    setting.open(&app, OTHER_ROOM);
    let screen = setting.screen(&app, "other", |s| s.room.as_deref() == Some(OTHER_ROOM));
    assert_eq!((screen.mode, screen.tabs.len()), (Mode::Mobile, 2), "the tabs stay, unseen");
    setting.end(&app, ui);
}

#[test]
fn frames_go_by_while_nothing_happens() {
    let setting = Setting::new();
    let (app, ui) = setting.app();
    let frames = setting.screen(&app, "a frame", |screen| screen.frames > 0).frames;
    setting.screen(&app, "another frame", |screen| screen.frames > frames + 3);
    setting.end(&app, ui);
}

#[test]
fn a_confirmation_means_that_it_is_done() {
    let setting = Setting::new();
    let (app, ui) = setting.logged_in();
    setting.open(&app, ROOM);
    app.ui().post(Action::SetMode(Mode::Mobile)).unwrap();
    setting.open(&app, OTHER_ROOM);
    drop(app.globals().all_joined_rooms.take());
    // A tab and a cache; the one room and a cache.
    assert_eq!((setting.holds.rooms(), setting.holds.timelines()), (2, 2));
    app.ui().close_all_tabs().wait_blocking(PLENTY).unwrap();
    assert_eq!((setting.holds.rooms(), setting.holds.timelines()), (2, 1), "the tab is gone");
    app.ui().clean_app_state().wait_blocking(PLENTY).unwrap();
    assert_eq!((setting.holds.rooms(), setting.holds.timelines()), (0, 0));
    let screen = setting.screen(&app, "empty", |screen| screen.room.is_none());
    assert_eq!((screen.tabs.len(), screen.cached_rooms, screen.cached_users), (0, 0, 0));
    setting.end(&app, ui);
}

#[test]
fn the_next_login_lets_go_of_the_rooms_of_before_and_of_the_tabs_only_on_a_desktop() {
    let setting = Setting::new();
    let (app, ui) = setting.logged_in();
    setting.open(&app, ROOM);
    setting.open(&app, OTHER_ROOM);
    drop(app.globals().all_joined_rooms.take());
    for (mode, held) in [(Mode::Mobile, 2), (Mode::Desktop, 0)] {
        app.ui().post(Action::SetMode(mode)).unwrap();
        app.ui().post(Action::LoggedIn { user: format!("{mode:?}") }).unwrap();
        let shown = Shown::Rooms { user: format!("{mode:?}") };
        let screen = setting.screen(&app, "the login", |screen| screen.shown == shown);
        assert_eq!((screen.tabs.len(), screen.cached_rooms), (held, 0), "{mode:?}");
        assert_eq!((setting.holds.rooms(), setting.holds.timelines()), (held, held), "{mode:?}");
    }
    setting.end(&app, ui);
}

#[test]
fn how_a_logout_goes_is_shown() {
    let setting = Setting::new();
    let (app, ui) = setting.logged_in();
    let message = "Stopping sync service...".to_owned();
    let progress = Action::LogoutProgress { percent: 20, message: message.clone() };
    let failed = Shown::Failure { reason: "no".to_owned() };
    for (action, shown) in [
        (progress, Shown::LoggingOut { percent: 20, message }),
        (Action::LogoutFailure { reason: "no".to_owned() }, failed),
        (Action::LogoutSuccess, Shown::Login),
    ] {
        app.ui().post(action).unwrap();
        setting.screen(&app, &format!("{shown:?}"), |screen| screen.shown == shown);
    }
    setting.end(&app, ui);
}

/// How long a test waits for what shall not come.
const NOT_LONG: Duration = Duration::from_millis(20);

#[test]
fn every_fault_of_the_interface_does_what_it_says() {
    let done = |setting: &Setting| setting.holds.rooms() == 0;
    for action in [Confirmed::CloseAllTabs, Confirmed::CleanAppState] {
        for fault in [
            UiFault::Late(NOT_LONG),
            UiFault::Late(Duration::MAX),
            UiFault::Twice,
            UiFault::Silent,
            UiFault::Never,
            UiFault::Abandoned,
            UiFault::AfterGiveUp,
        ] {
            let what = format!("{action:?}, {fault:?}");
            let setting = Setting::new();
            let (app, ui) = setting.logged_in();
            setting.open(&app, ROOM);
            let tabs = |count: usize| {
                setting.screen(&app, &what, |screen| screen.tabs.len() == count);
            };
            app.ui().fail_next(action, fault);
            let mut confirmed = match action {
                Confirmed::CloseAllTabs => app.ui().close_all_tabs(),
                Confirmed::CleanAppState => app.ui().clean_app_state(),
            };
            let timed_out = Err(WaitError::TimedOut { limit: NOT_LONG });
            match fault {
                UiFault::Late(Duration::MAX) | UiFault::Silent => {
                    tabs(0);
                    assert_eq!(confirmed.wait_blocking(NOT_LONG), timed_out, "{what}");
                }
                UiFault::Late(_) => {
                    assert_eq!(confirmed.wait_blocking(PLENTY), Ok(()), "{what}");
                    tabs(0);
                }
                UiFault::Twice => {
                    assert_eq!(confirmed.wait_blocking(PLENTY), Ok(()), "{what}");
                    setting.screen(&app, &what, |screen| screen.unheard == 1);
                }
                UiFault::Never => {
                    assert_eq!(confirmed.wait_blocking(NOT_LONG), timed_out, "{what}");
                    tabs(1);
                }
                UiFault::Abandoned => {
                    assert_eq!(confirmed.wait_blocking(PLENTY), Err(Abandoned.into()), "{what}");
                    tabs(1);
                }
                UiFault::AfterGiveUp => {
                    assert_eq!(confirmed.wait_blocking(NOT_LONG), timed_out, "{what}");
                    tabs(1);
                    drop(confirmed);
                    tabs(0);
                    setting.screen(&app, &what, |screen| screen.unheard == 1);
                }
            }
            // The fault was for one action: the next is as it should be.
            app.ui().clean_app_state().wait_blocking(PLENTY).unwrap();
            assert!(done(&setting), "{what}");
            setting.end(&app, ui);
        }
    }
}

#[test]
fn what_is_never_confirmed_is_abandoned_when_the_interface_ends() {
    let setting = Setting::new();
    let (app, ui) = setting.app();
    app.ui().fail_next(Confirmed::CleanAppState, UiFault::Never);
    let mut confirmed = app.ui().clean_app_state();
    app.ui().post(Action::Quit).unwrap();
    assert_eq!(confirmed.wait_blocking(PLENTY), Err(Abandoned.into()));
    ui.join().unwrap();
    assert_eq!(app.ui().post(Action::LogoutSuccess), Err(UiGone));
    assert_eq!(app.ui().close_all_tabs().wait_blocking(PLENTY), Err(Abandoned.into()));
}

#[test]
fn the_event_loop_runs_on_any_thread_and_ends_with_the_last_who_could_tell_it_anything() {
    for frame in [Duration::ZERO, Duration::from_millis(1)] {
        let (ui, event_loop) = Ui::new(Mode::Mobile, frame);
        let other = thread::spawn(move || {
            let mut confirmed = ui.clone().clean_app_state();
            confirmed.wait_blocking(PLENTY)
        });
        event_loop.run();
        assert_eq!(other.join().unwrap(), Ok(()));
    }
}

#[test]
fn with_no_frame_time_what_is_late_is_attended_to_as_well() {
    let setting = Setting::new();
    let mut config = setting.config();
    config.frame = Duration::ZERO;
    let (app, event_loop) = App::new(config);
    let ui = event_loop.spawn().unwrap();
    app.ui().fail_next(Confirmed::CloseAllTabs, UiFault::Late(NOT_LONG));
    app.ui().close_all_tabs().wait_blocking(PLENTY).unwrap();
    setting.end(&app, ui);
}

/// A guard that panics when it is the last.
#[derive(Clone)]
struct Explosive<T: Clone>(T, std::sync::Arc<()>);

impl<T: Clone> Deref for Explosive<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> Drop for Explosive<T> {
    fn drop(&mut self) {
        if std::sync::Arc::strong_count(&self.1) == 1 {
            panic!("there is no reactor running");
        }
    }
}

#[test]
fn a_destructor_that_panics_takes_the_interface_with_it_and_that_is_told() {
    let setting = Setting::new();
    let (app, ui) = setting.logged_in();
    setting.open(&app, ROOM);
    let joined = app.globals().all_joined_rooms.take();
    let timeline = (*joined[ROOM]).clone();
    let room = timeline.room().clone();
    let timeline = Held::by(Explosive(timeline, std::sync::Arc::default()));
    app.ui().post(Action::Open(Tab { room: Held::plainly(room), timeline })).unwrap();
    let mut confirmed = app.ui().clean_app_state();
    assert_eq!(confirmed.wait_blocking(PLENTY), Err(Abandoned.into()));
    let panicked = ui.join().unwrap_err();
    assert_eq!(panicked.to_string(), "the user interface panicked: there is no reactor running");
    assert_eq!(app.ui().post(Action::LogoutSuccess), Err(UiGone));
    let client = app.globals().client.get().unwrap();
    setting.runtime.block_on(client.close()).unwrap();
}
