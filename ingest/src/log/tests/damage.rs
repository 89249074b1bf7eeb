//! What a crash, a disk or a person may have left in a lane's folders, one case a test.

use std::path::{Path, PathBuf};

use super::super::shape::crc_without;
use super::super::*;
use super::rows::{Row, folders, options, sealed_rows};
use super::sim_disk::{Faults, SimDisk};
use crate::sink::Columns;

fn open(disk: &SimDisk, epoch: u64) -> (LaneLog<SimDisk>, Recovery) {
    LaneLog::open(disk.clone(), folders(), options(epoch)).unwrap()
}

fn append(log: &mut LaneLog<SimDisk>, rows: u64) {
    let mut buffer = log.buffer(100, 0).unwrap();
    let first = log.next_sequence();
    (first..first + rows).for_each(|number| assert!(Row::of(number).append(&mut buffer)));
    log.append(&mut buffer).unwrap();
}

/// A disk with a live segment of records of these rows, left by a process that was killed.
fn left_open(records: &[u64]) -> (SimDisk, PathBuf, Vec<u8>) {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, 1);
    for rows in records {
        append(&mut log, *rows);
        log.sync().unwrap();
    }
    let path = log.segment().unwrap().path().to_owned();
    let bytes = disk.content(&path).unwrap();
    (disk, path, bytes)
}

fn found(disk: &SimDisk) -> Vec<u64> {
    let rows = sealed_rows(disk).unwrap();
    assert!(rows.iter().all(|(sequence, row)| *row == Row::of(*sequence)));
    rows.into_iter().map(|(sequence, _)| sequence).collect()
}

fn only(recovery: &Recovery) -> &RecoveredFile {
    assert_eq!(recovery.files.len(), 1, "{recovery:?}");
    &recovery.files[0]
}

#[test]
fn a_new_log_begins_at_0_and_a_closed_one_goes_on() {
    let disk = SimDisk::new(1);
    let (mut log, recovery) = open(&disk, 1);
    assert!(recovery.was_clean && recovery.files.is_empty());
    assert_eq!(log.next_sequence(), 0);
    assert_eq!(log.close().unwrap(), None, "nothing was appended");
    let (mut log, recovery) = open(&disk, 2);
    assert!(recovery.was_clean && log.next_sequence() == 0);
    append(&mut log, 5);
    assert_eq!(log.durable_through(), 0);
    assert_eq!(log.close().unwrap().unwrap().next_sequence, 5);
    assert_eq!(log.durable_through(), 5);
    let (log, recovery) = open(&disk, 3);
    assert!(recovery.was_clean && recovery.sealed.len() == 1 && log.next_sequence() == 5);
}

#[test]
fn sequences_go_on_behind_a_gap_after_an_unclean_end_also_without_a_trace() {
    let disk = SimDisk::new(1);
    for (epoch, next) in [(1, 0), (2, 10_000), (3, 20_000)] {
        let (mut log, recovery) = open(&disk, epoch);
        assert_eq!((log.next_sequence(), recovery.was_clean), (next, epoch == 1));
        append(&mut log, 5);
        // Never synced: no file may be left of it.
        drop(log);
        for path in disk.paths().iter().filter(|path| path.to_string_lossy().contains("seg-")) {
            disk.remove(path).unwrap();
        }
    }
}

#[test]
fn sequences_go_on_when_segments_were_moved_away() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, 1);
    append(&mut log, 30);
    let sealed = log.seal().unwrap().unwrap();
    append(&mut log, 5);
    let last = log.close().unwrap().unwrap();
    disk.remove(&sealed.path).unwrap();
    disk.remove(&last.path).unwrap();
    let (log, recovery) = open(&disk, 2);
    assert_eq!((log.next_sequence(), recovery.sealed.len()), (35, 0));
}

