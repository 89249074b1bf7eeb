//! [`Part`]: a range of an object and the memory where it belongs; and which ranges are asked for.
//!
//! ```text
//!  0          first          first + part                          size
//!  │ request 0 │   request 1   │   request 2   │   ...   │ the rest │
//! ```
//!
//! Request 0 is sent before the size is known, so its length can't depend on the size.
//!
//! It promises that bytes are written to their own place or not at all: they are counted from the
//! range's start, and too many or too few are an error.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::error::Cause;
use crate::options::RangeOptions;

/// A part has between these two sizes, unless `part_bytes` gives one. Below, a request waits longer
/// than its body takes; above, a retry is expensive and the last part delays the object.
const PART_BYTES_LEAST: u64 = 1 << 20;
const PART_BYTES_MOST: u64 = 16 << 20;
/// Bytes of the first request unless the options give a size: few, because the other requests wait
/// for its answer.
const FIRST_BYTES: u64 = 2 << 20;

impl RangeOptions {
    /// Bytes of each part of the `rest_bytes` that the first request doesn't fetch: `part_bytes`,
    /// or the rest divided by the `idle` turns, so that one object alone uses all turns and each of
    /// many objects uses few. A part has no more bytes than a request receives in a quarter of its
    /// time, at the `each` bytes per second of recent requests.
    pub(crate) fn part_of(&self, rest_bytes: u64, idle: usize, each: Option<u64>) -> u64 {
        let spread = rest_bytes.div_ceil(idle.max(1) as u64).next_multiple_of(PART_BYTES_LEAST);
        let in_time = each.map_or(PART_BYTES_MOST, |each| in_time(each, self.request_timeout / 4));
        self.part_bytes.unwrap_or(spread.min(in_time).clamp(PART_BYTES_LEAST, PART_BYTES_MOST))
    }

    /// Bytes that the first request asks for; `None` for the whole object.
    pub(crate) fn first_bytes(&self) -> Option<u64> {
        let part_bytes = self.part_bytes.unwrap_or(if self.threshold_bytes.is_some() {
            PART_BYTES_LEAST
        } else {
            FIRST_BYTES
        });
        self.enabled.then(|| self.threshold_bytes.unwrap_or_default().max(part_bytes))
    }
}

/// Whole MiB that arrive in `time`.
fn in_time(bytes_per_second: u64, time: Duration) -> u64 {
    (bytes_per_second as f64 * time.as_secs_f64()) as u64 / PART_BYTES_LEAST * PART_BYTES_LEAST
}

/// One range that is being fetched.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    start: u64,
    into: &'a mut [u8],
    filled: usize,
}

/// The ranges of an object's parts, in order: one of `first_bytes`, then others of `part_bytes`.
pub(crate) fn part_ranges(
    size: u64,
    first_bytes: u64,
    part_bytes: u64,
) -> impl Iterator<Item = Range<u64>> {
    let mut next = 0..first_bytes.min(size);
    std::iter::from_fn(move || {
        let range = next.clone();
        next = range.end..range.end.saturating_add(part_bytes).min(size);
        (!range.is_empty()).then_some(range)
    })
}

impl<'a> Part<'a> {
    /// The part that begins at `start` and has as many bytes as `into`.
    pub(crate) fn new(start: u64, into: &'a mut [u8]) -> Self {
        Self { start, into, filled: 0 }
    }

