//! The time limits of a connection. They are looked at seldom, for all connections at once, with
//! the clock reading of the round: a request costs nothing more.

use std::time::Duration;

use super::conn::{Conn, ConnPhase};
use super::counters::Counter;
use super::pusher::Parser;

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
    /// Without reading, while answers wait for it.
    pub unread: Duration,
}

impl TimeLimits {
    /// The time between two looks: a quarter of the shortest limit.
    pub(super) fn look_every(&self) -> Duration {
        let limits = [self.idle, self.header, self.unread];
        let shortest = limits.into_iter().filter(|limit| !limit.is_zero()).min();
        shortest.map_or(LOOK_MAX, |limit| (limit / 4).clamp(LOOK_MIN, LOOK_MAX))
    }

    /// The limit that a connection exceeds, as the counter of those that do.
    pub(super) fn exceeded(
        &self,
        conn: &mut Conn,
        parser: &Parser,
        now_ns: u64,
    ) -> Option<Counter> {
        if conn.phase == ConnPhase::Lingering {
            return None;
        }
        if self.is_unread(conn, now_ns) {
            return Some(Counter::UnreadTimeouts);
        }
        // What waits in its socket isn't known until it is read, and it is our doing that it isn't.
        let waits = conn.in_read_queue || conn.waits_for_carry || conn.waits_for_output;
        if conn.phase != ConnPhase::Open || waits {
            return None;
        }
        if is_unfinished(conn, parser) {
            let over = is_over(self.header, conn.since_ns, now_ns);
            return over.then_some(Counter::HeaderTimeouts);
        }
        let is_idle = conn.carry.is_none() && conn.owes_nothing();
        let over = is_idle && is_over(self.idle, conn.since_ns.max(conn.sent_ns), now_ns);
        over.then_some(Counter::IdleTimeouts)
    }

    /// Whether answers wait, and the client has taken none of them for too long.
    fn is_unread(&self, conn: &mut Conn, now_ns: u64) -> bool {
        if conn.unsent_bytes() == 0 || conn.writable {
            conn.blocked_ns = 0;
            return false;
        }
        // Counted from the first look that finds it so.
        if conn.blocked_ns == 0 || conn.sent_ns > conn.blocked_ns {
            conn.blocked_ns = now_ns;
        }
        is_over(self.unread, conn.blocked_ns, now_ns)
    }
}

/// Whether a connection's carry buffer may be taken: its frame lacks bytes, and none has come for a
/// while.
pub(super) fn is_evictable(conn: &mut Conn, parser: &Parser, now_ns: u64) -> bool {
    may_lose_carry(conn, parser) && is_over(EVICT_AFTER, conn.carry_arrival.ns, now_ns)
}

/// Whether a connection's carry buffer holds an unfinished frame whose next bytes aren't here.
pub(super) fn may_lose_carry(conn: &mut Conn, parser: &Parser) -> bool {
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
    use super::*;

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
}
