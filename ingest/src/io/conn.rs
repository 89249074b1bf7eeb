//! One connection: its socket, the bytes that it has sent and that aren't cut yet, and the answers
//! that it is owed; and the table of a lane's connections.
//!
//! ```text
//! received: |......carry......|        owed: in flight (slots without an answer yet) + out (encoded, not sent)
//!           ^ frame boundary            `in flight x largest answer + out` never exceeds the output's size
//! ```
//! The last bytes of `out` may have to wait for the disk. The requests that they answer count as in
//! flight until then, their bytes as encoded.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::net::RecvFlags;
use slipring::class::PooledBuf;

use super::duty::Unsent;
use super::held::HeldShare;
use super::marks::StoredMarks;
use crate::stage::ConnId;
use crate::wire::frames::{AckLevel, Limits, Mode, Status, answer_bytes};

/// The phase of a connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnPhase {
    /// Requests may come.
    Open,
    /// No more requests are accepted: the client has ended its stream, framing is lost, or the
    /// service drains. Owed answers are still sent.
    Ending,
    /// Everything is answered and our side has ended. Further bytes are read and discarded, so that
    /// the kernel doesn't reset the connection before the client has read its answers.
    Lingering,
}

/// When bytes arrived: the one stamp of their receive, which stays with them until they are pushed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrival {
    /// By the lane's clock.
    pub(super) ns: u64,
    /// In microseconds since 1970 in UTC; 0 without a time column.
    pub(super) time_us: i64,
}

#[derive(Debug)]
pub(super) struct Conn {
    /// Its own place in the table.
    pub(super) id: ConnId,
    socket: Socket,
    /// Known once four bytes have arrived.
    pub(super) mode: Option<Mode>,
    /// Whether its hello was accepted, which header mode starts with.
    pub(super) is_greeted: bool,
    /// What its answers mean.
    pub(super) ack: AckLevel,
    pub(super) phase: ConnPhase,
    /// Whether the client's end of stream was seen.
    pub(super) at_end: bool,
    /// Received bytes, starting at a frame boundary, that couldn't be cut in place.
    pub(super) carry: Option<PooledBuf>,
    /// When the carry buffer got its last bytes.
    pub(super) carry_arrival: Arrival,
    /// Encoded answers from `out_sent` on.
    pub(super) out: Option<PooledBuf>,
    pub(super) out_sent: usize,
    /// Answers at the end of `out` that wait for the disk.
    pub(super) held: HeldShare,
    /// What it is told about its requests in the log.
    pub(super) marks: StoredMarks,
    /// When the requests answered in `out` were received.
    pub(super) unsent: Unsent,
    /// The number of requests in slots, and that of what doesn't count as one there: requests
    /// refused as busy, and the hello. Their answers are no larger than a refusal.
    pub(super) in_flight: u32,
    pub(super) small_in_flight: u32,
    pub(super) readable: bool,
    /// The end of its stream, or an error, comes after the bytes still to be read, and no further
    /// readiness event will report it.
    pub(super) hangup: bool,
    pub(super) writable: bool,
    /// Whether it is in the queue of connections to read.
    pub(super) in_read_queue: bool,
    /// Whether it is in the list of connections with something to send.
    pub(super) in_send_list: bool,
    /// Whether it is in the list of connections that wait for a carry buffer.
    pub(super) waits_for_carry: bool,
    /// Whether it may be owed answers, and whether it waits for that.
    pub(super) may_be_owed: bool,
    pub(super) waits_for_output: bool,
    /// While it lingers: whether bytes have come since that was last asked.
    pub(super) sends_on: bool,
    /// When it was accepted, or its last complete frame was received. While a frame is unfinished,
    /// about when that began. Later by the time in which the lane looked after nobody.
    pub(super) since_ns: u64,
    /// When its socket last accepted answers.
    pub(super) sent_ns: u64,
    /// Since when it is known that answers wait because the client doesn't read; 0 if none do.
    pub(super) blocked_ns: u64,
    /// What its socket held for the client when it was idle for too long, and since when.
    pub(super) queued: usize,
    pub(super) queued_ns: u64,
}

