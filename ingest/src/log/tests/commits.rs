//! The committer on a disk that forgets, in one thread, from a seed, with a clock of its own.
//!
//! - A row below the watermark that isn't said to be lost survives every crash, once, in order.
//! - Nothing is invented, and no sequence is given twice.
//! - What readers of a live segment are shown as durable survives too.
//! - Rows that are wanted become durable without another call and without time passing; others
//!   within the interval.
//!
//! `SLIPRING_LOG_CRASHES` and `SLIPRING_LOG_SEED` as for the log's simulation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::*;
use super::random::Random;
use super::rows::{Row, folders, options, sealed_rows, shape};
use super::sim_disk::{Faults, SimDisk};
use super::simulation::number_of;

const INTERVAL: Duration = Duration::from_millis(100);
const TIMES: CommitTimes =
    CommitTimes { interval: INTERVAL, segment_age: Duration::from_secs(600) };
const SIZES: BufferSizes = BufferSizes { count: 2, rows: 16 };

/// Rows in the form that a feed takes.
fn offer(feed: &mut LaneFeed, rows: &[Row], is_wanted: bool, now: Instant) -> bool {
    let vectors: Vec<u8> = rows.iter().flat_map(|row| row.vector.clone()).collect();
    let ids: Vec<u8> = rows.iter().flat_map(|row| row.id.to_le_bytes()).collect();
    let times: Vec<u8> = rows.iter().flat_map(|row| row.time.to_le_bytes()).collect();
    let rows = LogRows { vectors: &vectors, ids: &ids, times: RowTimes::Each(&times), mark: None };
    feed.offer(&rows, is_wanted, || now).unwrap()
}

/// A committer with one lane, and a clock.
struct Bench {
    committer: Committer<SimDisk>,
    asks: CommitAsks,
    feed: LaneFeed,
    first: u64,
    past: Instant,
    now: Instant,
    due: Option<Instant>,
    bells: Arc<AtomicU64>,
}

impl Bench {
    fn new(log: LaneLog<SimDisk>) -> Self {
        let mut committer = Committer::new(TIMES);
        let bells = Arc::new(AtomicU64::new(0));
        let rung = Arc::clone(&bells);
        let on_durable = Box::new(move || {
            rung.fetch_add(1, Ordering::Relaxed);
        });
        let feed = committer.add_lane(log, SIZES, on_durable).unwrap();
        let asks = committer.asks();
        let past = Instant::now();
        let first = feed.next_sequence();
        Self { committer, asks, feed, first, past, now: past, due: None, bells }
    }

    fn durable(&self) -> u64 {
        self.feed.progress().durable_through()
    }

    fn appended(&self) -> u64 {
        self.feed.progress().figures().appended_through
    }

    fn round(&mut self) {
        let now = self.now;
        self.due = self.committer.round(&|| now);
    }

    /// Rounds as the committer's thread makes them: when it is called, or one is due. Time stands.
    fn run(&mut self) {
        for _ in 0..1000 {
            let is_called = self.asks.wait(Some(self.past));
            if !is_called && self.due.is_none_or(|due| due > self.now) {
                return;
            }
            self.round();
        }
        let figures = self.feed.progress().figures();
        panic!("rounds without end: {figures:?} {:?}", self.committer.take_notes());
    }

    /// The same, with time passing until nothing is due before `until`.
    fn run_until(&mut self, until: Instant) {
        self.run();
        while let Some(due) = self.due.filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.run();
        }
        self.now = until;
    }
}

fn open(disk: &SimDisk, epoch: u64) -> Result<(LaneLog<SimDisk>, Recovery), LogError> {
    LaneLog::open(disk.clone(), folders(), options(epoch))
}

fn rows(first: u64, count: u64) -> Vec<Row> {
    (first..first + count).map(Row::of).collect()
}

