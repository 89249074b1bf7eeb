//! Slices in events: the old slice is dropped when its event is overwritten, on the owner's thread.
//! The result is the same as what a lane on overwrite does by counting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use slipring_test_support::{is_filled, random_runs};

use super::tiny_pool;
use crate::pipeline::{
    Idle, Lane, LaneError, LaneSpec, Outcome, Polled, PublishRefusal, PushRefusal, READERS_MAX,
    Reclaim, Refused, SliceReader, SliceRing, Stage, StageSpec, Started, View, Wait,
};
use crate::ring::{Full, PoolSlice, RingOptions};

const SLOTS: usize = 8;

fn ring(pool: &RingOptions) -> (SliceRing<u64>, SliceReader<u64>) {
    let (ring, mut readers) = SliceRing::new(pool, SLOTS, 1).expect("a tiny ring");
    (ring, readers.remove(0))
}

/// A slice filled with its number.
fn slice(ring: &mut SliceRing<u64>, number: u64, len: usize) -> PoolSlice {
    let mut grant = ring.reserve(len).expect("the pool holds a ring and more");
    grant.fill(number as u8);
    grant.commit_all()
}

fn publish(ring: &mut SliceRing<u64>, number: u64, len: usize) -> Result<i64, PublishRefusal> {
    let slice = slice(ring, number, len);
    ring.publish(slice, number).map_err(|refused| refused.why)
}

/// Reads at most `limit` events, which must be the next numbers.
fn read(reader: &mut SliceReader<u64>, limit: usize) -> Polled {
    reader.poll(limit, |view| {
        assert_eq!(view.sequence(), *view.meta() as i64);
        assert!(
            is_filled(view.bytes(), *view.meta() as u8),
            "event {} was written over",
            view.sequence()
        );
    })
}

#[test]
fn the_overwrite_drops_the_slice_that_stood_there() {
    let (mut ring, mut reader) = ring(&tiny_pool());
    for number in 0..100 {
        let drops = ring.slices_in_events() == SLOTS as u64;
        assert_eq!(publish(&mut ring, number, 1000), Ok(number as i64));
        assert_eq!((drops, ring.slices_in_events()), (number >= 8, (number + 1).min(8)));
        assert_eq!(
            ring.stats().released,
            (number as i64 - 8).max(-1),
            "its event was overwritten, and not before"
        );
        assert_eq!(read(&mut reader, 8), Polled::Advanced(1));
        assert_eq!(ring.stats().released, (number as i64 - 8).max(-1), "reading frees nothing");
    }
    assert_eq!(
        (ring.published(), reader.next_sequence(), ring.max_slice_bytes()),
        (100, 100, 1024)
    );
    // Four of these fit into a chunk.
    assert_eq!(ring.stats().blocked_by_owner, 2, "{:?}", ring.stats());
}

#[test]
fn a_full_ring_gives_slice_and_metadata_back() {
    let (mut ring, mut reader) = ring(&tiny_pool());
    (0..8).for_each(|number| assert_eq!(publish(&mut ring, number, 10), Ok(number as i64)));
    let slice = slice(&mut ring, 8, 10);
    let at = slice.as_ptr();
    let refused = ring.publish(slice, 8).expect_err("nothing was read");
    assert_eq!(
        (refused.why, refused.meta, refused.slice.as_ptr()),
        (PublishRefusal::Full { slots: 8 }, 8, at)
    );
    assert!(refused.to_string().contains("`slots`"), "{refused}");
    assert_eq!(
        (read(&mut reader, 1), read(&mut reader, 0)),
        (Polled::Advanced(1), Polled::Advanced(0))
    );
    assert_eq!(ring.publish(refused.slice, 8).ok(), Some(8));
    assert_eq!(
        (read(&mut reader, 100), read(&mut reader, 100)),
        (Polled::Advanced(8), Polled::Idle)
    );
}

#[test]
fn the_largest_slices_never_fill_the_pool() {
    let (mut ring, mut reader) = ring(&tiny_pool());
    for number in 0..if cfg!(miri) { 100 } else { 10_000 } {
        assert_eq!(publish(&mut ring, number, 1024), Ok(number as i64));
        if number % 8 == 7 {
            assert_eq!(read(&mut reader, 8), Polled::Advanced(8));
        }
    }
    let too_large = ring.reserve(1025).expect_err("it is the limit");
    assert_eq!(too_large, Full::TooLarge { asked_bytes: 1025, max_slice_bytes: 1024 });
}

