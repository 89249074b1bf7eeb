//! Folders of the version before: written as its own sink did, on a real disk.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, TimestampMicrosecondArray, UInt64Array,
};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, SchemaRef};

use super::super::shape::segment_schema;
use super::super::*;
use super::rows::{options, read_rows, shape};
use crate::sink::{DataDir, DataMode, DataOptions, StoredRows, for_each_rows};

struct Folder {
    dir: tempfile::TempDir,
    folders: LogFolders,
    next: Cell<u64>,
}

fn record_batch(schema: &SchemaRef, sequences: &[u64]) -> RecordBatch {
    let values = sequences.iter().flat_map(|sequence| [*sequence as f32; 3]);
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let values = Arc::new(Float32Array::from_iter_values(values));
    let ids = sequences.iter().map(|sequence| sequence + 7);
    let times = sequences.iter().map(|sequence| *sequence as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(sequences.iter().copied())),
        Arc::new(FixedSizeListArray::new(item, 3, values, None)),
        Arc::new(UInt64Array::from_iter_values(ids)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join(".slipring/lane=0");
        let folders = LogFolders { open, complete: dir.path().join("lane=0") };
        Self { dir, folders, next: Cell::new(0) }
    }

    /// Writes rows in batches of 10 as the earlier version did, and closes its log or not: then
    /// rows that make no batch aren't in the file.
    fn write(&self, rows: u64, is_closed: bool) {
        let (columns, mode) = (shape().columns, DataMode::default());
        let asked = DataOptions { dim: shape().dim, columns, mode };
        let data = DataDir::open_with(self.dir.path(), asked).unwrap();
        data.lane_folders(0).unwrap();
        self.set_parts_aside();
        let first = self.next.get();
        let schema = segment_schema(shape(), 0);
        let mut writer = FileWriter::try_new(Vec::new(), &schema).unwrap();
        let sequences: Vec<u64> = (first..first + rows).collect();
        for batch in sequences.chunks(10).filter(|batch| is_closed || batch.len() == 10) {
            writer.write(&record_batch(&schema, batch)).unwrap();
        }
        if is_closed {
            writer.finish().unwrap();
            self.next.set(first + rows);
            fs::write(self.folders.sealed(first), writer.into_inner().unwrap()).unwrap();
        } else {
            fs::write(self.folders.part(first), writer.get_ref()).unwrap();
        }
    }

    /// What a start of the earlier version did with what a crash had left.
    fn set_parts_aside(&self) {
        for entry in fs::read_dir(&self.folders.open).unwrap() {
            let part = entry.unwrap().path();
            if part.extension().is_some_and(|end| end == "part") {
                let stem = part.with_extension("").with_extension("");
                let torn = stem.with_extension("torn");
                let torn = if torn.exists() { stem.with_extension("2.torn") } else { torn };
                fs::rename(part, torn).unwrap();
            }
        }
    }

    fn part(&self) -> PathBuf {
        let names = fs::read_dir(&self.folders.open).unwrap().map(|entry| entry.unwrap().path());
        names.into_iter().find(|path| path.extension().is_some_and(|end| end == "part")).unwrap()
    }

    fn open(&self) -> (LaneLog<RealDisk>, Recovery) {
        let disk = RealDisk::new(DataMode::default());
        LaneLog::open(disk, self.folders.clone(), options(9)).unwrap()
    }
}

/// The rows of a segment that this version has made of old ones.
fn salvaged(path: &Path, first: u64) -> Vec<u64> {
    let disk = RealDisk::new(DataMode::default());
    let file = disk.open_to_read(path).unwrap();
    let rows = read_rows(&file, path, first, file.len().unwrap()).unwrap();
    for (sequence, row) in &rows {
        let vector = (*sequence as f32).to_le_bytes().repeat(3);
        assert_eq!((&row.vector, row.id, row.time), (&vector, sequence + 7, *sequence as i64));
    }
    rows.into_iter().map(|(sequence, _)| sequence).collect()
}