#[test]
fn a_torn_tail_is_cut() {
    for keep in [0, 1, 511, 512, 4095] {
        let (disk, path, bytes) = left_open(&[5, 6]);
        let cut = bytes.len() - 4096 + keep;
        disk.put(&path, bytes[..cut].to_vec());
        let (log, recovery) = open(&disk, 2);
        let file = only(&recovery);
        assert_eq!((file.torn_bytes, file.rows()), (keep as u64, 5), "{file}");
        assert_eq!((found(&disk), log.next_sequence()), ((0..5).collect(), 10_005));
        assert_eq!((&file.damage, disk.content(&path)), (&None, None));
    }
}

#[test]
fn zeros_behind_the_last_record_are_cut() {
    // A length that reached the disk without its bytes; and a whole header over a zero body, which
    // Arrow's readers take for rows of zeros.
    for header in [0, 2048] {
        let (disk, path, mut bytes) = left_open(&[5, 40]);
        let at = 8192;
        assert!(bytes.len() > at + 4096);
        bytes[at + header..].fill(0);
        disk.put(&path, bytes.clone());
        let (_, recovery) = open(&disk, 2);
        assert_eq!(only(&recovery).torn_bytes, (bytes.len() - at) as u64);
        assert_eq!(found(&disk), (0..5).collect::<Vec<_>>());
    }
}

#[test]
fn files_without_a_row_are_removed() {
    let (_, path, bytes) = left_open(&[5]);
    let head_only = bytes[..4096].to_vec();
    for content in [Vec::new(), vec![0; 100], vec![0; 20_000], head_only] {
        let disk = SimDisk::new(1);
        disk.put(&path, content);
        let (_, recovery) = open(&disk, 2);
        assert_eq!((only(&recovery).rows(), &only(&recovery).damage), (0, &None));
        assert_eq!(disk.content(&path), None);
    }
}

#[test]
fn a_head_that_never_reached_the_disk_costs_no_record() {
    let (disk, path, mut bytes) = left_open(&[5, 6]);
    bytes[..4096].fill(0);
    disk.put(&path, bytes);
    let (_, recovery) = open(&disk, 2);
    let damage = only(&recovery).damage.as_ref().unwrap();
    assert_eq!((damage.at, found(&disk)), (0, (0..11).collect()));
    assert!(disk.content(only(&recovery).kept.as_ref().unwrap()).is_some());
}

#[test]
fn damage_in_the_middle_costs_one_record_and_the_file_is_kept() {
    let (disk, path, mut bytes) = left_open(&[5, 6, 7, 8]);
    bytes[8192 + 2000] ^= 4;
    disk.put(&path, bytes.clone());
    let (log, recovery) = open(&disk, 2);
    let file = only(&recovery);
    let damage = file.damage.as_ref().unwrap();
    assert_eq!(
        (damage.at, damage.was_durable, file.rows(), file.sealed.len()),
        (8192, true, 20, 2)
    );
    assert_eq!(found(&disk), (0..5).chain(11..26).collect::<Vec<_>>());
    assert_eq!(disk.content(file.kept.as_ref().unwrap()), Some(bytes.clone()));
    assert!(file.to_string().contains("is damaged at byte 8192, which had been stored"), "{file}");
    assert_eq!((file.holds(10), file.holds(11), log.next_sequence()), (false, true, 10_026));
    // A recovery that was stopped before the file got its new name finds the copies.
    drop(log);
    disk.put(&path, bytes);
    let (_, recovery) = open(&disk, 3);
    assert_eq!(only(&recovery).rows(), 20);
    assert_eq!(found(&disk), (0..5).chain(11..26).collect::<Vec<_>>());
    assert!(
        only(&recovery).kept.as_ref().unwrap().ends_with("seg-00000000000000000000.arrow.2.bad")
    );
}

/// Two histories of one file: the second record is another in each.
fn spliced(epoch_of_other: u64) -> (SimDisk, PathBuf) {
    let (disk, path, bytes) = left_open(&[5, 6, 6]);
    let other = SimDisk::new(1);
    let (mut log, _) = open(&other, epoch_of_other);
    append(&mut log, 5);
    let mut buffer = log.buffer(100, 0).unwrap();
    (0..6).for_each(|number| assert!(Row::of(number + 99).append(&mut buffer)));
    log.append(&mut buffer).unwrap();
    let record = other.content(&path).unwrap()[8192..12_288].to_vec();
    let mut mixed = bytes;
    mixed[8192..12_288].copy_from_slice(&record);
    disk.put(&path, mixed);
    (disk, path)
}

