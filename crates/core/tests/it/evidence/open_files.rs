//! Open files: renamed, deleted, replaced, mistyped.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::fs::{Mode, OFlags};
use sundown::{
    evidence::{Evidence, OpenFiles, Unconfirmed, no_open_files, open_files},
    session::{CloseError, CloseErrorKind, CloseReport, Confirmation, Session},
};

use super::{against, alone, confirmed, unavailable};
use crate::fixtures::{PLENTY, SHORT, until};

/// A folder with a store in it, one file of which is open.
struct Setting {
    /// Closed before the folder is deleted: see `alone`.
    file: File,
    store: PathBuf,
    folder: tempfile::TempDir,
}

fn setting() -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    let file = File::create(store.join("store.sqlite3")).unwrap();
    Setting { file, store, folder }
}

impl Setting {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Evidence that has seen the open file.
    fn seen(&self) -> OpenFiles {
        let evidence = no_open_files(&self.store);
        evidence.look();
        evidence
    }
}

/// By name, as evidence that follows nothing would ask.
fn is_closed_by_name(path: &Path) -> bool {
    open_files(path).unwrap().is_empty()
}

/// What can become of a store between the look and the check. None of it closes a file.
type Fate = fn(&Setting);

const FATES: [(&str, Fate); 6] = [
    ("nothing", |_| ()),
    ("the directory is renamed", |setting| {
        fs::rename(&setting.store, setting.path("renamed")).unwrap();
    }),
    ("the directory is deleted", |setting| fs::remove_dir_all(&setting.store).unwrap()),
    ("the directory is renamed, and deleted", |setting| {
        let renamed = setting.path("renamed");
        fs::rename(&setting.store, &renamed).unwrap();
        fs::remove_dir_all(renamed).unwrap();
    }),
    ("another directory takes its place", |setting| {
        fs::rename(&setting.store, setting.path("renamed")).unwrap();
        fs::create_dir(&setting.store).unwrap();
    }),
    ("the file is moved out of the directory", |setting| {
        fs::rename(setting.store.join("store.sqlite3"), setting.path("moved")).unwrap();
    }),
];

#[test]
fn whatever_becomes_of_a_store_its_open_file_is_evidence_against_the_end_until_it_is_closed() {
    let _alone = alone();
    let mut missed_by_name = Vec::new();
    for (what, fate) in FATES {
        let setting = setting();
        let evidence = setting.seen();
        fate(&setting);
        let why = against(&evidence);
        assert!(why.starts_with("1 open below"), "{what}: {why}");
        if is_closed_by_name(&setting.store) {
            missed_by_name.push(what);
        }
        drop(setting.file);
        confirmed(&evidence);
    }
    // The control: names alone would have confirmed these.
    assert_eq!(missed_by_name, [FATES[1].0, FATES[3].0, FATES[4].0, FATES[5].0]);
}

#[test]
fn nothing_is_confirmed_of_a_path_that_never_existed_or_is_spelled_wrong() {
    let setting = setting();
    for wrong in ["stoer", "store/stoer", "store.sqlite3"] {
        let evidence = no_open_files(setting.path(wrong));
        evidence.look();
        let why = unavailable(&evidence);
        assert!(why.contains("spelled right") && why.contains(wrong), "{why}");
    }
    assert!(is_closed_by_name(&setting.path("stoer")), "the control: names confirm anything");
    for unusable in ["", "\0"] {
        unavailable(&no_open_files(unusable));
    }
    unavailable(&no_open_files(setting.store.join("store.sqlite3/below")));
}

#[test]
fn nothing_is_confirmed_unless_a_look_saw_it_open() {
    let Setting { folder: _folder, store, file } = setting();
    drop(file);
    let evidence = no_open_files(&store);
    evidence.look();
    let why = unavailable(&evidence);
    assert!(why.contains("look while there is one"), "{why}");

    let file = File::open(store.join("store.sqlite3")).unwrap();
    evidence.clone().look();
    drop(file);
    confirmed(&evidence);
}

#[test]
fn of_two_directories_each_is_evidence_for_itself() {
    let (first, second) = (setting(), setting());
    let evidence = [first.seen(), second.seen()];
    drop(first.file);
    confirmed(&evidence[0]);
    against(&evidence[1]);
    drop(second.file);
    confirmed(&evidence[1]);
}

#[test]
fn a_file_that_was_opened_after_the_look_is_found_in_the_renamed_directory() {
    let _alone = alone();
    let setting = setting();
    let evidence = setting.seen();
    let renamed = setting.path("renamed");
    fs::rename(&setting.store, &renamed).unwrap();
    fs::create_dir(renamed.join("inner")).unwrap();
    let later = File::create(renamed.join("inner/later")).unwrap();
    drop(setting.file);
    assert!(against(&evidence).contains("renamed/inner/later"));
    // The check has seen it, and follows it.
    fs::remove_dir_all(renamed).unwrap();
    assert!(against(&evidence).contains("(deleted)"));
    drop(later);
    confirmed(&evidence);
}

#[test]
fn nothing_is_confirmed_while_a_deleted_file_may_have_been_in_the_directory_that_is_gone() {
    let _alone = alone();
    let setting = setting();
    let evidence = setting.seen();
    let renamed = setting.path("renamed");
    fs::rename(&setting.store, &renamed).unwrap();
    let later = File::create(renamed.join("later")).unwrap();
    fs::remove_dir_all(renamed).unwrap();
    drop(setting.file);
    let why = unavailable(&evidence);
    assert!(why.contains("renamed/later"), "{why}");
    drop(later);
    confirmed(&evidence);
}

