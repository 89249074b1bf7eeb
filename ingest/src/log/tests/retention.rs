//! What retention removes and what it leaves, on a disk that forgets; the room that lanes share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::super::*;
use super::random::Random;
use super::rows::{Row, folders, options, sealed_rows, shape};
use super::sim_disk::{Faults, SimDisk};
use super::simulation::number_of;

const INTERVAL: Duration = Duration::from_millis(100);
const TIMES: CommitTimes =
    CommitTimes { interval: INTERVAL, segment_age: Duration::from_secs(600) };
const HOUR: Duration = Duration::from_secs(3600);

fn of_lane(lane: u32) -> LogFolders {
    let folder = |above: &str| PathBuf::from(format!("{above}/lane={lane}"));
    LogFolders { open: folder("/log/.slipring"), complete: folder("/log") }
}

/// A service of some lanes, and time made up.
struct Bench {
    disk: SimDisk,
    committer: Committer<SimDisk>,
    feeds: Vec<LaneFeed>,
    now: Instant,
    /// The first sequence of lane 0.
    first: u64,
    made: u64,
}

impl Bench {
    /// Serves the lanes from 0 to `served`; those up to `lanes` are there.
    fn start(
        disk: &SimDisk,
        limits: RetentionLimits,
        (served, lanes): (u32, u32),
    ) -> Result<Self, LogError> {
        let (now, mut committer) = (Instant::now(), Committer::new(TIMES));
        let (mut feeds, mut files) = (Vec::new(), Vec::new());
        for lane in 0..lanes {
            let folders = of_lane(lane);
            let opened = LaneLog::open(disk.clone(), folders.clone(), options(u64::from(lane)));
            let (mut log, recovery) = opened?;
            let both = (now, disk.time());
            let (disk, is_served) = (disk.clone(), lane < served);
            files.push(SealedFiles::found(disk, folders, (lane, is_served), &recovery, both)?);
            if is_served {
                let sizes = BufferSizes { count: 2, rows: 16 };
                feeds.push(committer.add_lane(log, sizes, Box::new(|| ()))?);
            } else {
                log.close()?;
            }
        }
        committer.retain(limits, files);
        let first = feeds[0].next_sequence();
        Ok(Self { disk: disk.clone(), committer, feeds, now, first, made: 0 })
    }

    /// Rounds until nothing is due now.
    fn run(&mut self) {
        let now = self.now;
        for _ in 0..10_000 {
            if self.committer.round(&|| now).is_none_or(|due| due > now) {
                return;
            }
        }
        panic!("rounds without end: {:?}", self.committer.take_notes());
    }

    /// Rounds as they are due, until then.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.run();
            let now = self.now;
            match self.committer.round(&|| now).filter(|due| *due <= until) {
                Some(due) => self.move_to(due),
                None => break,
            }
        }
        self.move_to(until);
        self.run();
    }

    fn move_to(&mut self, now: Instant) {
        self.disk.set_time(self.disk.time() + now.duration_since(self.now));
        self.now = now;
    }

    /// A segment with these rows.
    fn seal(&mut self, lane: usize, rows: u64) {
        self.append(lane, rows);
        self.committer.asks().seal();
        self.run();
    }

    fn append(&mut self, lane: usize, rows: u64) {
        let rows: Vec<Row> = (self.made..self.made + rows).map(Row::of).collect();
        self.made += rows.len() as u64;
        let vectors: Vec<u8> = rows.iter().flat_map(|row| row.vector.clone()).collect();
        let ids: Vec<u8> = rows.iter().flat_map(|row| row.id.to_le_bytes()).collect();
        let times: Vec<u8> = rows.iter().flat_map(|row| row.time.to_le_bytes()).collect();
        let rows =
            LogRows { vectors: &vectors, ids: &ids, times: RowTimes::Each(&times), mark: None };
        let now = self.now;
        assert!(self.feeds[lane].offer(&rows, true, || now).unwrap());
        self.run();
    }

    fn close(mut self) {
        self.committer.asks().close(self.now + HOUR);
        self.run();
        assert!(self.committer.is_over());
    }

    fn removed(&self) -> u64 {
        self.committer.folder().figures().removed_segments
    }
}

/// The first sequences of a lane's sealed segments.
fn sealed(disk: &SimDisk, lane: u32) -> Vec<u64> {
    let names = disk.names(&of_lane(lane).complete).unwrap();
    names.iter().map(|name| name[4..24].parse().unwrap()).collect()
}

fn bytes(disk: &SimDisk) -> u64 {
    let sealed =
        disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "arrow"));
    sealed.map(|path| disk.content(&path).unwrap().len() as u64).sum()
}

