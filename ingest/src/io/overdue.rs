//! The time limits of a connection. They are looked at seldom, for all connections at once, with
//! the clock reading of the round: a request costs nothing more.
//!
//! ```text
//! clock reading ─▶ collect all that is ready ─▶ send to those that didn't read ─▶ judge by that reading
//! ```
//! So what came before the reading is known. A connection with something to read isn't judged: it
//! is our doing that it isn't read yet. One whose system hasn't got all its answers isn't idle, nor
//! is one whose answers wait for the disk: that is our doing too. A
//! time in which the lane looked after nobody, because it
//! was full or its thread didn't run, isn't counted.

use std::time::Duration;

use super::conn::{Conn, ConnCaps, ConnPhase, ConnTable};
use super::counters::Counter;
use super::pusher::Parser;
use super::queued::queued_bytes;
use crate::stage::ConnId;

/// How long an unfinished frame may keep a carry buffer without a byte while others wait for one.
const EVICT_AFTER: Duration = Duration::from_secs(1);
/// The longest and the shortest time between two looks.
const LOOK_MAX: Duration = Duration::from_secs(1);
const LOOK_MIN: Duration = Duration::from_millis(20);

/// How long a connection may leave things undone. Zero: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeLimits {
    /// Without a request, when every answer is sent.
    pub idle: Duration,
    /// Until its first bytes, and until a frame that it has begun is complete.
    pub header: Duration,
    /// Without accepting a byte, while answers wait for it.
    pub unread: Duration,
}

impl TimeLimits {
    /// The time between two looks: a quarter of the shortest limit.
    fn look_every(&self) -> Duration {
        let limits = [self.idle, self.header, self.unread];
        let shortest = limits.into_iter().filter(|limit| !limit.is_zero()).min();
        shortest.map_or(LOOK_MAX, |limit| (limit / 4).clamp(LOOK_MIN, LOOK_MAX))
    }
}

/// When a lane's connections are looked at, and what is found.
#[derive(Debug)]
pub(super) struct Overdue {
    limits: TimeLimits,
    pub(super) look_every: Duration,
    /// The last look, and the next.
    looked_ns: u64,
    look_at_ns: u64,
    /// When the lane's thread ran again, after a time in which it didn't.
    back_ns: u64,
}

/// What a lane's connections are judged by.
pub(super) struct Circumstances<'a> {
    pub(super) parser: &'a Parser,
    /// A reading of the lane's clock from before all that is ready was collected.
    pub(super) now_ns: u64,
    /// The lane is full and reads nobody.
    pub(super) is_full: bool,
    /// The bounds of a connection; whether the disk is full, so that count mode isn't read.
    pub(super) caps: &'a ConnCaps,
    /// How many connections wait for a carry buffer, if none is left.
    pub(super) carries_wanted: usize,
}

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct Exceeded {
    /// Connections that exceed a limit, each with the counter of those that do.
    pub(super) over: Vec<(ConnId, Counter)>,
    /// Connections whose carry buffers others need.
    pub(super) evicted: Vec<ConnId>,
}

impl Overdue {
    pub(super) fn new(limits: TimeLimits, now_ns: u64) -> Self {
        let look_every = limits.look_every();
        Self { limits, look_every, looked_ns: now_ns, look_at_ns: now_ns, back_ns: now_ns }
    }

