//! The layout of a pool: offsets, strides and the integers that name a range. It owns no memory and
//! holds no pointer.
//!
//! ```text
//! region   |<- chunk 0 ->|<- chunk 1 ->|<- chunk 2 ->| ...          chunk = offset >> shift
//! chunk    |slice..|slice......|slice.|   free   |tail|
//!          ^start  ^ 64-byte lines    ^position  ^ what the next slice didn't fit into
//! ```
#![forbid(unsafe_code)]

/// Slices start on multiples of this many bytes.
pub(crate) const LINE_BYTES: usize = 64;
/// Strides that are multiples of this many bytes alias the same cache sets: they get one more line.
/// (Without that line, an operation is markedly slower.)
const ALIAS_BYTES: usize = 4096;

/// The number of an event in its pipeline, or of a slice in the order of pushing, from 0. `NONE`
/// (-1) is before the first.
pub type Sequence = i64;
/// Before the first sequence.
pub(crate) const NONE: Sequence = -1;

/// A range of a pool's region, as a lane's slot stores it. It is integers, so it is Send and Sync
/// by itself. `RingMemory::bytes` turns it into bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RingSpan {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) chunk: u32,
}

/// The layout of a pool, checked once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    chunk_shift: u32,
    chunks: u32,
    window_chunks: u32,
    max_slice_bytes: usize,
    pinned_chunks_max: u32,
}

impl Layout {
    pub(crate) fn new(
        chunk_bytes: usize,
        chunks: usize,
        window_chunks: usize,
        max_slice_bytes: usize,
        pinned_chunks_max: u32,
    ) -> Self {
        assert!(chunk_bytes.is_power_of_two() && chunk_bytes >= 2 * LINE_BYTES);
        assert!(
            (2..=chunks).contains(&window_chunks),
            "a window of {window_chunks} in {chunks} chunks"
        );
        assert!(max_slice_bytes >= 1 && 2 * max_slice_bytes <= chunk_bytes);
        assert!(
            (pinned_chunks_max as usize) < chunks,
            "pins of {pinned_chunks_max} chunks of {chunks} fill the pool"
        );
        Self {
            chunk_shift: chunk_bytes.trailing_zeros(),
            chunks: u32::try_from(chunks).expect("checked by the options"),
            window_chunks: window_chunks as u32,
            max_slice_bytes,
            pinned_chunks_max,
        }
    }

    #[inline]
    pub(crate) fn chunk_bytes(&self) -> usize {
        1 << self.chunk_shift
    }

    #[inline]
    pub(crate) fn chunks(&self) -> u32 {
        self.chunks
    }

    pub(crate) fn window_chunks(&self) -> usize {
        self.window_chunks as usize
    }

    pub(crate) fn pinned_chunks_max(&self) -> u32 {
        self.pinned_chunks_max
    }

    pub(crate) fn pool_bytes(&self) -> usize {
        (self.chunks as usize) << self.chunk_shift
    }

    #[inline]
    pub(crate) fn max_slice_bytes(&self) -> usize {
        self.max_slice_bytes
    }

    /// Whether strides that alias get an extra line: slices can be that large, and two of the
    /// largest fit into a chunk together with the line. A chunk of exactly two has no room for it:
    /// it would hold one slice, and half of the pool would be tail waste.
    pub(crate) fn aliases(&self) -> bool {
        let largest = line_up(self.max_slice_bytes);
        largest >= ALIAS_BYTES && stride(largest) + largest <= self.chunk_bytes()
    }

    #[inline]
    pub(crate) fn chunk_start(&self, chunk: u32) -> usize {
        debug_assert!(chunk < self.chunks);
        (chunk as usize) << self.chunk_shift
    }

    /// Bytes of a pool in which `slots` slices of the largest size can be held with two chunks to
    /// spare.
    #[cfg(any(feature = "pipeline", test))]
    pub(crate) fn bytes_for_slots(&self, slots: usize) -> usize {
        let slice = if self.aliases() {
            stride(self.max_slice_bytes)
        } else {
            line_up(self.max_slice_bytes)
        };
        let filled = self.chunk_bytes().saturating_sub(slice).max(LINE_BYTES);
        (slots.saturating_mul(slice).div_ceil(filled))
            .saturating_add(2)
            .saturating_mul(self.chunk_bytes())
    }
}

/// Where the next slice starts, relative to a slice of `len` bytes: on the next line, or one line
/// further where strides would alias.
#[inline]
pub(crate) fn stride(len: usize) -> usize {
    let lines = line_up(len);
    // An empty slice also gets a line. That saves a special case, and bounds the number of slices
    // per chunk.
    let stride = if lines.is_multiple_of(ALIAS_BYTES) { lines + LINE_BYTES } else { lines };
    debug_assert!(stride >= len && stride < len + 2 * LINE_BYTES);
    stride
}

/// The first line boundary at or after `position`.
#[inline]
pub(crate) fn line_up(position: usize) -> usize {
    (position + (LINE_BYTES - 1)) & !(LINE_BYTES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_keep_lines_and_avoid_aliases() {
        assert_eq!([0, 1, 64, 65, 512].map(stride), [64, 64, 64, 128, 512]);
        assert_eq!([4033, 4096, 8192, 8129].map(stride), [4160, 4160, 8256, 8256]);
        assert_eq!([0, 1, 63, 64].map(line_up), [0, 64, 64, 64]);
    }

    #[test]
    fn bytes_for_slots_hold_the_slots() {
        let layout = Layout::new(4096, 16, 8, 2048, 4);
        // One 2048-byte slice and the tail that a second one didn't fit into: a chunk may hold only
        // one.
        assert_eq!(layout.bytes_for_slots(8), (8 + 2) * 4096);
        assert_eq!(layout.pool_bytes(), 16 * 4096);
        assert_eq!(layout.chunk_start(3), 3 * 4096);
    }

    #[test]
    fn a_chunk_of_exactly_two_slices_has_no_line_to_spare() {
        let aliases = |chunk, largest| Layout::new(chunk, 4, 4, largest, 1).aliases();
        assert_eq!(
            [(8192, 4096), (8192, 4033), (16384, 8192)]
                .map(|(chunk, largest)| aliases(chunk, largest)),
            [false; 3]
        );
        assert_eq!(
            [(16384, 4096), (32768, 12288), (16384, 5000)]
                .map(|(chunk, largest)| aliases(chunk, largest)),
            [true; 3]
        );
        assert_eq!(Layout::new(8192, 8, 4, 4096, 1).bytes_for_slots(4), (4 + 2) * 8192);
    }
}
