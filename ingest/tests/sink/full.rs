//! A full disk, and a file size limit: no row that was taken is lost or duplicated, and the log
//! goes on once there is space.
//!
//! The full disk is a real one, a tmpfs of 2 MiB, which needs the right to mount. Without it only
//! the file size limit is tested, in a child process.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slipring_ingest::log::{
    BufferSizes, CommitTimes, Committer, FeedError, LaneFeed, LogNote, LogRows, LogState, RealDisk,
    RowTimes,
};
use slipring_ingest::sink::{DataDir, SinkError, for_each_batch};

use crate::lane::{Lane, Sizes};
use crate::support::data::on_small_disk;

const DIM: usize = 16;
/// Longer than the pause after a refusal.
const PAUSE: Duration = Duration::from_millis(120);

fn rows(first: u64, count: usize) -> Vec<f32> {
    (0..count * DIM).map(|i| (first * DIM as u64 + i as u64) as f32).collect()
}

/// A lane whose committer makes a round when the test says so.
struct Writer {
    committer: Committer<RealDisk>,
    feed: LaneFeed,
    taken: u64,
    /// Rows of the call that goes on.
    rest: usize,
    _dir: DataDir,
}

impl Writer {
    fn open(folder: &Path, segment_bytes: u64, rows: usize) -> Self {
        let dir = DataDir::open(folder, DIM as u32).unwrap();
        let lane = Lane::open(&dir, 0, Sizes { segment_bytes, record_rows: 1 }).unwrap();
        let (interval, segment_age) = (Duration::from_millis(1), Duration::from_secs(3600));
        let mut committer = Committer::new(CommitTimes { interval, segment_age });
        let sizes = BufferSizes { count: 2, rows };
        let feed = committer.add_lane(lane.log, sizes, Box::new(|| ())).unwrap();
        let taken = feed.next_sequence();
        Self { committer, feed, taken, rest: 0, _dir: dir }
    }

    /// Appends rows, or goes on with those of the last call. Whether all of them were taken.
    fn append(&mut self, count: usize) -> bool {
        let count = if self.rest > 0 { self.rest } else { count };
        let values = rows(self.taken, count);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let rows = LogRows { vectors: &bytes, ids: &[], times: RowTimes::One(0), mark: None };
        match self.feed.append(&rows, false) {
            Ok(()) => {
                self.taken += count as u64;
                self.rest = 0;
            }
            Err(FeedError::Full) => self.rest = count,
            Err(error) => panic!("{error}"),
        }
        self.rest == 0
    }

    fn round(&mut self) -> Vec<LogNote> {
        self.committer.round(&Instant::now);
        self.committer.take_notes().into_iter().map(|(_, note)| note).collect()
    }

    /// Appends until nothing more is taken. Returns what was said.
    fn append_until_refused(&mut self, count: usize) -> Vec<LogNote> {
        let mut notes = Vec::new();
        while self.append(count) || self.feed.progress().state() == LogState::Open {
            assert!(self.taken < 1 << 20, "nothing was refused");
            notes.extend(self.round());
        }
        // Small records need room to be merged.
        notes.retain(|note| !matches!(note, LogNote::Unmerged { .. }));
        notes
    }

    fn close(&mut self) {
        self.committer.asks().close(Instant::now() + Duration::from_secs(60));
        while !self.committer.is_over() {
            self.round();
            sleep(Duration::from_millis(5));
        }
        self.feed.close(Instant::now()).unwrap();
    }
}

fn read_back(folder: &Path) -> Vec<f32> {
    let mut values = Vec::new();
    let summary = for_each_batch(folder, |_, _, rows| values.extend_from_slice(rows)).unwrap();
    assert_eq!(summary.gaps, 0);
    values
}

/// Checks that nothing is taken, then makes space and checks that everything goes on.
fn refuse_then_recover(
    log: &mut Writer,
    folder: &Path,
    count: usize,
    expect: &str,
    make_space: impl FnOnce(),
) {
    let notes = log.append_until_refused(count);
    let said: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert!(said.len() == 1 && said[0].contains(expect), "{said:?}");
    for _ in 0..3 {
        sleep(PAUSE);
        assert_eq!(log.round(), [], "it is said once");
        assert!(!log.append(5));
    }
    make_space();
    sleep(PAUSE);
    assert_eq!(log.round(), [LogNote::TakesAgain]);
    for _ in 0..40 {
        while !log.append(5) {
            log.round();
        }
        log.round();
    }
    log.close();
    assert!(read_back(folder) == rows(0, log.taken as usize), "rows were lost, doubled or moved");
}

#[test]
fn a_full_disk_refuses_and_then_goes_on() {
    on_small_disk(2, |disk| {
        let folder = disk.path().join("data");
        disk.leave(600 << 10);
        let mut log = Writer::open(&folder, 100 << 10, 64);
        refuse_then_recover(&mut log, &folder, 5, "free space on this disk", || disk.free());
    });
}