impl Conn {
    fn new(id: ConnId, socket: Socket, ack: AckLevel) -> Self {
        Self {
            id,
            socket,
            mode: None,
            is_greeted: false,
            ack,
            phase: ConnPhase::Open,
            at_end: false,
            carry: None,
            carry_arrival: Arrival::default(),
            out: None,
            out_sent: 0,
            held: HeldShare::default(),
            marks: StoredMarks::default(),
            unsent: Unsent::default(),
            in_flight: 0,
            small_in_flight: 0,
            // A new socket may be ready for both by the time it is registered.
            readable: true,
            writable: true,
            hangup: false,
            in_read_queue: false,
            in_send_list: false,
            waits_for_carry: false,
            may_be_owed: false,
            waits_for_output: false,
            sends_on: false,
            since_ns: 0,
            sent_ns: 0,
            blocked_ns: 0,
            queued: 0,
            queued_ns: 0,
        }
    }

    /// One receive. If it is short, it has emptied the socket, and more bytes will be reported,
    /// unless the end is next.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> Moved {
        let moved = self.socket.receive(into);
        self.readable = match moved {
            Moved::Bytes(bytes) => bytes == into.len() || self.hangup,
            Moved::NotNow | Moved::End | Moved::Gone => false,
        };
        moved
    }

    /// A short receive has ended within a frame. The kernel also ends one early at urgent data and
    /// at a message with descriptors, and doesn't report the bytes after it again. So the socket is
    /// asked once more.
    pub(super) fn look_again(&mut self) {
        self.readable = true;
    }

    /// Copies received bytes, and leaves them in the socket.
    pub(super) fn peek(&self, into: &mut [u8]) -> Moved {
        let peek = || Ok(rustix::net::recv(self, &mut *into, RecvFlags::PEEK)?.0);
        match until_uninterrupted(peek) {
            Moved::Bytes(0) => Moved::End,
            moved => moved,
        }
    }

    /// Sends encoded answers, as many as the socket accepts in one call.
    pub(super) fn send(&mut self) -> Moved {
        let Some(out) = &self.out else { return Moved::NotNow };
        let moved = self.socket.send(&out[self.out_sent..out.len() - self.held.bytes]);
        match moved {
            Moved::Bytes(bytes) => self.out_sent += bytes,
            Moved::NotNow => self.writable = false,
            Moved::End | Moved::Gone => {}
        }
        moved
    }

    /// Bytes that are encoded and not sent.
    #[inline]
    pub(super) fn unsent_bytes(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.len() - self.out_sent)
    }

    /// Those that may be sent now.
    #[inline]
    pub(super) fn sendable_bytes(&self) -> usize {
        self.unsent_bytes() - self.held.bytes
    }

    /// Requests that the client has no answer to, as far as it is our doing.
    #[inline]
    fn unanswered(&self) -> u32 {
        self.in_flight + self.held.requests
    }

    /// Whether every accepted request is answered and the answer is sent.
    pub(super) fn owes_nothing(&self) -> bool {
        self.in_flight == 0 && self.small_in_flight == 0 && self.out.is_none()
    }

    /// Leaves the socket alone, for another lane.
    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Our side ends. What the client still sends is read and discarded.
    pub(super) fn linger(&mut self) {
        self.phase = ConnPhase::Lingering;
        self.end_sending();
        self.readable = true;
    }

    /// Says that nothing more will be sent.
    pub(super) fn end_sending(&self) {
        self.socket.end_sending();
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A request that was pushed with this status is answered. It counts as it did then, whatever its
/// outcome, in one of a connection's two numbers.
#[inline(always)]
pub(super) fn note_answered(pushed: Status, in_flight: &mut u32, small_in_flight: &mut u32) {
    let number = if pushed == Status::Busy { small_in_flight } else { in_flight };
    debug_assert!(*number > 0);
    *number -= 1;
}

/// The bounds of what one connection is owed. They leave room in its output for everything owed:
/// an answer to every request in flight, as many refusals, and the last refusal, when framing is
/// lost. The hello's answer takes the room of a refusal: so a hello costs no request its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnCaps {
    pub(super) output_bytes: usize,
    answer_bytes_max: usize,
    refusal_bytes: usize,
    /// With at most this many bytes of answers owed, an output has room for one more answer and all
    /// refusals.
    owed_max: usize,
    in_flight_max: u32,
    /// What the answer to a hello says.
    pub(super) limits: Limits,
    /// The lane, and the number of lanes.
    pub(super) lane: (u32, u32),
    /// The disk is full: no request is accepted.
    pub(super) is_disk_full: bool,
}

