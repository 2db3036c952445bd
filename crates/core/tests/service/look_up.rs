//! A DNS look-up that gets no answer.

use std::{env, net::UdpSocket, sync::mpsc, thread};

use tokio::{net::lookup_host, runtime::Runtime};

use crate::process::{
    Done, Ended, SERVICE, SHORT, can_start_under, leaves_within_the_limit, service, start_under,
};

/// A network with nothing but loopback, in which 127.0.0.1 is the name server. glibc asks five times, 30 s apart.
const ALONE: &[&str] = &[
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "--net",
    "sh",
    "-ec",
    "ip link set lo up
    mount -t tmpfs tmpfs /mnt
    printf 'nameserver 127.0.0.1\noptions timeout:30 attempts:5\n' >/mnt/resolv.conf
    mount --bind /mnt/resolv.conf /etc/resolv.conf
    echo 'hosts: dns' >/mnt/nsswitch.conf
    if [ -e /etc/nsswitch.conf ]; then mount --bind /mnt/nsswitch.conf /etc/nsswitch.conf; fi
    exec \"$@\"",
    "sh",
];

/// Looks up a name.
async fn look_up() {
    let found = lookup_host("nobody.example:80").await;
    panic!("there is an answer: {:?}", found.map(Iterator::count));
}

/// A name server that never answers. It prints `ready` when it has been asked, and tells it.
fn be_silent() -> mpsc::Receiver<()> {
    let server = UdpSocket::bind("127.0.0.1:53").unwrap();
    let (tell, asked) = mpsc::channel();
    thread::spawn(move || {
        let _ = server.recv(&mut [0; 512]).unwrap();
        println!("ready");
        let _ = tell.send(());
        // The socket stays: without it the system would refuse what is sent.
        loop {
            thread::park();
        }
    });
    asked
}

/// Tokio looks a name up in a closure of `spawn_blocking`, which nothing can interrupt.
#[test]
fn a_dns_look_up_without_an_answer_does_not_keep_a_service() {
    fn looks_up(hears: bool) -> Ended {
        let _asked = be_silent();
        service().limit(SHORT).run(move |service| async move {
            service.spawn("looks up", move |mut stop| async move {
                tokio::select! { () = &mut stop, if hears => {}, () = look_up() => {} }
            });
            service.stop_signal().await;
            Done::Ok(())
        })
    }
    if env::var_os(SERVICE).is_none() && !can_start_under(ALONE, "a DNS look-up without an answer")
    {
        return;
    }
    let hears = start_under(ALONE, || looks_up(true));
    let is_aborted = start_under(ALONE, || looks_up(false));
    let dropped = start_under(ALONE, || {
        let (asked, runtime) = (be_silent(), Runtime::new().unwrap());
        runtime.spawn(look_up());
        asked.recv().unwrap();
        drop(runtime);
        panic!("the runtime was dropped");
    });
    for process in [hears, is_aborted].into_iter().flatten() {
        let error = leaves_within_the_limit(process);
        assert!(error.contains("a DNS look-up"), "{error}");
    }
    // The control: what `#[tokio::main]` does waits for the look-up.
    let Some(mut dropped) = dropped else { return };
    dropped.wait_for("ready");
    thread::sleep(SHORT);
    assert!(dropped.child.try_wait().unwrap().is_none(), "the look-up has ended");
    dropped.child.kill().unwrap();
    dropped.child.wait().unwrap();
}