#[test]
fn another_directory_at_the_path_counts_as_well() {
    let _alone = alone();
    let setting = setting();
    let evidence = setting.seen();
    fs::rename(&setting.store, setting.path("renamed")).unwrap();
    fs::create_dir(&setting.store).unwrap();
    let next = File::create(setting.store.join("next")).unwrap();
    drop(setting.file);
    assert!(against(&evidence).contains("store/next"));
    drop(next);
    confirmed(&evidence);
}

/// The file system gives a new file the inode of a deleted one. It is another file all the same.
#[test]
fn a_file_elsewhere_that_has_got_the_inode_of_a_closed_one_is_not_taken_for_it() {
    let _alone = alone();
    let setting = setting();
    let evidence = setting.seen();
    let first = setting.file.metadata().unwrap();
    let Ok(created) = first.created() else { return }; // Nothing tells them apart here.
    let elsewhere = setting.path("elsewhere");
    let create = || File::create(&elsewhere).unwrap().metadata().unwrap();
    until("the clock of the file system goes on", || {
        let later = create().created().unwrap() != created;
        fs::remove_file(&elsewhere).unwrap();
        later
    });
    drop(setting.file);
    fs::remove_file(setting.store.join("store.sqlite3")).unwrap();
    let others = (0..64).map(|name| File::create(setting.folder.path().join(name.to_string())));
    let others: Vec<_> = others.map(Result::unwrap).collect();
    // Not every file system reuses an inode at once.
    let reused = others.iter().any(|file| file.metadata().unwrap().ino() == first.ino());
    println!("the inode was reused: {reused}");
    confirmed(&evidence);
}

#[test]
fn links_lead_to_the_file_and_not_away_from_it() {
    let _alone = alone();
    let Setting { folder, store, file } = setting();
    let link = folder.path().join("link");
    symlink(&store, &link).unwrap();
    let evidence = no_open_files(&link);
    against(&evidence);
    fs::remove_file(&link).unwrap();
    against(&evidence);
    drop(file);
    confirmed(&evidence);

    let elsewhere = folder.path().join("elsewhere");
    fs::hard_link(store.join("store.sqlite3"), &elsewhere).unwrap();
    let evidence = no_open_files(&store);
    let file = File::open(elsewhere).unwrap();
    assert!(is_closed_by_name(&store), "the control");
    assert!(against(&evidence).contains("elsewhere"));
    drop(file);
    confirmed(&evidence);
}

#[test]
fn a_descriptor_of_a_name_alone_counts_and_so_does_one_of_the_directory() {
    let Setting { folder: _folder, store, file } = setting();
    drop(file);
    for path in [store.join("store.sqlite3"), store.clone()] {
        let evidence = no_open_files(&store);
        let descriptor = rustix::fs::open(path, OFlags::PATH, Mode::empty()).unwrap();
        against(&evidence);
        drop(descriptor);
        confirmed(&evidence);
    }
}

/// A program can keep its data in its own directory.
#[test]
fn a_program_that_was_loaded_from_below_the_path_does_not_count() {
    let program = env::current_exe().unwrap();
    unavailable(&no_open_files(program.parent().unwrap()));
}

/// The session lets its evidence look; a clone that was taken out of its handle keeps the file open.
#[test]
fn a_session_confirms_nothing_of_a_store_that_was_renamed_or_never_existed() {
    let _alone = alone();
    let why = |closed: Result<CloseReport, CloseError>| match closed.unwrap_err().kind {
        CloseErrorKind::Unconfirmed(why) => Some(*why),
        _ => None,
    };
    let Setting { file, store, folder } = setting();
    let file = Arc::new(file);
    let guarded = |evidence| {
        let session = Session::builder("test").evidence(evidence).start().unwrap();
        let handle = session.guard(Arc::clone(&file)).unwrap();
        (session, handle)
    };
    let (never, handle) = guarded(no_open_files(folder.path().join("never")));
    drop(handle);
    let unavailable = why(never.close_blocking(PLENTY));
    assert!(matches!(unavailable, Some(Unconfirmed::Unavailable(_))), "{unavailable:?}");

    let (renamed, handle) = guarded(no_open_files(&store));
    fs::rename(&store, folder.path().join("renamed")).unwrap();
    drop(handle);
    // On a busy machine the check is not asked in time.
    until("the evidence speaks against it", || {
        let closed = renamed.close_blocking(SHORT);
        matches!(why(closed), Some(Unconfirmed::Against(_)))
    });
    drop(file);
    let report = renamed.close_blocking(PLENTY).unwrap();
    assert_eq!(report.confirmation, Confirmation::Evidence);
}

/// Other threads open and close files elsewhere all the time, so that numbers are reused during a scan.
#[test]
fn other_descriptors_that_come_and_go_change_no_answer() {
    let _alone = alone();
    let elsewhere = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for name in ["first", "second"] {
            let (path, stop) = (elsewhere.path().join(name), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let files = [(); 8].map(|()| File::create(&path).unwrap());
                    fs::remove_file(&path).unwrap();
                    drop(files);
                }
            });
        }
        for _ in 0..100 {
            let setting = setting();
            let evidence = setting.seen();
            against(&evidence);
            fs::rename(&setting.store, setting.path("renamed")).unwrap();
            against(&evidence);
            drop(setting.file);
            confirmed(&evidence);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