#[test]
fn every_reader_holds_the_ring_up() {
    let (mut ring, mut readers) = SliceRing::<u64>::new(&tiny_pool(), SLOTS, 3).unwrap();
    (0..8).for_each(|number| assert_eq!(publish(&mut ring, number, 100), Ok(number as i64)));
    for (reader, end) in readers.iter_mut().enumerate() {
        assert_eq!(
            publish(&mut ring, 8, 100),
            Err(PublishRefusal::Full { slots: 8 }),
            "reader {reader} has read nothing"
        );
        assert_eq!(read(end, 3), Polled::Advanced(3));
    }
    (8..11).for_each(|number| assert_eq!(publish(&mut ring, number, 100), Ok(number as i64)));
    // The second reader is dropped: what it hasn't released stays in the ring, and publishing names
    // the reader.
    drop(readers.remove(1));
    readers.iter_mut().for_each(|reader| assert_eq!(read(reader, 100), Polled::Advanced(8)));
    let refused = publish(&mut ring, 11, 100).expect_err("a reader was dropped");
    assert_eq!(refused, PublishRefusal::ReaderGone { reader: 1 });
    assert!(refused.to_string().contains("reader 1"), "{refused}");
}

#[test]
fn a_ring_that_goes_first_leaves_its_bytes_to_its_readers() {
    let (mut ring, mut reader) = ring(&tiny_pool());
    let outside = slice(&mut ring, 99, 500);
    (0..12).for_each(|number| {
        assert_eq!(publish(&mut ring, number, 700), Ok(number as i64));
        if number < 6 {
            assert_eq!(read(&mut reader, 1), Polled::Advanced(1));
        }
    });
    drop(ring);
    // The owner's state waits for the slice that is held outside of the ring, and for none of those
    // in events.
    assert_eq!(Arc::strong_count(&reader.memory), 2);
    assert!(is_filled(&outside, 99));
    drop(outside);
    assert_eq!(Arc::strong_count(&reader.memory), 1);
    // On another thread, which also drops the events.
    thread::spawn(move || {
        assert_eq!(read(&mut reader, 4), Polled::Advanced(4));
        assert_eq!(
            (read(&mut reader, 4), read(&mut reader, 4)),
            (Polled::Advanced(2), Polled::Ended)
        );
    })
    .join()
    .unwrap();
}

#[test]
fn a_ring_that_nothing_was_published_on_ends() {
    let (ring, mut reader) = ring(&tiny_pool());
    assert_eq!((ring.slices_in_events(), ring.stats().released), (0, -1));
    assert_eq!(read(&mut reader, 1), Polled::Idle);
    drop(ring);
    assert_eq!((read(&mut reader, 1), Arc::strong_count(&reader.memory)), (Polled::Ended, 1));
}

#[test]
fn a_panic_releases_nothing_of_its_batch() {
    let (mut ring, mut reader) = ring(&tiny_pool());
    (0..8).for_each(|number| assert_eq!(publish(&mut ring, number, 100), Ok(number as i64)));
    let shown = catch_unwind(AssertUnwindSafe(|| {
        reader.poll(8, |view| assert!(view.sequence() < 5, "on purpose"))
    }));
    assert!(shown.is_err());
    assert_eq!(publish(&mut ring, 8, 100), Err(PublishRefusal::Full { slots: 8 }));
    assert_eq!(read(&mut reader, 8), Polled::Advanced(8), "the same events again");
    assert_eq!(publish(&mut ring, 8, 100), Ok(8));
}

#[test]
fn foreign_slices_and_wrong_options_are_refused() {
    let (mut one, _reader) = ring(&tiny_pool());
    let (mut two, _other) = ring(&tiny_pool());
    let refused = two.publish(slice(&mut one, 1, 10), 1).expect_err("it is the other's");
    assert_eq!((refused.why, &refused.slice[..]), (PublishRefusal::Foreign, &[1; 10][..]));
    assert_eq!(one.publish(refused.slice, 0).ok(), Some(0));
    for (pool, slots, readers, named) in [
        (tiny_pool(), 7, 1, "`slots`"),
        (tiny_pool(), 1, 1, "`slots`"),
        (tiny_pool(), 8, 0, "`readers`"),
        (tiny_pool(), 8, READERS_MAX + 1, "`readers`"),
        (RingOptions { bytes: 6 * 4096, ..tiny_pool() }, 8, 1, "at least 28 KiB"),
        (RingOptions { max_slice_bytes: 0, ..tiny_pool() }, 8, 1, "`max_slice_bytes`"),
    ] {
        let error: LaneError =
            SliceRing::<u64>::new(&pool, slots, readers).expect_err("it doesn't fit");
        assert!(error.to_string().contains(named), "{error}");
    }
    assert!(SliceRing::<()>::new(&tiny_pool(), 2, READERS_MAX).is_ok());
}

