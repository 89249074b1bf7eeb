//! The log on the machine's disk, and the reader of its segments: what is appended is read back, by
//! our reader and by Arrow's. A file that isn't whole is an error that names it, never a panic, and
//! sequences that are missing are counted.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use arrow_ipc::reader::FileReader;
use arrow_ipc::root_as_footer;
use arrow_schema::{DataType, Field};
use proptest::prelude::*;
use slipring_ingest::log::LogError;
use slipring_ingest::sink::{DIM_MAX, DataDir, SinkError, for_each_batch, read_segments};

use crate::lane::{Lane, Sizes};

fn sizes(segment_bytes: u64, record_rows: usize) -> Sizes {
    Sizes { segment_bytes, record_rows }
}

/// Rows of `dim` components, each a different number.
fn rows(first: u64, count: usize, dim: u32) -> Vec<f32> {
    (0..count * dim as usize).map(|i| (first * u64::from(dim) + i as u64) as f32).collect()
}

fn read_back(dir: &Path) -> BTreeMap<u32, Vec<f32>> {
    let mut lanes: BTreeMap<u32, Vec<f32>> = BTreeMap::new();
    for_each_batch(dir, |lane, _, rows| lanes.entry(lane).or_default().extend_from_slice(rows))
        .unwrap();
    lanes
}

/// The bytes of every file in a lane's two folders.
fn files(dir: &Path, lane: u32) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = ["", ".slipring/"].map(|above| dir.join(format!("{above}lane={lane}")));
    folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn names(dir: &Path, lane: u32) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = files(dir, lane).into_keys().map(name).collect();
    names.sort_unstable();
    names
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Append(usize),
    AppendPart,
    Flush,
    Close,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_usize..20).prop_map(Op::Append),
        1 => Just(Op::AppendPart),
        2 => Just(Op::Flush),
        1 => Just(Op::Close),
        1 => Just(Op::Restart),
    ]
}

/// A configuration that runs this many cases and records no failure.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn rows_come_back_as_the_model_has_them(
        dim in 1_u32..5,
        batch_rows in 1_usize..9,
        segment_bytes in 1_u64..6000,
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let dir = DataDir::open(folder.path(), dim).unwrap();
            Lane::open(&dir, 3, sizes(segment_bytes, batch_rows)).unwrap()
        };
        let mut log = open();
        let mut model = 0_u64;
        let mut complete = BTreeMap::new();
        for op in ops {
            match op {
                Op::Append(count) => {
                    log.append(&rows(model, count, dim)).unwrap();
                    model += count as u64;
                }
                Op::AppendPart if dim > 1 => {
                    let part = rows(model, 3, dim);
                    let outcome = log.append(&part[1..]);
                    let is_refused = matches!(outcome, Err(LogError::Rows { .. }));
                    prop_assert!(is_refused);
                }
                Op::AppendPart => {}
                Op::Flush => log.flush().unwrap(),
                Op::Close => {
                    log.close().unwrap();
                    prop_assert_eq!(read_segments(folder.path()).unwrap().rows, model);
                }
                Op::Restart => {
                    log.close().unwrap();
                    drop(log);
                    let mut now = files(folder.path(), 3);
                    now.retain(|path, _| path.extension().is_some_and(|end| end == "arrow"));
                    let is_same = complete.iter().all(|(path, bytes)| now.get(path) == Some(bytes));
                    prop_assert!(is_same, "a segment changed");
                    complete = now;
                    log = open();
                    prop_assert!(log.recovery.was_clean && log.recovery.files.is_empty());
                }
            }
            prop_assert_eq!(log.next_sequence(), model);
        }
        log.close().unwrap();
        drop(log);
        let expected = rows(0, model as usize, dim);
        prop_assert_eq!(&read_back(folder.path()).remove(&3).unwrap_or_default(), &expected);
        let summary = read_segments(folder.path()).unwrap();
        prop_assert_eq!((summary.rows, summary.dim, summary.gaps), (model, dim, 0));
        let sum = expected.iter().fold(0.0, |sum, value| sum + f64::from(*value));
        prop_assert_eq!(summary.sum, sum);
    }
}

