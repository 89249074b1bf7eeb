//! Any bytes in the place of a lane's live segment, of a sealed one, or of the file that says what
//! comes next. The first byte chooses. What recovery calls sealed must then be readable, also when
//! small records have been merged.
#![no_main]

use std::path::Path;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use slipring_fuzz::memory_disk::MemoryDisk;
use slipring_ingest::log::{
    AlignedBytes, BufferSizes, CommitTimes, Committer, Disk, DiskFile, LaneLog, LogFolders,
    LogOptions, NextRecord, RecordReader, RowShape, SealedSegment,
};
use slipring_ingest::sink::Columns;

fuzz_target!(|bytes: &[u8]| {
    let Some((place, content)) = bytes.split_first() else { return };
    let folders = LogFolders { open: "/open".into(), complete: "/complete".into() };
    let disk = MemoryDisk::default();
    let name = match place % 3 {
        0 => "/open/seg-00000000000000000000.arrow.part",
        1 => "/complete/seg-00000000000000000000.arrow",
        _ => "/open/next",
    };
    disk.put(Path::new(name), content);
    let shape = RowShape { dim: 3, columns: Columns { id: true, time: true } };
    let opened = LaneLog::open(disk.clone(), folders, LogOptions::new(shape, 0, 1));
    let (log, recovery) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let new: Vec<_> = recovery.files.iter().flat_map(|file| &file.sealed).collect();
    new.iter().for_each(|sealed| check_rows(&disk, sealed, shape));
    merge(log);
    new.iter().for_each(|sealed| check_rows(&disk, sealed, shape));
    recovery.files.iter().for_each(|file| assert!(!file.to_string().is_empty()));
});

/// Reads all rows of a sealed segment.
fn check_rows(disk: &MemoryDisk, sealed: &SealedSegment, shape: RowShape) {
    let file = disk.open_to_read(&sealed.path).unwrap();
    let end = file.len().unwrap();
    let reader = RecordReader::new(&file, &sealed.path, end, sealed.first_sequence, shape);
    let mut reader = reader.unwrap();
    let mut memory = AlignedBytes::default();
    loop {
        match reader.next_record().unwrap() {
            NextRecord::Record(header) => drop(reader.load(&header, &mut memory)),
            NextRecord::End => break,
            NextRecord::Fault(fault) => panic!("{fault}"),
        }
    }
    assert_eq!(reader.next_sequence(), sealed.next_sequence);
}

/// Lets a committer merge what has small records, also in a segment that was found sealed.
fn merge(log: LaneLog<MemoryDisk>) {
    let hour = Duration::from_secs(3600);
    let mut committer = Committer::new(CommitTimes { interval: hour, segment_age: hour });
    let sizes = BufferSizes { count: 2, rows: 1 };
    let _feed = committer.add_lane(log, sizes, Box::new(|| ())).unwrap();
    let now = Instant::now();
    while committer.round(&|| now).is_some() {}
    committer.take_notes().iter().for_each(|(_, note)| assert!(!note.to_string().is_empty()));
}
