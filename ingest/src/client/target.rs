//! The address of a service, and a socket connected to it.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use crate::printable::Printable;

/// The address of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// HOST:PORT.
    Tcp(String),
    /// The path of a Unix socket: any text with a slash.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        if text.contains('/') {
            let path = PathBuf::from(text);
            return check_socket_path(&path).map(|()| Target::Unix(path));
        }
        match text.rsplit_once(':') {
            None => {
                let (host, path) =
                    if text.is_empty() { ("localhost", "socket") } else { (text, text) };
                Err(format!(
                    "say HOST:PORT, like {host}:9900, or a path with a slash, like ./{path}"
                ))
            }
            Some((host, port))
                if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) =>
            {
                Ok(Target::Tcp(text.to_string()))
            }
            _ => Err("HOST:PORT with a port from 1 to 65535, or a path with a slash".to_string()),
        }
    }
}

/// The longest path that the address of a Unix socket holds, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Refuses a path that is too long for the address of a Unix socket.
///
/// # Errors
/// The length, the limit and the fix.
pub(crate) fn check_socket_path(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().len();
    if bytes <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "the path has {bytes} bytes, a Unix socket's has at most {SOCKET_PATH_BYTES_MAX}: choose a \
        shorter one, for example relative to the current folder"
    ))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => write!(f, "{}", Printable(address)),
            Target::Unix(path) => write!(f, "{}", Printable(path.display())),
        }
    }
}

impl Target {
    /// Connects within `timeout`. The socket doesn't block, and TCP sends small writes immediately.
    pub(super) fn connect(&self, timeout: Duration) -> io::Result<ClientSocket> {
        match self {
            Target::Tcp(address) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) => {
                            stream.set_nonblocking(true)?;
                            stream.set_nodelay(true)?;
                            return Ok(ClientSocket(stream.into()));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Target::Unix(path) => {
                // With a full backlog the system says "would block" and reports no event later, so
                // the call is repeated.
                let deadline = Instant::now() + timeout;
                loop {
                    match mio::net::UnixStream::connect(path) {
                        Err(error)
                            if error.kind() == io::ErrorKind::WouldBlock
                                && Instant::now() < deadline =>
                        {
                            thread::sleep(Duration::from_millis(1));
                        }
                        connected => return Ok(ClientSocket(connected?.into())),
                    }
                }
            }
        }
    }
}

/// A connected socket. Once they are connected, TCP and Unix sockets are used alike.
#[derive(Debug)]
pub(super) struct ClientSocket(OwnedFd);

impl ClientSocket {
    pub(super) fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, room)?)
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Waits until there is something to read, or for `timeout`. A signal ends the wait too.
    pub(super) fn wait_readable(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Half-close: no more requests follow, answers still come.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        Ok(shutdown(&self.0, Shutdown::Write)?)
    }

    /// Registers the socket for edges of both directions, until it is dropped.
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&self.0.as_raw_fd()), token, interest)
    }
}

/// For clients that block.
#[cfg(feature = "objects")]
impl ClientSocket {
    pub(super) fn set_blocking(&self, blocks: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.0, !blocks)?)
    }

    /// The longest time that a read or a write blocks. After it they fail with "would block".
    pub(super) fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};

        set_socket_timeout(&self.0, Timeout::Recv, Some(timeout))?;
        Ok(set_socket_timeout(&self.0, Timeout::Send, Some(timeout))?)
    }
}