#[test]
fn a_record_that_does_not_follow_the_one_before_is_damage() {
    let (disk, _) = spliced(1);
    let (_, recovery) = open(&disk, 2);
    let damage = only(&recovery).damage.as_ref().unwrap();
    assert_eq!(damage.at, 12_288);
    assert!(damage.why.contains("checksum of the record before"), "{damage:?}");
}

#[test]
fn a_record_of_another_epoch_is_none() {
    let (disk, _) = spliced(7);
    let (_, recovery) = open(&disk, 2);
    let damage = only(&recovery).damage.as_ref().unwrap();
    assert_eq!((damage.at, found(&disk)), (8192, (0..5).chain(11..17).collect()));
    assert!(damage.why.contains("epoch is 7, not 1"), "{damage:?}");
}

#[test]
fn an_end_that_was_not_finished_is_written_anew() {
    let (disk, path, bytes) = left_open(&[5, 6]);
    let (mut log, _) = open(&disk, 2);
    drop(log.close());
    let sealed = disk.content(Path::new("/log/lane=0/seg-00000000000000000000.arrow")).unwrap();
    for length in [bytes.len() + 8, bytes.len() + 9, sealed.len() - 1, sealed.len()] {
        let disk = SimDisk::new(1);
        // What is missing may be zero, or not there.
        let mut content = sealed[..length].to_vec();
        content.resize(if length % 2 == 0 { length } else { sealed.len() }, 0);
        disk.put(&path, content);
        let (_, recovery) = open(&disk, 3);
        let file = only(&recovery);
        assert_eq!((file.torn_bytes, file.rows(), &file.damage), (0, 11, &None), "{length}");
        let again = disk.content(Path::new("/log/lane=0/seg-00000000000000000000.arrow"));
        assert_eq!(again.as_ref(), Some(&sealed));
    }
}

#[test]
fn a_sealed_segment_without_its_end_is_sealed_again() {
    let (disk, ..) = left_open(&[5, 6]);
    let (_, recovery) = open(&disk, 2);
    let sealed = &only(&recovery).sealed[0];
    let whole = disk.content(&sealed.path).unwrap();
    for length in [whole.len() - 1, whole.len() - 500, 12_288] {
        disk.put(&sealed.path, whole[..length].to_vec());
        let (_, recovery) = open(&disk, 3);
        assert_eq!(only(&recovery).path, sealed.path);
        assert_eq!(disk.content(&sealed.path).as_ref(), Some(&whole));
    }
}

#[test]
fn other_logs_are_refused_and_left_as_they_are() {
    let (disk, path, bytes) = left_open(&[5]);
    let (_, recovery) = open(&disk, 2);
    let sealed = only(&recovery).sealed[0].path.clone();
    for place in [&path, &sealed] {
        let disk = SimDisk::new(1);
        let content = if place == &path { bytes.clone() } else { recovered(&sealed) };
        disk.put(place, content.clone());
        let shape = RowShape { dim: 4, columns: Columns::default() };
        let asked = LogOptions { shape, ..options(3) };
        let error = LaneLog::open(disk.clone(), folders(), asked).unwrap_err();
        assert!(matches!(error, LogError::OtherShape { .. }), "{error}");
        assert!(error.to_string().contains("dimension 3 with the columns sequence"), "{error}");
        assert_eq!(disk.content(place), Some(content));
    }
}

