//! Ids of rows: from a column of any layout, as numbers, and what can't be ids.

use arrow_array::types::UInt64Type;
use arrow_array::{Int64Array, UInt8Array, UInt16Array, UInt32Array};

use super::*;

/// The ids and first components of the finite rows, in runs of three at most.
fn ids(
    bytes: &[u8],
    name: &str,
    ids: RowIds<'_>,
    convert: bool,
) -> Result<Vec<(u64, f32)>, String> {
    let options = ImageOptions { ids, convert, ..ImageOptions::default() };
    let image = VectorImage::parse(bytes, name, &options).map_err(|error| error.to_string())?;
    assert_eq!(image.has_ids(), ids != RowIds::None);
    let (mut cursor, mut refused, mut found) = (image.cursor(), RefusedRows::default(), Vec::new());
    loop {
        let run = cursor.next_run(3, &mut refused);
        if run == 0 {
            return Ok(found);
        }
        let (mut ids, mut rows) = (Vec::new(), Vec::new());
        cursor.append_ids(run, &mut ids);
        cursor.append_rows(run, &mut rows);
        let ids = ids.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let rows = rows.chunks_exact(image.dim() as usize * 4);
        let firsts = rows.map(|row| f32::from_le_bytes([row[0], row[1], row[2], row[3]]));
        assert_eq!((ids.len() as u64, firsts.len() as u64), (run, run));
        found.extend(ids.zip(firsts));
    }
}

const BY_NAME: RowIds<'_> = RowIds::Column(Some("name"));
const USUAL: RowIds<'_> = RowIds::Column(None);

/// Four rows, the second of which isn't finite.
fn four_rows() -> ArrayRef {
    lists(vec![0.0, 0.0, 1.0, f32::NAN, 2.0, 0.0, 3.0, 0.0], 2)
}

fn with(name: &str, ids: ArrayRef) -> RecordBatch {
    batch(vec![(name, ids), ("v", four_rows())])
}

fn u64s(ids: [u64; 4]) -> ArrayRef {
    Arc::new(UInt64Array::from(ids.to_vec()))
}

#[test]
fn each_row_keeps_its_id() {
    let large = u64::MAX;
    let first = with("id", u64s([large, 10, 0, 7]));
    let later = with("id", u64s([7, 8, 9, 1 << 40]));
    let expected = vec![(large, 0.0), (0, 2.0), (7, 3.0), (7, 0.0), (9, 2.0), (1 << 40, 3.0)];
    let batches = [first.clone(), first.slice(1, 0), later];
    for image in [stream(&batches), file(&batches)] {
        assert_eq!(ids(&image, "a", USUAL, false).as_ref(), Ok(&expected));
        assert_eq!(ids(&image, "a", RowIds::Column(Some("id")), true).as_ref(), Ok(&expected));
        let numbered = [(5, 0.0), (7, 2.0), (8, 3.0), (9, 0.0), (11, 2.0), (12, 3.0)];
        assert_eq!(ids(&image, "a", RowIds::NumbersFrom(5), false), Ok(numbered.to_vec()));
    }
    // A slice of a batch, and streams whose columns are at other places.
    let sliced = stream(&[first.slice(2, 2)]);
    assert_eq!(ids(&sliced, "a", USUAL, false), Ok(vec![(0, 2.0), (7, 3.0)]));
    let moved = stream(&[batch(vec![("v", four_rows()), ("id", u64s([1, 2, 3, 4]))])]);
    let both = [&sliced[..], &moved].concat();
    let expected = vec![(0, 2.0), (7, 3.0), (1, 0.0), (3, 2.0), (4, 3.0)];
    assert_eq!(ids(&both, "a", USUAL, false), Ok(expected));
    // Between columns of every layout.
    let crowded = stream(&[crowd("v", vec![5.0, 6.0, 7.0, 8.0], 2)]);
    assert_eq!(ids(&crowded, "a", USUAL, false), Ok(vec![(1, 5.0), (2, 7.0)]));
}

