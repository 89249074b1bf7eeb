//! Which bytes each request asks for: arithmetic only.
//!
//! ```text
//!  0          first          first + part                          size
//!  │ request 0 │   request 1   │   request 2   │   ...   │ the rest │
//! ```
//!
//! Request 0 is sent before the size is known, so its length can't depend on it.

use crate::options::RangeOptions;

/// Parts of objects grow with them between these two, unless `part_bytes` says how long they are.
const PART_BYTES_FROM: u64 = 8 << 20;
const PART_BYTES_TO: u64 = 64 << 20;
/// As many parts a large object has about.
const PARTS: u64 = 64;

impl RangeOptions {
    /// Bytes of a part of an object of `size` bytes: `part_bytes`, or 8 MiB up to 512 MiB, then a 64th of the size, rounded up to MiB, and never more
    /// than 64 MiB.
    #[must_use]
    pub fn part_of(&self, size: u64) -> u64 {
        let by_size = size.div_ceil(PARTS).next_multiple_of(1 << 20).clamp(PART_BYTES_FROM, PART_BYTES_TO);
        self.part_bytes.unwrap_or(by_size)
    }

    /// Bytes that the first request asks for; none for the whole object.
    pub(crate) fn first_bytes(&self) -> Option<u64> {
        self.enabled.then(|| self.threshold_bytes.max(self.part_bytes.unwrap_or(PART_BYTES_FROM)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_with_objects() {
        let options = RangeOptions::default();
        let mib = |size: u64| options.part_of(size << 20) >> 20;
        assert_eq!([0, 8, 512, 513, 1024, 4096, 1 << 20].map(mib), [8, 8, 8, 9, 16, 64, 64]);
        assert_eq!(options.part_of(u64::MAX), 64 << 20);
        assert_eq!(RangeOptions { part_bytes: Some(4096), ..options }.part_of(1 << 40), 4096);
    }

    #[test]
    fn the_first_request_is_a_part_or_all_below_the_threshold() {
        let first = |part_bytes, threshold_bytes, enabled| {
            RangeOptions { part_bytes, threshold_bytes, enabled, ..RangeOptions::default() }.first_bytes()
        };
        assert_eq!(first(None, 0, true), Some(8 << 20));
        assert_eq!(first(Some(4096), 0, true), Some(4096));
        assert_eq!(first(Some(4096), 10_000, true), Some(10_000));
        assert_eq!(first(Some(4096), 10_000, false), None);
    }
}
