//! Merging sealed segments whose records are small.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow_ipc::reader::{FileReader, StreamReader};

use super::super::merge::{MergeStep, SegmentMerge};
use super::super::*;
use super::rows::{Row, folders, options, sealed_rows, shape};
use super::sim_disk::{Faults, SimDisk};
use crate::sink::Columns;

const INTERVAL: Duration = Duration::from_millis(100);

fn open(disk: &SimDisk, epoch: u64) -> (LaneLog<SimDisk>, Recovery) {
    let options = LogOptions { segment_bytes: 1 << 30, ..options(epoch) };
    LaneLog::open(disk.clone(), folders(), options).unwrap()
}

/// Appends a record of these rows, with a mark.
fn append(log: &mut LaneLog<SimDisk>, rows: u64) {
    let mut buffer = log.buffer(rows as usize, 4).unwrap();
    let first = log.next_sequence();
    for number in first..first + rows {
        let mark = RequestMark { producer: 3, sequence: first * 2 };
        let mark = Some(mark).filter(|_| number + 1 == first + rows);
        assert!(Row::of(number).append_marked(mark, &mut buffer));
    }
    log.append(&mut buffer).unwrap();
}

/// A log with a sealed segment of records of these rows.
fn sealed(disk: &SimDisk, records: &[u64]) -> (LaneLog<SimDisk>, SealedSegment) {
    let (mut log, _) = open(disk, 1);
    records.iter().for_each(|rows| append(&mut log, *rows));
    let sealed = log.seal().unwrap().unwrap();
    (log, sealed)
}

fn is_left(disk: &SimDisk, ending: &str) -> bool {
    disk.paths().iter().any(|path| path.to_string_lossy().ends_with(ending))
}

fn found(disk: &SimDisk) -> Vec<u64> {
    let rows = sealed_rows(disk).unwrap();
    assert!(rows.iter().all(|(sequence, row)| *row == Row::of(*sequence)));
    rows.into_iter().map(|(sequence, _)| sequence).collect()
}

/// Merges the next segment to the end, and returns its new file.
fn merge(log: &mut LaneLog<SimDisk>) -> Result<Option<SealedSegment>, LogError> {
    let small = log.take_small().expect("a small segment");
    let Some(mut merge) = log.begin_merge(small)? else { return Ok(None) };
    loop {
        match merge.step()? {
            MergeStep::More => {}
            MergeStep::Merged(merged) => return Ok(Some(merged)),
            MergeStep::Gone => return Ok(None),
        }
    }
}

fn marks(disk: &SimDisk, path: &Path) -> Vec<ProducerMark> {
    let file = disk.open_to_read(path).unwrap();
    let mut reader = RecordReader::new(&file, path, file.len().unwrap(), 0, shape()).unwrap();
    let (mut marks, mut memory) = (Vec::new(), AlignedBytes::default());
    while let NextRecord::Record(header) = reader.next_record().unwrap() {
        let record = reader.load(&header, &mut memory).unwrap();
        let within = header.first_sequence()..header.next_sequence();
        assert!(record.marks().all(|mark| within.contains(&mark.row)));
        marks.extend(record.marks());
    }
    marks
}

#[test]
fn a_merged_segment_has_the_same_rows_and_marks_in_fewer_batches() {
    let mut records = vec![1, 2, 70, 1];
    // More than a step reads, and one that is large by itself.
    records.extend([1; 700]);
    records.push(5000);
    records.extend([3; 40]);
    let disk = SimDisk::new(1);
    let (mut log, small) = sealed(&disk, &records);
    let (rows, marks_before) = (found(&disk), marks(&disk, &small.path));
    let sealed_at = disk.modified(&small.path).unwrap();
    disk.set_time(sealed_at + Duration::from_secs(60));
    assert!(log.has_small() && marks_before.len() == records.len());
    let merged = merge(&mut log).unwrap().unwrap();
    assert_eq!((merged.path.clone(), found(&disk)), (small.path, rows.clone()));
    assert_eq!((merged.first_sequence, merged.next_sequence), (0, rows.len() as u64));
    assert!(merged.records <= 3 && merged.file_bytes * 5 < small.file_bytes, "{merged:?}");
    assert_eq!(marks(&disk, &merged.path), marks_before);
    assert_eq!(disk.modified(&merged.path).unwrap(), sealed_at, "it is as old as it was");
    assert!(!is_left(&disk, ".new") && !log.has_small());
    // Arrow's own readers find them.
    let bytes = disk.content(&merged.path).unwrap();
    assert_eq!(bytes.len() as u64, merged.file_bytes);
    let file = FileReader::try_new(std::io::Cursor::new(&bytes), None).unwrap();
    let stream = StreamReader::try_new(&bytes[8..], None).unwrap();
    let (file, stream): (Vec<_>, Vec<_>) =
        (file.map(Result::unwrap).collect(), stream.map(Result::unwrap).collect());
    assert_eq!((file.len(), &file), (merged.records, &stream));
    // The log goes on behind it, also after a restart, which merges no more.
    append(&mut log, 2);
    log.close().unwrap();
    disk.restart();
    let (log, recovery) = open(&disk, 2);
    assert!(recovery.was_clean && log.next_sequence() == rows.len() as u64 + 2);
    assert!(!log.has_small(), "{recovery:?}");
}

