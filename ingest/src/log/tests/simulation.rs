//! A lane's log and its client on a disk that forgets, in one thread, from a seed.
//!
//! The client keeps a list of what it was given sequences for and of what was acknowledged as
//! stored. After each crash the log is opened again, and compared with that list:
//! - what was acknowledged is there, once, in order, bit for bit;
//! - nothing is there that wasn't appended under that sequence;
//! - no sequence is given twice.
//!
//! `SLIPRING_LOG_CRASHES` is the number of crashes (1,000 without it; 100000 in the long form), and
//! `SLIPRING_LOG_SEED` the first seed. A failure names its own: with that one it comes at once.

use std::collections::BTreeMap;

use super::super::*;
use super::random::Random;
use super::rows::{Row, folders, options, sealed_rows};
use super::sim_disk::{Faults, SimDisk};

const CRASHES: u64 = 1_000;
/// Crashes of one disk.
const LIVES: u64 = 10;

#[derive(Debug)]
struct Given {
    row: Row,
    is_acked: bool,
    is_lost: bool,
    /// The first sequence of its record.
    record: u64,
}

struct World {
    seed: u64,
    random: Random,
    disk: SimDisk,
    given: BTreeMap<u64, Given>,
    rows_made: u64,
    /// Acknowledged rows that rot may have destroyed since the last start.
    is_rotten: bool,
    /// Where the log was closed, if nothing has touched it since.
    closed_at: Option<u64>,
    crashes: u64,
    acked: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random(seed),
            disk: SimDisk::new(seed ^ 0x5555),
            given: BTreeMap::new(),
            rows_made: 0,
            is_rotten: false,
            closed_at: None,
            crashes: 0,
            acked: 0,
        }
    }

    /// Lets the log live until its machine stops or it is closed, and looks at what is left.
    fn live(&mut self) {
        let faults = match self.random.below(3) {
            0 => Faults::default(),
            1 => {
                Faults { short: 100, interrupted: 50, refused: 30, write: 50, ..Faults::default() }
            }
            _ => Faults {
                short: 50,
                interrupted: 50,
                refused: 10,
                write: 10,
                sync: 80,
                background: 20,
            },
        };
        self.disk.set_faults(faults);
        let most = if self.random.below(4) == 0 { 25 } else { 250 };
        let calls = self.random.below(most);
        self.disk.stop_in(Some(calls as u64));
        if let Some(mut log) = self.open() {
            self.work(&mut log);
        }
        self.disk.restart();
        self.crashes += 1;
    }

    /// Opens the log, as often as the disk refuses; None if the machine stops.
    fn open(&mut self) -> Option<LaneLog<SimDisk>> {
        loop {
            let (epoch, closed_at) = (self.random.number(), self.closed_at.take());
            let segment_bytes = [24 << 10, 1 << 20][self.random.below(2)];
            let options = LogOptions { segment_bytes, ..options(epoch) };
            let opened = LaneLog::open(self.disk.clone(), folders(), options);
            match opened {
                Ok((log, recovery)) => {
                    if let Some(closed_at) = closed_at {
                        let is_clean = recovery.was_clean && log.next_sequence() == closed_at;
                        assert!(is_clean, "seed {}: closed, and {recovery:?}", self.seed);
                    }
                    self.check_sequences(&log);
                    self.check_report(&recovery);
                    // The log speaks of its own start.
                    self.given.values_mut().for_each(|given| given.is_lost |= !given.is_acked);
                    return Some(log);
                }
                Err(_) if self.disk.is_stopped() => return None,
                Err(error) => self.expect_disk_error(&error),
            }
        }
    }

    fn expect_disk_error(&self, error: &LogError) {
        let is_disk = matches!(error, LogError::Io { .. } | LogError::SyncFailed { .. });
        assert!(is_disk, "seed {}: {error}", self.seed);
    }

    fn check_sequences(&self, log: &LaneLog<SimDisk>) {
        let next = log.next_sequence();
        let given = self.given.last_key_value().map(|(sequence, _)| *sequence);
        assert!(given < Some(next), "seed {}: {given:?} again at {next}", self.seed);
    }

    fn check_report(&self, recovery: &Recovery) {
        for file in &recovery.files {
            assert!(!file.to_string().is_empty());
            let is_durable = file.damage.as_ref().is_some_and(|damage| damage.was_durable);
            assert!(!is_durable || self.is_rotten, "seed {}: {file:?}", self.seed);
        }
    }

    fn work(&mut self, log: &mut LaneLog<SimDisk>) {
        let mut buffers: Vec<_> =
            [40, 7].map(|rows| log.buffer(rows, 2).unwrap()).into_iter().collect();
        let (mut round, mut outcome) = (None, None);
        for _ in 0..60 {
            if self.disk.is_stopped() {
                return;
            }
            match self.random.below(13) {
                0..5 => {
                    let which = self.random.below(2);
                    self.append(log, &mut buffers[which]);
                }
                5 | 6 => round = round.or_else(|| log.begin_sync()),
                7 | 8 => outcome = outcome.or_else(|| round.take().map(SyncRound::run)),
                9 | 10 => {
                    if let Some(outcome) = outcome.take() {
                        let ended = log.end_sync(outcome);
                        self.note(log, ended);
                    }
                }
                11 if self.random.below(2) == 0 => {
                    let sealed = log.seal().map(drop);
                    self.note(log, sealed);
                }
                _ if self.random.below(3) == 0 => {
                    let closed = log.close().map(drop);
                    let is_closed = closed.is_ok();
                    self.note(log, closed);
                    if is_closed {
                        self.closed_at = Some(log.next_sequence());
                        return;
                    }
                }
                _ => {
                    let synced = log.sync();
                    self.note(log, synced);
                }
            }
        }
    }

    /// Fills a buffer, and appends it as often as the disk refuses.
    fn append(&mut self, log: &mut LaneLog<SimDisk>, buffer: &mut RecordBuffer) {
        buffer.clear();
        let rows: Vec<Row> = (0..1 + self.random.below(30)).map(|_| self.make_row()).collect();
        let rows: Vec<Row> = rows.into_iter().take_while(|row| row.append(buffer)).collect();
        let first_segment = log.segment().map(SegmentWriter::first_sequence);
        for _ in 0..1 + self.random.below(5) {
            let before = log.next_sequence();
            let appended = log.append(buffer);
            if buffer.record().is_some() && log.next_sequence() > before {
                self.give(log.next_sequence() - rows.len() as u64, &rows);
            }
            match appended {
                Ok(()) => break,
                Err(_) if self.disk.is_stopped() => return,
                Err(LogError::LeftOut { .. }) => break,
                Err(error) if error.may_retry() => self.expect_disk_error(&error),
                Err(error) => {
                    self.expect_disk_error(&error);
                    self.replace_dead(log);
                    return;
                }
            }
        }
        // What the segment before had was sealed.
        if log.segment().map(SegmentWriter::first_sequence) != first_segment {
            self.acknowledge(log);
        }
        let written = log.segment().map_or(u64::MAX, |s| s.written().next_sequence);
        if written < log.next_sequence() {
            // Its client gives up: the segment ends before this record.
            self.given.range_mut(written..).for_each(|(_, given)| given.is_lost = true);
            let sealed = log.seal().map(drop);
            self.note(log, sealed);
        }
    }

    fn make_row(&mut self) -> Row {
        self.rows_made += 1;
        Row::of(self.rows_made)
    }

    fn give(&mut self, first: u64, rows: &[Row]) {
        for (sequence, row) in (first..).zip(rows) {
            let (row, is_acked, is_lost) = (row.clone(), false, false);
            let given = Given { row, is_acked, is_lost, record: first };
            let again = self.given.insert(sequence, given);
            assert!(again.is_none(), "seed {}: {sequence} is given twice", self.seed);
        }
    }

    fn note(&mut self, log: &mut LaneLog<SimDisk>, outcome: Result<(), LogError>) {
        match outcome {
            Ok(()) => self.acknowledge(log),
            Err(_) if self.disk.is_stopped() => {}
            Err(error) => {
                self.expect_disk_error(&error);
                self.replace_dead(log);
            }
        }
    }

    /// Acknowledges everything that the log says is durable.
    fn acknowledge(&mut self, log: &LaneLog<SimDisk>) {
        for (_, given) in self.given.range_mut(..log.durable_through()) {
            if !given.is_lost && !given.is_acked {
                given.is_acked = true;
                self.acked += 1;
            }
        }
    }

    fn replace_dead(&mut self, log: &mut LaneLog<SimDisk>) {
        for _ in 0..20 {
            let first = log.segment().map(SegmentWriter::first_sequence);
            match log.replace_dead() {
                Ok(Some(file)) => {
                    let first = first.unwrap_or(0).max(file_first(&file));
                    for (sequence, given) in self.given.range_mut(first..) {
                        if file.holds(*sequence) {
                            given.is_acked = true;
                        } else if !given.is_acked {
                            given.is_lost = true;
                        }
                    }
                    return;
                }
                Ok(None) => return,
                Err(_) if self.disk.is_stopped() => return,
                Err(error) => self.expect_disk_error(&error),
            }
        }
    }

    /// Opens the log on a disk without faults and compares.
    fn check(&mut self) {
        self.disk.set_faults(Faults::default());
        let Some(log) = self.open() else { unreachable!("nothing stops the machine") };
        let rows =
            sealed_rows(&self.disk).unwrap_or_else(|why| panic!("seed {}: {why}", self.seed));
        drop(log);
        let in_order = rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(in_order, "seed {}: rows out of order", self.seed);
        let found: BTreeMap<u64, Row> = rows.into_iter().collect();
        for (sequence, row) in &found {
            let given = self.given.get(sequence).map(|given| &given.row);
            assert_eq!(given, Some(row), "seed {}: row {sequence} is invented", self.seed);
        }
        let mut missing =
            self.given.iter_mut().filter(|(s, g)| g.is_acked && !found.contains_key(s));
        let first = missing.next();
        if !self.is_rotten {
            let first = first.map(|(sequence, _)| sequence);
            assert_eq!(first, None, "seed {}: an acknowledged row is lost", self.seed);
        } else if let Some((_, first)) = first {
            // One bit costs one record.
            let record = first.record;
            first.is_acked = false;
            for (sequence, given) in missing {
                let seed = self.seed;
                assert_eq!(given.record, record, "seed {seed}: {sequence} is lost as well");
                given.is_acked = false;
            }
        }
        self.is_rotten = false;
    }

    /// Flips a bit in a file that was left open.
    fn rot(&mut self) {
        let paths = self.disk.paths();
        let part = paths.iter().find(|path| path.to_string_lossy().ends_with(".part"));
        let Some(part) = part else { return };
        let mut bytes = self.disk.content(part).unwrap();
        if bytes.len() > 4096 {
            let at = self.random.below(bytes.len());
            bytes[at] ^= 1 << self.random.below(8);
            self.disk.put(part, bytes);
            self.is_rotten = true;
        }
    }
}

