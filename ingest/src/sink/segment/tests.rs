//! On a disk that may stop after any byte, a segment must become the same file as on a good disk.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{Columns, SinkRows};
use super::*;
use crate::log::{RowShape, segment_schema};

const DIM: u32 = 3;

/// The outcome of the next call to the disk.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Short(usize),
    Nothing,
    Error(i32),
    /// Writes half and reports that it wrote all: proof that the comparison can fail.
    Lie,
}

struct FaultyDisk {
    file: File,
    writes: RefCell<VecDeque<Fault>>,
    syncs: RefCell<VecDeque<Fault>>,
}

impl PartFile for FaultyDisk {
    fn write_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<usize> {
        match self.writes.borrow_mut().pop_front().unwrap_or(Fault::None) {
            Fault::None => FileExt::write_at(&self.file, bytes, offset_bytes),
            Fault::Short(most) => {
                FileExt::write_at(&self.file, &bytes[..most.min(bytes.len())], offset_bytes)
            }
            Fault::Nothing => Ok(0),
            Fault::Error(number) => Err(io::Error::from_raw_os_error(number)),
            Fault::Lie => FileExt::write_at(&self.file, &bytes[..bytes.len() / 2], offset_bytes)
                .map(|_| bytes.len()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.syncs.borrow_mut().pop_front() {
            Some(Fault::Error(number)) => Err(io::Error::from_raw_os_error(number)),
            _ => self.file.sync_data(),
        }
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    segment: Segment<FaultyDisk>,
    batch: OpenBatch,
}

impl Fixture {
    fn new(writes: &[Fault], syncs: &[Fault]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shape = RowShape { dim: DIM, columns: Columns::default() };
        let schema = segment_schema(shape, 0);
        let part = layout::part(folder.path(), 0);
        let disk = FaultyDisk {
            file: File::create_new(&part).unwrap(),
            writes: RefCell::new(writes.iter().copied().collect()),
            syncs: RefCell::new(syncs.iter().copied().collect()),
        };
        let segment =
            Segment::new(disk, part, layout::complete(folder.path(), 0), &schema, Vec::new());
        Self {
            folder,
            segment,
            batch: OpenBatch::new(Arc::clone(&schema), DIM, Columns::default(), 8),
        }
    }

    /// Writes batches of these numbers of rows, tries each step until it succeeds, and returns the
    /// file's bytes.
    fn write(&mut self, batches: &[usize]) -> Vec<u8> {
        let mut sequence = 0;
        for rows in batches {
            let values: Vec<f32> =
                (0..rows * DIM as usize).map(|i| (sequence * 100 + i as u64) as f32).collect();
            assert!(self.batch.fill(SinkRows::plain(&values)).values.is_empty());
            self.segment.encode(&mut self.batch, *rows, sequence);
            sequence += *rows as u64;
            retry(|| self.segment.write_encoded());
        }
        retry(|| self.segment.complete());
        assert_eq!(self.segment.rows(), sequence);
        let bytes = fs::read(layout::complete(self.folder.path(), 0)).unwrap();
        assert_eq!(self.segment.bytes(), bytes.len() as u64);
        bytes
    }
}

fn retry(mut step: impl FnMut() -> Result<(), SinkError>) {
    while let Err(error) = step() {
        assert!(error.may_retry(), "{error}");
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        1 => Just(Fault::None),
        4 => (1_usize..200).prop_map(Fault::Short),
        1 => Just(Fault::Nothing),
        1 => Just(Fault::Error(libc::EINTR)),
        1 => Just(Fault::Error(libc::EIO)),
        1 => Just(Fault::Error(libc::ENOSPC)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn faults_leave_the_same_file(
        batches in prop::collection::vec(1_usize..8, 1..5),
        writes in prop::collection::vec(fault(), 0..40),
        interrupted in 0_usize..3,
    ) {
        let good = Fixture::new(&[], &[]).write(&batches);
        let interrupts = vec![Fault::Error(libc::EINTR); interrupted];
        let faulty = Fixture::new(&writes, &interrupts).write(&batches);
        prop_assert!(good == faulty, "the files differ");
    }
}

#[test]
fn a_disk_that_lies_is_detected() {
    let good = Fixture::new(&[], &[]).write(&[4]);
    let lied = Fixture::new(&[Fault::Lie], &[]).write(&[4]);
    assert!(good != lied, "the comparison above can't fail");
}

#[test]
fn a_failed_sync_is_final() {
    let mut fixture = Fixture::new(&[], &[Fault::Error(libc::EIO)]);
    assert!(fixture.batch.fill(SinkRows::plain(&[1.0; 6])).values.is_empty());
    fixture.segment.encode(&mut fixture.batch, 2, 0);
    for _ in 0..3 {
        // A second sync would succeed, and prove nothing.
        let error = fixture.segment.complete().unwrap_err();
        assert!(matches!(error, SinkError::SyncFailed { .. }) && !error.may_retry(), "{error}");
        assert!(error.to_string().contains("os error 5"), "{error}");
    }
    assert!(fixture.segment.is_full(u64::MAX));
    assert!(layout::part(fixture.folder.path(), 0).exists());
    assert!(!layout::complete(fixture.folder.path(), 0).exists());
}

#[test]
fn short_batches_close_a_segment_too() {
    let mut fixture = Fixture::new(&[], &[]);
    fixture.segment.batches = BATCHES_MAX - 1;
    assert!(!fixture.segment.is_full(u64::MAX));
    fixture.segment.batches += 1;
    assert!(fixture.segment.is_full(u64::MAX));
}
