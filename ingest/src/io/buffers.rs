//! The class pool of a lane, which provides its outputs and carry buffers.
//!
//! Each lane has its own pool, because lanes share nothing. Only the IO thread gets and drops, so
//! both take a few instructions, on memory of the lane's own NUMA node. No thread waits for a
//! buffer. An idle connection holds no buffer.
//!
//! It promises that the bytes of carry buffers and of outputs in use are bounded, that one buffer
//! of each size is always available, and that a refusal of memory is a value. Outputs are bounded
//! by the number of connections that may be owed answers at the same time.

use std::time::Duration;

use slipring::class::{
    AtLimit, ClassError, ClassOptions, ClassPool, ClassPoolStats, ClassTable, GetError, PooledBuf,
    Ticker,
};
use slipring::region::Numa;

use crate::notice;
use crate::units::THREAD_FIX;
use crate::wire::frames::{Limits, Mode, answer_bytes};

/// The least size of a carry buffer for unfinished frames, which always holds the largest frame.
const CARRY_MIN_BYTES: usize = 32 << 10;
/// Sizes beyond the wire table are whole pages, so that each buffer can give its pages back
/// separately.
const PAGE_BYTES: usize = 4 << 10;
/// Free buffers of each size that the IO thread caches: as many as a thread can.
const CACHED_BUFFERS: usize = 32;
/// The interval between two searches for buffers that haven't been needed for a while.
const TICK: Duration = Duration::from_secs(5);

