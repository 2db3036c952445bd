//! Threads, child processes, locks and sockets.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use sundown::evidence::{
    Evidence, Unconfirmed, no_child_processes, no_file_locks, no_sockets_on, no_sockets_to,
    no_threads,
};

use super::{against, confirmed, unavailable};
use crate::fixtures::until;

/// A thread that runs until the sender is dropped.
fn thread(name: &str) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let ((stop, stopped), (begun, began)) = (mpsc::channel::<()>(), mpsc::channel());
    let named = thread::Builder::new().name(name.to_owned());
    let thread = named.spawn(move || {
        begun.send(()).unwrap();
        let _ = stopped.recv();
    });
    began.recv().unwrap();
    (stop, thread.unwrap())
}

/// The system may list a thread for a moment after it was joined.
fn comes_to_be_confirmed(evidence: &impl Evidence) {
    until("the evidence confirms it", || !matches!(evidence.check(), Err(Unconfirmed::Against(_))));
    confirmed(evidence);
}

#[test]
fn threads_are_found_by_the_beginning_of_their_name_however_long_it_is() {
    let (short, long) = ("ev-", "ev-a-very-long-name-of-a-thread");
    let evidence = [short, long, "ev-a-very-other"].map(no_threads);
    let (stop, running) = thread(long);
    assert!(against(&evidence[0]).contains("ev-a-very-long-"));
    against(&evidence[1]);
    assert!(unavailable(&evidence[2]).contains("is the name right?"));
    drop(stop);
    running.join().unwrap();
    evidence[..2].iter().for_each(comes_to_be_confirmed);
}

#[test]
fn a_thread_that_was_seen_is_followed_when_its_name_changes() {
    let evidence = no_threads("seen-as-");
    let ((rename, renamed), (stop, stopped)) = (mpsc::channel::<()>(), mpsc::channel::<()>());
    let (done, is_done) = mpsc::channel();
    let named = thread::Builder::new().name("seen-as-this".to_owned());
    let running = named.spawn(move || {
        done.send(()).unwrap();
        renamed.recv().unwrap();
        fs::write("/proc/thread-self/comm", "another").unwrap();
        done.send(()).unwrap();
        let _ = stopped.recv();
    });
    is_done.recv().unwrap();
    evidence.look();
    rename.send(()).unwrap();
    is_done.recv().unwrap();
    assert!(against(&evidence).contains("another"));
    drop(stop);
    running.unwrap().join().unwrap();
    comes_to_be_confirmed(&evidence);
}

#[test]
fn the_thread_that_checks_is_not_evidence_against_itself() {
    let named = thread::Builder::new().name("checks-itself".to_owned());
    let checked = named.spawn(|| unavailable(&no_threads("checks-itself")));
    checked.unwrap().join().unwrap();
}

#[test]
fn a_child_process_is_evidence_until_it_has_ended_also_if_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("ev-catches");
    symlink("/bin/cat", &program).unwrap();
    let [evidence, any] = ["ev-catches", ""].map(no_child_processes);
    unavailable(&evidence);
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // It has its name by now.
    child.stdin.as_mut().unwrap().write_all(b"!").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    assert!(against(&evidence).contains(&child.id().to_string()));
    assert!(against(&any).contains("ev-catches"));

    drop(child.stdin.take());
    until("it ends", || !matches!(evidence.check(), Err(Unconfirmed::Against(_))));
    confirmed(&evidence);
    child.wait().unwrap();
    confirmed(&evidence);
}

#[test]
fn a_lock_is_evidence_until_it_is_released_though_the_file_stays_open_and_is_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    let evidence = no_file_locks(&store);
    let file = File::create(store.join("lock")).unwrap();
    assert!(unavailable(&evidence).contains("was locked at any look"));
    file.lock().unwrap();
    evidence.look();
    fs::rename(&store, folder.path().join("renamed")).unwrap();
    assert!(against(&evidence).contains("(FLOCK)"));
    file.unlock().unwrap();
    confirmed(&evidence);

    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(against(&evidence).contains("(POSIX)"));
    drop(file);
    confirmed(&evidence);
}

#[test]
fn a_connection_is_evidence_at_both_ends() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(server) = TcpListener::bind(address) else { continue };
        let address = server.local_addr().unwrap();
        let (to, on) = (no_sockets_to(address), no_sockets_on(address.port()));
        unavailable(&to);
        let client = TcpStream::connect(address).unwrap();
        let (accepted, _) = server.accept().unwrap();
        assert!(against(&to).starts_with("1 open to"));
        assert!(against(&on).starts_with("2 open on port"));
        drop(server);
        assert!(against(&on).starts_with("1 open on port"));
        drop(accepted);
        confirmed(&on);
        // Nobody answers any more, and the descriptor is still open.
        client.shutdown(Shutdown::Both).unwrap();
        against(&to);
        drop(client);
        confirmed(&to);
    }
}

#[test]
fn a_datagram_socket_is_evidence_as_well() {
    let [server, client] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = server.local_addr().unwrap();
    let (to, on) = (no_sockets_to(address), no_sockets_on(address.port()));
    client.connect(address).unwrap();
    against(&to);
    against(&on);
    drop((client, server));
    confirmed(&to);
    confirmed(&on);
}