fn by_bytes(bytes: u64) -> RetentionLimits {
    RetentionLimits { bytes: Some(bytes), age: None }
}

fn by_age(age: Duration) -> RetentionLimits {
    RetentionLimits { bytes: None, age: Some(age) }
}

/// Bytes of a row with all its columns.
fn row_bytes() -> u64 {
    shape().vector_bytes() as u64 + 3 * 8
}

/// The bytes of a sealed segment of one small record.
fn one() -> u64 {
    let disk = SimDisk::new(1);
    let mut bench = Bench::start(&disk, RetentionLimits::default(), (1, 1)).unwrap();
    bench.seal(0, 3);
    bytes(&disk)
}

#[test]
fn the_oldest_goes_when_there_are_too_many_bytes() {
    let (disk, one) = (SimDisk::new(1), one());
    let mut bench = Bench::start(&disk, by_bytes(3 * one), (1, 1)).unwrap();
    for number in 0..3 {
        bench.seal(0, 3);
        assert_eq!((sealed(&disk, 0).len(), bench.removed()), (number + 1, 0));
    }
    bench.append(0, 3);
    assert_eq!(sealed(&disk, 0), [0, 3, 6], "a live segment doesn't count");
    bench.seal(0, 0);
    assert_eq!(sealed(&disk, 0), [3, 6, 9]);
    (0..5).for_each(|_| bench.seal(0, 3));
    assert_eq!((sealed(&disk, 0), bench.removed()), (vec![18, 21, 24], 6));
    let figures = bench.committer.folder().figures();
    assert_eq!((figures.removed_bytes, bench.committer.take_notes()), (6 * one, vec![]));
    bench.close();
}

/// What a limit below a segment would remove is the only one: it stays. So does the live one.
#[test]
fn the_newest_and_the_live_segment_stay() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::start(&disk, by_bytes(1), (1, 1)).unwrap();
    bench.seal(0, 3);
    bench.append(0, 3);
    bench.wait(Duration::from_secs(30));
    assert_eq!((sealed(&disk, 0), bench.removed()), (vec![0], 0));
    bench.seal(0, 0);
    assert_eq!((sealed(&disk, 0), bench.removed()), (vec![3], 1));
}

#[test]
fn bytes_are_those_of_all_lanes_and_the_oldest_of_all_goes_first() {
    let (disk, one) = (SimDisk::new(1), one());
    let mut bench = Bench::start(&disk, by_bytes(4 * one), (2, 2)).unwrap();
    for lane in [1, 1, 0, 0] {
        bench.seal(lane, 3);
        bench.wait(Duration::from_secs(1));
    }
    bench.seal(0, 3);
    assert_eq!((sealed(&disk, 0), sealed(&disk, 1)), (vec![0, 3, 6], vec![3]));
    // A lane keeps one, however old it is.
    (0..4).for_each(|_| bench.seal(0, 3));
    assert_eq!((sealed(&disk, 0), sealed(&disk, 1)), (vec![12, 15, 18], vec![3]));
    bench.close();
    // A lane that isn't served any more keeps none.
    let mut bench = Bench::start(&disk, by_bytes(one), (1, 2)).unwrap();
    bench.run();
    assert_eq!((sealed(&disk, 0), sealed(&disk, 1)), (vec![18], vec![]));
    bench.close();
    let bench = Bench::start(&disk, by_bytes(one), (2, 2)).unwrap();
    let next: Vec<u64> = bench.feeds.iter().map(LaneFeed::next_sequence).collect();
    assert_eq!(next, [21, 6], "sequences go on");
}

#[test]
fn segments_go_when_they_are_old_also_without_another_seal() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::start(&disk, by_age(HOUR), (1, 1)).unwrap();
    bench.seal(0, 3);
    bench.wait(HOUR / 2);
    bench.seal(0, 3);
    bench.wait(HOUR / 2 - Duration::from_secs(1));
    assert_eq!(sealed(&disk, 0), [0, 3]);
    bench.wait(Duration::from_secs(1));
    assert_eq!(sealed(&disk, 0), [3]);
    bench.wait(HOUR / 2);
    assert_eq!((sealed(&disk, 0), bench.removed()), (vec![], 2), "the last one too");
    bench.append(0, 3);
    bench.wait(TIMES.segment_age);
    assert_eq!(sealed(&disk, 0), [6]);
}