/// Errors of making a lane's class pool.
#[derive(Debug, thiserror::Error)]
pub enum IoBuffersError {
    /// A size that is invalid for a class.
    #[error(transparent)]
    Class(#[from] ClassError),
    /// No memory for one buffer of each size.
    #[error(transparent)]
    Get(#[from] GetError),
    /// No thread for giving pages back.
    #[error("a ticker's thread: {0}; {fix}", fix = THREAD_FIX)]
    Ticker(#[from] std::io::Error),
}

/// The class pool of one lane, and the count of its carry buffers.
#[derive(Debug)]
pub struct IoBuffers {
    pool: ClassPool,
    _ticker: Ticker,
    output_bytes: usize,
    /// How many connections may be owed answers at the same time, and how many may at present. Each
    /// may hold an output.
    owed_max: usize,
    owed: usize,
    /// Sizes for an unfinished frame and for a whole receive; equal if the largest frame is as
    /// large as a receive.
    carry_bytes: [usize; 2],
    carry_bytes_max: usize,
    /// Carry buffers in use, of either size.
    carried: [usize; 2],
    /// The largest carry buffer that the bound still allows; 0 for none.
    carry_room: usize,
    /// How often the system refused memory.
    refusals: u64,
    /// Whether it has refused since [`IoBuffers::take_short`].
    is_short: bool,
}

/// The size of an output: `in_flight_max` answers, as many refusals, and one more for lost framing.
pub fn output_bytes(limits: &Limits, in_flight_max: u32) -> usize {
    let (answer, refusal) =
        (answer_bytes(Mode::Header, limits.max_vectors as usize), answer_bytes(Mode::Header, 0));
    in_flight_max as usize * (answer + refusal) + refusal
}

impl IoBuffers {
    /// Makes a pool, which holds no memory yet, for outputs of `output_bytes` and carry buffers for
    /// frames of `frame_bytes` and receives of `receive_bytes`. Carry buffers take up to
    /// `carry_bytes_max` bytes together, but at least one of each size is allowed; outputs take up
    /// to `output_bytes_max`, but at least one is allowed. All memory is on
    /// the NUMA node. The calling thread must not be pinned yet, because the ticker's thread
    /// inherits its mask.
    ///
    /// # Errors
    /// A size is larger than a class may be, or the system has no thread left.
    pub fn new(
        output_bytes: usize,
        frame_bytes: usize,
        receive_bytes: usize,
        carry_bytes_max: usize,
        output_bytes_max: usize,
        numa: Numa,
    ) -> Result<Self, IoBuffersError> {
        let frame_bytes = frame_bytes.max(CARRY_MIN_BYTES);
        assert!(frame_bytes <= receive_bytes, "a receive holds the largest frame");
        let table = table([output_bytes, frame_bytes, receive_bytes])?;
        let size = |len| table.class_of(len).map_or(len, |class| table.sizes()[class]);
        let carry_bytes = [size(frame_bytes), size(receive_bytes)];
        let owed_max = (output_bytes_max / size(output_bytes)).max(1);
        // No other thread caches buffers.
        let cache_bytes = output_bytes
            .max(receive_bytes)
            .next_multiple_of(PAGE_BYTES)
            .saturating_mul(CACHED_BUFFERS);
        let options = ClassOptions {
            table,
            at_limit: AtLimit::Refuse,
            cache_bytes,
            numa,
            ..ClassOptions::default()
        };
        let pool = ClassPool::new(&options)?;
        let _ticker = pool.ticker(TICK)?;
        Ok(Self {
            pool,
            _ticker,
            output_bytes,
            owed_max,
            owed: 0,
            carry_bytes,
            carry_bytes_max,
            carried: [0; 2],
            carry_room: carry_bytes[1],
            refusals: 0,
            is_short: false,
        })
    }

    /// Maps at least one buffer of each size, on the pool's NUMA node or, if that is local, on this
    /// thread's. Pages are populated on first use.
    ///
    /// # Errors
    /// The refusal of the system or of a limit.
    pub fn map(&mut self) -> Result<(), IoBuffersError> {
        let [frame_bytes, receive_bytes] = self.carry_bytes;
        let all = [self.output_bytes, frame_bytes, receive_bytes].map(|len| self.pool.try_get(len));
        all.into_iter().try_for_each(|got| got.map(drop)).map_err(IoBuffersError::Get)
    }

    /// A handle of the pool, for its statistics.
    pub(super) fn pool(&self) -> ClassPool {
        self.pool.clone()
    }

    pub(super) fn output_bytes(&self) -> usize {
        self.output_bytes
    }

    /// An empty output, or None for lack of memory.
    pub(super) fn output(&mut self) -> Option<PooledBuf> {
        self.get(self.output_bytes)
    }

    /// Lets one more connection be owed answers. Returns false at the bound.
    pub(super) fn may_owe(&mut self) -> bool {
        let has_room = self.owed < self.owed_max;
        self.owed += usize::from(has_room);
        has_room
    }

    /// A connection that [`IoBuffers::may_owe`] let in is owed nothing any more.
    pub(super) fn owes_no_more(&mut self) {
        debug_assert!(self.owed > 0);
        self.owed -= 1;
    }

    /// Whether one more connection may be owed answers.
    pub(super) fn has_output_room(&self) -> bool {
        self.owed < self.owed_max
    }

    /// An empty buffer for `len` bytes of a receive, or None if the bound is reached or memory is
    /// lacking.
    pub(super) fn carry(&mut self, len: usize) -> Option<PooledBuf> {
        debug_assert!(len <= self.carry_bytes[1], "{len} bytes are more than a receive");
        let size = [0, 1]
            .into_iter()
            .find(|&size| len <= self.carry_bytes[size] && self.allows_carry(size))?;
        let buffer = self.get(self.carry_bytes[size])?;
        self.carried[size] += 1;
        self.note_carry_room();
        Some(buffer)
    }

    /// The largest carry buffer that the bound still allows; 0 for none. A receive of no more than
    /// that can always be carried, unless the system refuses memory.
    #[inline]
    pub(super) fn carry_room(&self) -> usize {
        self.carry_room
    }

    fn note_carry_room(&mut self) {
        let largest = [1, 0].into_iter().find(|&size| self.allows_carry(size));
        self.carry_room = largest.map_or(0, |size| self.carry_bytes[size]);
    }

    /// Whether the bound allows one more carry buffer of that size.
    fn allows_carry(&self, size: usize) -> bool {
        if size == 1 && self.carry_bytes[0] == self.carry_bytes[1] {
            return self.allows_carry(0);
        }
        self.carried[size] == 0
            || self.carried_bytes() + self.carry_bytes[size] <= self.carry_bytes_max
    }

    /// A carry buffer that isn't needed any more.
    pub(super) fn give_carry(&mut self, buffer: PooledBuf) {
        let size = usize::from(buffer.capacity() > self.carry_bytes[0]);
        debug_assert!(
            self.carried[size] > 0,
            "no carry buffer of {} bytes is out",
            buffer.capacity()
        );
        self.carried[size] -= 1;
        self.note_carry_room();
    }

    /// Bytes of carry buffers in use.
    fn carried_bytes(&self) -> usize {
        self.carried.iter().zip(self.carry_bytes).map(|(&count, bytes)| count * bytes).sum()
    }

    /// Whether memory was refused since the last call. Then the caller tries again after a pause.
    pub(super) fn take_short(&mut self) -> bool {
        std::mem::take(&mut self.is_short)
    }

    /// How often the system refused memory, so that a client had to wait.
    pub(super) fn refusals(&self) -> u64 {
        self.refusals
    }

    pub(super) fn stats(&self) -> ClassPoolStats {
        self.pool.stats()
    }

    fn get(&mut self, len: usize) -> Option<PooledBuf> {
        match self.pool.try_get(len) {
            Ok(mut buffer) => {
                buffer.truncate(0);
                Some(buffer)
            }
            Err(error) => {
                if self.refusals == 0 {
                    notice::warn(format_args!("answers or frames wait for memory: {error}"));
                }
                self.refusals += 1;
                self.is_short = true;
                None
            }
        }
    }
}

/// Drops the first `count` bytes of a buffer's payload.
pub(super) fn drop_front(buffer: &mut PooledBuf, count: usize) {
    let count = count.min(buffer.len());
    let left = buffer.len() - count;
    buffer.copy_within(count.., 0);
    buffer.truncate(left);
}

/// The wire table, and these sizes where they are larger.
fn table(sizes: [usize; 3]) -> Result<ClassTable, ClassError> {
    let wire = ClassTable::wire();
    let larger = sizes.into_iter().filter(|&bytes| wire.class_of(bytes).is_none());
    let larger = larger.map(|bytes| bytes.checked_next_multiple_of(PAGE_BYTES).unwrap_or(bytes));
    let mut all: Vec<usize> = wire.sizes().iter().copied().chain(larger).collect();
    all.sort_unstable();
    all.dedup();
    ClassTable::new(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn classes(frame_bytes: usize, receive_bytes: usize, carry_bytes_max: usize) -> IoBuffers {
        let mut classes =
            IoBuffers::new(100 * KIB, frame_bytes, receive_bytes, carry_bytes_max, 0, Numa::Local)
                .unwrap();
        classes.map().unwrap();
        classes
    }

    fn all(classes: &mut IoBuffers, len: usize) -> Vec<PooledBuf> {
        std::iter::from_fn(|| classes.carry(len)).collect()
    }

    #[test]
    fn both_sizes_share_one_bound() {
        let mut classes = classes(0, 128 * KIB, 320 * KIB);
        let large = classes.carry(32 * KIB + 1).unwrap();
        assert_eq!((large.len(), large.capacity()), (0, 128 * KIB));
        let small = all(&mut classes, 32 * KIB);
        assert_eq!((small.len(), classes.carry(128 * KIB).is_none()), (6, true));
        small.into_iter().for_each(|buffer| classes.give_carry(buffer));
        let second = classes.carry(128 * KIB).unwrap();
        assert_eq!((second.capacity(), classes.carry(128 * KIB).is_none()), (128 * KIB, true));
        assert_eq!(all(&mut classes, 1).len(), 2);
        assert_eq!((classes.carried_bytes(), classes.refusals()), (320 * KIB, 0));
    }

    #[test]
    fn there_is_one_of_each_whatever_the_bound() {
        let mut classes = classes(40 * KIB, 200 * KIB, 0);
        let (small, large) = (classes.carry(1).unwrap(), classes.carry(200 * KIB).unwrap());
        assert_eq!((small.capacity(), large.capacity()), (64 * KIB, 200 * KIB));
        assert!(classes.carry(1).is_none() && classes.carry(200 * KIB).is_none());
        assert_eq!(classes.carry_room(), 0);
        classes.give_carry(small);
        assert_eq!(classes.carry_room(), 64 * KIB);
        classes.give_carry(large);
        assert!(classes.carry(100 * KIB).is_some() && classes.carry(1).is_some());
    }

    /// What has room is never refused, whatever its size: a small frame may get the last large one.
    #[test]
    fn all_that_has_room_is_carried() {
        let mut classes = classes(40 * KIB, 200 * KIB, 300 * KIB);
        let mut carried = Vec::new();
        while classes.carry_room() > 0 {
            carried.push(classes.carry(1).unwrap());
        }
        assert_eq!((carried.len(), carried[4].capacity()), (5, 200 * KIB));
        assert!(classes.carry(1).is_none());
    }

    #[test]
    fn frames_as_large_as_a_receive_need_one_size() {
        let mut classes = classes(400 * KIB, 400 * KIB, 800 * KIB);
        assert_eq!((all(&mut classes, 400 * KIB).len(), classes.carry_room()), (2, 0));
    }

    #[test]
    fn every_buffer_comes_from_a_class_and_goes_round() {
        let mut classes = classes(0, 128 * KIB, 0);
        let output = classes.output().unwrap();
        assert_eq!((output.len(), output.capacity(), output.is_direct()), (0, 100 * KIB, false));
        let at = output.as_ptr();
        drop(output);
        assert_eq!(classes.output().unwrap().as_ptr(), at);
        assert_eq!(classes.stats().direct.gets, 0);
    }

    #[test]
    fn a_front_is_dropped() {
        let mut classes = classes(0, 128 * KIB, 0);
        let mut output = classes.output().unwrap();
        output.extend_from_slice(b"answered, not sent").unwrap();
        drop_front(&mut output, 10);
        assert_eq!(&output[..], b"not sent");
        drop_front(&mut output, 100);
        assert!(output.is_empty());
    }

    #[test]
    fn the_node_is_the_one_that_was_named() {
        // Node 0 exists everywhere; no machine has this many nodes.
        let of = |node| IoBuffers::new(100 * KIB, 0, 128 * KIB, 0, 0, Numa::Node(node)).unwrap();
        assert!(of(0).map().is_ok());
        let refused = of(99_999).map().expect_err("there is no such node");
        assert!(refused.to_string().contains("99999"), "{refused}");
    }

    #[test]
    fn sizes_that_no_class_has_are_refused() {
        let refused = IoBuffers::new((1 << 30) + 1, 0, 128 * KIB, 0, 0, Numa::Local).unwrap_err();
        assert!(refused.to_string().contains("1073745920"), "{refused}");
        assert!(matches!(
            IoBuffers::new(usize::MAX, 0, 128 * KIB, 0, 0, Numa::Local),
            Err(IoBuffersError::Class(_))
        ));
    }
}