impl ConnCaps {
    /// Up to `in_flight_max` requests may wait for their answers, and as many refusals.
    pub(super) fn new(limits: &Limits, output_bytes: usize, in_flight_max: u32) -> Self {
        assert!(in_flight_max > 0, "a connection may have a request in flight");
        let answer_bytes_max = answer_bytes(Mode::Header, limits.max_vectors as usize);
        let refusal_bytes = answer_bytes(Mode::Header, 0);
        let owed_max =
            output_bytes - (in_flight_max as usize + 1) * refusal_bytes - answer_bytes_max;
        Self {
            output_bytes,
            answer_bytes_max,
            refusal_bytes,
            owed_max,
            in_flight_max,
            limits: *limits,
            lane: (0, 1),
            is_disk_full: false,
        }
    }

    /// The same for connections of a lane: its number, and how many lanes there are.
    pub(super) fn in_lane(self, lane: (u32, u32)) -> Self {
        Self { lane, ..self }
    }

    /// Whether a connection has as many requests in flight as it may, or its output has no room for
    /// one more answer besides those that are owed.
    #[inline]
    pub(super) fn is_full(&self, conn: &Conn) -> bool {
        conn.unanswered() >= self.in_flight_max || self.owed(conn) > self.owed_max
    }

    /// The same for refusals, including the last one.
    pub(super) fn is_full_for_refusals(&self, conn: &Conn) -> bool {
        let refusals = conn.small_in_flight as usize + 2;
        conn.small_in_flight >= self.in_flight_max
            || self.owed(conn) + refusals * self.refusal_bytes > self.output_bytes
    }

    /// Whether a connection isn't read because the disk is full: it can't be told so.
    #[inline]
    pub(super) fn waits_for_space(&self, conn: &Conn) -> bool {
        self.is_disk_full && conn.mode == Some(Mode::Count)
    }

    /// How many more requests are accepted from a connection before [`ConnCaps::is_full`].
    pub(super) fn requests_room(&self, conn: &Conn) -> usize {
        if self.is_full(conn) {
            return 0;
        }
        let in_flight = (self.in_flight_max - conn.unanswered()) as usize;
        in_flight.min((self.owed_max - self.owed(conn)) / self.answer_bytes_max + 1)
    }

    /// How many more requests a connection with this many in flight may send.
    #[inline]
    pub(super) fn credits(&self, in_flight: u32) -> u16 {
        self.in_flight_max.saturating_sub(in_flight).min(u32::from(u16::MAX)) as u16
    }

    /// Bytes of answers that are encoded, or may come, without the refusals in flight: those have
    /// room of their own.
    #[inline]
    fn owed(&self, conn: &Conn) -> usize {
        conn.unsent_bytes() + conn.in_flight as usize * self.answer_bytes_max
    }
}

/// The connections of a lane, by index and generation: an index is reused with another generation.
#[derive(Debug)]
pub(super) struct ConnTable {
    places: Vec<ConnPlace>,
    free: Vec<u32>,
    len: usize,
    conns_max: usize,
    /// What answers mean on a connection that doesn't say it.
    ack: AckLevel,
}

#[derive(Debug)]
struct ConnPlace {
    generation: u32,
    conn: Option<Conn>,
}

impl ConnTable {
    /// Room for `conns_max` connections, whose answers mean `ack` unless they ask for something
    /// else.
    pub(super) fn new(conns_max: usize, ack: AckLevel) -> Self {
        let (places, free) = (Vec::with_capacity(conns_max), Vec::with_capacity(conns_max));
        Self { places, free, len: 0, conns_max, ack }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.conns_max
    }