#[test]
fn an_empty_log_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 4).unwrap();
    let mut log = Lane::open(&dir, 0, Sizes::default()).unwrap();
    log.append(&[]).unwrap();
    log.flush().unwrap();
    log.close().unwrap();
    log.close().unwrap();
    assert_eq!(names(folder.path(), 0), ["next"]);
    assert_eq!(read_segments(folder.path()).unwrap().lanes, BTreeMap::from([(0, 0)]));
}

#[test]
fn one_row_of_small_and_large_dimension() {
    for dim in [1, 4096, DIM_MAX] {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path(), dim).unwrap();
        let mut log = Lane::open(&dir, 0, Sizes { record_rows: 1, ..Sizes::default() }).unwrap();
        let row: Vec<f32> = (0..dim).map(|i| i as f32 - 0.5).collect();
        log.append(&row).unwrap();
        log.close().unwrap();
        assert_eq!(names(folder.path(), 0), ["next", "seg-00000000000000000000.arrow"]);
        assert_eq!(read_back(folder.path())[&0], row);
    }
}

#[test]
fn lanes_count_on_their_own_and_names_carry_the_first_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 2).unwrap();
    let mut logs = [0, 10].map(|lane| Lane::open(&dir, lane, sizes(1, 4)).unwrap());
    logs[0].append(&rows(0, 8, 2)).unwrap();
    logs[1].append(&rows(0, 5, 2)).unwrap();
    for log in &mut logs {
        log.close().unwrap();
    }
    assert_eq!(
        names(folder.path(), 0),
        ["next", "seg-00000000000000000000.arrow", "seg-00000000000000000004.arrow"]
    );
    let summary = read_segments(folder.path()).unwrap();
    assert_eq!((summary.lanes, summary.rows), (BTreeMap::from([(0, 8), (10, 5)]), 13));
    assert_eq!(summary.segments, 4);
}

/// Arrow's own reader, which shares no code with ours, reads each segment.
#[test]
fn arrow_reads_each_segment() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 3).unwrap();
    let mut log = Lane::open(&dir, 7, sizes(2000, 4)).unwrap();
    log.append(&rows(0, 30, 3)).unwrap();
    log.close().unwrap();
    assert!(read_segments(folder.path()).unwrap().segments > 1);
    let (mut sequences, mut values) = (Vec::new(), Vec::new());
    let paths = files(folder.path(), 7).into_keys();
    for path in paths.filter(|path| path.extension().is_some()) {
        let reader = FileReader::try_new(fs::File::open(path).unwrap(), None).unwrap();
        let schema = reader.schema();
        let metadata = ["slipring.format", "slipring.dim", "slipring.lane"]
            .map(|key| schema.metadata()[key].clone());
        assert_eq!(metadata, ["1", "3", "7"]);
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let fields = [
            Field::new("sequence", DataType::UInt64, false),
            Field::new("vector", DataType::FixedSizeList(item, 3), false),
        ];
        let plain = |field: &Arc<Field>| field.as_ref().clone().with_metadata(HashMap::new());
        assert!(schema.fields().iter().map(plain).eq(fields), "{schema}");
        for batch in reader {
            let batch = batch.unwrap();
            assert!(batch.num_rows() <= 4);
            sequences.extend_from_slice(batch.column(0).as_primitive::<UInt64Type>().values());
            let vectors = batch.column(1).as_fixed_size_list().values();
            values.extend_from_slice(vectors.as_primitive::<Float32Type>().values());
        }
    }
    assert_eq!(sequences, (0..30).collect::<Vec<u64>>());
    assert_eq!(values, rows(0, 30, 3));
}