/// While the service doesn't run, the files say how old they are. A clock that was set back, or a
/// file from the future, removes nothing.
#[test]
fn a_start_removes_what_has_become_old() {
    let disk = SimDisk::new(1);
    disk.set_time(SystemTime::UNIX_EPOCH + 100 * HOUR);
    let mut bench = Bench::start(&disk, by_age(HOUR), (1, 1)).unwrap();
    bench.seal(0, 3);
    bench.wait(HOUR / 2);
    bench.seal(0, 3);
    bench.close();
    for (hours, left) in [(0, &[0, 3][..]), (100, &[0, 3]), (101, &[3]), (110, &[])] {
        disk.set_time(SystemTime::UNIX_EPOCH + hours * HOUR + Duration::from_secs(60));
        let mut bench = Bench::start(&disk, by_age(HOUR), (1, 1)).unwrap();
        bench.run();
        assert_eq!(sealed(&disk, 0), left, "{hours}");
        assert_eq!(bench.feeds[0].next_sequence(), 6);
        bench.close();
    }
}

/// A step of the clock while the service runs makes nothing older.
#[test]
fn a_clock_that_is_set_while_the_service_runs_removes_nothing() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::start(&disk, by_age(HOUR), (1, 1)).unwrap();
    bench.seal(0, 3);
    disk.set_time(SystemTime::UNIX_EPOCH + 1_000_000 * HOUR);
    bench.seal(0, 3);
    bench.wait(HOUR / 2);
    assert_eq!(sealed(&disk, 0), [0, 3]);
}

/// Everything is gone and `next` is damaged: the copy says where the sequences are.
#[test]
fn sequences_go_on_when_all_segments_are_removed() {
    let damage: [&dyn Fn(&SimDisk); 3] =
        [&|_| (), &|disk| disk.put(&of_lane(0).next(), b"{}".to_vec()), &|disk| {
            disk.remove(&of_lane(0).next()).unwrap()
        }];
    for (case, damage) in damage.into_iter().enumerate() {
        let disk = SimDisk::new(1);
        let mut bench = Bench::start(&disk, by_age(HOUR), (1, 1)).unwrap();
        (0..4).for_each(|_| bench.seal(0, 10));
        bench.wait(HOUR);
        assert_eq!((sealed(&disk, 0), bench.removed()), (vec![], 4));
        bench.close();
        damage(&disk);
        let bench = Bench::start(&disk, by_age(HOUR), (1, 1)).unwrap();
        let gap = if case == 0 { 0 } else { 10_000 };
        assert_eq!(bench.feeds[0].next_sequence(), 40 + gap, "{case}");
    }
}

/// Segments that somebody has moved away don't count, and cost no other its place.
#[test]
fn what_was_moved_away_does_not_count() {
    let (disk, one) = (SimDisk::new(1), one());
    let mut bench = Bench::start(&disk, by_bytes(4 * one), (1, 1)).unwrap();
    (0..4).for_each(|_| bench.seal(0, 3));
    for first in [3, 6] {
        disk.remove(&of_lane(0).sealed(first)).unwrap();
    }
    bench.seal(0, 3);
    assert_eq!((sealed(&disk, 0), bench.removed()), (vec![0, 9, 12], 0));
    (0..2).for_each(|_| bench.seal(0, 3));
    assert_eq!(sealed(&disk, 0), [9, 12, 15, 18]);
}

/// It is said once and tried again, the rows that come are taken meanwhile, and nothing is in a
/// hurry while the disk refuses.
#[test]
fn a_removal_that_is_refused_is_tried_again() {
    let (disk, one) = (SimDisk::new(1), one());
    let mut bench = Bench::start(&disk, by_bytes(one), (1, 1)).unwrap();
    bench.seal(0, 3);
    disk.refuse_removals(true);
    (0..3).for_each(|_| bench.seal(0, 3));
    bench.wait(Duration::from_secs(60));
    assert_eq!((sealed(&disk, 0), bench.removed()), (vec![0, 3, 6, 9], 0));
    let notes = bench.committer.take_notes();
    assert!(matches!(&notes[..], [(0, LogNote::NotRemoved(_))]), "{notes:?}");
    assert!(notes[0].1.to_string().contains("seg-00000000000000000000.arrow"), "{notes:?}");
    disk.refuse_removals(false);
    bench.wait(Duration::from_secs(10));
    assert_eq!((sealed(&disk, 0), bench.removed()), (vec![9], 3));
}