    #[inline]
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.look_at_ns
    }

    /// Looks at all connections, after all that is ready was collected.
    pub(super) fn look(&mut self, table: &mut ConnTable, given: &Circumstances) -> Exceeded {
        let now_ns = given.now_ns;
        let every_ns = self.look_every.as_nanos() as u64;
        let since_ns = now_ns.saturating_sub(self.looked_ns);
        (self.looked_ns, self.look_at_ns) = (now_ns, now_ns.saturating_add(every_ns));
        // A lane doesn't sleep longer than until the look after the next.
        let was_away = since_ns > 2 * every_ns;
        if was_away {
            self.back_ns = now_ns;
        }
        let mut found = Exceeded::default();
        let mut evictable = Vec::new();
        for conn in table.iter_mut() {
            if was_away || given.is_full {
                // Its times go on from here.
                let last_ns = conn.since_ns.max(conn.sent_ns);
                conn.since_ns = last_ns.saturating_add(since_ns).min(now_ns);
            }
            if was_away {
                // Zero stays zero: nothing waits.
                conn.blocked_ns = if conn.blocked_ns > 0 { now_ns } else { 0 };
                conn.queued = 0;
            }
            if let Some(limit) = self.exceeded(conn, given) {
                found.over.push((conn.id, limit));
            } else if given.carries_wanted > 0 && self.is_evictable(conn, given) {
                evictable.push((conn.since_ns, conn.id));
            }
        }
        evictable.sort_unstable_by_key(|(since_ns, _)| *since_ns);
        let oldest = evictable.into_iter().take(given.carries_wanted);
        found.evicted.extend(oldest.map(|(_, id)| id));
        found
    }

    /// The limit that a connection exceeds, as the counter of those that do.
    fn exceeded(&self, conn: &mut Conn, given: &Circumstances) -> Option<Counter> {
        if conn.phase == ConnPhase::Lingering {
            return None;
        }
        if self.is_unread(conn, given.now_ns) {
            return Some(Counter::UnreadTimeouts);
        }
        // What waits in its socket isn't known until it is read, and it is our doing that it isn't.
        let waits_for_space = conn.readable && given.caps.waits_for_space(conn);
        let waits = conn.in_read_queue || conn.waits_for_carry || conn.waits_for_output;
        let waits = waits || waits_for_space;
        if conn.phase != ConnPhase::Open || waits || given.is_full {
            return None;
        }
        if is_unfinished(conn, given.parser) {
            let over = is_over(self.limits.header, conn.since_ns, given.now_ns);
            return over.then_some(Counter::HeaderTimeouts);
        }
        let is_idle = conn.carry.is_none() && conn.owes_nothing();
        let since_ns = conn.since_ns.max(conn.sent_ns);
        let over = is_idle && is_over(self.limits.idle, since_ns, given.now_ns);
        if over { self.idle_or_unread(conn, since_ns, given.now_ns) } else { None }
    }

    /// An idle client may still have answers to read, which its socket has accepted. As long as its
    /// system accepts some of them now and then, it has time.
    fn idle_or_unread(&self, conn: &mut Conn, since_ns: u64, now_ns: u64) -> Option<Counter> {
        let queued = queued_bytes(&*conn);
        if queued == 0 {
            return Some(Counter::IdleTimeouts);
        }
        if queued != conn.queued || conn.queued_ns < since_ns {
            (conn.queued, conn.queued_ns) = (queued, now_ns);
        }
        is_over(self.limits.unread, conn.queued_ns, now_ns).then_some(Counter::UnreadTimeouts)
    }

    /// Whether answers wait, and the client's system has accepted none of them for too long. Before
    /// each look its socket was offered them, because the kernel reports one as writable only when
    /// much of its memory is free, which takes minutes for a client that reads slowly.
    fn is_unread(&self, conn: &mut Conn, now_ns: u64) -> bool {
        if conn.sendable_bytes() == 0 || conn.writable {
            conn.blocked_ns = 0;
            return false;
        }
        // Counted from the first look that finds it so.
        if conn.blocked_ns == 0 || conn.sent_ns > conn.blocked_ns {
            conn.blocked_ns = now_ns;
        }
        is_over(self.limits.unread, conn.blocked_ns, now_ns)
    }

    /// Whether a connection's carry buffer may be taken: its frame lacks bytes, and none has come
    /// for a while.
    fn is_evictable(&self, conn: &mut Conn, given: &Circumstances) -> bool {
        let since_ns = conn.carry_arrival.ns.max(self.back_ns);
        may_lose_carry(conn, given.parser) && is_over(EVICT_AFTER, since_ns, given.now_ns)
    }
}

