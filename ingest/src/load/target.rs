//! Where to connect, and a socket of either kind.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

/// A service's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// HOST:PORT.
    Tcp(String),
    /// The path of a Unix socket: anything with a slash, or without a colon.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        if text.is_empty() {
            return Err("HOST:PORT or the path of a Unix socket".to_string());
        }
        if text.contains('/') || !text.contains(':') {
            return Ok(Target::Unix(PathBuf::from(text)));
        }
        match text.rsplit_once(':') {
            Some((host, port))
                if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) =>
            {
                Ok(Target::Tcp(text.to_string()))
            }
            _ => Err("HOST:PORT with a port from 1 to 65535, or a path with a slash".to_string()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => f.write_str(address),
            Target::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    /// Connects within `timeout`; the socket doesn't block, and TCP sends at once what it is given.
    pub(crate) fn connect(&self, timeout: Duration) -> io::Result<Stream> {
        match self {
            Target::Tcp(address) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in address.to_socket_addrs()? {
                    match std::net::TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) => {
                            stream.set_nonblocking(true)?;
                            stream.set_nodelay(true)?;
                            return Ok(Stream::Tcp(TcpStream::from_std(stream)));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Target::Unix(path) => {
                // A full backlog says "would block" and gives no event, so the call must be
                // repeated.
                let deadline = Instant::now() + timeout;
                loop {
                    match UnixStream::connect(path) {
                        Err(error)
                            if error.kind() == io::ErrorKind::WouldBlock
                                && Instant::now() < deadline =>
                        {
                            thread::sleep(Duration::from_millis(1));
                        }
                        other => return other.map(Stream::Unix),
                    }
                }
            }
        }
    }
}

/// A connected socket that doesn't block.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(room),
            Stream::Unix(stream) => stream.read(room),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    /// Half-close: no more requests follow, answers still come.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => registry.register(stream, token, interest),
            Stream::Unix(stream) => registry.register(stream, token, interest),
        }
    }
}