/// What was written before the disk was full is sealed nevertheless: there is room for that.
#[test]
fn a_full_disk_has_room_for_the_end_of_a_segment() {
    on_small_disk(2, |disk| {
        let folder = disk.path().join("data");
        disk.leave(600 << 10);
        let mut log = Writer::open(&folder, 1 << 30, 64);
        log.append_until_refused(5);
        let asks = log.committer.asks();
        asks.close(Instant::now() + PAUSE);
        while !log.committer.is_over() {
            sleep(PAUSE);
            log.round();
        }
        let figures = log.feed.progress().figures();
        assert!(figures.sealed_rows > 0 && figures.lost_rows > 0, "{figures:?}");
        assert_eq!(figures.left_open_rows, 0);
        assert!(read_back(&folder) == rows(0, figures.sealed_rows as usize));
    });
}

#[test]
fn a_full_disk_refuses_the_end_of_a_segment_and_then_takes_it() {
    on_small_disk(2, |disk| {
        let folder = disk.path().join("data");
        let mut log = Writer::open(&folder, 1 << 30, 64);
        log.append(5);
        sleep(Duration::from_millis(2));
        log.round();
        disk.leave(0);
        log.committer.asks().close(Instant::now() + Duration::from_secs(60));
        for _ in 0..3 {
            log.round();
            assert!(!log.committer.is_over());
            sleep(PAUSE);
        }
        assert_ne!(log.feed.progress().state(), LogState::Open);
        disk.free();
        log.close();
        assert!(read_back(&folder) == rows(0, 5));
    });
}

#[test]
fn a_full_disk_refuses_to_open_and_then_opens() {
    on_small_disk(2, |disk| {
        let folder = disk.path().join("data");
        fs::create_dir(&folder).unwrap();
        disk.leave(0);
        let error = DataDir::open(&folder, DIM as u32).err().unwrap();
        let said = error.to_string();
        assert!(matches!(error, SinkError::Io { .. }), "{said}");
        assert!(said.contains("free space on this disk"), "{said}");
        disk.free();
        let mut log = Writer::open(&folder, 1, 1);
        log.append(1);
        log.close();
        assert!(read_back(&folder) == rows(0, 1));
    });
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Append(usize),
    Round,
    Seal,
    Leave(u64),
    Free,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_usize..10).prop_map(Op::Append),
        6 => Just(Op::Round),
        1 => Just(Op::Seal),
        2 => (0_u64..300_000).prop_map(Op::Leave),
        2 => Just(Op::Free),
    ]
}

/// Random calls while the disk fills up and is freed. The model is the number of rows taken.
#[test]
fn a_disk_that_fills_and_empties_loses_nothing() {
    on_small_disk(2, |disk| {
        let config =
            ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let strategy = (1_usize..20, 8_192_u64..40_000, prop::collection::vec(op(), 1..60));
        let refused = Cell::new(0);
        let outcome = runner.run(&strategy, |(rows_max, segment_bytes, ops)| {
            let folder = disk.path().join("data");
            let mut log = Writer::open(&folder, segment_bytes, rows_max);
            for op in ops {
                match op {
                    Op::Append(count) => drop(log.append(count)),
                    Op::Round => drop(log.round()),
                    Op::Seal => log.committer.asks().seal(),
                    Op::Leave(free_bytes) => disk.leave(free_bytes),
                    Op::Free => disk.leave(2 << 20),
                }
                let is_refused = log.feed.progress().state() != LogState::Open;
                refused.set(refused.get() + u32::from(is_refused));
            }
            disk.leave(2 << 20);
            while log.rest > 0 && !log.append(0) {
                log.round();
                sleep(Duration::from_millis(5));
            }
            log.close();
            prop_assert!(
                read_back(&folder) == rows(0, log.taken as usize),
                "rows were lost, duplicated or moved"
            );
            fs::remove_dir_all(&folder).unwrap();
            Ok(())
        });
        outcome.unwrap();
        println!("{} calls found the disk full", refused.get());
        assert!(refused.get() > 0, "the disk was never full");
    });
}

#[test]
fn a_file_size_limit_refuses_and_then_goes_on() {
    const TEST: &str = "full::a_file_size_limit_refuses_and_then_goes_on";
    const CHILD: &str = "SLIPRING_TEST_LIMITED";
    if let Some(folder) = std::env::var_os(CHILD) {
        let folder = Path::new(&folder);
        let mut log = Writer::open(folder, 1 << 20, 64);
        // Each call has several buffers, so that the limit interrupts one of them.
        refuse_then_recover(&mut log, folder, 250, "raise the file size limit", || {
            let limit = getrlimit(Resource::Fsize);
            setrlimit(Resource::Fsize, Rlimit { current: limit.maximum, ..limit }).unwrap();
        });
        println!("ran under a file size limit");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Only the soft limit is set, in blocks of 512 bytes, so that the child can raise it. The
    // signal that the limit raises is ignored, as in the service.
    let script = r#"trap "" XFSZ; ulimit -S -f 195; exec "$0" --exact "$1" --nocapture"#;
    let mut child = Command::new("sh");
    child
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(TEST)
        .env(CHILD, folder.path());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("ran under a file size limit"), "{said}");
}