#[test]
fn wanted_rows_become_durable_without_another_event() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut bench = Bench::new(open(&SimDisk::new(seed), 1).unwrap().0);
        let mut made = 0;
        for _ in 0..20 {
            let count = random.below(50) as u64;
            let is_wanted = random.below(2) == 0;
            let bells = bench.bells.load(Ordering::Relaxed);
            while !offer(&mut bench.feed, &rows(made, count), is_wanted, bench.now) {
                bench.run();
            }
            made += count;
            let before = bench.now;
            bench.run();
            if is_wanted && count > 0 {
                assert_eq!(bench.durable(), made, "seed {seed}");
                assert!(bench.bells.load(Ordering::Relaxed) > bells, "seed {seed}");
            } else if random.below(2) == 0 {
                // The next rows meet these in their buffer.
            } else {
                let until = before + INTERVAL;
                bench.run_until(until);
                assert_eq!(bench.durable(), made, "seed {seed}: not within the interval");
            }
            assert_eq!(bench.feed.next_sequence(), made);
        }
        assert_eq!(bench.committer.take_notes(), []);
        assert_eq!(bench.feed.progress().figures().lost_rows, 0);
    }
}

/// Full buffers that nobody waits for are written, and synced only by the interval.
#[test]
fn full_buffers_are_synced_by_the_interval() {
    let mut bench = Bench::new(open(&SimDisk::new(1), 1).unwrap().0);
    for first in 0..2 {
        assert!(offer(&mut bench.feed, &rows(first * 16, 16), false, bench.now));
        bench.run();
        bench.now += Duration::from_millis(1);
    }
    assert_eq!((bench.durable(), bench.feed.progress().figures().syncs), (0, 0));
    bench.run_until(bench.past + INTERVAL);
    assert_eq!((bench.durable(), bench.feed.progress().figures().syncs), (32, 1));
    let age = bench.due.map(|due| due - bench.past);
    assert!(age >= Some(TIMES.segment_age), "an idle log wants a round at {age:?}");
}

/// Readers are shown what is durable: at once, or within a pause, and without another event.
#[test]
fn readers_are_shown_what_is_durable() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::new(open(&disk, 1).unwrap().0);
    let shown = || DurableMark::of_text(&disk.content(&folders().durable())?);
    assert_eq!(shown(), None);
    offer(&mut bench.feed, &rows(0, 3), true, bench.now);
    bench.run();
    let first = shown().unwrap();
    assert_eq!(first.file_bytes, disk.content(&part(0)).unwrap().len() as u64);
    offer(&mut bench.feed, &rows(3, 4), true, bench.now);
    bench.run();
    assert_eq!((bench.durable(), shown()), (7, Some(first)), "not for each sync");
    let until = bench.now + Duration::from_millis(100);
    bench.run_until(until);
    let last = shown().unwrap();
    assert_eq!((last.epoch, last.segment), (1, 0));
    assert_eq!(last.file_bytes, disk.content(&part(0)).unwrap().len() as u64);
    // A disk that refuses it keeps nothing else.
    disk.set_faults(Faults { refused: 1000, ..Faults::default() });
    let until = bench.now + Duration::from_secs(1);
    bench.run_until(until);
    assert_eq!(bench.committer.take_notes(), []);
}

#[test]
fn segments_are_sealed_by_age_and_when_asked() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::new(open(&disk, 1).unwrap().0);
    offer(&mut bench.feed, &rows(0, 3), false, bench.now);
    bench.run_until(bench.past + TIMES.segment_age - Duration::from_millis(1));
    assert_eq!(sealed_rows(&disk).unwrap().len(), 0);
    bench.run_until(bench.past + TIMES.segment_age + INTERVAL);
    assert_eq!(sealed_rows(&disk).unwrap().len(), 3);
    offer(&mut bench.feed, &rows(3, 4), false, bench.now);
    bench.asks.seal();
    bench.run();
    assert_eq!((sealed_rows(&disk).unwrap().len(), bench.durable()), (7, 7));
    bench.asks.seal();
    bench.run();
    let figures = bench.feed.progress().figures();
    assert_eq!((figures.sealed_segments, figures.sealed_rows), (2, 7), "an empty log has none");
}

#[test]
fn a_close_seals_everything_and_ends() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::new(open(&disk, 1).unwrap().0);
    offer(&mut bench.feed, &rows(0, 20), false, bench.now);
    bench.asks.close(bench.now + INTERVAL);
    bench.run();
    assert!(bench.committer.is_over());
    assert_eq!(bench.feed.close(bench.now), Ok(()));
    let more = Row::of(20);
    let vectors = more.vector.as_slice();
    let rows = LogRows { vectors, ids: &[0; 8], times: RowTimes::One(0), mark: None };
    assert!(matches!(bench.feed.append(&rows, false), Err(FeedError::Ended(_))));
    let (log, recovery) = open(&disk, 2).unwrap();
    assert!(recovery.was_clean && log.next_sequence() == 20);
}

