//! Readiness: what an IO thread waits for, and the listeners that it accepts from.
//!
//! It is epoll, edge-triggered for connections, so that the steady state makes no system calls but
//! receives, sends and one wait per round. A listener for whose connections no descriptor is left
//! is removed from the set for a while, as after any refusal: it would be reported in every round.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use super::conn::Socket;
use super::counters::{Counter, Counters};
use crate::notice;
use crate::stage::ConnId;

/// The most readiness events of one wait.
pub(super) const EVENTS_MAX: usize = 256;
/// Places of connections are below this: larger numbers name everything else.
const CONNS_MAX: u32 = 1 << 24;
/// How long accepting pauses when the system refuses, unless a connection ends earlier.
const PAUSE: Duration = Duration::from_millis(100);

/// What a readiness event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Conn {
        id: ConnId,
        readable: bool,
        writable: bool,
        hangup: bool,
    },
    /// The listener with that number.
    Listener(u32),
    /// The lane's eventfd, or the bell: the driver looks by itself.
    Nudge,
}

/// Rings a sleeping IO thread from another thread.
#[derive(Clone, Debug)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    /// A bell that hasn't been rung.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// Wakes the thread, once for each time that it sleeps.
    pub fn ring(&self) {
        // A counter that is full after 2^64 rings would ring no more.
        let _full = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// The set of descriptors that one IO thread waits for.
pub(super) struct SocketPoller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

const NUDGE: u64 = u64::MAX;

impl SocketPoller {
    pub(super) fn new(bell: &Bell, lane: impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Edge-triggered, so that a bell that was rung needn't be read.
        let rung = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &*bell.0, epoll::EventData::new_u64(NUDGE), rung)?;
        epoll::add(&epoll, lane, epoll::EventData::new_u64(NUDGE), epoll::EventFlags::IN)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    pub(super) fn add_conn(&self, socket: impl AsFd, id: ConnId) -> io::Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(pack(id.index, id.generation));
        Ok(epoll::add(&self.epoll, socket, data, flags)?)
    }

    /// A connection goes to another lane.
    pub(super) fn forget_conn(&self, socket: impl AsFd) {
        let _gone = epoll::delete(&self.epoll, socket);
    }

    /// Level-triggered and exclusive: one of the lanes that share a listener is woken for a
    /// connection, not all of them.
    fn add_listener(&self, listener: &Listener, number: u32) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        let data = epoll::EventData::new_u64(pack(CONNS_MAX + number, 0));
        Ok(epoll::add(&self.epoll, listener, data, flags)?)
    }

    fn remove_listener(&self, listener: &Listener) {
        let _gone = epoll::delete(&self.epoll, listener);
    }

    /// Waits at most `timeout` (for ever without one) and hands over what is ready. Returns whether
    /// that was all: a signal or a full list of events leave something for the next call.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut ready: impl FnMut(Readiness),
    ) -> io::Result<bool> {
        self.events.clear();
        let timeout = timeout
            .map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => {}
            // A signal: the round begins again.
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.events.iter().map(decode).for_each(&mut ready);
        Ok(self.events.len() < EVENTS_MAX)
    }
}

fn pack(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn decode(event: &epoll::Event) -> Readiness {
    let (data, flags) = (event.data.u64(), event.flags);
    if data == NUDGE {
        return Readiness::Nudge;
    }
    let (index, generation) = (data as u32, (data >> 32) as u32);
    if index >= CONNS_MAX {
        return Readiness::Listener(index - CONNS_MAX);
    }
    let gone = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
    let hangup = flags.intersects(epoll::EventFlags::RDHUP | gone);
    let readable = hangup || flags.intersects(epoll::EventFlags::IN);
    let writable = flags.intersects(epoll::EventFlags::OUT | gone);
    Readiness::Conn { id: ConnId { index, generation }, readable, writable, hangup }
}

/// A listening socket of one lane: its own TCP socket, or a duplicate of the Unix socket.
#[derive(Debug)]
pub enum Listener {
    /// One of several on the same port.
    Tcp(TcpListener),
    /// A duplicate of the one descriptor.
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Socket> {
        let socket = match self {
            Self::Tcp(listener) => Socket::tcp(listener.accept()?.0),
            Self::Unix(listener) => Socket::unix(listener.accept()?.0),
        };
        // A socket that can't be set up is gone already.
        socket.map_err(|_| Errno::CONNABORTED.into())
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

/// The result of accepting from a listener.
pub(super) enum Accepted {
    Conn(Socket),
    /// This connection is already gone, or a signal came; there may be another.
    Gone,
    /// No connection waits, or accepting pauses.
    Nothing,
}

/// All listeners of a lane.
pub(super) struct LaneListeners {
    all: Vec<Listener>,
    /// Accepting pauses until then.
    again_at: Option<Instant>,
    /// The error of the last pause, which was reported.
    said: Option<i32>,
}

impl LaneListeners {
    pub(super) fn new(all: Vec<Listener>, poller: &SocketPoller) -> io::Result<Self> {
        for (number, listener) in (0..).zip(&all) {
            poller.add_listener(listener, number)?;
        }
        Ok(Self { all, again_at: None, said: None })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn are_paused(&self) -> bool {
        self.again_at.is_some()
    }

    /// Accepts one connection from the listener with that number.
    pub(super) fn accept(
        &mut self,
        number: usize,
        poller: &SocketPoller,
        counters: &mut Counters,
    ) -> Accepted {
        let Some(listener) = self.all.get(number) else { return Accepted::Nothing };
        match listener.accept() {
            Ok(socket) => Accepted::Conn(socket),
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::AGAIN) => Accepted::Nothing,
                // The client has given up, the network reports its error here, or a signal came.
                Some(
                    Errno::CONNABORTED
                    | Errno::INTR
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH,
                ) => Accepted::Gone,
                // No descriptor or memory is left, or the system forbids it.
                _ => {
                    self.pause(&error, poller, counters);
                    Accepted::Nothing
                }
            },
        }
    }

    /// A listener that is ready and can't be served would make the loop spin, so it is removed from
    /// the set for a while.
    fn pause(&mut self, error: &io::Error, poller: &SocketPoller, counters: &mut Counters) {
        // Said once for each cause, and again only when the cause changes.
        if self.said != error.raw_os_error() {
            self.said = error.raw_os_error();
            notice::warn(format_args!(
                "no connection can be accepted: {error}; trying again ten times a second"
            ));
        }
        counters.add(Counter::AcceptPauses, 1);
        self.all.iter().for_each(|listener| poller.remove_listener(listener));
        self.again_at = Some(Instant::now() + PAUSE);
    }

    /// Listens again when the pause is over.
    pub(super) fn resume_if_due(&mut self, poller: &SocketPoller) {
        if self.again_at.is_some_and(|at| Instant::now() >= at) {
            self.resume(poller);
        }
    }

    /// Listens again. The end of a connection, whose descriptor is free now, ends the pause too.
    pub(super) fn resume(&mut self, poller: &SocketPoller) {
        if self.again_at.take().is_none() {
            return;
        }
        for (number, listener) in (0..).zip(&self.all) {
            if let Err(error) = poller.add_listener(listener, number) {
                notice::warn(format_args!("can't listen again: {error}"));
            }
        }
    }

    /// Stops listening.
    pub(super) fn remove_all(&mut self, poller: &SocketPoller) {
        for listener in self.all.drain(..) {
            poller.remove_listener(&listener);
        }
        self.again_at = None;
    }
}