/// A file of a later format is refused where its head is whole. With a damaged head it is what its
/// records are.
#[test]
fn a_live_segment_of_a_later_version_is_refused_and_left_as_it_is() {
    let (disk, path, mut bytes) = left_open(&[5]);
    let at = |digits: &[u8], bytes: &[u8]| {
        let found = bytes.windows(digits.len()).position(|window| window == digits);
        found.expect("a figure of the head") + 4
    };
    let format = at(b"\x04\x00\x00\x000001", &bytes);
    bytes[format + 3] = b'2';
    disk.put(&path, bytes.clone());
    let (_, recovery) = open(&disk, 2);
    assert!(only(&recovery).rows() == 5 && only(&recovery).damage.is_some());
    let (disk, path, _) = left_open(&[5]);
    let crc_at = (4..4088).find(|at| {
        let digits = std::str::from_utf8(&bytes[*at..at + 8]).unwrap_or_default();
        let mut before = bytes[..4096].to_vec();
        before[format + 3] = b'1';
        u32::from_str_radix(digits, 16) == Ok(crc_without(&before, *at))
    });
    let crc_at = crc_at.expect("a checksum");
    let crc = format!("{:08x}", crc_without(&bytes[..4096], crc_at));
    bytes[crc_at..crc_at + 8].copy_from_slice(crc.as_bytes());
    disk.put(&path, bytes.clone());
    let error = LaneLog::open(disk.clone(), folders(), options(3)).unwrap_err();
    assert!(matches!(error, LogError::NewerVersion { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("seg-00000000000000000000.arrow.part"), "{error}");
    assert_eq!(disk.content(&path), Some(bytes));
}

fn recovered(sealed: &Path) -> Vec<u8> {
    let (disk, ..) = left_open(&[5]);
    drop(open(&disk, 2));
    disk.content(sealed).unwrap()
}

#[test]
fn sealed_segments_are_not_read_whole() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, 1);
    (0..200).for_each(|_| append(&mut log, 100));
    log.close().unwrap();
    let (_, recovery) = open(&disk, 2);
    let bytes: u64 = recovery.sealed.iter().map(|sealed| sealed.file_bytes).sum();
    assert!(recovery.sealed.len() > 40 && recovery.other_bytes_read == 0);
    // A footer, a header, a sequence and the last ten bytes each.
    let most = recovery.sealed.len() as u64 * 3500;
    assert!(recovery.sealed_bytes_read < most.min(bytes), "{recovery:?}");
}

#[test]
fn a_failed_sync_is_final_for_its_segment() {
    let disk = SimDisk::new(3);
    let (mut log, _) = open(&disk, 1);
    append(&mut log, 5);
    log.sync().unwrap();
    append(&mut log, 40);
    disk.set_faults(Faults { sync: 1000, ..Faults::default() });
    let error = log.sync().unwrap_err();
    assert!(matches!(error, LogError::SyncFailed { .. }) && !error.may_retry(), "{error}");
    disk.set_faults(Faults::default());
    // The disk would say yes now.
    assert!(matches!(log.sync(), Err(LogError::SyncFailed { .. })));
    let mut buffer = log.buffer(1, 0).unwrap();
    assert!(Row::of(1).append(&mut buffer));
    assert!(matches!(log.append(&mut buffer), Err(LogError::SyncFailed { .. })));
    assert!(matches!(log.seal(), Err(LogError::SyncFailed { .. })));
    assert_eq!(log.durable_through(), 5);
    let file = log.replace_dead().unwrap().unwrap();
    assert!(file.holds(0) && file.holds(4));
    assert_eq!(log.replace_dead().unwrap(), None);
    // It goes on behind what may be lost.
    append(&mut log, 1);
    assert_eq!(log.next_sequence(), 46);
    log.close().unwrap();
    assert!(found(&disk).contains(&45));
}