#[test]
fn a_removed_segment_is_said_and_followed_by_a_new_one() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::new(open(&disk, 1).unwrap().0);
    offer(&mut bench.feed, &rows(0, 3), true, bench.now);
    bench.run();
    disk.remove(&part(0)).unwrap();
    offer(&mut bench.feed, &rows(3, 2), true, bench.now);
    bench.run();
    let notes = bench.committer.take_notes();
    assert_eq!(notes, [(0, LogNote::Removed { path: part(0), rows: 5 })]);
    offer(&mut bench.feed, &rows(5, 2), true, bench.now);
    bench.run();
    let progress = bench.feed.progress();
    assert_eq!((progress.durable_through(), progress.losses()), (7, 1));
    assert!((0..8).all(|sequence| progress.is_lost(sequence) == (sequence < 5)));
    bench.asks.close(bench.now + INTERVAL);
    bench.run();
    let found: Vec<u64> =
        sealed_rows(&disk).unwrap().iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(found, [5, 6]);
}

fn part(first: u64) -> PathBuf {
    folders().open.join(format!("seg-{first:020}.arrow.part"))
}

/// A disk without space: nothing is lost, and it goes on when there is some.
#[test]
fn a_full_disk_is_a_state_and_passes() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::new(open(&disk, 1).unwrap().0);
    disk.set_faults(Faults { refused: 1000, ..Faults::default() });
    assert!(!offer(&mut bench.feed, &rows(0, 40), true, bench.now));
    bench.run();
    assert_ne!(bench.feed.progress().state(), LogState::Open);
    bench.run_until(bench.now + Duration::from_secs(1));
    assert!(!offer(&mut bench.feed, &rows(0, 40), true, bench.now), "both buffers are full");
    let notes = bench.committer.take_notes();
    assert!(matches!(&notes[..], [(0, LogNote::Refused(_))]), "said once: {notes:?}");
    disk.set_faults(Faults::default());
    let until = bench.now + Duration::from_millis(100);
    bench.run_until(until);
    assert!(offer(&mut bench.feed, &rows(0, 40), true, bench.now));
    bench.run();
    assert_eq!((bench.durable(), bench.feed.progress().state()), (40, LogState::Open));
    assert_eq!(bench.committer.take_notes(), [(0, LogNote::TakesAgain)]);
}

/// It stays full until the close's time is over: what isn't written is lost, and said.
#[test]
fn a_disk_that_stays_full_ends_the_close_in_time() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::new(open(&disk, 1).unwrap().0);
    offer(&mut bench.feed, &rows(0, 5), true, bench.now);
    bench.run();
    disk.set_faults(Faults { refused: 1000, ..Faults::default() });
    offer(&mut bench.feed, &rows(5, 7), false, bench.now);
    let until = bench.now + Duration::from_secs(3);
    bench.asks.close(until);
    bench.run_until(until - Duration::from_millis(1));
    assert!(!bench.committer.is_over());
    bench.run_until(until);
    assert!(bench.committer.is_over());
    let figures = bench.feed.progress().figures();
    assert_eq!((figures.lost_rows, figures.left_open_rows, figures.sealed_rows), (7, 5, 0));
    let said = bench.feed.close(until).unwrap_err();
    assert!(said.contains("7 accepted vectors aren't stored: put that right"), "{said}");
    disk.set_faults(Faults::default());
    let (log, _) = open(&disk, 2).unwrap();
    assert_eq!(sealed_rows(&disk).unwrap().len(), 5);
    assert!(log.next_sequence() >= 12);
}

