//! What is on disk: who was logged in last, and every session there was.

use std::fs;

use mock_sdk::{
    app::{
        App, AppError,
        action::Action,
        files::{FilesError, SessionFiles, StoredSession},
    },
    homeserver::Endpoint,
    store::Session,
};

use crate::setting::{Setting, soon};

fn stored(user: &str, stores: &str) -> StoredSession {
    let session = Session {
        user: user.to_owned(),
        device: "DEVICE".to_owned(),
        access_token: "secret".to_owned(),
    };
    StoredSession { session, stores: stores.to_owned() }
}

#[test]
fn the_next_start_goes_on_with_the_latest_session_without_logging_in() {
    let setting = Setting::new();
    let (first, ui) = setting.logged_in();
    let token = first.globals().client.get().unwrap().access_token();
    let client = first.globals().client.take().unwrap();
    setting.runtime.block_on(soon("the end of the client", client.close())).unwrap();
    first.ui().post(Action::Quit).unwrap();
    drop((first, client));
    ui.join().unwrap();

    let (second, ui) = setting.app();
    let user = setting.runtime.block_on(second.log_in_latest()).unwrap();
    assert_eq!(user.as_deref(), Some("@me:example.org"));
    let client = second.globals().client.get().unwrap();
    assert_eq!(client.access_token(), token);
    assert_eq!(setting.server.count(Endpoint::Login), 1);
    // With the stores of before.
    assert_eq!(setting.runtime.block_on(client.rooms()).unwrap().len(), 2);
    let again = setting.runtime.block_on(second.log_in_latest());
    assert!(matches!(again, Err(AppError::AlreadyLoggedIn)));
    let again = setting.runtime.block_on(second.log_in("me", "secret"));
    assert!(matches!(again, Err(AppError::AlreadyLoggedIn)));
    setting.end(&second, ui);
}

#[test]
fn without_a_latest_user_the_next_start_logs_nobody_in_and_the_session_stays() {
    let setting = Setting::new();
    let (first, ui) = setting.logged_in();
    let client = first.globals().client.take().unwrap();
    setting.runtime.block_on(soon("the end of the client", client.close())).unwrap();
    first.files().delete_latest_user_id().unwrap();
    first.files().delete_latest_user_id().unwrap();
    first.ui().post(Action::Quit).unwrap();
    drop((first, client));
    ui.join().unwrap();

    let (second, ui) = setting.app();
    assert_eq!(setting.runtime.block_on(second.log_in_latest()).unwrap(), None);
    assert!(second.files().session("@me:example.org").unwrap().is_some());
    setting.end(&second, ui);
}

#[test]
fn a_login_that_is_refused_leaves_nothing_open_and_nobody_remembered() {
    let setting = Setting::new();
    let (app, ui) = setting.app();
    let refused = setting.runtime.block_on(app.log_in("me", "wrong")).unwrap_err();
    assert!(refused.to_string().contains("M_FORBIDDEN"), "{refused}");
    assert!(setting.open_files().is_empty());
    assert_eq!(app.files().latest_user_id().unwrap(), None);
    setting.log_in(&app);
    setting.end(&app, ui);
}

#[test]
fn a_login_that_cannot_be_remembered_is_undone() {
    let setting = Setting::new();
    let (app, ui) = setting.app();
    fs::write(setting.directory.path().join("sessions"), "in the way").unwrap();
    let failed = setting.runtime.block_on(app.log_in("me", "secret")).unwrap_err();
    assert!(matches!(failed, AppError::Files(FilesError::System { .. })), "{failed}");
    assert!(failed.to_string().contains("sessions"), "{failed}");
    assert_eq!(setting.server.count(Endpoint::Login), 1);
    assert!(setting.server.tokens().is_empty());
    assert!(setting.open_files().is_empty());
    assert_eq!(app.globals().holders(), 0);
    setting.end(&app, ui);
}

#[test]
fn a_login_needs_no_user_interface() {
    let setting = Setting::new();
    let (app, event_loop) = App::new(setting.config());
    drop(event_loop);
    setting.runtime.block_on(app.log_in("me", "secret")).unwrap();
    let client = app.globals().client.get().unwrap();
    setting.runtime.block_on(soon("the end of the client", client.close())).unwrap();
}

#[test]
fn a_session_survives_the_disk_whatever_the_user_is_called() {
    let directory = tempfile::tempdir().unwrap();
    let files = SessionFiles::below(directory.path());
    for user in ["@me:example.org", "@../../etc/passwd:example.org", "@a/b:c", "@Me:example.org"] {
        assert_eq!(files.session(user).unwrap(), None);
        let written = stored(user, "0001");
        files.save(&written).unwrap();
        assert_eq!(files.session(user).unwrap(), Some(written));
        assert!(files.session_path(user).starts_with(directory.path().join("sessions")));
        files.set_latest_user_id(user).unwrap();
        assert_eq!(files.latest_user_id().unwrap().as_deref(), Some(user));
    }
    assert_eq!(files.new_stores().unwrap(), "0001");
    assert_eq!(files.new_stores().unwrap(), "0002");
}

#[test]
fn what_is_no_session_is_an_error_that_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let files = SessionFiles::below(directory.path());
    files.save(&stored("@me", "0001")).unwrap();
    let path = files.session_path("@me");
    let whole = fs::read_to_string(&path).unwrap();
    let climbing = whole.replace("0001", "../0001");
    for content in ["", "{", "{}", &whole[..whole.len() / 2], climbing.as_str()] {
        fs::write(&path, content).unwrap();
        let error = files.session("@me").unwrap_err();
        assert!(matches!(error, FilesError::Malformed { .. }), "{content}: {error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn a_latest_user_id_that_cannot_be_deleted_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let files = SessionFiles::below(directory.path());
    // Also root cannot remove a directory as if it were a file.
    fs::create_dir(files.latest_user_id_path()).unwrap();
    let error = files.delete_latest_user_id().unwrap_err();
    assert!(error.to_string().contains("cannot delete"), "{error}");
    assert!(error.to_string().contains("latest_user_id"), "{error}");
}