#[test]
fn floats_and_rows_are_read_where_they_lie() {
    let (mut ring, mut reader) = ring(&tiny_pool());
    let mut grant = ring.reserve_rest(16).unwrap();
    grant[..16]
        .chunks_exact_mut(4)
        .zip([1f32, 2.0, 3.0, 4.0])
        .for_each(|(four, one)| four.copy_from_slice(&one.to_ne_bytes()));
    let slice = grant.commit(16).unwrap();
    let at = slice.as_ptr();
    ring.publish(slice, 0).unwrap();
    let polled = reader.poll(1, |view| {
        assert_eq!((view.bytes().as_ptr(), view.as_f32s()), (at, Ok(&[1.0, 2.0, 3.0, 4.0][..])));
        assert_eq!(view.rows(2).unwrap().iter().map(|row| row[1]).collect::<Vec<_>>(), [2.0, 4.0]);
        assert!(view.rows(3).is_err());
    });
    assert_eq!(polled, Polled::Advanced(1));
}

/// Readers on threads, which see each event in place while it is there. The last of them drops the
/// ring.
#[test]
fn readers_on_threads_see_every_event_whole() {
    const EVENTS: u64 = if cfg!(miri) { 40 } else { 20_000 };
    let (mut ring, readers) = SliceRing::<u64>::new(&tiny_pool(), SLOTS, 2).unwrap();
    let read_all = |mut reader: SliceReader<u64>| {
        move || {
            let mut idle = Idle::new(Wait::default());
            loop {
                match read(&mut reader, 3) {
                    Polled::Ended => return reader.next_sequence() as u64,
                    Polled::Idle => {
                        idle.pass();
                    }
                    _ => idle.reset(),
                }
            }
        }
    };
    let threads: Vec<_> =
        readers.into_iter().map(|reader| thread::spawn(read_all(reader))).collect();
    let mut idle = Idle::new(Wait::default());
    for number in 0..EVENTS {
        let mut next = slice(&mut ring, number, 1 + (number as usize * 37) % 1024);
        while let Err(refused) = ring.publish(next, number) {
            assert_eq!(refused.why, PublishRefusal::Full { slots: 8 });
            next = refused.slice;
            idle.pass();
        }
        idle.reset();
    }
    drop(ring);
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), EVENTS));
}

/// Both forms side by side, and a list of the slices that are alive. An event is (the address of
/// its bytes, its length) in either pool.
struct Both {
    ring: SliceRing<u64>,
    reader: SliceReader<u64>,
    lane: Lane<u64>,
    stage: Stage<u64>,
    /// The published events whose slices are alive, oldest first: at most a ring of them.
    alive: Vec<[(usize, usize); 2]>,
    /// Slices that aren't published yet.
    outside: Vec<[PoolSlice; 2]>,
    published: u64,
    read: u64,
    /// Whether a slice was published after one that was committed later.
    out_of_order: bool,
}

impl Both {
    fn new(chunks: usize) -> Self {
        let pool = RingOptions { bytes: chunks * 4096, ..tiny_pool() };
        let (ring, reader) = ring(&pool);
        let spec = LaneSpec::new(pool, SLOTS)
            .reclaim(Reclaim::OnOverwrite)
            .layer([StageSpec::inline("a")]);
        let Started { lane, mut stages, .. } = spec.start().expect("a tiny lane");
        let stage = stages.remove("a").expect("it was specified");
        let (alive, outside) = (Vec::new(), Vec::new());
        Self {
            ring,
            reader,
            lane,
            stage,
            alive,
            outside,
            published: 0,
            read: 0,
            out_of_order: false,
        }
    }

    /// Reserves a slice in either pool, filled with the number that the next event will have. It
    /// overlaps nothing that is alive.
    fn commit(&mut self, len: usize) -> [PoolSlice; 2] {
        let mut of_ring =
            self.ring.reserve(len).expect("the pool holds the ring and the slices outside of it");
        let mut of_lane =
            self.lane.reserve(len).expect("the pool holds the ring and the slices outside of it");
        of_ring.fill(self.published as u8);
        of_lane.fill(self.published as u8);
        let both = [of_ring.commit_all(), of_lane.commit_all()];
        for (form, slice) in both.iter().enumerate() {
            let (start, end) = (slice.as_ptr().addr(), slice.as_ptr().addr() + len);
            let outside = self
                .outside
                .iter()
                .map(|outside| (outside[form].as_ptr().addr(), outside[form].len()));
            for (other, other_len) in self.alive.iter().map(|event| event[form]).chain(outside) {
                assert!(
                    end <= other || other + other_len <= start,
                    "form {form} hands out what is alive"
                );
            }
        }
        both
    }