/// Its last segment can be sealed, from the bytes that were kept for that. Why the vectors behind
/// it are missing is said all the same, and not that it takes vectors again.
#[test]
fn a_disk_that_stays_full_is_named_when_the_last_segment_is_sealed() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::new(open(&disk, 1).unwrap().0);
    offer(&mut bench.feed, &rows(0, 5), true, bench.now);
    bench.run();
    disk.set_free_bytes(SPACE_KEPT_BYTES + 4096);
    offer(&mut bench.feed, &rows(5, 7), false, bench.now);
    let until = bench.now + Duration::from_secs(3);
    bench.asks.close(until);
    bench.run_until(until);
    assert!(bench.committer.is_over());
    let figures = bench.feed.progress().figures();
    assert_eq!((figures.lost_rows, figures.sealed_rows), (7, 5));
    let said = bench.feed.close(until).unwrap_err();
    for part in ["the disk is full", " bytes left", "free space", "7 accepted vectors"] {
        assert!(said.contains(part), "{said}");
    }
    let notes = bench.committer.take_notes();
    let is_known = matches!(&notes[..], [(0, LogNote::Refused(_)), (0, LogNote::Failed(_))]);
    assert!(is_known, "{notes:?}");
}

#[derive(Debug)]
struct Given {
    row: Row,
    is_acked: bool,
    is_removed: bool,
}