/// Several lanes share a disk: what one needs for its end, the others' records leave.
#[test]
fn records_leave_room_for_the_ends_of_all_lanes() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::start(&disk, RetentionLimits::default(), (2, 2)).unwrap();
    // Both live segments need a block for their end, and a record at most this much.
    let (record, ends) = (row_bytes() + (16 << 10), 2 * 4096);
    let needed = SPACE_KEPT_BYTES + record + ends;
    disk.set_free_bytes(needed);
    bench.append(0, 1);
    bench.append(1, 1);
    assert_eq!(bench.feeds[1].progress().state(), LogState::Open);
    disk.set_free_bytes(needed - 1);
    bench.append(1, 1);
    assert_eq!(bench.feeds[1].progress().state(), LogState::NoSpace);
    disk.set_free_bytes(2 * needed);
    bench.wait(INTERVAL);
    assert_eq!(bench.feeds[1].progress().state(), LogState::Open);
    assert_eq!(bench.committer.folder().figures().free_bytes, 2 * needed);
    // A segment that is sealed needs no end.
    bench.seal(0, 0);
    bench.append(1, 1);
    disk.set_free_bytes(needed - 4096);
    bench.append(1, 1);
    assert_eq!(bench.feeds[1].progress().state(), LogState::Open);
}

/// A row is either there, or older than one that retention has removed; sequences never repeat.
struct World {
    seed: u64,
    random: Random,
    disk: SimDisk,
    given: BTreeMap<u64, (Row, bool)>,
    made: u64,
    removed: u64,
}

impl World {
    fn live(&mut self) {
        let limits = match self.random.below(3) {
            0 => by_bytes(40_000),
            1 => by_age(HOUR),
            _ => RetentionLimits { bytes: Some(20_000), age: Some(HOUR * 3) },
        };
        self.disk.set_faults(Faults::default());
        let started = Bench::start(&self.disk, limits, (1, 1));
        let mut bench = started.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let first = bench.first;
        let last = self.given.last_key_value().map(|(sequence, _)| *sequence);
        assert!(last < Some(first), "seed {}: given again", self.seed);
        bench.made = self.made;
        if self.random.below(2) == 0 {
            let refused = 20;
            self.disk.set_faults(Faults { refused, interrupted: 20, ..Faults::default() });
        }
        let calls = self.random.below(400);
        self.disk.stop_in(Some(calls as u64));
        for _ in 0..40 {
            if self.disk.is_stopped() {
                break;
            }
            self.step(&mut bench);
        }
        self.removed += bench.removed();
        self.made = bench.made;
        self.disk.restart();
        self.check();
    }

    fn step(&mut self, bench: &mut Bench) {
        match self.random.below(4) {
            0 => bench.committer.asks().seal(),
            1 => bench.wait(HOUR / (1 + self.random.below(50) as u32)),
            _ => {
                let count = 1 + self.random.below(12) as u64;
                let rows: Vec<Row> = (bench.made..bench.made + count).map(Row::of).collect();
                let first = bench.feeds[0].progress().figures().appended_through;
                if bench.feeds[0].progress().state() == LogState::Open {
                    bench.append(0, count);
                    self.given.extend((first..).zip(rows.into_iter().map(|row| (row, false))));
                }
            }
        }
        bench.run();
        let progress = bench.feeds[0].progress();
        // The watermark speaks of rows of its own start.
        let rows = self.given.range_mut(bench.first..progress.durable_through());
        for (sequence, (_, is_acked)) in rows {
            *is_acked |= !progress.is_lost(*sequence);
        }
    }

    fn check(&mut self) {
        self.disk.set_faults(Faults::default());
        drop(LaneLog::open(self.disk.clone(), folders(), options(9)).unwrap());
        let found: BTreeMap<u64, Row> = sealed_rows(&self.disk).unwrap().into_iter().collect();
        let first = found.first_key_value().map(|(sequence, _)| *sequence);
        let seed = self.seed;
        for (sequence, (row, is_acked)) in &self.given {
            match found.get(sequence) {
                Some(found) => assert_eq!(found, row, "seed {seed}: row {sequence}"),
                None => {
                    let is_old = first.is_none_or(|first| *sequence < first);
                    assert!(!is_acked || is_old, "seed {seed}: {sequence} is lost");
                }
            }
        }
        assert!(first.is_some() || self.removed > 0 || !self.given.values().any(|row| row.1));
    }
}

#[test]
fn a_crash_during_a_removal_leaves_no_hole() {
    let crashes = number_of("SLIPRING_LOG_CRASHES", 1_200) / 10;
    let (first, mut done, mut removed) = (number_of("SLIPRING_LOG_SEED", 1), 0, 0);
    for seed in first.. {
        let (random, disk) = (Random(seed), SimDisk::new(seed ^ 0x5555));
        let given = BTreeMap::new();
        let mut world = World { seed, random, disk, given, made: 0, removed: 0 };
        (0..6).for_each(|_| world.live());
        done += 6;
        removed += world.removed;
        if done >= crashes {
            break;
        }
    }
    println!("{done} crashes, {removed} segments removed");
    assert!(removed > done / 2, "{removed} segments were removed");
}
