//! Sockets by peer and by port.

use std::{collections::HashSet, fmt, net::SocketAddr};

use super::{
    Unconfirmed,
    follow::{Found, Source, follows},
};

follows! {
    /// Evidence that no socket has a peer, or a local port. Made by [`no_sockets_to`] and
    /// [`no_sockets_on`].
    Sockets, Address
}

/// Evidence that this process has no TCP or UDP socket that is connected, or connecting, to this address.
///
/// A socket that was seen is followed until its descriptor is closed, also after the connection has
/// ended. What the kernel does with a connection afterwards, for example to send the rest of its data, is
/// not part of this.
///
/// A look takes milliseconds: the kernel goes through the tables of the whole network namespace. It does
/// not see a socket of another network namespace, of another process, or of a thread that does not share
/// the descriptors of this process. For a client of several addresses, give the session evidence for
/// each.
///
/// # Errors
///
/// The check returns [`Unconfirmed::Against`] with the sockets that are open. It returns
/// [`Unconfirmed::Unavailable`] if it has never seen one, if `/proc` cannot be read, for example because
/// no descriptor is left, and on other systems than Linux.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::net::{TcpListener, TcpStream};
/// use sundown::evidence::{Evidence, Unconfirmed, no_sockets_to};
///
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let is_closed = no_sockets_to(server.local_addr()?);
/// let connection = TcpStream::connect(server.local_addr()?)?;
/// assert!(matches!(is_closed.check(), Err(Unconfirmed::Against(_))));
///
/// drop(connection);
/// assert_eq!(is_closed.check(), Ok(()));
/// # Ok(())
/// # }
/// # #[cfg(not(target_os = "linux"))]
/// # fn main() {}
/// ```
pub fn no_sockets_to(peer: impl Into<SocketAddr>) -> Sockets {
    Sockets::follow(Address::Peer(peer.into()))
}

/// Evidence that this process has no TCP or UDP socket on this local port: neither one that listens, nor
/// a connection that was accepted there.
///
/// Otherwise this is [`no_sockets_to`], with the same limits and errors.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::net::TcpListener;
/// use sundown::evidence::{Evidence, Unconfirmed, no_sockets_on};
///
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let is_closed = no_sockets_on(server.local_addr()?.port());
/// assert!(matches!(is_closed.check(), Err(Unconfirmed::Against(_))));
///
/// drop(server);
/// assert_eq!(is_closed.check(), Ok(()));
/// # Ok(())
/// # }
/// # #[cfg(not(target_os = "linux"))]
/// # fn main() {}
/// ```
pub fn no_sockets_on(port: u16) -> Sockets {
    Sockets::follow(Address::LocalPort(port))
}

enum Address {
    Peer(SocketAddr),
    LocalPort(u16),
}

impl Source for Address {
    /// The inode. The kernel counts these up, and begins again after four thousand million.
    type Identity = u64;

    #[cfg(target_os = "linux")]
    fn find(&self, seen: &HashSet<u64>, _: bool) -> Result<Vec<Found<u64>>, Unconfirmed> {
        let open = super::by_link::descriptors()?;
        let inodes = open.iter().filter_map(|open| linux::inode(open.link.to_str()?));
        let inodes: Vec<_> = inodes.collect();
        if inodes.is_empty() {
            return Ok(Vec::new());
        }
        let sockets = linux::sockets()?;
        let found = inodes.into_iter().filter_map(|inode| match sockets.get(&inode) {
            Some(socket) if self.is_of(socket) || seen.contains(&inode) => {
                Some((inode, socket.to_string()))
            }
            // The connection has ended, and the descriptor is still open.
            None if seen.contains(&inode) => Some((inode, format!("socket {inode}"))),
            _ => None,
        });
        Ok(found.map(|(inode, name)| Found { identity: Some(inode), name }).collect())
    }

    #[cfg(not(target_os = "linux"))]
    fn find(&self, _: &HashSet<u64>, _: bool) -> Result<Vec<Found<u64>>, Unconfirmed> {
        Err(super::EvidenceError::Unsupported.into())
    }