#[test]
fn a_closed_folder_goes_on_and_stays_readable() {
    let folder = Folder::new();
    folder.write(25, true);
    let (mut log, recovery) = folder.open();
    assert!(recovery.was_clean && recovery.sealed[0].is_old, "{recovery:?}");
    assert_eq!((log.next_sequence(), recovery.sealed[0].records), (25, 3));
    let mut buffer = log.buffer(1, 0).unwrap();
    let vector = 25_f32.to_le_bytes().repeat(3);
    let (ids, times) = (&32_u64.to_le_bytes()[..], RowTimes::One(25));
    assert_eq!(buffer.append(&LogRows { vectors: &vector, ids, times, mark: None }).unwrap(), 1);
    log.append(&mut buffer).unwrap();
    let sealed = log.close().unwrap().unwrap();
    assert_eq!(salvaged(&sealed.path, 25), [25]);
    // Its reader reads both, and its next start would find the same sequence.
    let mut sequences = Vec::new();
    let visit = |_, rows: &StoredRows| sequences.extend_from_slice(&rows.sequences);
    for_each_rows(folder.dir.path(), visit).unwrap();
    assert_eq!(sequences, (0..26).collect::<Vec<_>>());
}

#[test]
fn an_open_segment_is_salvaged_up_to_its_last_whole_batch() {
    let folder = Folder::new();
    folder.write(25, true);
    folder.write(38, false);
    let part = folder.part();
    let whole = fs::read(&part).unwrap();
    let torn = whole.len() - 5;
    fs::write(&part, &whole[..torn]).unwrap();
    let (log, recovery) = folder.open();
    assert_eq!((recovery.files.len(), recovery.was_clean), (1, false));
    let file = &recovery.files[0];
    assert!(file.torn_bytes > 0 && !file.is_apart && file.damage.is_none(), "{file:?}");
    assert_eq!(salvaged(&file.sealed[0].path, 25), (25..45).collect::<Vec<_>>());
    assert_eq!(log.next_sequence(), 10_045);
    let kept = file.kept.as_ref().unwrap();
    assert_eq!((fs::read(kept).unwrap().len(), part.exists()), (torn, false));
    assert!(file.to_string().contains("its 20 whole vectors are sealed"), "{file}");
    // Stopped before the file got its new name: what is made is found.
    drop(log);
    fs::rename(kept, &part).unwrap();
    let (_, recovery) = folder.open();
    assert_eq!(recovery.files[0].rows(), 20);
}

#[test]
fn a_torn_segment_whose_sequences_were_given_again_is_salvaged_apart() {
    let folder = Folder::new();
    folder.write(25, false);
    // The earlier version sets it aside, and begins at 0 again.
    folder.write(12, true);
    let (log, recovery) = folder.open();
    let file = &recovery.files[0];
    assert!(file.is_apart && file.path.extension().unwrap() == "torn", "{file:?}");
    let sealed = &file.sealed[0].path;
    assert_eq!((sealed.parent(), salvaged(sealed, 0).len()), (Some(&*folder.folders.open), 20));
    assert!(file.to_string().contains("given again, so they are apart in"), "{file}");
    assert_eq!(recovery.sealed[0].next_sequence, 12);
    drop(log);
    let (_, recovery) = folder.open();
    assert!(recovery.files.is_empty(), "it is salvaged once: {recovery:?}");
}

#[test]
fn two_torn_segments_of_one_name_are_both_salvaged() {
    let folder = Folder::new();
    folder.write(25, false);
    folder.write(15, false);
    folder.write(3, true);
    let (_, recovery) = folder.open();
    let rows: Vec<_> = recovery.files.iter().map(|file| (file.rows(), file.is_apart)).collect();
    assert_eq!(rows, [(10, true), (20, true)], "`.2.torn` comes first: {recovery:?}");
    let paths: Vec<_> = recovery.files.iter().map(|file| file.sealed[0].path.clone()).collect();
    assert_eq!([salvaged(&paths[0], 0).len(), salvaged(&paths[1], 0).len()], [10, 20]);
}

#[test]
fn zeros_in_place_of_a_batch_are_no_rows() {
    let folder = Folder::new();
    folder.write(20, false);
    let part = folder.part();
    let mut bytes = fs::read(&part).unwrap();
    // A whole header over a zero body.
    let zeros = bytes.len() - 512;
    bytes[zeros..].fill(0);
    fs::write(&part, &bytes).unwrap();
    let (_, recovery) = folder.open();
    assert_eq!(recovery.files[0].rows(), 10);
}

#[test]
fn what_is_no_segment_is_kept_and_said() {
    for name in ["seg-00000000000000000000.torn", "seg-00000000000000000000.2.torn"] {
        let folder = Folder::new();
        folder.write(5, true);
        let path = folder.folders.open.join(name);
        fs::write(&path, b"torn").unwrap();
        let (_, recovery) = folder.open();
        let file = &recovery.files[0];
        assert!(file.damage.is_some() && file.to_string().contains("no whole vector"), "{file}");
        assert_eq!(fs::read(file.kept.as_ref().unwrap()).unwrap(), b"torn");
    }
}