    /// Splits the memory of a whole object into parts: one of `first_bytes`, then others of
    /// `part_bytes`.
    pub(crate) fn split(
        into: &'a mut [u8],
        first_bytes: usize,
        part_bytes: usize,
    ) -> impl Iterator<Item = Part<'a>> {
        let (first, rest) = into.split_at_mut(first_bytes);
        let rest = rest.chunks_mut(part_bytes).scan(first_bytes as u64, |end, into| {
            let start = *end;
            *end += into.len() as u64;
            Some(Part::new(start, into))
        });
        std::iter::once(Part::new(0, first)).chain(rest)
    }

    /// The range that is missing.
    pub(crate) fn range(&self) -> Range<u64> {
        self.start + self.filled as u64..self.start + self.into.len() as u64
    }

    /// The whole range, whatever has arrived.
    pub(crate) fn whole(&self) -> Range<u64> {
        self.start..self.start + self.into.len() as u64
    }

    /// Discards what arrived: the rest may be of another object.
    pub(crate) fn restart(&mut self) {
        self.filled = 0;
    }

    /// Bytes that have arrived.
    pub(crate) fn filled_bytes(&self) -> u64 {
        self.filled as u64
    }

    /// Receives exactly what is missing, or fails. What arrived before the error stays.
    pub(crate) async fn receive(
        &mut self,
        mut chunks: impl Stream<Item = object_store::Result<Bytes>> + Unpin,
    ) -> Result<(), Cause> {
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            let missing = &mut self.into[self.filled..];
            let Some(place) = missing.get_mut(..chunk.len()) else {
                return Err(Cause::Long { expected_bytes: self.into.len() as u64 });
            };
            place.copy_from_slice(&chunk);
            self.filled += chunk.len();
        }
        if self.filled < self.into.len() {
            return Err(Cause::Short {
                expected_bytes: self.into.len() as u64,
                got_bytes: self.filled as u64,
            });
        }
        Ok(())
    }

    /// Receives what is missing from chunks that go on after it. `chunk` is what is left of the
    /// last one.
    pub(crate) async fn fill(
        &mut self,
        chunk: &mut Bytes,
        chunks: &mut (impl Stream<Item = object_store::Result<Bytes>> + Unpin),
    ) -> Result<(), Cause> {
        while self.filled < self.into.len() {
            while chunk.is_empty() {
                let Some(next) = chunks.next().await else {
                    let (expected_bytes, got_bytes) = (self.into.len() as u64, self.filled_bytes());
                    return Err(Cause::Short { expected_bytes, got_bytes });
                };
                *chunk = next?;
            }
            let missing = &mut self.into[self.filled..];
            let piece = chunk.split_to(chunk.len().min(missing.len()));
            missing[..piece.len()].copy_from_slice(&piece);
            self.filled += piece.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use proptest::prelude::*;

    #[test]
    fn one_object_uses_all_turns_and_each_of_many_uses_few() {
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
    fn a_part_arrives_in_a_quarter_of_a_requests_time() {
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

    fn feed(part: &mut Part<'_>, chunks: &[&'static [u8]]) -> Result<(), Cause> {
        let chunks: Vec<_> = chunks.iter().map(|&chunk| Ok(Bytes::from_static(chunk))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(part.receive(stream::iter(chunks)))
    }

    #[test]
    fn a_range_continues_where_it_stopped() {
        let mut bytes = [0; 7];
        let mut part = Part::split(&mut bytes, 2, 5).nth(1).unwrap();
        assert_eq!(part.range(), 2..7);
        assert!(matches!(
            feed(&mut part, &[b"ab", b"", b"c"]),
            Err(Cause::Short { expected_bytes: 5, got_bytes: 3 })
        ));
        assert_eq!(part.range(), 5..7);
        assert!(feed(&mut part, &[b"de"]).is_ok());
        assert!(part.range().is_empty());
        assert_eq!(part.whole(), 2..7);
        part.restart();
        assert_eq!(part.range(), 2..7);
        assert_eq!(&bytes, b"\0\0abcde");
    }

    #[test]
    fn too_much_is_refused_and_written_nowhere() {
        let mut bytes = [0; 4];
        let mut part = Part::split(&mut bytes, 2, 2).next().unwrap();
        assert!(matches!(feed(&mut part, &[b"a", b"bc"]), Err(Cause::Long { expected_bytes: 2 })));
        assert_eq!(bytes, [b'a', 0, 0, 0]);
    }

    #[test]
    fn parts_are_filled_one_after_the_other_from_chunks_of_any_length() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let chunks = ["ab", "", "cdefg", "h"].map(|chunk| Ok(Bytes::from(chunk)));
        let (mut chunks, mut chunk) = (stream::iter(chunks), Bytes::new());
        let mut whole = Vec::new();
        for range in part_ranges(7, 3, 2) {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            let mut part = Part::new(range.start, &mut bytes);
            runtime.block_on(part.fill(&mut chunk, &mut chunks)).unwrap();
            assert!(part.range().is_empty());
            whole.extend(bytes);
        }
        assert_eq!((&whole[..], chunk.is_empty()), (&b"abcdefg"[..], true));
        let mut bytes = [0; 2];
        let ended = runtime.block_on(Part::new(7, &mut bytes).fill(&mut chunk, &mut chunks));
        assert!(matches!(ended, Err(Cause::Short { expected_bytes: 2, got_bytes: 1 })));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parts_cover_an_object_once_and_in_order(size in 0_usize..10_000, first in 0_usize..5000, part_bytes in 1_usize..5000) {
            let first = first.min(size);
            let mut bytes = vec![0; size];
            let mut end = 0;
            for (index, part) in Part::split(&mut bytes, first, part_bytes).enumerate() {
                prop_assert_eq!(part.range().start, end);
                end = part.range().end;
                let most = if index == 0 { first } else { part_bytes };
                prop_assert!(part.into.len() <= most);
                prop_assert!(index == 0 || !part.range().is_empty());
            }
            prop_assert_eq!(end, size as u64);
            let split: Vec<_> = Part::split(&mut bytes, first, part_bytes)
                .map(|part| part.range())
                .filter(|range| !range.is_empty())
                .collect();
            let ranges = part_ranges(size as u64, first as u64, part_bytes as u64);
            if first > 0 {
                prop_assert_eq!(ranges.collect::<Vec<_>>(), split);
            }
        }
    }
}