#[test]
fn other_integers_are_ids_on_request_only() {
    let arrays: [(&str, ArrayRef); 5] = [
        ("uint8", Arc::new(UInt8Array::from(vec![0, 1, 255, 3]))),
        ("uint16", Arc::new(UInt16Array::from(vec![0, 1, 255, 3]))),
        ("uint32", Arc::new(UInt32Array::from(vec![0, 1, 255, 3]))),
        ("int32", Arc::new(Int32Array::from(vec![0, 1, 255, 3]))),
        ("int64", Arc::new(Int64Array::from(vec![0, 1, 255, 3]))),
    ];
    for (kind, array) in arrays {
        let image = stream(&[with("name", array)]);
        let error = ids(&image, "a", BY_NAME, false).unwrap_err();
        let expected = format!("column name is {kind}, and ids are uint64; cast it, or let --conv");
        assert!(error.contains(&expected), "{error}");
        let expected = vec![(0, 0.0), (255, 2.0), (3, 3.0)];
        assert_eq!(ids(&image, "a", BY_NAME, true), Ok(expected), "{kind}");
    }
    let signed = |numbers: Vec<i64>| with("name", Arc::new(Int64Array::from(numbers)));
    let image = stream(&[signed(vec![0, 1, i64::MAX, 3]), signed(vec![0, 1, 2, i64::MIN])]);
    let error = ids(&image, "a", BY_NAME, true).unwrap_err();
    assert!(error.contains("row 7 has the id -9223372036854775808, and no id"), "{error}");
    let small = with("name", Arc::new(arrow_array::Int8Array::from(vec![0, -1, 2, 3])));
    let error = ids(&stream(&[small]), "a", BY_NAME, true).unwrap_err();
    assert!(error.contains("column name: row 1 has the id -1"), "{error}");
}

#[test]
fn what_cannot_be_ids_says_what_to_do() {
    let refused = |batch: RecordBatch, from, expected: &str| {
        for convert in [false, true] {
            let image = stream(std::slice::from_ref(&batch));
            let error = ids(&image, "a", from, convert).unwrap_err();
            assert!(error.contains(expected), "{error:?} should contain {expected:?}");
        }
    };
    let good = || u64s([1, 2, 3, 4]);
    let missing = "no column is named id: name the column of the ids with --id-column, or say \
                   --number-rows-from 0 to take the numbers of the rows; columns: name (Int), v (";
    refused(with("name", good()), USUAL, missing);
    refused(with("id", good()), BY_NAME, "no column is named name: ");
    refused(with("id", good()), RowIds::Column(Some("v")), "column v can't be ids, which are uint");
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
    refused(with("id", text), USUAL, "id (Utf8)");
    let words: DictionaryArray<UInt64Type> = ["x", "y", "x", "y"].into_iter().collect();
    refused(with("id", Arc::new(words)), USUAL, "column id can't be ids");
    let holes = UInt64Array::from(vec![Some(1), Some(2), None, Some(4)]);
    refused(with("id", Arc::new(holes)), USUAL, "column id holds a null in row 2");
    let twice = batch(vec![("id", good()), ("id", good()), ("v", four_rows())]);
    refused(twice.clone(), USUAL, "2 columns are named id; rename all but one");
    // What isn't asked for isn't looked at.
    assert!(ids(&stream(&[twice]), "a", RowIds::NumbersFrom(0), false).is_ok());
}

#[test]
fn rows_without_ids_are_numbered_on_request_only() {
    let components = [0.0, 0.0, 1.0, f32::INFINITY, 2.0, 0.0, 3.0, 0.0];
    let pairs: Vec<&[f32]> = components.chunks(2).collect();
    for (image, name, format) in [
        (npy("'<f4'", "(4, 2)", &components), "a.npy", "and .npy has none"),
        (fvecs(&pairs), "a.fvecs", "and .fvecs has none"),
    ] {
        for from in [USUAL, BY_NAME] {
            let error = ids(&image, name, from, false).unwrap_err();
            assert!(error.contains(format) && error.contains("--number-rows-from 0"), "{error}");
        }
        let from = u64::MAX - 4;
        let expected = vec![(from, 0.0), (from + 2, 2.0), (from + 3, 3.0)];
        assert_eq!(ids(&image, name, RowIds::NumbersFrom(from), false), Ok(expected));
        let error = ids(&image, name, RowIds::NumbersFrom(from + 1), false).unwrap_err();
        let expected = "--number-rows-from is 18446744073709551612: with 4 rows the numbers would";
        assert!(error.contains(expected), "{error}");
    }
}

/// Ids that are packed as the vectors are.
#[cfg(feature = "objects")]
#[test]
fn packed_ids_are_unpacked() {
    let components: Vec<f32> = (0..600).map(|row| row as f32).collect();
    let numbers: Vec<u64> = (0..600).map(|row| row * 3).collect();
    let batch = batch(vec![
        ("id", Arc::new(UInt64Array::from(numbers)) as ArrayRef),
        ("v", lists(components, 1)),
    ]);
    let expected: Vec<(u64, f32)> = (0..600u64).map(|row| (row * 3, row as f32)).collect();
    for codec in super::arrow::CODECS {
        let (stream, file) = super::arrow::packed(std::slice::from_ref(&batch), codec);
        for image in [stream, file] {
            assert_eq!(ids(&image, "a", USUAL, false).as_ref(), Ok(&expected), "{codec:?}");
        }
    }
}