#[test]
fn only_segments_of_several_small_records_are_merged() {
    for (records, is_small) in
        [(vec![5], false), (vec![5, 5], true), (vec![1500, 600], false), (vec![1500, 500], true)]
    {
        assert_eq!(sealed(&SimDisk::new(1), &records).0.has_small(), is_small, "{records:?}");
    }
}

/// What was left small by the end of a start, or by a crash, is merged by the next one.
#[test]
fn segments_of_earlier_starts_are_merged() {
    let disk = SimDisk::new(1);
    let (mut log, _) = sealed(&disk, &[1, 2, 3]);
    append(&mut log, 4);
    append(&mut log, 5);
    log.sync().unwrap();
    drop(log);
    disk.restart();
    let (mut log, recovery) = open(&disk, 2);
    assert_eq!((recovery.sealed.len(), recovery.files.len()), (1, 1));
    for first in [0, 6] {
        let merged = merge(&mut log).unwrap().unwrap();
        assert_eq!((merged.first_sequence, merged.records), (first, 1));
    }
    assert_eq!((found(&disk), log.has_small()), ((0..15).collect(), false));
}

/// A disk with the files of another one, as after a restart.
fn copy_of(disk: &SimDisk, seed: u64) -> SimDisk {
    let copy = SimDisk::new(seed);
    for path in disk.paths() {
        copy.put(&path, disk.content(&path).unwrap());
    }
    copy
}

/// After any call of the disk the machine stops, and whatever it had in its caches may be lost: the
/// segment is there, whole, in one of its two forms.
#[test]
fn a_crash_at_any_step_leaves_one_whole_file() {
    let (mut merged, mut small, mut crashes) = (0, 0, 0);
    // One step, and several.
    for (records, seeds) in [(vec![3, 1, 40, 2], 30), (vec![2; 300], 2)] {
        let disk = SimDisk::new(1);
        let (mut log, before) = sealed(&disk, &records);
        log.close().unwrap();
        let rows: Vec<u64> = (0..records.iter().sum()).collect();
        // All calls of the end, and some of those before.
        let whole = copy_of(&disk, 1);
        let (mut log, _) = open(&whole, 2);
        whole.stop_in(Some(u64::MAX));
        merge(&mut log).unwrap();
        let calls = u64::MAX - whole.calls_left().unwrap();
        for (seed, call) in (0..seeds).flat_map(|seed| (0..=calls).map(move |call| (seed, call))) {
            if call + 30 < calls && call % 16 != seed % 16 {
                continue;
            }
            let disk = copy_of(&disk, seed << 32 | call);
            let (mut log, _) = open(&disk, 2);
            disk.stop_in(Some(call));
            let outcome = merge(&mut log);
            assert!(outcome.is_ok() || disk.is_stopped(), "{seed}, call {call}: {outcome:?}");
            drop(log);
            disk.restart();
            crashes += 1;
            let (log, recovery) = open(&disk, 3);
            assert_eq!(found(&disk), rows, "{seed}, call {call}");
            assert_eq!((recovery.sealed.len(), recovery.files.len()), (1, 0));
            assert!(!is_left(&disk, ".new"), "{seed}, call {call}");
            let is_merged = recovery.sealed[0].records < before.records;
            assert_eq!(log.has_small(), !is_merged);
            assert!(is_merged || outcome.is_err(), "{seed}: it had been synced");
            (merged, small) = (merged + u64::from(is_merged), small + u64::from(!is_merged));
        }
    }
    println!("{crashes} crashes, {merged} times merged, {small} times small");
    assert!(merged > 30 && small > 100, "{merged} {small}");
}