struct World {
    seed: u64,
    random: Random,
    disk: SimDisk,
    given: BTreeMap<u64, Given>,
    made: u64,
    crashes: u64,
    acked: u64,
    shown: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let (random, disk) = (Random(seed), SimDisk::new(seed ^ 0x5555));
        Self { seed, random, disk, given: BTreeMap::new(), made: 0, crashes: 0, acked: 0, shown: 0 }
    }

    fn live(&mut self) {
        let faults = match self.random.below(3) {
            0 => Faults::default(),
            1 => {
                Faults { short: 100, interrupted: 50, refused: 60, write: 50, ..Faults::default() }
            }
            _ => Faults {
                short: 50,
                interrupted: 50,
                refused: 10,
                write: 0,
                sync: 80,
                background: 20,
            },
        };
        let Some(log) = self.open() else { unreachable!("nothing stops the machine") };
        self.disk.set_faults(faults);
        let calls = self.random.below(300);
        self.disk.stop_in(Some(calls as u64));
        self.work(Bench::new(log));
        let shown = self.shown();
        self.disk.restart();
        self.check_shown(shown);
        self.crashes += 1;
        self.check();
    }

    fn open(&mut self) -> Option<LaneLog<SimDisk>> {
        self.disk.set_faults(Faults::default());
        let epoch = self.random.number();
        let (log, _) = open(&self.disk, epoch).unwrap();
        let last = self.given.last_key_value().map(|(sequence, _)| *sequence);
        assert!(last < Some(log.next_sequence()), "seed {}: given again", self.seed);
        Some(log)
    }

    fn work(&mut self, mut bench: Bench) {
        // Rows of a call, how many of them are taken, and whether somebody waits for them.
        let mut pending: Option<(Vec<Row>, usize, bool)> = None;
        for _ in 0..100 {
            if self.disk.is_stopped() {
                break;
            }
            match self.random.below(10) {
                0..5 => {
                    let (rows, taken, is_wanted) =
                        pending.take().unwrap_or_else(|| self.make_rows());
                    let before = bench.feed.next_sequence() + taken as u64;
                    let is_done = offer(&mut bench.feed, &rows, is_wanted, bench.now);
                    let now = (bench.appended() - before) as usize;
                    let begun = if is_done { rows.len() } else { 0 };
                    let next = before - taken as u64 + begun as u64;
                    assert_eq!(bench.feed.next_sequence(), next, "seed {}", self.seed);
                    self.give(before, &rows[taken..taken + now]);
                    assert!(!is_done || taken + now == rows.len(), "seed {}", self.seed);
                    pending = (!is_done).then_some((rows, taken + now, is_wanted));
                }
                5 => bench.asks.seal(),
                6 if self.random.below(10) == 0 => self.remove_part(),
                7 => {
                    let until = bench.now + INTERVAL;
                    bench.run_until(until);
                }
                _ => bench.run(),
            }
            self.acknowledge(&bench);
        }
        if self.random.below(3) == 0 && !self.disk.is_stopped() {
            let until = bench.now + Duration::from_secs(1);
            bench.asks.close(until);
            bench.run_until(until);
            self.acknowledge(&bench);
            assert!(bench.committer.is_over(), "seed {}: it doesn't end", self.seed);
        }
    }

    fn make_rows(&mut self) -> (Vec<Row>, usize, bool) {
        let count = self.random.below(40) as u64;
        let rows = rows(self.made, count);
        self.made += count;
        (rows, 0, self.random.below(2) == 0)
    }

    fn give(&mut self, first: u64, rows: &[Row]) {
        for (sequence, row) in (first..).zip(rows) {
            let given = Given { row: row.clone(), is_acked: false, is_removed: false };
            assert!(self.given.insert(sequence, given).is_none(), "seed {}: twice", self.seed);
        }
    }

    fn acknowledge(&mut self, bench: &Bench) {
        let progress = bench.feed.progress();
        // The watermark speaks of rows of its own start.
        for (sequence, given) in self.given.range_mut(bench.first..progress.durable_through()) {
            if !given.is_acked && !given.is_removed && !progress.is_lost(*sequence) {
                given.is_acked = true;
                self.acked += 1;
            }
        }
    }

    /// Somebody removes the live segment's file: nobody can rely on its rows any more.
    fn remove_part(&mut self) {
        let paths = self.disk.paths();
        let is_part = |path: &&PathBuf| path.to_string_lossy().ends_with(".part");
        let Some(path) = paths.iter().find(is_part) else { return };
        let name = path.file_name().unwrap().to_str().unwrap();
        let first: u64 = name[4..24].parse().unwrap();
        if self.disk.remove(path).is_ok() {
            for (_, given) in self.given.range_mut(first..) {
                (given.is_acked, given.is_removed) = (false, true);
            }
        }
    }

    /// The bytes of a live segment that readers are shown as durable, and the segment. A sealed one
    /// is read as a whole, and may be merged.
    fn shown(&self) -> Option<(u64, Vec<u8>)> {
        let mark = DurableMark::of_text(&self.disk.content(&folders().durable())?)?;
        let mut bytes = self.disk.content(&part(mark.segment))?;
        bytes.truncate(mark.file_bytes as usize);
        assert_eq!(bytes.len() as u64, mark.file_bytes, "seed {}: {mark:?}", self.seed);
        Some((mark.segment, bytes))
    }

    fn check_shown(&mut self, shown: Option<(u64, Vec<u8>)>) {
        let Some((segment, bytes)) = shown else { return };
        let sealed = || self.disk.content(&folders().sealed(segment));
        let found = self.disk.content(&part(segment)).or_else(sealed).unwrap_or_default();
        assert!(found.starts_with(&bytes), "seed {}: shown and lost, {segment}", self.seed);
        self.shown += 1;
    }

    fn check(&mut self) {
        let Some(log) = self.open() else { return };
        drop(log);
        let found =
            sealed_rows(&self.disk).unwrap_or_else(|why| panic!("seed {}: {why}", self.seed));
        let in_order = found.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(in_order, "seed {}: rows out of order", self.seed);
        let found: BTreeMap<u64, Row> = found.into_iter().collect();
        for (sequence, given) in &self.given {
            match found.get(sequence) {
                Some(row) => assert_eq!(row, &given.row, "seed {}: row {sequence}", self.seed),
                None => assert!(!given.is_acked, "seed {}: {sequence} is lost", self.seed),
            }
        }
    }
}

#[test]
fn what_is_durable_survives_every_crash() {
    let (first, crashes) =
        (number_of("SLIPRING_LOG_SEED", 1), number_of("SLIPRING_LOG_CRASHES", 200));
    let (mut done, mut acked, mut shown, mut seed) = (0, 0, 0, first);
    while done < crashes {
        let mut world = World::new(seed);
        (0..5).for_each(|_| world.live());
        done += world.crashes;
        acked += world.acked;
        shown += world.shown;
        seed += 1;
    }
    println!("{done} crashes, {acked} rows acknowledged, seeds {first}..{seed}");
    assert!(acked > crashes, "{acked} rows were acknowledged");
    assert!(shown > crashes / 10, "{shown} segments were shown");
}

#[test]
fn sizes_out_of_range_are_refused() {
    for sizes in [BufferSizes { count: 1, rows: 1 }, BufferSizes { count: 2, rows: 0 }] {
        let log = open(&SimDisk::new(1), 1).unwrap().0;
        let added = Committer::new(TIMES).add_lane(log, sizes, Box::new(|| ()));
        assert!(matches!(added, Err(LogError::Option { .. })), "{sizes:?} of {:?}", shape());
    }
}