#[test]
fn options_of_zero_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 2).unwrap();
    for (field, sizes) in [("segment_bytes", sizes(0, 1)), ("rows_max", sizes(1, 0))] {
        let error = Lane::open(&dir, 0, sizes).err().unwrap();
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn close_succeeds_once_a_file_in_its_way_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 2).unwrap();
    let mut log = Lane::open(&dir, 0, sizes(1 << 20, 4)).unwrap();
    let stranger = folder.path().join("lane=0/seg-00000000000000000000.arrow");
    fs::write(&stranger, "not ours").unwrap();
    log.append(&rows(0, 6, 2)).unwrap();
    for _ in 0..2 {
        let error = log.close().unwrap_err();
        assert!(matches!(error, LogError::Exists { .. }) && error.may_retry(), "{error}");
        assert_eq!(log.next_sequence(), 6);
    }
    assert_eq!(fs::read(&stranger).unwrap(), b"not ours");
    fs::remove_file(&stranger).unwrap();
    log.close().unwrap();
    log.append(&rows(6, 1, 2)).unwrap();
    log.close().unwrap();
    assert_eq!(read_segments(folder.path()).unwrap().segments, 2);
    assert_eq!(read_back(folder.path())[&0], rows(0, 7, 2));
}

/// A folder with three segments of four rows in lane 0.
fn three_segments() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 2).unwrap();
    let mut log = Lane::open(&dir, 0, sizes(1, 4)).unwrap();
    log.append(&[0.5; 24]).unwrap();
    log.close().unwrap();
    assert_eq!(read_segments(folder.path()).unwrap().segments, 3);
    folder
}

fn segment(folder: &Path, first_sequence: u64) -> PathBuf {
    folder.join(format!("lane=0/seg-{first_sequence:020}.arrow"))
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
fn a_missing_segment_is_a_gap_that_is_counted() {
    for removed in [0, 4] {
        let folder = three_segments();
        fs::remove_file(segment(folder.path(), removed)).unwrap();
        let summary = read_segments(folder.path()).unwrap();
        assert_eq!((summary.rows, summary.gaps), (8, 1));
    }
}

#[test]
fn a_segment_under_another_name_is_an_error() {
    let folder = three_segments();
    fs::copy(segment(folder.path(), 4), segment(folder.path(), 12)).unwrap();
    let error = read_segments(folder.path()).unwrap_err();
    assert!(matches!(error, SinkError::Gap { expected: 12, found: 4, .. }), "{error}");
    // Its rows would fit, but its name doesn't, and the next start relies on names.
    fs::rename(segment(folder.path(), 12), folder.path().join("copy")).unwrap();
    fs::rename(segment(folder.path(), 8), segment(folder.path(), 9)).unwrap();
    let error = read_segments(folder.path()).unwrap_err();
    assert!(matches!(error, SinkError::Gap { expected: 9, found: 8, .. }), "{error}");
}

#[test]
fn a_file_that_is_no_segment_is_named() {
    let folder = three_segments();
    fs::write(folder.path().join("lane=0/notes.arrow"), "").unwrap();
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

/// A cut segment is an error for a reader, and the next start makes it whole as far as it goes.
#[test]
fn a_segment_cut_anywhere_is_refused_and_made_whole() {
    let folder = three_segments();
    let path = segment(folder.path(), 8);
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(331) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = read_segments(folder.path()).unwrap_err();
        assert!(matches!(error, SinkError::Segment { .. }), "{length}: {error}");
        let dir = DataDir::open(folder.path(), 2).unwrap();
        let log = Lane::open(&dir, 0, Sizes::default()).unwrap();
        assert_eq!(log.recovery.files.len(), 1, "{length}");
        let rows = read_segments(folder.path()).unwrap().rows;
        assert!(rows == 8 || rows == 12 && length >= 8192, "{length}: {rows} rows");
    }
}

/// A footer that leads the reader outside of the file, by each of the three figures of its first
/// batch.
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
    #![proptest_config(cases(256))]

    /// There is no checksum, so a changed component may go undetected. A changed length or offset
    /// must not cause a panic.
    #[test]
    fn changed_bytes_lead_to_no_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
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
        let _ = Lane::open(&dir, 0, Sizes::default());
    }
}
