//! Columns besides sequence and vector: what is appended comes back, in every way in which rows are
//! cut; what doesn't fit is refused; a folder keeps its columns.

use std::fs;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_ipc::reader::FileReader;
use arrow_schema::{DataType, TimeUnit};
use proptest::prelude::*;
use slipring_ingest::log::LogError;
use slipring_ingest::sink::{
    Columns, DataDir, DataMode, DataOptions, SinkError, StoredRows, for_each_rows,
};

use crate::lane::{Lane, Sizes};

const DIM: u32 = 3;

fn open(folder: &Path, columns: Columns) -> Result<DataDir, SinkError> {
    DataDir::open_with(folder, DataOptions { dim: DIM, columns, mode: DataMode::default() })
}

fn log(folder: &Path, columns: Columns, sizes: Sizes) -> Lane {
    Lane::open(&open(folder, columns).unwrap(), 0, sizes).unwrap()
}

/// An id that follows from the row, with all of its bytes in use.
fn id(row: u64) -> u64 {
    row.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn read_back(folder: &Path) -> StoredRows {
    let mut all = StoredRows::default();
    for_each_rows(folder, |_, rows| {
        all.sequences.extend(&rows.sequences);
        all.values.extend(&rows.values);
        all.ids.extend(&rows.ids);
        all.times_us.extend(&rows.times_us);
    })
    .unwrap();
    all
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_column_comes_back(
        columns in (any::<bool>(), any::<bool>()).prop_map(|(id, time)| Columns { id, time }),
        batch_rows in 1_usize..6,
        segment_bytes in 1_u64..5000,
        appends in prop::collection::vec((0_usize..12, any::<bool>()), 1..20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), columns, Sizes { segment_bytes, record_rows: batch_rows });
        let mut model = StoredRows::default();
        for (at, (count, flush)) in appends.into_iter().enumerate() {
            let first = log.next_sequence();
            prop_assert_eq!(first, model.sequences.len() as u64);
            let sequences: Vec<u64> = (first..first + count as u64).collect();
            let values: Vec<f32> =
                sequences.iter().flat_map(|row| [*row as f32, 0.5, -1.0]).collect();
            let ids: Vec<u8> = match columns.id {
                true => sequences.iter().flat_map(|row| id(*row).to_le_bytes()).collect(),
                false => Vec::new(),
            };
            let time_us = if columns.time { 1_700_000_000_000_000 + at as i64 } else { 0 };
            log.append_with(&values, &ids, time_us).unwrap();
            if flush {
                log.flush().unwrap();
            }
            if columns.id {
                model.ids.extend(sequences.iter().map(|row| id(*row)));
            }
            if columns.time {
                model.times_us.extend(sequences.iter().map(|_| time_us));
            }
            model.sequences.extend(sequences);
            model.values.extend(values);
        }
        log.close().unwrap();
        prop_assert_eq!(read_back(folder.path()), model);
    }

    /// A changed length, offset or schema is an error or goes undetected, but is no panic.
    #[test]
    fn changed_bytes_lead_to_no_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let columns = Columns { id: true, time: true };
        let mut log = log(folder.path(), columns, Sizes::default());
        log.append_with(&[1.0; 12], &[9; 32], 5).unwrap();
        log.close().unwrap();
        drop(log);
        let path = folder.path().join("lane=0/seg-00000000000000000000.arrow");
        let mut bytes = fs::read(&path).unwrap();
        for (index, byte) in &changes {
            let index = index.index(bytes.len());
            bytes[index] = *byte;
        }
        fs::write(&path, &bytes).unwrap();
        let _ = for_each_rows(folder.path(), |_, _| ());
        let dir = open(folder.path(), columns).unwrap();
        let _ = Lane::open(&dir, 0, Sizes::default());
    }
}

