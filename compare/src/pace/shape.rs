//! How a store answers: after which wait, how fast, and how many at once. And [`Line`], the
//! arithmetic of what passes through it.

use std::time::Duration;

use tokio::time::Instant;

/// A store's shape.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    /// From a request until the first byte, or until it is refused.
    pub first_byte: Duration,
    /// Of one request.
    pub request_bytes_per_second: u64,
    /// Of all requests together.
    pub total_bytes_per_second: u64,
    /// Requests beyond this many in flight are refused with 503.
    pub in_flight_max: usize,
}

const MIB: u64 = 1 << 20;

/// A store far away, one in the same rack, one that refuses, and one behind a slow line.
pub const SHAPES: [Shape; 4] = [
    Shape {
        name: "far",
        first_byte: Duration::from_millis(30),
        request_bytes_per_second: 40 * MIB,
        total_bytes_per_second: 800 * MIB,
        in_flight_max: usize::MAX,
    },
    Shape {
        name: "near",
        first_byte: Duration::from_millis(1),
        request_bytes_per_second: 200 * MIB,
        total_bytes_per_second: 400 * MIB,
        in_flight_max: usize::MAX,
    },
    Shape {
        name: "throttling",
        first_byte: Duration::from_millis(10),
        request_bytes_per_second: 40 * MIB,
        total_bytes_per_second: 2000 * MIB,
        in_flight_max: 16,
    },
    Shape {
        name: "slow",
        first_byte: Duration::from_millis(100),
        request_bytes_per_second: 2 * MIB,
        total_bytes_per_second: 8 * MIB,
        in_flight_max: usize::MAX,
    },
];

/// A line with a fixed rate. Pieces pass through it one after the other.
#[derive(Debug)]
pub struct Line {
    free_at: Instant,
    bytes_per_second: u64,
    /// What passes while nobody takes it, in time: a socket's buffers.
    slack: Duration,
}

impl Line {
    pub fn new(free_at: Instant, bytes_per_second: u64, slack: Duration) -> Self {
        Self { free_at, bytes_per_second, slack }
    }

    /// When a piece that comes now has passed. Pieces that come late by less than the slack lose no
    /// time: clocks here go by milliseconds.
    pub fn pass(&mut self, now: Instant, bytes: usize) -> Instant {
        let idle_since = now.checked_sub(self.slack).unwrap_or(now);
        self.free_at = self.free_at.max(idle_since)
            + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.free_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_pass_one_after_the_other_at_the_lines_rate() {
        let start = Instant::now();
        let ms = |number| start + Duration::from_millis(number);
        let mut line = Line::new(start, 1000, Duration::from_millis(5));
        assert_eq!((line.pass(start, 10), line.pass(start, 20)), (ms(10), ms(30)));
        assert_eq!(line.pass(ms(33), 10), ms(40), "late by less than the slack");
        assert_eq!(line.pass(ms(140), 10), ms(145), "what wasn't used is gone, but for the slack");
    }
}