    fn publish(&mut self, both: [PoolSlice; 2]) {
        let [of_ring, of_lane] = both;
        let places = [&of_ring, &of_lane].map(|slice| (slice.as_ptr().addr(), slice.len()));
        let by_ring = self.ring.publish(of_ring, self.published).map_err(|refused| refused.why);
        let by_lane = self.lane.publish(of_lane, self.published).map_err(|refused| refused.why);
        if self.published - self.read == SLOTS as u64 {
            let full = PushRefusal::Refused(Refused::Ring { slots: SLOTS });
            assert_eq!((by_ring, by_lane), (Err(PublishRefusal::Full { slots: SLOTS }), Err(full)));
            return;
        }
        assert_eq!((by_ring, by_lane), (Ok(self.published as i64), Ok(self.published as i64)));
        if self.alive.len() == SLOTS {
            self.alive.remove(0);
        }
        self.alive.push(places);
        self.published += 1;
    }

    fn read(&mut self, limit: usize) {
        let mut seen = Vec::new();
        let by_ring = self
            .reader
            .poll(limit, |view| seen.push((view.sequence(), *view.meta(), view.bytes().to_vec())));
        let mut others = seen.into_iter();
        let by_lane = self.stage.poll(limit, |view: View<'_, u64>| {
            let (sequence, meta, bytes) =
                others.next().expect("the other form showed the same number");
            assert_eq!((view.sequence(), view.meta(), view.bytes()), (sequence, &meta, &bytes[..]));
            Outcome::Done
        });
        assert!(others.next().is_none() && by_lane == Ok(by_ring), "{by_ring:?}, {by_lane:?}");
        if let Polled::Advanced(count) = by_ring {
            self.read += count as u64;
        }
        self.lane.reclaim();
    }

    /// What is alive, what was released, and since when, is the same in both.
    fn compare(&self) {
        let (ring, lane) = (self.ring.stats(), self.lane.stats().pool);
        let alive = self.published.min(SLOTS as u64);
        assert_eq!((self.ring.slices_in_events(), self.alive.len() as u64), (alive, alive));
        assert_eq!(
            (ring.released, lane.released),
            ((self.published - alive) as i64 - 1, ring.released)
        );
        assert_eq!((ring.refused_pool, lane.refused_pool), (0, 0));
        if self.out_of_order {
            // By counting, the newest sequence protects the open chunk, whichever chunk that event
            // is from. So this chunk may wait a little longer.
            assert!(ring.in_use_bytes <= lane.in_use_bytes, "{ring:?}, {lane:?}");
        } else {
            assert_eq!(
                (ring.in_use_bytes, ring.tail_waste_bytes),
                (lane.in_use_bytes, lane.tail_waste_bytes),
                "{ring:?}, {lane:?}"
            );
        }
    }
}

fn run(ops: Vec<(u8, u16)>, holds_outside: bool) {
    // At worst, each slice that is held uses a chunk in addition to the ring's.
    let mut both = Both::new(if holds_outside { 24 } else { 8 });
    for (what, number) in ops {
        let len = match number % 4 {
            0 => 1 + usize::from(number) % 1024,
            1 => 1024,
            _ => usize::from(number) % 300,
        };
        match what % 8 {
            0..4 => {
                let slices = both.commit(len);
                both.publish(slices);
            }
            4..6 => both.read(1 + usize::from(number) % 4),
            6 if holds_outside && both.outside.len() < 4 => {
                let slices = both.commit(len);
                both.outside.push(slices);
            }
            7 if holds_outside && !both.outside.is_empty() => {
                let slices = both.outside.swap_remove(usize::from(number) % both.outside.len());
                both.out_of_order = true;
                if number % 3 > 0 {
                    both.publish(slices);
                }
            }
            _ => both.read(SLOTS),
        }
        both.compare();
    }
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn both_forms_let_go_of_the_same_at_the_same_time(
        ops in prop::collection::vec((any::<u8>(), any::<u16>()), 1..if cfg!(miri) { 60 } else { 300 }),
    ) {
        run(ops, false);
    }

    #[test]
    fn both_forms_hold_what_is_published_out_of_order(
        ops in prop::collection::vec((any::<u8>(), any::<u16>()), 1..if cfg!(miri) { 60 } else { 300 }),
    ) {
        run(ops, true);
    }
}
