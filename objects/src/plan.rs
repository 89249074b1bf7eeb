//! The bytes that each request asks for: arithmetic only.
//!
//! ```text
//!  0          first          first + part                          size
//!  │ request 0 │   request 1   │   request 2   │   ...   │ the rest │
//! ```
//!
//! Request 0 is sent before the size is known, so its length can't depend on it.

use std::time::Duration;

use crate::options::RangeOptions;

/// Parts lie between these two, unless `part_bytes` says how long they are: below, a request's wait
/// is longer than its body; above, a retry is dear and the last part is waited for.
const PART_BYTES_LEAST: u64 = 1 << 20;
const PART_BYTES_MOST: u64 = 16 << 20;
/// What the first request asks for unless the options say: little, because the others wait for its
/// answer.
const FIRST_BYTES: u64 = 2 << 20;

impl RangeOptions {
    /// Bytes of each part of the `rest_bytes` that the first request doesn't bring: `part_bytes`,
    /// or as many parts as there are `idle` turns, so that one object alone is fetched over all of
    /// them, and of many objects each over few; but no more than a request comes with in a quarter
    /// of its time, by the bytes per second that `each` has delivered recently.
    pub(crate) fn part_of(&self, rest_bytes: u64, idle: usize, each: Option<u64>) -> u64 {
        let spread = rest_bytes.div_ceil(idle.max(1) as u64).next_multiple_of(PART_BYTES_LEAST);
        let in_time = each.map_or(PART_BYTES_MOST, |each| in_time(each, self.request_timeout / 4));
        self.part_bytes.unwrap_or(spread.min(in_time).clamp(PART_BYTES_LEAST, PART_BYTES_MOST))
    }

    /// Bytes that the first request asks for; none for the whole object.
    pub(crate) fn first_bytes(&self) -> Option<u64> {
        let part_bytes = self.part_bytes.unwrap_or(if self.threshold_bytes.is_some() {
            PART_BYTES_LEAST
        } else {
            FIRST_BYTES
        });
        self.enabled.then(|| self.threshold_bytes.unwrap_or_default().max(part_bytes))
    }
}

/// Whole MiB that come in a time.
fn in_time(bytes_per_second: u64, time: Duration) -> u64 {
    (bytes_per_second as f64 * time.as_secs_f64()) as u64 / PART_BYTES_LEAST * PART_BYTES_LEAST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_alone_takes_all_turns_and_many_take_few_each() {
        let options = RangeOptions::default();
        let mib = |rest: u64, idle| options.part_of(rest << 20, idle, None) >> 20;
        assert_eq!(
            [0, 1, 31, 62, 310, 496, 4096].map(|rest| mib(rest, 31)),
            [1, 1, 1, 2, 10, 16, 16]
        );
        assert_eq!([mib(62, 8), mib(62, 1), mib(62, 0)], [8, 16, 16]);
        assert_eq!(options.part_of(u64::MAX - (2 << 20), 128, None), 16 << 20);
        assert_eq!(
            RangeOptions { part_bytes: Some(4096), ..options }.part_of(1 << 40, 31, Some(1)),
            4096
        );
    }

    #[test]
    fn a_part_comes_in_a_quarter_of_a_requests_time() {
        let options =
            RangeOptions { request_timeout: Duration::from_secs(20), ..RangeOptions::default() };
        let mib = |each| options.part_of(1 << 40, 1, Some(each)) >> 20;
        assert_eq!([0, 1, 100 << 10, 1 << 20, 1 << 21, u64::MAX].map(mib), [1, 1, 1, 5, 10, 16]);
        assert_eq!(options.part_of(3 << 20, 1, Some(1 << 20)), 3 << 20);
    }

    #[test]
    fn the_first_request_is_a_part_or_all_below_the_threshold() {
        let first = |part_bytes, threshold_bytes, enabled| {
            RangeOptions { part_bytes, threshold_bytes, enabled, ..RangeOptions::default() }
                .first_bytes()
        };
        assert_eq!(first(None, None, true), Some(2 << 20));
        assert_eq!(first(None, Some(0), true), Some(1 << 20));
        assert_eq!(first(Some(4096), None, true), Some(4096));
        assert_eq!(first(Some(4096), Some(10_000), true), Some(10_000));
        assert_eq!(first(Some(4096), Some(10_000), false), None);
    }
}