#[test]
fn the_schema_says_what_each_column_is() {
    let folder = tempfile::tempdir().unwrap();
    let columns = Columns { id: true, time: true };
    let mut log = log(folder.path(), columns, Sizes::default());
    let ids: Vec<u8> = [7_u64, u64::MAX].iter().flat_map(|id| id.to_le_bytes()).collect();
    log.append_with(&[1.0; 6], &ids, -1).unwrap();
    log.close().unwrap();
    let file = folder.path().join("lane=0/seg-00000000000000000000.arrow");
    let mut reader = FileReader::try_new(fs::File::open(file).unwrap(), None).unwrap();
    let schema = reader.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["sequence", "vector", "id", "time"]);
    assert_eq!(schema.field(2).data_type(), &DataType::UInt64);
    assert_eq!(schema.field(3).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, None));
    for field in schema.fields() {
        assert!(!field.is_nullable() && field.metadata().contains_key("slipring.content"));
    }
    assert!(schema.field(3).metadata()["slipring.unit"].contains("UTC"));
    let batch = reader.next().unwrap().unwrap();
    assert_eq!(batch.column(2).as_primitive::<UInt64Type>().values(), &[7, u64::MAX]);
    assert_eq!(batch.column(3).as_primitive::<TimestampMicrosecondType>().values(), &[-1, -1]);
}

#[test]
fn ids_that_dont_fit_are_refused_and_nothing_is_accepted() {
    let (one, three) = ([0_u8; 8], [0_u8; 24]);
    let values = [1.0; 2 * DIM as usize];
    for (columns, wrong, fix) in [
        (Columns { id: true, time: false }, [&[][..], &one, &three, &three[..17]], "8 of an id"),
        (Columns::default(), [&one[..], &three, &three[..16], &one[..1]], "no id"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), columns, Sizes::default());
        for ids in wrong {
            let error = log.append_with(&values, ids, 0).unwrap_err();
            assert!(matches!(error, LogError::Rows { .. }), "{error}");
            assert!(error.to_string().contains(fix) && !error.may_retry(), "{error}");
        }
        assert_eq!(log.next_sequence(), 0);
    }
}

#[test]
fn a_folder_keeps_its_columns() {
    let none = Columns::default();
    let (id, time) = (Columns { id: true, time: false }, Columns { id: false, time: true });
    for (recorded, asked, fix) in [
        (none, id, "the columns sequence, vector, not sequence, vector, id; leave --columns out"),
        (id, none, "sequence, vector, id, not sequence, vector; use --columns id or name another"),
        (Columns { id: true, time: true }, time, "use --columns id,time or"),
        (time, id, "use --columns time or"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), recorded, Sizes::default());
        let ids = [1; 8];
        let ids = if recorded.id { &ids[..] } else { &[] };
        log.append_with(&[1.0; 3], ids, 0).unwrap();
        log.close().unwrap();
        drop(log);
        let error = open(folder.path(), asked).unwrap_err();
        assert!(matches!(error, SinkError::OtherColumns { .. }), "{error}");
        assert!(error.to_string().contains(fix), "{error}");
        open(folder.path(), recorded).unwrap();
        // Without its record the segments tell.
        fs::remove_file(folder.path().join(".slipring/record.json")).unwrap();
        let error = open(folder.path(), asked).unwrap_err();
        assert!(matches!(error, SinkError::OtherColumns { .. }), "{error}");
        open(folder.path(), recorded).unwrap();
    }
}

/// The clock is set forward and back, also across a crash: the column of times says so, and nothing
/// else follows the clock.
#[test]
fn a_clock_that_steps_changes_the_times_alone() {
    let folder = tempfile::tempdir().unwrap();
    let columns = Columns { id: false, time: true };
    let clock = [1_700_000_000_000_000, i64::MAX, 0, i64::MIN, 1_600_000_000_000_000, -1, 5];
    for starts in clock.chunks(3) {
        let mut log = log(folder.path(), columns, Sizes { segment_bytes: 5000, record_rows: 2 });
        for time_us in starts {
            let row = log.next_sequence() as f32;
            log.append_with(&[row, row, row], &[], *time_us).unwrap();
            log.flush().unwrap();
        }
        // Dropped without a close, as by a crash.
    }
    log(folder.path(), columns, Sizes::default()).close().unwrap();
    let rows = read_back(folder.path());
    assert_eq!(rows.times_us, clock);
    assert!(rows.sequences.is_sorted_by(|before, after| before < after), "{:?}", rows.sequences);
    let named = rows.values.chunks(3).zip(&rows.sequences);
    assert!(named.into_iter().all(|(row, sequence)| row[0] == *sequence as f32));
}
