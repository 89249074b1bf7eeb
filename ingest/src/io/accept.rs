//! Listeners, and the sockets that they accept.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::conn::Conn;
use super::counters::Counter;
use super::driver::Driver;
use super::stream::Stream;
use crate::notice::try_notice;

/// How long accepting pauses when no descriptor is left, unless a connection ends earlier.
const PAUSE: Duration = Duration::from_millis(100);
/// The most connections accepted in one round, so that a flood of them doesn't starve existing
/// ones.
const ACCEPTS_MAX: usize = 64;

/// A listening socket of one lane: its own TCP socket, or a duplicate of the Unix socket.
#[derive(Debug)]
pub enum Listener {
    /// One of several on the same port.
    Tcp(TcpListener),
    /// A duplicate of the one descriptor.
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => Stream::tcp(listener.accept()?.0),
            Self::Unix(listener) => Stream::unix(listener.accept()?.0),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Driver {
    /// Accepts the connections that wait at a listener.
    pub(super) fn accept(&mut self, number: usize) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = self.listeners.get(number) else { return };
            match listener.accept() {
                Ok(stream) => self.admit(stream),
                Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                    Some(Errno::AGAIN) => return,
                    Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        return self.pause_accepting();
                    }
                    // This connection is already gone, or a signal came; there may be another.
                    _ => {}
                },
            }
        }
    }

    fn admit(&mut self, stream: Stream) {
        if self.table.is_full() {
            // Dropped, so that the client sees the end at once instead of waiting for a place.
            self.counters.add(Counter::OverConnectionCap, 1);
            return;
        }
        let id = self.table.insert(Conn::new(stream));
        self.counters.add(Counter::Accepted, 1);
        let registered = self.table.get_mut(id).map(|conn| self.poller.add_conn(&conn.stream, id));
        match registered {
            Some(Ok(())) => self.queue_read(id),
            _ => self.close(id),
        }
    }

    /// A listener that is ready and can't be served would make the loop spin, so it is removed from
    /// the set for a while.
    fn pause_accepting(&mut self) {
        self.counters.add(Counter::AcceptPauses, 1);
        for listener in &self.listeners {
            self.poller.remove(listener);
        }
        self.accept_again_at = Some(Instant::now() + PAUSE);
    }

    /// Listens again when the pause is over; a closed connection ends it, too.
    pub(super) fn resume_accepting(&mut self, at_once: bool) {
        let Some(at) = self.accept_again_at else { return };
        if !at_once && Instant::now() < at {
            return;
        }
        self.accept_again_at = None;
        for (number, listener) in (0..).zip(&self.listeners) {
            if let Err(error) = self.poller.add_listener(listener, number) {
                try_notice(format_args!("can't listen again: {error}"));
            }
        }
    }

    pub(super) fn stop_accepting(&mut self) {
        for listener in self.listeners.drain(..) {
            self.poller.remove(&listener);
        }
        self.accept_again_at = None;
    }
}