/// A disk that refuses, or fails to sync: the segment stays, and can be merged later.
#[test]
fn a_failed_merge_leaves_the_segment() {
    let mut failed = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let (mut log, small) = sealed(&disk, &[2; 260]);
        disk.set_faults(Faults {
            short: 200,
            interrupted: 100,
            refused: 2,
            write: 20,
            sync: 100,
            background: 1,
        });
        let merge = log.take_small().map(|small| log.begin_merge(small));
        let outcome = match merge {
            Some(Ok(Some(mut merge))) => loop {
                match merge.step() {
                    Ok(MergeStep::More) => {}
                    Ok(step) => break Ok(step),
                    Err(error) => {
                        disk.set_faults(Faults::default());
                        merge.abandon(&disk).unwrap();
                        break Err(error);
                    }
                }
            },
            Some(Err(error)) => Err(error),
            other => panic!("{other:?}"),
        };
        disk.set_faults(Faults::default());
        assert!(outcome.is_err() || matches!(outcome, Ok(MergeStep::Merged(_))), "{outcome:?}");
        failed += u64::from(outcome.is_err());
        if matches!(outcome, Err(LogError::Io { .. } | LogError::SyncFailed { .. })) {
            let begun: SegmentMerge<_> = log.begin_merge(small).unwrap().unwrap();
            begun.abandon(&disk).unwrap();
        }
        assert_eq!(found(&disk).len(), 520, "seed {seed}");
        assert!(!is_left(&disk, ".new"), "seed {seed}: {outcome:?}");
    }
    assert!(failed > 15 && failed < 60, "{failed} of 60 failed");
}

#[test]
fn a_segment_that_somebody_moves_isnt_made_again() {
    for moved_after in [0, 1, 2] {
        let disk = SimDisk::new(1);
        let (mut log, small) = sealed(&disk, &[1; 400]);
        let path = small.path.clone();
        let step_away = |at| {
            if at == moved_after {
                disk.rename_over(&path, Path::new("/elsewhere/taken")).unwrap();
            }
        };
        step_away(0);
        log.take_small();
        if let Some(mut merge) = log.begin_merge(small).unwrap() {
            step_away(1);
            assert!(matches!(merge.step(), Ok(MergeStep::More)));
            step_away(2);
            assert!(matches!(merge.step(), Ok(MergeStep::Gone)));
        }
        assert!(found(&disk).is_empty() && !is_left(&disk, ".new"));
    }
}

/// A disk without room for a second file: the segment stays, which is said once.
#[test]
fn a_disk_without_room_keeps_the_segment() {
    let mut slow = Slow::new(SimDisk::new(1), shape(), 16);
    let (vector, id) = (&[0; 12], &[0; 8]);
    for _ in 0..2 {
        for _ in 0..20 {
            slow.offer(vector, id);
            slow.pass(INTERVAL);
        }
        let file_bytes = 20 * 4096;
        slow.disk.set_free_bytes(2 * file_bytes + SPACE_KEPT_BYTES - 1);
        slow.seal();
    }
    let notes = slow.committer.take_notes();
    let [(0, note @ LogNote::Unmerged { .. })] = &notes[..] else { panic!("{notes:?}") };
    assert!(note.to_string().contains("free space"), "{note}");
    assert_eq!(slow.take_sealed(shape())[1..], [40, 40]);
    slow.disk.set_free_bytes(u64::MAX);
    (0..20).for_each(|_| {
        slow.offer(vector, id);
        slow.pass(INTERVAL);
    });
    slow.seal();
    assert_eq!(slow.take_sealed(shape())[1..], [1, 20]);
}

/// A step a round, which a commit waits for and no longer, and then a rest.
#[test]
fn merging_takes_an_eighth_of_the_time_at_most() {
    let mut slow = Slow::new(SimDisk::new(1), shape(), 16);
    for _ in 0..2000 {
        slow.offer(&[0; 12], &[0; 8]);
        slow.pass(INTERVAL);
    }
    slow.committer.asks().seal();
    slow.round();
    // From now on each look at the clock takes a while.
    let clock = Cell::new(slow.now);
    let look = || {
        clock.set(clock.get() + Duration::from_millis(1));
        clock.get()
    };
    let (mut steps, begun) = (0, clock.get());
    while let Some(due) = slow.committer.round(&look) {
        let rest = due - clock.get();
        assert!(rest <= 7 * Duration::from_millis(1), "{rest:?}");
        clock.set(due.max(clock.get()));
        steps += 1;
    }
    assert_eq!(slow.feed.progress().figures().merged_segments, 1);
    let took = clock.get() - begun;
    // 2,000 blocks are nearly 8 steps, of which the last has no rest.
    assert!(steps == 7 && took >= steps * 7 * Duration::from_millis(1), "{steps} in {took:?}");
}

/// A close doesn't wait for merging: the next start does it.
#[test]
fn a_close_leaves_merging_to_the_next_start() {
    let mut slow = Slow::new(SimDisk::new(1), shape(), 16);
    for _ in 0..2000 {
        slow.offer(&[0; 12], &[0; 8]);
        slow.pass(INTERVAL);
    }
    slow.committer.asks().seal();
    slow.round();
    slow.round();
    assert!(is_left(&slow.disk, ".new"));
    slow.committer.asks().close(slow.now + INTERVAL);
    slow.round();
    assert!(slow.committer.is_over() && !is_left(&slow.disk, ".new"));
    let (disk, mut feed) = (slow.disk.clone(), slow.feed);
    assert_eq!((feed.close(slow.now), feed.progress().figures().merged_segments), (Ok(()), 0));
    let mut slow = Slow::new(disk, shape(), 16);
    slow.round();
    slow.pass(INTERVAL);
    assert_eq!(slow.take_sealed(shape())[1..], [1, 2000]);
}

