//! Connections that are answered in full and whose client hasn't ended its side yet. What it still
//! sends is read and discarded: if a socket is closed with unread bytes, or gets bytes afterwards,
//! the kernel resets the connection, and answers that are still on their way are lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::conn::{Conn, ConnTable, Moved};
use crate::stage::ConnId;

/// A client that sends nothing for that long is done.
const QUIET: Duration = Duration::from_secs(1);
/// The longest time for a client that goes on sending.
const LINGER_MAX: Duration = Duration::from_secs(3);
/// The most bytes discarded in one call, and the most calls before a connection is closed.
const DISCARD_BYTES: usize = 4096;
const LAST_DISCARDS: usize = 64;

/// A lane's connections in this phase.
#[derive(Debug, Default)]
pub(super) struct LingerList(VecDeque<Lingerer>);

#[derive(Debug)]
struct Lingerer {
    id: ConnId,
    look_at: Instant,
    until: Instant,
}

impl LingerList {
    /// A connection lingers from now on.
    pub(super) fn add(&mut self, id: ConnId) {
        let now = Instant::now();
        self.0.push_back(Lingerer { id, look_at: now + QUIET, until: now + LINGER_MAX });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A connection whose time is over. Its socket is looked at once more, because this thread may
    /// have slept, or been stopped, while bytes came.
    pub(super) fn pop_over(&mut self, table: &mut ConnTable) -> Option<ConnId> {
        let now = Instant::now();
        while self
            .0
            .front()
            .is_some_and(|first| first.look_at <= now || table.get_mut(first.id).is_none())
        {
            let Some(mut first) = self.0.pop_front() else { break };
            let Some(conn) = table.get_mut(first.id) else { continue };
            if discard_last(conn) || first.until <= now {
                return Some(first.id);
            }
            first.look_at = now + QUIET;
            self.0.push_back(first);
        }
        None
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

/// Discards all that has arrived, within bounds. Returns whether nothing had, since the last time.
fn discard_last(conn: &mut Conn) -> bool {
    conn.readable = true;
    let mut calls = 0..LAST_DISCARDS;
    while conn.readable && calls.next().is_some() {
        if !discard(conn) {
            return true;
        }
    }
    !std::mem::take(&mut conn.sends_on)
}

/// Ends a connection that is given up with its lane: nothing more is sent, and what has arrived is
/// discarded, so that the answers on their way aren't lost with it.
pub(super) fn part(conn: &mut Conn) {
    conn.end_sending();
    let _is_over = discard_last(conn);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::super::conn::Socket;
    use super::*;

    /// Connections in a table and in a list, and their clients' ends.
    fn lingering(conns: usize) -> (ConnTable, LingerList, Vec<(ConnId, UnixStream)>) {
        let (mut table, mut list) = (ConnTable::new(conns), LingerList::default());
        let add = |_| {
            let (ours, client) = UnixStream::pair().unwrap();
            let id = table.insert(Socket::unix(ours).unwrap()).id;
            list.add(id);
            (id, client)
        };
        let clients = (0..conns).map(add).collect();
        (table, list, clients)
    }

    /// The time of all looks has come.
    fn make_due(list: &mut LingerList) {
        list.0.iter_mut().for_each(|one| one.look_at = Instant::now());
    }

    #[test]
    fn a_connection_that_is_gone_is_not_over() {
        let (mut table, mut list, clients) = lingering(3);
        assert_eq!(list.pop_over(&mut table), None);
        table.remove(clients[1].0);
        make_due(&mut list);
        assert_eq!(list.pop_over(&mut table), Some(clients[0].0));
        assert_eq!(list.pop_over(&mut table), Some(clients[2].0));
        assert!(list.pop_over(&mut table).is_none() && list.is_empty());
    }

    #[test]
    fn a_client_that_sends_on_has_more_time_but_not_for_ever() {
        let (mut table, mut list, mut clients) = lingering(2);
        clients[1].1.write_all(&[0; 3 * DISCARD_BYTES]).unwrap();
        make_due(&mut list);
        assert_eq!(list.pop_over(&mut table), Some(clients[0].0));
        assert_eq!(list.pop_over(&mut table), None);
        make_due(&mut list);
        list.0[0].until = Instant::now();
        clients[1].1.write_all(b"more").unwrap();
        assert_eq!(list.pop_over(&mut table), Some(clients[1].0));
        table.remove(clients[1].0);
        assert!(!discard_is_left(&mut clients[1].1), "it was closed with unread bytes");
    }

    /// Whether a close has left bytes unread, which a Unix socket reports as a reset.
    fn discard_is_left(client: &mut UnixStream) -> bool {
        std::io::Read::read(client, &mut [0; 1]).is_err()
    }
}
