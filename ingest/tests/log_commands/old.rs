//! Folders of earlier versions: read as they are, and said to have no checksums.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Schema};
use serde_json::json;

use crate::build::{DIM, NONE, files, log, row, verify};
use crate::cat::{check_csv, check_stream};
use crate::support::folder;

/// Rows in batches of 10, as an earlier version wrote them: whole, or without an end.
fn old_bytes(first: u64, rows: u64, is_whole: bool) -> Vec<u8> {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let list = DataType::FixedSizeList(Arc::clone(&item), DIM as i32);
    let schema = Arc::new(Schema::new(vec![
        Field::new("sequence", DataType::UInt64, false),
        Field::new("vector", list, false),
    ]));
    let mut writer = FileWriter::try_new(Vec::new(), &schema).unwrap();
    let sequences: Vec<u64> = (first..first + rows).collect();
    for batch in sequences.chunks(10) {
        let values = Arc::new(Float32Array::from_iter_values(batch.iter().flat_map(|s| row(*s))));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(batch.iter().copied())),
            Arc::new(FixedSizeListArray::new(Arc::clone(&item), DIM as i32, values, None)),
        ];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
    }
    match is_whole {
        true => {
            writer.finish().unwrap();
            writer.into_inner().unwrap()
        }
        false => writer.get_ref().clone(),
    }
}

/// The names of two earlier versions: all files of a lane in one folder, or as today.
fn old_folder(data: &Path, is_first: bool) {
    let (open, complete) = match is_first {
        true => (data.join("lane-0"), data.join("lane-0")),
        false => (data.join(".slipring/lane=0"), data.join("lane=0")),
    };
    fs::create_dir_all(&open).unwrap();
    fs::create_dir_all(&complete).unwrap();
    let record = json!({ "format": if is_first { 1 } else { 2 }, "dim": DIM, "columns": [] });
    let path = if is_first { "slipring.json" } else { ".slipring/record.json" };
    fs::write(data.join(path), record.to_string()).unwrap();
    for (first, rows) in [(0, 25), (25, 10)] {
        let path = complete.join(format!("seg-{first:020}.arrow"));
        fs::write(path, old_bytes(first, rows, true)).unwrap();
    }
    let mut part = old_bytes(35, 20, false);
    part.truncate(part.len() - 3);
    fs::write(open.join("seg-00000000000000000035.arrow.part"), part).unwrap();
    fs::write(open.join("seg-00000000000000000025.torn"), old_bytes(25, 10, false)).unwrap();
}

#[test]
fn folders_of_earlier_versions_are_read_as_they_are() {
    for is_first in [false, true] {
        let folder = folder();
        let data = folder.path();
        old_folder(data, is_first);
        let before = files(data);
        let printed = verify(data, 0);
        let sums = printed.sums();
        let figures = ["vectors", "unchecked_vectors", "segments", "records", "kept_files"];
        assert_eq!(figures.map(|f| sums[f].as_u64().unwrap()), [45, 45, 3, 5, 1], "{printed:?}");
        assert!(sums["torn_bytes_cut"].as_u64().unwrap() > 0, "{printed:?}");
        assert!(printed.text().contains("no checksums"), "{printed:?}");
        let listed = log("ls --json", data);
        assert_eq!((listed.code, &listed.sums()["vectors"]), (Some(0), &json!(45)), "{listed:?}");
        let csv = log("cat --format csv --from 7", data);
        check_csv(&csv.text(), NONE, 7..35);
        assert!(csv.stderr.contains("left open by an earlier version"), "{csv:?}");
        check_stream(&log("cat --from 7 --to 30", data).stdout, NONE, 7..30);
        let dry = log("repair --dry-run --json", data);
        assert_eq!((dry.code, &dry.sums()["migrated"]), (Some(0), &json!(is_first)), "{dry:?}");
        assert!(before == files(data), "nothing changes");
        // Then it is one of this version.
        let repaired = log("repair --json", data);
        assert_eq!(repaired.code, Some(0), "{repaired:?}");
        for figure in ["files", "vectors", "torn_bytes_cut", "migrated"] {
            assert_eq!(dry.sums()[figure], repaired.sums()[figure], "{figure}");
        }
        let sums = verify(data, 0).sums();
        assert_eq!((&sums["vectors"], &sums["unchecked_vectors"]), (&json!(45), &json!(35)));
        check_csv(&log("cat --format csv", data).text(), NONE, 0..45);
    }
}

/// Without checksums, only what bounds and sequences show is found.
#[test]
fn damage_in_an_old_segment_is_found_where_it_shows() {
    let folder = folder();
    old_folder(folder.path(), false);
    // The last sequence that there is has none behind it.
    let last = folder.path().join(format!("lane=0/seg-{}.arrow", u64::MAX));
    fs::write(&last, old_bytes(u64::MAX - 1, 1, true)).unwrap();
    assert_eq!(log("verify --json", folder.path()).code, Some(1));
    assert_eq!(log("ls", folder.path()).code, Some(1));
    fs::remove_file(last).unwrap();
    let path = folder.path().join("lane=0/seg-00000000000000000025.arrow");
    let whole = fs::read(&path).unwrap();
    let sequence = whole.windows(8).position(|bytes| bytes == 27_u64.to_le_bytes()).unwrap();
    for (at, said) in [(sequence, "sequence column"), (whole.len() - 1, ""), (0, "")] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        let printed = log("verify --json", folder.path());
        if at > 0 {
            assert_eq!(printed.code, Some(1), "byte {at}: {printed:?}");
            assert!(printed.text().contains(said), "{printed:?}");
        }
    }
}
