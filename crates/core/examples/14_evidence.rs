//! Evidence from the system: it follows an open file, and confirms only what it saw.
//!
//! Somebody renames the folder of a store while a file in it is open, for example to put it aside at a
//! logout. By its path the store looks closed. Evidence saw the file and follows it. Of a path that is
//! spelled wrong it saw nothing, so it confirms nothing.
//!
//! On Linux and macOS this prints
//!
//! ```text
//! below the path: 0 open
//! the evidence: not closed
//! the evidence on a misspelled path: cannot say
//! closed
//! the evidence: closed
//! the evidence on a misspelled path: cannot say
//! ```

use std::{
    error::Error,
    fs::{self, File},
};

use sundown::evidence::{Evidence, Unconfirmed, no_open_files, open_files};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store");
    fs::create_dir(&store)?;
    let (is_closed, misspelled) =
        (no_open_files(&store), no_open_files(folder.path().join("stoer")));

    let file = File::create(store.join("store.sqlite3"))?;
    // A session does this when it is given a value, and when it begins to close.
    is_closed.look();
    misspelled.look();

    fs::rename(&store, folder.path().join("aside"))?;
    println!("below the path: {} open", open_files(&store)?.len());
    println!("the evidence: {}", answer(&is_closed));
    println!("the evidence on a misspelled path: {}", answer(&misspelled));

    drop(file);
    println!("closed");
    println!("the evidence: {}", answer(&is_closed));
    println!("the evidence on a misspelled path: {}", answer(&misspelled));
    Ok(())
}

fn answer(evidence: &impl Evidence) -> &'static str {
    match evidence.check() {
        Ok(()) => "closed",
        Err(Unconfirmed::Against(_)) => "not closed",
        Err(_) => "cannot say",
    }
}