    /// Puts a connection into a free place. The table isn't full.
    pub(super) fn insert(&mut self, socket: Socket) -> &mut Conn {
        debug_assert!(!self.is_full());
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(ConnPlace { generation: 0, conn: None });
            (self.places.len() - 1) as u32
        });
        self.len += 1;
        let place = &mut self.places[index as usize];
        let id = ConnId { index, generation: place.generation };
        place.conn.insert(Conn::new(id, socket, self.ack))
    }

    /// The connection, unless it is gone, even if another is in its place.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation == id.generation { place.conn.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let place = self
            .places
            .get_mut(id.index as usize)
            .filter(|place| place.generation == id.generation)?;
        let conn = place.conn.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        self.len -= 1;
        Some(conn)
    }

    /// All connections, by index.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Conn> {
        self.places.iter_mut().filter_map(|place| place.conn.as_mut())
    }
}

/// A connection's socket, which never blocks.
#[derive(Debug)]
pub(super) enum Socket {
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

impl Socket {
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

    pub(super) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// The address of the other side; None for a Unix socket, or if it is gone.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(|address| address.ip()),
            Self::Unix(_) => None,
        }
    }

    fn receive(&mut self, into: &mut [u8]) -> Moved {
        debug_assert!(!into.is_empty(), "an empty receive looks like the end of the stream");
        let read = || match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        };
        match until_uninterrupted(read) {
            Moved::Bytes(0) => Moved::End,
            moved => moved,
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Moved {
        until_uninterrupted(|| match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        })
    }

    /// Says that nothing more will be sent.
    fn end_sending(&self) {
        // An error means that the other side is gone, which the next receive reports.
        let _gone = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Repeats a call that a signal interrupted.
fn until_uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> Moved {
    loop {
        return match call() {
            Ok(bytes) => Moved::Bytes(bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Moved::NotNow,
            Err(_) => Moved::Gone,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of `conns` connections.
    fn table(conns: usize) -> (ConnTable, Vec<ConnId>) {
        let mut table = ConnTable::new(conns, AckLevel::Received);
        let socket = || Socket::unix(UnixStream::pair().unwrap().0).unwrap();
        let ids = (0..conns).map(|_| table.insert(socket()).id).collect();
        (table, ids)
    }

    #[test]
    fn the_id_of_a_connection_that_is_gone_never_finds_its_successor() {
        let (mut table, ids) = table(2);
        assert!(table.is_full());
        let gone = table.remove(ids[0]).unwrap();
        assert!(table.remove(ids[0]).is_none() && table.get_mut(ids[0]).is_none());
        let next = table.insert(gone.socket).id;
        assert_eq!((next.index, next.generation), (ids[0].index, ids[0].generation + 1));
        assert!(table.get_mut(ids[0]).is_none() && table.remove(ids[0]).is_none());
        assert_eq!((table.get_mut(next).unwrap().id, table.len()), (next, 2));
    }

    #[test]
    fn an_output_has_room_for_all_that_is_owed() {
        let limits = Limits::new(1, 10);
        let (answer, refusal) = (answer_bytes(Mode::Header, 10), answer_bytes(Mode::Header, 0));
        let caps = ConnCaps::new(&limits, 3 * (answer + refusal) + refusal, 3);
        let (mut table, ids) = table(1);
        let conn = table.get_mut(ids[0]).unwrap();
        while !caps.is_full(conn) {
            conn.in_flight += 1;
        }
        while !caps.is_full_for_refusals(conn) {
            conn.small_in_flight += 1;
        }
        assert_eq!((conn.in_flight, conn.small_in_flight), (3, 3));
        assert_eq!(caps.owed(conn) + 4 * refusal, caps.output_bytes);
        // Refusals, and a hello, take no request's place.
        conn.in_flight = 2;
        assert!(!caps.is_full(conn) && caps.requests_room(conn) == 1);
        assert_eq!((caps.credits(0), caps.credits(2), caps.credits(4)), (3, 1, 0));
        // Requests whose answers are held take their places, and their bytes count once.
        (conn.held.requests, conn.held.bytes) = (1, answer);
        conn.in_flight = 1;
        assert!(!caps.is_full(conn) && caps.requests_room(conn) == 1);
        conn.in_flight = 2;
        assert!(caps.is_full(conn) && caps.requests_room(conn) == 0);
    }
}