    fn fmt_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => write!(f, "open to {peer}"),
            Self::LocalPort(port) => write!(f, "open on port {port}"),
        }
    }

    fn why_never_seen(&self) -> String {
        format!(
            "no socket was {} at any look, so none can have been closed",
            crate::newer_std::from_fn(|f| self.fmt_what(f))
        )
    }
}

#[cfg(target_os = "linux")]
pub(crate) mod linux {
    use std::{
        collections::HashMap,
        fmt, fs, io,
        net::{IpAddr, SocketAddr},
    };

    use super::Address;
    use crate::evidence::{EvidenceError, proc::unlisted};

    const LISTS: [&str; 4] = ["tcp", "tcp6", "udp", "udp6"];

    /// The two ends of a socket.
    pub(crate) struct Socket {
        local: SocketAddr,
        peer: SocketAddr,
    }

    impl fmt::Display for Socket {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} to {}", self.local, self.peer)
        }
    }

    impl Address {
        pub(super) fn is_of(&self, socket: &Socket) -> bool {
            match self {
                Self::Peer(peer) => {
                    let ends =
                        [*peer, socket.peer].map(|end| (end.ip().to_canonical(), end.port()));
                    ends[0] == ends[1]
                }
                Self::LocalPort(port) => socket.local.port() == *port,
            }
        }
    }

    /// `socket:[17]`
    pub(crate) fn inode(link: &str) -> Option<u64> {
        link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }

    /// All sockets of the network namespace, by inode.
    pub(crate) fn sockets() -> Result<HashMap<u64, Socket>, EvidenceError> {
        let mut sockets = HashMap::new();
        let mut missing = None;
        let mut lists = 0;
        for list in LISTS.map(|name| format!("/proc/thread-self/net/{name}")) {
            match fs::read_to_string(&list) {
                Ok(text) => {
                    lists += 1;
                    sockets.extend(text.lines().skip(1).filter_map(parse));
                }
                // A kernel without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing = Some(unlisted(list, error));
                }
                Err(error) => return Err(unlisted(list, error)),
            }
        }
        match missing {
            Some(missing) if lists == 0 => Err(missing),
            _ => Ok(sockets),
        }
    }

    /// `sl local remote state queues timer retransmits user timeout inode …`
    fn parse(line: &str) -> Option<(u64, Socket)> {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [_, local, peer, _, _, _, _, _, _, inode, ..] = &*fields else { return None };
        Some((inode.parse().ok()?, Socket { local: address(local)?, peer: address(peer)? }))
    }

    /// `0100007F:1F90`. The address is in words of 32 bits, each in the byte order of the machine.
    fn address(text: &str) -> Option<SocketAddr> {
        let (words, port) = text.split_once(':')?;
        let word = |at: usize| {
            let word = u32::from_str_radix(words.get(8 * at..8 * (at + 1))?, 16).ok()?;
            Some(word.to_ne_bytes())
        };
        let ip = match words.len() {
            8 => IpAddr::from(word(0)?),
            32 => {
                let mut bytes = [0; 16];
                for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                    four.copy_from_slice(&word(at)?);
                }
                IpAddr::from(bytes)
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        #[cfg(target_endian = "little")]
        fn addresses_are_read_as_the_kernel_writes_them() {
            let read = |text| address(text).map(|address| address.to_string());
            assert_eq!(read("0100007F:1F90").as_deref(), Some("127.0.0.1:8080"));
            let loopback = "00000000000000000000000001000000:0050";
            assert_eq!(read(loopback).as_deref(), Some("[::1]:80"));
            let mapped = "0000000000000000FFFF00000100007F:0050";
            assert_eq!(read(mapped).as_deref(), Some("127.0.0.1:80"));
            for torn in ["", "01", "0100007F", "0100007F:", "é100007:0050", "0100007F01:0050"] {
                assert_eq!(read(torn), None, "{torn}");
            }
        }

        #[test]
        fn other_links_are_no_sockets() {
            assert_eq!(inode("socket:[17]"), Some(17));
            for other in ["pipe:[17]", "socket:[]", "socket:[17", "/tmp/socket:[17]"] {
                assert_eq!(inode(other), None);
            }
        }
    }
}
