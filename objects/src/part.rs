//! [`Part`]: a range of an object and the memory where it belongs.
//!
//! Promises that bytes are written to their own place or not at all: they are counted from the
//! range's start, and too many or too few are an error.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::error::Cause;

/// One range on its way.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    start: u64,
    into: &'a mut [u8],
    filled: usize,
}

impl<'a> Part<'a> {
    /// The parts of an object, which `into` holds in whole: one of `first_bytes`, then others of
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
            Some(Part { start, into, filled: 0 })
        });
        std::iter::once(Part { start: 0, into: first, filled: 0 }).chain(rest)
    }

    /// What is missing.
    pub(crate) fn range(&self) -> Range<u64> {
        self.start + self.filled as u64..self.start + self.into.len() as u64
    }

    /// All of it, whatever came.
    pub(crate) fn whole(&self) -> Range<u64> {
        self.start..self.start + self.into.len() as u64
    }

    /// Forgets what came: nothing says that the rest will be of the same object.
    pub(crate) fn restart(&mut self) {
        self.filled = 0;
    }

    /// What came, of what belongs there.
    pub(crate) fn filled_bytes(&self) -> u64 {
        self.filled as u64
    }

    /// Takes in what comes: exactly what is missing, or an error. What came before the error stays.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use proptest::prelude::*;

    fn feed(part: &mut Part<'_>, chunks: &[&'static [u8]]) -> Result<(), Cause> {
        let chunks: Vec<_> = chunks.iter().map(|&chunk| Ok(Bytes::from_static(chunk))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(part.receive(stream::iter(chunks)))
    }

    #[test]
    fn a_range_goes_on_where_it_stopped() {
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
        }
    }
}
