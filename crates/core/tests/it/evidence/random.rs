//! Random sequences of what is done with files, compared with a model of them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use sundown::evidence::{Evidence, OpenFiles, Unconfirmed, no_open_files};

use super::alone;
use crate::fixtures::runner;

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Opens a file in the store, or elsewhere.
    Open(Place),
    Close(usize),
    /// Deletes a file that may be open.
    Delete(usize),
    /// Gives a file a new name, in the store or elsewhere.
    Move(usize, Place),
    /// The directory of the store gets a new name.
    RenameStore,
    /// The directory of the store is deleted, with all in it.
    DeleteStore,
    /// There is a new directory at the path.
    CreateStore,
    Check,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Store,
    Elsewhere,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let place = || prop_oneof![Just(Place::Store), Just(Place::Elsewhere)];
    let operation = prop_oneof![
        4 => place().prop_map(Operation::Open),
        3 => any::<usize>().prop_map(Operation::Close),
        1 => any::<usize>().prop_map(Operation::Delete),
        2 => (any::<usize>(), place()).prop_map(|(file, place)| Operation::Move(file, place)),
        1 => Just(Operation::RenameStore),
        1 => Just(Operation::DeleteStore),
        1 => Just(Operation::CreateStore),
        2 => Just(Operation::Check),
    ];
    proptest::collection::vec(operation, 1..40)
}

/// A file, whether or not it is open.
struct Tracked {
    /// `None` if it was deleted.
    path: Option<PathBuf>,
    open: Option<File>,
    /// Whether it was open below the path at some look.
    counts: bool,
}

struct Model {
    /// Where the store's directory is now.
    store: Option<PathBuf>,
    files: Vec<Tracked>,
    names: usize,
    evidence: OpenFiles,
    folder: tempfile::TempDir,
}

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("elsewhere")).unwrap();
        let evidence = no_open_files(folder.path().join("store"));
        Self { folder, store: None, files: Vec::new(), names: 0, evidence }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        self.names.to_string()
    }

    fn new_path(&mut self, place: Place) -> Option<PathBuf> {
        let directory = match place {
            Place::Store => self.store.clone()?,
            Place::Elsewhere => self.folder.path().join("elsewhere"),
        };
        Some(directory.join(self.name()))
    }

    fn file(&mut self, index: usize) -> Option<&mut Tracked> {
        let count = self.files.len();
        self.files.get_mut(index.checked_rem(count)?)
    }

    fn apply(&mut self, operation: Operation) -> Option<()> {
        match operation {
            Operation::Open(place) => {
                let path = self.new_path(place)?;
                let open = Some(File::create(&path).unwrap());
                self.files.push(Tracked { path: Some(path), open, counts: false });
            }
            Operation::Close(file) => drop(self.file(file)?.open.take()),
            Operation::Delete(file) => fs::remove_file(self.file(file)?.path.take()?).unwrap(),
            Operation::Move(file, place) => {
                let to = self.new_path(place)?;
                let path = self.file(file)?.path.as_mut()?;
                fs::rename(&path, &to).unwrap();
                *path = to;
            }
            Operation::RenameStore => {
                let name = self.name();
                let to = self.folder.path().join(name);
                let from = self.store.clone()?;
                fs::rename(&from, &to).unwrap();
                self.store = Some(to.clone());
                for path in self.files.iter_mut().filter_map(|file| file.path.as_mut()) {
                    if let Ok(name) = path.strip_prefix(&from) {
                        *path = to.join(name);
                    }
                }
            }
            Operation::DeleteStore => {
                let gone = self.store.take()?;
                fs::remove_dir_all(&gone).unwrap();
                for file in &mut self.files {
                    file.path.take_if(|path| path.starts_with(&gone));
                }
            }
            Operation::CreateStore => {
                if self.store.is_none() {
                    let path = self.folder.path().join("store");
                    fs::create_dir(&path).unwrap();
                    self.store = Some(path);
                }
            }
            Operation::Check => {}
        }
        Some(())
    }

    fn is_in_store(&self, path: &Path) -> bool {
        self.store.as_ref().is_some_and(|store| path.starts_with(store))
    }

    /// What the check must say if there is a look after each operation.
    fn expected(&mut self) -> Option<usize> {
        for index in 0..self.files.len() {
            let file = &self.files[index];
            let is_below = file.path.as_ref().is_some_and(|path| self.is_in_store(path));
            self.files[index].counts |= is_below && self.files[index].open.is_some();
        }
        let mut counted = self.files.iter().filter(|file| file.counts).peekable();
        counted.peek()?;
        Some(counted.filter(|file| file.open.is_some()).count())
    }
}

fn matches(checked: &Result<(), Unconfirmed>, expected: Option<usize>) -> bool {
    match (checked, expected) {
        (Err(Unconfirmed::Unavailable(_)), None) | (Ok(()), Some(0)) => true,
        (Err(Unconfirmed::Against(why)), Some(open @ 1..)) => {
            why.starts_with(&format!("{open} open below"))
        }
        _ => false,
    }
}

/// A check is thorough: it finds the directory wherever it is.
#[test]
fn with_a_check_after_each_operation_the_evidence_counts_what_the_model_counts() {
    let _alone = alone();
    let property = |operations: Vec<Operation>| {
        let mut model = Model::new();
        for operation in operations {
            model.apply(operation);
            let (checked, expected) = (model.evidence.check(), model.expected());
            prop_assert!(
                matches(&checked, expected),
                "after {operation:?}: {checked:?}, and the model: {expected:?}"
            );
        }
        Ok(())
    };
    runner(64).run(&operations(), property).unwrap_or_else(|error| panic!("{error}"));
}

/// Between two looks anything can happen but that a file which no look saw is moved out.
#[test]
fn with_few_looks_nothing_is_confirmed_that_is_open_and_all_is_once_it_is_closed() {
    let _alone = alone();
    let property = |operations: Vec<Operation>| {
        let mut model = Model::new();
        for operation in operations {
            if let Operation::Move(..) = operation {
                continue;
            }
            model.apply(operation);
            let open = model.expected().is_some_and(|open| open > 0);
            if let Operation::Check = operation {
                let checked = model.evidence.check();
                prop_assert!(!(open && checked.is_ok()), "{checked:?} while one is open");
            } else if open || matches!(operation, Operation::CreateStore) {
                model.evidence.look();
            }
        }
        let ever = model.expected().is_some();
        model.files.clear();
        let checked = model.evidence.check();
        prop_assert!(matches(&checked, ever.then_some(0)), "{checked:?} when all are closed");
        Ok(())
    };
    runner(64).run(&operations(), property).unwrap_or_else(|error| panic!("{error}"));
}
