//! The laps that `benches/ring.rs` and `benches/buffer_pool_bench.rs` time,
//! `profiling/buffer_pool.rs` runs for a long time, and `benches/instructions/benches/count.rs`
//! counts in instructions.
//!
//! ```text
//!   a lap: for each entry { reserve ─▶ write the first bytes ─▶ commit ─▶ store it in the entry,
//!                           which releases the entry's previous slice }
//! ```
//!
//! Every lap asserts what it has done. `T` is the number of bytes that are written to a payload: 8,
//! or the 4 of one `f32`.

use std::hint::black_box;

use slipring::ring::{PoolSlice, Pushed, RingPool};

/// Writes the number of the operation, or its first bytes.
#[inline]
fn touch<const T: usize>(payload: &mut [u8], op: u64) {
    payload[..T].copy_from_slice(&op.to_le_bytes()[..T]);
}

#[track_caller]
fn assert_touched<const T: usize>(payload: &[u8], op: u64) {
    assert_eq!(payload[..T], op.to_le_bytes()[..T], "operation {op} was written over");
}

/// The slot path, as in a lane: an entry holds integers, and the oldest is released by count.
pub struct Slots<const T: usize> {
    pool: RingPool,
    entries: Vec<Option<Pushed>>,
    op: u64,
}

impl<const T: usize> Slots<T> {
    pub fn new(pool: RingPool, entries: usize) -> Self {
        let mut pool = pool;
        pool.keep_newest(u32::try_from(entries).expect("entries are few"));
        Self { pool, entries: vec![None; entries], op: 0 }
    }

    /// One lap, with a size for each entry.
    pub fn lap(&mut self, sizes_bytes: &[usize]) {
        let mut op = self.op;
        for (entry, &bytes) in self.entries.iter_mut().zip(sizes_bytes) {
            let mut grant = self.pool.reserve(bytes).expect("the oldest is released");
            touch::<T>(&mut grant, op);
            *entry = Some(grant.push());
            op += 1;
        }
        self.op = op;
        let last = self.entries.last().copied().flatten().expect("a lap fills every entry");
        assert_touched::<T>(self.pool.view(&last).expect("it isn't released"), op - 1);
    }
}

/// RAII: an entry holds the slice, and replacing it drops the old one.
pub struct Slices<const T: usize> {
    pool: RingPool,
    entries: Vec<Option<PoolSlice>>,
    op: u64,
}

impl<const T: usize> Slices<T> {
    pub fn new(pool: RingPool, entries: usize) -> Self {
        Self { pool, entries: (0..entries).map(|_| None).collect(), op: 0 }
    }

    /// One lap, with a size for each entry. The last lap of a run may have fewer sizes.
    pub fn lap(&mut self, sizes_bytes: &[usize]) {
        let mut op = self.op;
        for (entry, &bytes) in self.entries.iter_mut().zip(sizes_bytes) {
            let mut grant = self.pool.reserve(bytes).expect("the oldest is dropped");
            touch::<T>(&mut grant, op);
            *entry = Some(grant.commit_all());
            op += 1;
        }
        self.op = op;
        let last = self.entries[..sizes_bytes.len()].last().and_then(Option::as_ref);
        assert_touched::<T>(last.expect("a lap fills every entry"), op - 1);
    }

    /// The operation whose slice doesn't contain what was written, if there is one, and the number
    /// of slices that are held.
    #[allow(
        dead_code,
        reason = "a long run verifies all held slices; a benchmark only the last of each lap"
    )]
    pub fn verify(&self) -> (Option<u64>, usize) {
        let entries = self.entries.len() as u64;
        // The newest operation on this entry.
        let newest = |entry: u64| entry + (self.op - 1 - entry) / entries * entries;
        let mut held = (0..)
            .zip(&self.entries)
            .filter_map(|(entry, slice)| slice.as_ref().map(|slice| (newest(entry), slice)));
        let count = self.entries.iter().flatten().count();
        (held.find(|(op, slice)| slice[..T] != op.to_le_bytes()[..T]).map(|(op, _)| op), count)
    }
}

/// The same lap without a pool: it reads the size, checks that the write has room, and writes.
pub struct Empty<const T: usize> {
    entries: Vec<[u8; T]>,
    op: u64,
}

impl<const T: usize> Empty<T> {
    pub fn new(entries: usize) -> Self {
        Self { entries: vec![[0; T]; entries], op: 0 }
    }

    /// One lap, with a size for each entry.
    pub fn lap(&mut self, sizes_bytes: &[usize]) {
        let mut op = self.op;
        for (entry, &bytes) in self.entries.iter_mut().zip(sizes_bytes) {
            assert!(bytes >= T, "a payload of {bytes} bytes has no room for {T}");
            touch::<T>(entry, op);
            op += 1;
            // No instruction, but it prevents the compiler from vectorizing over entries, which it
            // can't do with a pool.
            black_box(());
        }
        self.op = op;
        assert_touched::<T>(self.entries.last().expect("there are entries"), op - 1);
    }
}