/// A committer with one lane, and a clock that takes its time.
struct Slow {
    disk: SimDisk,
    committer: Committer<SimDisk>,
    feed: LaneFeed,
    now: Instant,
    due: Option<Instant>,
}

impl Slow {
    fn new(disk: SimDisk, shape: RowShape, rows: usize) -> Self {
        let options = LogOptions::new(shape, 0, 1);
        let (log, _) = LaneLog::open(disk.clone(), folders(), options).unwrap();
        let (interval, segment_age) = (INTERVAL, Duration::from_secs(600));
        let mut committer = Committer::new(CommitTimes { interval, segment_age });
        let sizes = BufferSizes { count: 2, rows };
        let feed = committer.add_lane(log, sizes, Box::new(|| ())).unwrap();
        Self { disk, committer, feed, now: Instant::now(), due: None }
    }

    fn offer(&mut self, vectors: &[u8], ids: &[u8]) {
        let (now, rows) = (self.now, LogRows { vectors, ids, times: RowTimes::One(7), mark: None });
        while !self.feed.offer(&rows, false, || now).unwrap() {
            self.round();
        }
        self.round();
    }

    fn round(&mut self) {
        let now = self.now;
        self.due = self.committer.round(&|| now);
    }

    /// Time passes, with all rounds that are due.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.due.filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.round();
        }
        self.now = until;
    }

    fn seal(&mut self) {
        self.committer.asks().seal();
        self.round();
        self.pass(INTERVAL);
    }

    /// The bytes, batches and rows of all sealed files, which it removes.
    fn take_sealed(&mut self, shape: RowShape) -> [u64; 3] {
        let mut sums = [0; 3];
        let complete = folders().complete;
        for name in self.disk.names(&complete).unwrap() {
            let path = complete.join(&name);
            let file = self.disk.open_to_read(&path).unwrap();
            let first: u64 = name[4..24].parse().unwrap();
            let (sealed, _, _) = SealedSegment::read(&file, &path, first, shape).unwrap();
            let rows = sealed.next_sequence - first;
            sums = [sums[0] + sealed.file_bytes, sums[1] + sealed.records as u64, sums[2] + rows];
            self.disk.remove(&path).unwrap();
        }
        self.disk.forget_unnamed();
        sums
    }
}

/// Ten vectors per second, sealed every ten minutes, against the same rows as fast as they can be
/// taken. `SLIPRING_LOG_MINUTES` is the time, 20 without it; 1440 in the long form.
#[test]
fn slow_rows_read_like_rows_written_at_once() {
    const ROWS: usize = 2048;
    let segments = super::simulation::number_of("SLIPRING_LOG_MINUTES", 20) / 10;
    let shape = RowShape { dim: 128, columns: Columns { id: true, time: true } };
    let (mut slow, mut at_once) =
        (Slow::new(SimDisk::new(1), shape, ROWS), Slow::new(SimDisk::new(1), shape, ROWS));
    let (mut found, mut expected) = ([0; 3], [0; 3]);
    let (vectors, ids) = (vec![1; ROWS * shape.vector_bytes()], vec![2; ROWS * 8]);
    let add = |sums: [u64; 3], more: [u64; 3]| [0, 1, 2].map(|i| sums[i] + more[i]);
    // Of ten minutes.
    let rows = 6000;
    for _ in 0..segments {
        for _ in 0..rows {
            slow.offer(&vectors[..shape.vector_bytes()], &ids[..8]);
            slow.pass(INTERVAL);
        }
        found = add(found, slow.take_sealed(shape));
    }
    for from in (0..segments * rows).step_by(ROWS) {
        let rows = (segments * rows - from).min(ROWS as u64) as usize;
        at_once.offer(&vectors[..rows * shape.vector_bytes()], &ids[..rows * 8]);
    }
    for log in [&mut slow, &mut at_once] {
        log.seal();
        assert_eq!(log.committer.take_notes(), []);
    }
    found = add(found, slow.take_sealed(shape));
    expected = add(expected, at_once.take_sealed(shape));
    println!("{segments} segments: bytes, batches, rows: slow {found:?}, at once {expected:?}");
    assert_eq!((found[2], expected[2]), (segments * rows, segments * rows));
    assert!(found[0] <= 2 * expected[0] && found[1] <= 2 * expected[1]);
    let merged = slow.feed.progress().figures().merged_segments;
    assert!(merged >= segments, "{merged} segments were merged");
}