/// The least sequence that can be in the file that was read again.
fn file_first(file: &RecoveredFile) -> u64 {
    let name = file.path.file_name().unwrap().to_str().unwrap();
    name[4..24].parse().unwrap()
}

pub fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn run(crashes: u64, with_rot: bool) {
    let first = number_of("SLIPRING_LOG_SEED", 1);
    let (mut done, mut acked, mut given, mut seed) = (0, 0, 0, first);
    while done < crashes {
        let mut world = World::new(seed);
        for _ in 0..LIVES {
            world.live();
            if with_rot {
                world.rot();
            }
            // Recovery itself is stopped too: then the next one has to do.
            if world.random.below(3) > 0 || with_rot {
                world.check();
                world.disk.restart();
                world.crashes += 1;
            }
        }
        world.check();
        done += world.crashes;
        acked += world.acked;
        given += world.given.len() as u64;
        seed += 1;
    }
    println!("{done} crashes, {given} rows given, {acked} acknowledged, seeds {first}..{seed}");
    // Otherwise nothing was tried.
    assert!(acked > crashes && given > acked, "{acked} of {given} rows were acknowledged");
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    run(number_of("SLIPRING_LOG_CRASHES", CRASHES), false);
}

#[test]
fn a_bit_that_rots_costs_one_record_and_is_said() {
    run(number_of("SLIPRING_LOG_CRASHES", CRASHES) / 5, true);
}
