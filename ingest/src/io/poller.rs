//! Readiness: epoll, edge-triggered for connections, so that the steady state makes no system calls
//! but receives, sends and one wait per round.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use crate::stage::ConnId;

/// Events taken with one wait.
const EVENTS_MAX: usize = 256;
/// Places of connections are below this: larger numbers name everything else.
const CONNS_MAX: u32 = 1 << 24;

/// What a readiness event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
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
    /// A bell that nobody has rung.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// Wakes the thread. It stays rung: its owner is going to stop.
    pub fn ring(&self) {
        // A full counter is rung already.
        let _full = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

const NUDGE: u64 = u64::MAX;

impl Poller {
    pub(super) fn new(bell: &Bell, lane: impl AsFd) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*bell.0, epoll::EventData::new_u64(NUDGE), epoll::EventFlags::IN)?;
        epoll::add(&epoll, lane, epoll::EventData::new_u64(NUDGE), epoll::EventFlags::IN)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// The bell has done its work and would keep the thread awake.
    pub(super) fn forget_bell(&self, bell: &Bell) {
        let _gone = epoll::delete(&self.epoll, &*bell.0);
    }

    /// Level-triggered and exclusive: one of the lanes that share a listener is woken for a
    /// connection, not all of them.
    pub(super) fn add_listener(&self, listener: impl AsFd, number: u32) -> std::io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        Ok(epoll::add(
            &self.epoll,
            listener,
            epoll::EventData::new_u64(pack(CONNS_MAX + number, 0)),
            flags,
        )?)
    }

    pub(super) fn remove(&self, fd: impl AsFd) {
        let _gone = epoll::delete(&self.epoll, fd);
    }

    pub(super) fn add_conn(&self, stream: impl AsFd, id: ConnId) -> std::io::Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            stream,
            epoll::EventData::new_u64(pack(id.index, id.generation)),
            flags,
        )?)
    }

    /// Waits at most `timeout` (for ever without one) and hands over what is ready.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut ready: impl FnMut(Ready),
    ) -> std::io::Result<()> {
        self.events.clear();
        let timeout = timeout
            .map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => {}
            // A signal: the round begins again.
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.events.iter().map(decode).for_each(&mut ready);
        Ok(())
    }
}

fn pack(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn decode(event: &epoll::Event) -> Ready {
    let (data, flags) = (event.data.u64(), event.flags);
    if data == NUDGE {
        return Ready::Nudge;
    }
    let (index, generation) = (data as u32, (data >> 32) as u32);
    if index >= CONNS_MAX {
        return Ready::Listener(index - CONNS_MAX);
    }
    let gone = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
    let hangup = flags.intersects(epoll::EventFlags::RDHUP | gone);
    let readable = hangup || flags.intersects(epoll::EventFlags::IN);
    let writable = flags.intersects(epoll::EventFlags::OUT | gone);
    Ready::Conn { id: ConnId { index, generation }, readable, writable, hangup }
}
