//! Connections that are answered in full and whose client hasn't ended its side yet. What it still
//! sends is read and discarded: if a socket is closed with unread bytes, or gets bytes afterwards,
//! the kernel resets the connection, and answers that are still on their way are lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::conn::{Conn, ConnTable, Moved};
use super::queued::queued_bytes;
use crate::stage::ConnId;

/// The time between two looks at such a connection. A client that has all its answers and has sent
/// nothing for that long is done.
const QUIET: Duration = Duration::from_secs(1);
/// The most looks at a client that has all its answers and sends on.
const LOUD_LOOKS: u32 = 3;
/// The most bytes discarded in one call, and the most calls in a look.
const DISCARD_BYTES: usize = 4096;
const DISCARDS: usize = 64;

/// A lane's connections in this phase.
#[derive(Debug)]
pub(super) struct LingerList {
    all: VecDeque<Lingerer>,
    /// The most looks at a client whose system accepts nothing. None: for ever.
    unread_looks: Option<u32>,
}

#[derive(Debug)]
struct Lingerer {
    id: ConnId,
    look_at: Instant,
    /// What the kernel had for the client at the last look, and the looks since that changed. They
    /// are counted, not timed, because this thread may have been stopped.
    queued: usize,
    looks: u32,
}

impl LingerList {
    /// A client whose system accepts no answer for `unread` is let go; zero: never.
    pub(super) fn new(unread: Duration) -> Self {
        let looks = unread.div_duration_f64(QUIET).ceil() as u32;
        Self { all: VecDeque::new(), unread_looks: (looks > 0).then_some(looks) }
    }

    /// A connection lingers from now on.
    pub(super) fn add(&mut self, id: ConnId) {
        let look_at = Instant::now() + QUIET;
        self.all.push_back(Lingerer { id, look_at, queued: usize::MAX, looks: 0 });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A connection that is over.
    pub(super) fn pop_over(&mut self, table: &mut ConnTable) -> Option<ConnId> {
        loop {
            let first = self.all.front()?;
            let Some(conn) = table.get_mut(first.id) else {
                self.all.pop_front();
                continue;
            };
            let now = Instant::now();
            if now < first.look_at {
                return None;
            }
            let mut first = self.all.pop_front()?;
            if first.is_over(conn, self.unread_looks) {
                return Some(first.id);
            }
            first.look_at = now + QUIET;
            self.all.push_back(first);
        }
    }
}

impl Lingerer {
    /// One look: whether the client has ended its side, has everything and sends nothing, or is let
    /// go.
    fn is_over(&mut self, conn: &mut Conn, unread_looks: Option<u32>) -> bool {
        if !discard_all(conn) {
            return true;
        }
        let sends_on = std::mem::take(&mut conn.sends_on);
        let queued = queued_bytes(&*conn);
        self.looks = if queued == self.queued { self.looks + 1 } else { 1 };
        self.queued = queued;
        if queued > 0 {
            unread_looks.is_some_and(|most| self.looks > most)
        } else {
            !sends_on || self.looks >= LOUD_LOOKS
        }
    }
}

/// Discards what has arrived. Returns false if the client has ended its side or is gone.
pub(super) fn discard(conn: &mut Conn) -> bool {
    match conn.receive(&mut [0; DISCARD_BYTES]) {
        Moved::Bytes(_) => {
            conn.sends_on = true;
            true
        }
        Moved::NotNow => true,
        Moved::End | Moved::Gone => false,
    }
}

/// Discards all that has arrived, within bounds. Returns false if the client has ended its side or
/// is gone.
fn discard_all(conn: &mut Conn) -> bool {
    conn.readable = true;
    let mut calls = 0..DISCARDS;
    while conn.readable && calls.next().is_some() {
        if !discard(conn) {
            return false;
        }
    }
    true
}

/// Ends a connection that is given up with its lane: nothing more is sent, and what has arrived is
/// discarded, so that the answers on their way aren't lost with it.
pub(super) fn part(conn: &mut Conn) {
    conn.end_sending();
    let _is_here = discard_all(conn);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::super::conn::Socket;
    use super::*;
    use crate::wire::frames::AckLevel;

    /// Connections in a table and in a list, and their clients' ends.
    fn lingering(conns: usize) -> (ConnTable, LingerList, Vec<(ConnId, UnixStream)>) {
        let mut table = ConnTable::new(conns, AckLevel::Received);
        let mut list = LingerList::new(Duration::from_millis(4500));
        let add = |_| {
            let (ours, client) = UnixStream::pair().unwrap();
            let id = table.insert(Socket::unix(ours).unwrap()).id;
            list.add(id);
            (id, client)
        };
        let clients = (0..conns).map(add).collect();
        (table, list, clients)
    }

    /// The next connection that is over, when the time of all looks has come.
    fn next_over(list: &mut LingerList, table: &mut ConnTable) -> Option<ConnId> {
        list.all.iter_mut().for_each(|one| one.look_at = Instant::now());
        list.pop_over(table)
    }

    #[test]
    fn a_connection_that_is_gone_is_not_over() {
        let (mut table, mut list, clients) = lingering(3);
        assert_eq!(list.pop_over(&mut table), None);
        table.remove(clients[1].0);
        assert_eq!(next_over(&mut list, &mut table), Some(clients[0].0));
        assert_eq!(next_over(&mut list, &mut table), Some(clients[2].0));
        assert!(list.pop_over(&mut table).is_none() && list.is_empty());
    }

    #[test]
    fn a_client_that_sends_on_has_more_time_but_not_for_ever() {
        let (mut table, mut list, mut clients) = lingering(1);
        let (id, client) = &mut clients[0];
        for look in 1..=LOUD_LOOKS {
            client.write_all(&[0; 3 * DISCARD_BYTES]).unwrap();
            let over = next_over(&mut list, &mut table);
            assert_eq!(over.is_some(), look == LOUD_LOOKS, "look {look}");
        }
        table.remove(*id);
        // A Unix socket that was closed with unread bytes reports a reset.
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_client_that_still_reads_is_not_over() {
        let (mut table, mut list, mut clients) = lingering(1);
        let (id, client) = &mut clients[0];
        let ours = table.get_mut(*id).unwrap();
        for _ in 0..6 {
            rustix::io::write(&*ours, &[0; 1000]).unwrap();
        }
        for look in 0..6 {
            assert_eq!(next_over(&mut list, &mut table), None, "look {look}");
            client.read_exact(&mut [0; 1000]).unwrap();
        }
        assert_eq!(next_over(&mut list, &mut table), Some(*id));
    }

    #[test]
    fn a_client_that_never_reads_is_let_go_unless_there_is_no_limit() {
        let (mut table, mut list, clients) = lingering(1);
        rustix::io::write(table.get_mut(clients[0].0).unwrap(), &[0; 1000]).unwrap();
        let looks = (1..20).find(|_| next_over(&mut list, &mut table).is_some());
        assert_eq!(looks, Some(6));
        assert_eq!(LingerList::new(Duration::ZERO).unread_looks, None);
    }
}
