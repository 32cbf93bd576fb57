//! Maximum silence of the peer of a connection to PostgreSQL.
//!
//! sqlx opens its sockets itself and gives no access to their options, and without any a server that vanished is
//! waited for through a quarter of an hour of retransmissions, or without limit by a reader. So the sockets are
//! found among the files of the process, by the port of their peer, and set from there. It happens once per
//! connection, at its start.

use std::{io, net::SocketAddr, os::fd::RawFd, time::Duration};

use filedescriptor::FileDescriptor;
use rustix::net::{getpeername, sockopt};

/// Number of probes of a silent peer within its maximum silence.
const PROBES: u32 = 4;

/// The probes of a silent peer: the delay of the first, and the interval.
pub(crate) fn probes(silence: Duration) -> (Duration, Duration) {
    let pause = (silence / PROBES).max(Duration::from_secs(1));
    (pause, pause)
}

/// Makes the kernel abort connections to that port whose peer has acknowledged nothing for so long.
///
/// # Errors
/// When the process can't list its own files. The connections continue without a limit.
pub(crate) fn limit_silence(port: u16, silence: Duration) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Ok(entry) = entry else { continue };
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        let is_socket = entry.path().read_link().is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        // A file that was closed since needs no setting.
        if is_socket && let Ok(socket) = FileDescriptor::dup(&fd) {
            limit(&socket, port, silence);
        }
    }
    Ok(())
}

fn limit(socket: &FileDescriptor, port: u16, silence: Duration) {
    let peer = getpeername(socket).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
    if peer.is_none_or(|peer| peer.port() != port) {
        return;
    }
    let milliseconds = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
    if sockopt::tcp_user_timeout(socket).is_ok_and(|set| set == milliseconds) {
        return;
    }
    let (first, pause) = probes(silence);
    let set = sockopt::set_tcp_user_timeout(socket, milliseconds)
        .and_then(|()| sockopt::set_tcp_keepidle(socket, first))
        .and_then(|()| sockopt::set_tcp_keepintvl(socket, pause))
        .and_then(|()| sockopt::set_tcp_keepcnt(socket, PROBES))
        .and_then(|()| sockopt::set_socket_keepalive(socket, true));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection has no limit on its server's silence");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_to_the_port_is_limited_and_no_other() {
        let (server, other) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let ours = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let not_ours = TcpStream::connect(other.local_addr().unwrap()).unwrap();

        limit_silence(server.local_addr().unwrap().port(), Duration::from_secs(8)).unwrap();

        assert_eq!(sockopt::tcp_user_timeout(&ours), Ok(8000));
        assert_eq!(sockopt::tcp_keepidle(&ours), Ok(Duration::from_secs(2)));
        assert_eq!(sockopt::socket_keepalive(&ours), Ok(true));
        assert_eq!(sockopt::tcp_user_timeout(&not_ours), Ok(0));
    }
}
