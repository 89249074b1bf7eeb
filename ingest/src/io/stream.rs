//! A connection's socket: TCP or Unix, never blocking.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Either kind of stream.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The result of a call on a socket.
#[derive(Debug)]
pub(super) enum Moved {
    /// This many bytes; for a receive, at least one.
    Bytes(usize),
    /// Nothing now; readiness will be reported.
    NotNow,
    /// The other side has ended its stream.
    End,
    /// The connection is gone.
    Gone,
}

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // Answers are small, and we gather them ourselves: waiting for more would only delay them.
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    pub(super) fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Unix(stream))
    }

    pub(super) fn receive(&mut self, into: &mut [u8]) -> Moved {
        debug_assert!(!into.is_empty(), "an empty receive can't be told from the end");
        let read = || match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        };
        match again(read) {
            Moved::Bytes(0) => Moved::End,
            moved => moved,
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Moved {
        again(|| match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        })
    }

    /// Says that nothing more will be sent.
    pub(super) fn end_sending(&self) {
        // An error means that the other side is gone, which the next receive reports.
        let _gone = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Repeats a call that a signal interrupted.
fn again(mut call: impl FnMut() -> io::Result<usize>) -> Moved {
    loop {
        return match call() {
            Ok(bytes) => Moved::Bytes(bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Moved::NotNow,
            Err(_) => Moved::Gone,
        };
    }
}