#[test]
fn a_record_that_is_given_up_is_left_out() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, 1);
    append(&mut log, 5);
    let mut buffer = log.buffer(10, 0).unwrap();
    (0..10).for_each(|number| assert!(Row::of(number).append(&mut buffer)));
    disk.set_faults(Faults { refused: 1000, ..Faults::default() });
    let error = log.append(&mut buffer).unwrap_err();
    assert!(error.may_retry(), "{error}");
    disk.set_faults(Faults::default());
    let sealed = log.seal().unwrap().unwrap();
    assert_eq!((sealed.next_sequence, log.next_sequence()), (5, 15));
    let error = log.append(&mut buffer).unwrap_err();
    assert!(matches!(error, LogError::LeftOut { first_sequence: 5 }), "{error}");
    append(&mut log, 5);
    log.close().unwrap();
    assert_eq!(found(&disk), (0..5).chain(15..20).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_is_waited_for() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, 1);
    let mut buffer = log.buffer(100, 0).unwrap();
    (0..100).for_each(|number| assert!(Row::of(number).append(&mut buffer)));
    let full = Faults { write: 1000, ..Faults::default() };
    let nearly = Faults { write: 700, short: 900, ..Faults::default() };
    disk.set_faults(full);
    // The head of the segment, twice: the file is there already the second time.
    for _ in 0..2 {
        let error = log.append(&mut buffer).unwrap_err();
        assert!(error.is_no_space() && error.may_retry() && buffer.record().is_none(), "{error}");
    }
    disk.set_faults(nearly);
    while let Err(error) = log.append(&mut buffer) {
        assert!(error.is_no_space() && error.may_retry(), "{error}");
    }
    disk.set_faults(full);
    assert!(log.seal().unwrap_err().is_no_space());
    disk.set_faults(Faults::default());
    log.close().unwrap();
    assert_eq!(found(&disk), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_log_that_could_not_begin_a_segment_is_closed_cleanly() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, 1);
    let mut buffer = log.buffer(1, 0).unwrap();
    assert!(Row::of(0).append(&mut buffer));
    disk.set_faults(Faults { write: 1000, ..Faults::default() });
    assert!(log.append(&mut buffer).unwrap_err().is_no_space());
    disk.set_faults(Faults::default());
    assert_eq!(log.close().unwrap(), None);
    let (log, recovery) = open(&disk, 2);
    assert!(recovery.was_clean && log.next_sequence() == 0, "{recovery:?}");
}

#[test]
fn a_log_that_is_used_on_after_its_end_is_open_again() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk, 1);
    log.close().unwrap();
    append(&mut log, 5);
    drop(log);
    // Its rows have left no trace.
    disk.remove(&folders().part(0)).unwrap();
    let (log, recovery) = open(&disk, 2);
    assert_eq!((log.next_sequence(), recovery.was_clean), (10_000, false));
}

#[test]
fn copies_of_an_interrupted_recovery_are_not_made_again_when_more_is_damaged() {
    let (disk, path, mut bytes) = left_open(&[5, 6, 7, 8, 9]);
    bytes[12_288 + 2000] ^= 4;
    disk.put(&path, bytes.clone());
    drop(open(&disk, 2));
    // It was stopped before the file got its new name, and a record that is copied rots.
    bytes[4096 + 2000] ^= 4;
    disk.put(&path, bytes);
    let (_, recovery) = open(&disk, 3);
    assert_eq!(only(&recovery).rows(), 28);
    assert_eq!(found(&disk), (0..11).chain(18..35).collect::<Vec<_>>());
}

#[test]
fn a_damaged_file_of_the_next_sequence_counts_as_an_unclean_end() {
    let disk = SimDisk::new(1);
    for damaged in [0, 7, 20, 50] {
        let (mut log, _) = open(&disk, 1);
        append(&mut log, 5);
        log.close().unwrap();
        let next = log.next_sequence();
        let mut bytes = disk.content(&folders().next()).unwrap();
        bytes[damaged] ^= 1;
        disk.put(&folders().next(), bytes);
        let (log, recovery) = open(&disk, 2);
        assert_eq!((log.next_sequence(), recovery.was_clean), (next + 10_000, false));
    }
}

#[test]
fn options_out_of_range_are_named() {
    let good = options(1);
    for (wrong, text) in [
        (LogOptions { block_bytes: 512, ..good }, "block_bytes is 512"),
        (LogOptions { block_bytes: 12_288, ..good }, "block_bytes is 12288"),
        (LogOptions { segment_bytes: 0, ..good }, "segment_bytes is 0"),
        (LogOptions { gap_rows: 0, ..good }, "gap_rows is 0"),
        (LogOptions { shape: RowShape { dim: 0, ..good.shape }, ..good }, "dim is 0"),
    ] {
        let error = LaneLog::open(SimDisk::new(1), folders(), wrong).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
    }
}
