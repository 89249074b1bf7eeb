//! When a connection sends its next request, and whether it has sent its last: arithmetic on
//! nanoseconds since the start.

use super::options::LoadOptions;

/// One connection's share of the run.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Requests still to send; None without `--count`.
    left: Option<u64>,
    /// Bytes still to send; None without a bound.
    bytes_left: Option<u64>,
    /// The share ends when less than this is left, because the size of the next request is known
    /// only when it is drawn.
    request_bytes_max: u64,
    /// No request is sent from this time on; None without a duration.
    end_ns: Option<u64>,
    /// Requests from this time on are measured.
    warmup_ns: u64,
    open_loop: Option<OpenLoop>,
    sent: u64,
}

/// With `--rate`: request k of connection c is request `c + k x connections` of the run, and its
/// intended time is that number divided by the rate.
#[derive(Clone, Copy, Debug)]
struct OpenLoop {
    rate: f64,
    connection: u32,
    connections: u32,
}

/// The answer of [`Schedule::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextSend {
    /// Send; the latency counts from this time.
    Now(u64),
    /// Nothing to send before this time.
    At(u64),
    /// Nothing more to send.
    Over,
}

impl Schedule {
    pub(super) fn new(options: &LoadOptions, connection: u32, ids: bool) -> Schedule {
        let warmup_ns = options.warmup_effective().as_nanos() as u64;
        let connections = options.connections;
        Schedule {
            left: options.count.map(|count| share(count, connection, connections)),
            bytes_left: options.bytes_max.map(|bytes| bytes / u64::from(connections)),
            request_bytes_max: options.request_bytes_max(ids) as u64,
            end_ns: options
                .duration_effective()
                .map(|duration| warmup_ns + duration.as_nanos() as u64),
            warmup_ns,
            open_loop: options.rate.map(|rate| OpenLoop { rate, connection, connections }),
            sent: 0,
        }
    }

    pub(super) fn next(&self, now_ns: u64) -> NextSend {
        let intended_ns =
            self.open_loop.map_or(now_ns, |open_loop| open_loop.intended_ns(self.sent));
        let counted = self.left == Some(0)
            || self.bytes_left.is_some_and(|left| left < self.request_bytes_max);
        if counted || self.end_ns.is_some_and(|end_ns| now_ns.max(intended_ns) >= end_ns) {
            NextSend::Over
        } else if intended_ns <= now_ns {
            NextSend::Now(intended_ns)
        } else {
            NextSend::At(intended_ns)
        }
    }

    /// Counts one request of this many bytes as sent.
    pub(super) fn count_sent(&mut self, bytes: u64) {
        debug_assert!(self.left != Some(0), "the share is already sent");
        debug_assert!(bytes <= self.request_bytes_max);
        self.left = self.left.map(|left| left - 1);
        self.bytes_left = self.bytes_left.map(|left| left - bytes);
        self.sent += 1;
    }

    pub(super) fn is_measured(&self, intended_ns: u64) -> bool {
        intended_ns >= self.warmup_ns
    }

    /// Requests whose intended time was before the end and that were never sent, because the
    /// `--in-flight` was reached: the rate was too high.
    pub(super) fn missed(&self) -> u64 {
        match (self.open_loop, self.end_ns) {
            (Some(open_loop), Some(end_ns)) => {
                open_loop.intended_before(end_ns).saturating_sub(self.sent)
            }
            _ => 0,
        }
    }
}

impl OpenLoop {
    fn intended_ns(&self, sent: u64) -> u64 {
        let number = u64::from(self.connection) + sent * u64::from(self.connections);
        (number as f64 / self.rate * 1e9) as u64
    }

    fn intended_before(&self, end_ns: u64) -> u64 {
        let first = f64::from(self.connection);
        ((end_ns as f64 / 1e9 * self.rate - first) / f64::from(self.connections)).ceil().max(0.0)
            as u64
    }
}

/// Requests of one connection when `count` are distributed evenly; the first ones get the
/// remainder.
fn share(count: u64, connection: u32, connections: u32) -> u64 {
    let connections = u64::from(connections);
    count / connections + u64::from(u64::from(connection) < count % connections)
}

/// Requests of all connections before this one.
pub(super) fn requests_before(count: u64, connection: u32, connections: u32) -> u64 {
    let (before, connections) = (u64::from(connection), u64::from(connections));
    before * (count / connections) + before.min(count % connections)
}
