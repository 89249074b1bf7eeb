//! Reading back: a folder that isn't whole is an error that names the file, never a panic and never
//! fewer rows without a word.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_ipc::root_as_footer;
use proptest::prelude::*;
use slipring_ingest::sink::{
    DataDir, SegmentLog, SegmentOptions, Sink, SinkError, for_each_batch, read_segments,
};

/// A folder with three segments of four rows in lane 0.
fn three_segments() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 2).unwrap();
    let mut log =
        SegmentLog::open(&dir, 0, SegmentOptions { segment_bytes: 1, batch_rows: 4 }).unwrap();
    log.append(&[0.5; 24]).unwrap();
    assert_eq!(log.close().unwrap().segments, 3);
    folder
}

fn segment(folder: &Path, first_sequence: u64) -> PathBuf {
    folder.join(format!("lane-0/seg-{first_sequence:020}.arrow"))
}

#[test]
fn batches_come_in_order_with_their_first_sequence() {
    let folder = three_segments();
    let mut seen = Vec::new();
    let summary =
        for_each_batch(folder.path(), |lane, first, rows| seen.push((lane, first, rows.to_vec())))
            .unwrap();
    assert_eq!(seen, [(0, 0, vec![0.5; 8]), (0, 4, vec![0.5; 8]), (0, 8, vec![0.5; 8])]);
    assert_eq!((summary.rows, summary.segments), (12, 3));
    assert_eq!(read_segments(folder.path()).unwrap().sum, 12.0);
}

#[test]
fn a_missing_segment_is_a_gap() {
    for (removed, expected, found) in [(0, 0, 4), (4, 4, 8)] {
        let folder = three_segments();
        fs::remove_file(segment(folder.path(), removed)).unwrap();
        let error = read_segments(folder.path()).unwrap_err();
        let SinkError::Gap { expected: due, found: got, .. } = error else { panic!("{error}") };
        assert_eq!((due, got), (expected, found));
    }
}

#[test]
fn a_segment_under_another_name_is_a_gap() {
    let folder = three_segments();
    fs::copy(segment(folder.path(), 4), segment(folder.path(), 12)).unwrap();
    let error = read_segments(folder.path()).unwrap_err();
    assert!(matches!(error, SinkError::Gap { expected: 12, found: 4, .. }), "{error}");
    // Its rows would fit, but its name says otherwise, and a start goes by names.
    fs::rename(segment(folder.path(), 12), folder.path().join("copy")).unwrap();
    fs::rename(segment(folder.path(), 8), segment(folder.path(), 9)).unwrap();
    let error = read_segments(folder.path()).unwrap_err();
    assert!(matches!(error, SinkError::Gap { expected: 8, found: 9, .. }), "{error}");
}

#[test]
fn a_file_that_is_no_segment_is_named() {
    let folder = three_segments();
    fs::write(folder.path().join("lane-0/notes.arrow"), "").unwrap();
    let error = read_segments(folder.path()).unwrap_err();
    assert!(error.to_string().contains("notes.arrow isn't a whole segment"), "{error}");
}

#[test]
fn a_folder_without_record_is_no_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("absent")] {
        let error = read_segments(&path).unwrap_err();
        assert!(matches!(error, SinkError::Record { .. }), "{error}");
    }
}

#[test]
fn a_segment_cut_anywhere_is_refused() {
    let folder = three_segments();
    let path = segment(folder.path(), 8);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let error = read_segments(folder.path()).unwrap_err();
        assert!(matches!(error, SinkError::Segment { .. }), "{length}: {error}");
        let dir = DataDir::open(folder.path(), 2).unwrap();
        assert!(SegmentLog::open(&dir, 0, SegmentOptions::default()).is_err(), "{length}");
    }
}

/// A footer that sends the reader beyond the file, by each of the three figures of its first batch.
#[test]
fn a_batch_outside_of_the_file_is_refused() {
    let folder = three_segments();
    let path = segment(folder.path(), 8);
    let whole = fs::read(&path).unwrap();
    let footer_bytes =
        i32::from_le_bytes(whole[whole.len() - 10..whole.len() - 6].try_into().unwrap()) as usize;
    let footer = root_as_footer(&whole[whole.len() - 10 - footer_bytes..whole.len() - 10]).unwrap();
    let block = footer.recordBatches().unwrap().get(0).0;
    let at = whole.windows(block.len()).rposition(|window| window == block).unwrap();
    // A block is its offset, the length of its metadata, padding, and the length of its body.
    for (figure, value) in
        [(0..8, i64::MAX), (0..8, -1), (0..8, 1 << 20), (8..12, 1 << 20), (16..24, 1 << 20)]
    {
        let mut bytes = whole.clone();
        let length = figure.len();
        bytes[at..][figure.clone()].copy_from_slice(&value.to_le_bytes()[..length]);
        fs::write(&path, &bytes).unwrap();
        let error = read_segments(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is outside of its"), "{figure:?}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// There is no checksum, so a changed component may go unseen; a changed length or offset must
    /// not lead to a panic.
    #[test]
    fn changed_bytes_lead_to_no_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let folder = three_segments();
        let path = segment(folder.path(), 8);
        let mut bytes = fs::read(&path).unwrap();
        for (index, byte) in &changes {
            let index = index.index(bytes.len());
            bytes[index] = *byte;
        }
        fs::write(&path, &bytes).unwrap();
        let _ = read_segments(folder.path());
        let dir = DataDir::open(folder.path(), 2).unwrap();
        let _ = SegmentLog::open(&dir, 0, SegmentOptions::default());
    }
}