/// The connection whose unfinished frame has kept a carry buffer for the longest time.
pub(super) fn oldest_unfinished(table: &mut ConnTable, parser: &Parser) -> Option<ConnId> {
    let unfinished = table
        .iter_mut()
        .filter_map(|conn| may_lose_carry(conn, parser).then_some((conn.since_ns, conn.id)));
    unfinished.min_by_key(|(since_ns, _)| *since_ns).map(|(_, id)| id)
}

/// Whether a connection's carry buffer holds an unfinished frame whose next bytes aren't here.
fn may_lose_carry(conn: &mut Conn, parser: &Parser) -> bool {
    conn.phase == ConnPhase::Open
        && conn.carry.is_some()
        && !conn.readable
        && !parser.has_carried_frame(conn)
}

/// Whether its first bytes, or some of the frame at the front, are missing.
fn is_unfinished(conn: &mut Conn, parser: &Parser) -> bool {
    match conn.carry {
        Some(_) => !parser.has_carried_frame(conn),
        None => conn.mode.is_none(),
    }
}

fn is_over(limit: Duration, since_ns: u64, now_ns: u64) -> bool {
    !limit.is_zero() && u128::from(now_ns.saturating_sub(since_ns)) > limit.as_nanos()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::super::conn::Socket;
    use super::*;
    use crate::wire::frames::{AckLevel, Limits};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn looks_are_as_frequent_as_the_shortest_limit_needs() {
        let limits = TimeLimits::default();
        assert_eq!(limits.look_every(), LOOK_MAX);
        let of = |unread| TimeLimits { unread, ..limits }.look_every();
        assert_eq!(of(Duration::from_secs(60)), LOOK_MAX);
        assert_eq!(of(Duration::from_secs(2)), Duration::from_millis(500));
        assert_eq!(of(Duration::from_millis(1)), LOOK_MIN);
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(!is_over(Duration::ZERO, 0, u64::MAX));
        assert!(is_over(Duration::from_nanos(1), 0, 2) && !is_over(Duration::from_nanos(2), 0, 2));
        assert!(!is_over(Duration::from_nanos(1), 5, 2), "a clock reading may be older");
    }

    /// A connection without its first bytes, looked at once a second, may take four seconds.
    /// Returns the first second in which it is over, if `look` says for each whether the lane looks
    /// and whether it is full.
    fn header_over(look: impl Fn(u64) -> Option<bool>) -> Option<u64> {
        let header = Duration::from_secs(4);
        let mut overdue = Overdue::new(TimeLimits { header, ..TimeLimits::default() }, 0);
        let mut table = ConnTable::new(1, AckLevel::Received);
        table.insert(Socket::unix(UnixStream::pair().unwrap().0).unwrap()).since_ns = 1;
        let limits = Limits::new(1, 1);
        let (parser, caps) = (Parser(limits), ConnCaps::new(&limits, 1 << 10, 1));
        (1..30).find(|&second| {
            look(second).is_some_and(|is_full| {
                let now_ns = second * SECOND;
                assert!(overdue.is_due(now_ns));
                let given = Circumstances {
                    parser: &parser,
                    now_ns,
                    is_full,
                    caps: &caps,
                    carries_wanted: 0,
                };
                !overdue.look(&mut table, &given).over.is_empty()
            })
        })
    }

    #[test]
    fn a_time_in_which_nobody_was_looked_after_is_not_counted() {
        assert_eq!(header_over(|_| Some(false)), Some(5));
        assert_eq!(header_over(|second| (second % 2 == 0).then_some(false)), Some(6), "late looks");
        // It doesn't run from the third second to the twelfth.
        let stopped = |second| (!(3..12).contains(&second)).then_some(false);
        assert_eq!(header_over(stopped), Some(15));
        assert_eq!(header_over(|second| Some((3..12).contains(&second))), Some(14), "it was full");
    }
}
