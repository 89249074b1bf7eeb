//! Good images give their rows, bad ones say what to do, and none panics. tests/get sends them to a
//! service.

use std::sync::Arc;

use arrow_array::types::{Float32Type, Int32Type};
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, Float32Array, Float64Array,
    Int32Array, ListArray, NullArray, RecordBatch, RunArray, StringArray, StringViewArray,
    StructArray, UInt64Array, UnionArray,
};
use arrow_ipc::Type;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field, UnionFields};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

// Only builds with `get` unpack bodies.
#[cfg(feature = "objects")]
mod arrow;
mod ids;
mod layout;
#[cfg(feature = "objects")]
mod walk;

/// A `.npy` image as numpy writes it: the header padded with spaces to 64 bytes, ending in a
/// newline.
fn npy_image(version: u8, descr: &str, fortran: &str, shape: &str, components: &[f32]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
    let length_bytes = if version == 1 { 2 } else { 4 };
    let padding = 64 - (8 + length_bytes + header.len() + 1) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    bytes.extend(&(header.len() as u32).to_le_bytes()[..length_bytes]);
    bytes.extend(header.bytes());
    bytes.extend(wire(components));
    bytes
}

fn npy(descr: &str, shape: &str, components: &[f32]) -> Vec<u8> {
    npy_image(1, descr, "False", shape, components)
}

fn fvecs(rows: &[&[f32]]) -> Vec<u8> {
    rows.iter()
        .flat_map(|row| [(row.len() as u32).to_le_bytes().to_vec(), wire(row)].concat())
        .collect()
}

fn wire(components: &[f32]) -> Vec<u8> {
    components.iter().flat_map(|component| component.to_le_bytes()).collect()
}

fn lists(components: Vec<f32>, dim: i32) -> ArrayRef {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    Arc::new(FixedSizeListArray::new(item, dim, Arc::new(Float32Array::from(components)), None))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

fn file(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// All rows as the wire carries them, appended three at a time.
fn rows(bytes: Vec<u8>, name: &str, column: Option<&str>) -> Result<(u32, Vec<u8>), String> {
    read(&bytes, name, &ImageOptions { column, ..ImageOptions::default() })
}

/// The same with a conversion.
fn converted(bytes: Vec<u8>) -> Result<(u32, Vec<u8>), String> {
    read(&bytes, "a", &ImageOptions { convert: true, ..ImageOptions::default() })
}

fn read(bytes: &[u8], name: &str, options: &ImageOptions<'_>) -> Result<(u32, Vec<u8>), String> {
    let image = VectorImage::parse(bytes, name, options)
        .and_then(|image| image.check_limits(64).map(|()| image))
        .map_err(|error| error.to_string())?;
    let (mut cursor, mut out) = (image.cursor(), Vec::new());
    while cursor.left() > 0 {
        cursor.append_rows(cursor.left().min(3), &mut out);
    }
    assert_eq!(out.len() as u64, image.rows() * u64::from(image.dim()) * 4);
    Ok((image.dim(), out))
}

/// Two rows of columns of every layout that a batch can have, with a column of vectors among
/// them.
fn crowd(name: &str, components: Vec<f32>, dim: i32) -> RecordBatch {
    let strings = ["a", "a string that is longer than what a view holds itself"];
    let ints = [Some(vec![Some(1), None]), None];
    let inner: ArrayRef = Arc::new(StringArray::from(strings.to_vec()));
    let words: DictionaryArray<Int32Type> = ["x", "y"].into_iter().collect();
    let structs =
        StructArray::from(vec![(Arc::new(Field::new("inner", DataType::Utf8, false)), inner)]);
    let flag: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let fields = UnionFields::try_new([0], [Field::new("flag", DataType::Boolean, true)]).unwrap();
    let union = UnionArray::try_new(fields, vec![0, 0].into(), Some(vec![0, 1].into()), vec![flag])
        .unwrap();
    batch(vec![
        ("id", Arc::new(UInt64Array::from(vec![1, 2])) as ArrayRef),
        ("text", Arc::new(StringArray::from(vec![Some("b"), None]))),
        ("view", Arc::new(StringViewArray::from(strings.to_vec()))),
        ("ints", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(ints))),
        ("nothing", Arc::new(NullArray::new(2))),
        ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
        ("words", Arc::new(words)),
        ("structs", Arc::new(structs)),
        ("union", Arc::new(union)),
        (name, lists(components, dim)),
        ("after", Arc::new(StringViewArray::from(strings.to_vec()))),
    ])
}

#[test]
fn good_images_give_their_rows() {
    let components: Vec<f32> = (0..8).map(|component| component as f32).collect();
    let all = Ok((2, wire(&components)));
    assert_eq!(rows(npy("'<f4'", "(4, 2)", &components), "a", None), all);
    let pairs: Vec<&[f32]> = components.chunks(2).collect();
    assert_eq!(rows(fvecs(&pairs), "a.fvecs", None), all);
    let batches = [
        crowd("vector", components[..4].to_vec(), 2),
        crowd("vector", components[4..].to_vec(), 2),
    ];
    assert_eq!(rows(file(&batches), "a", None), all);
    assert_eq!(rows(stream(&batches), "a", None), all);
    // After a batch without rows.
    let batches = [batches[0].slice(0, 0), batches[0].clone(), batches[1].clone()];
    assert_eq!(rows(file(&batches), "a", Some("vector")), all);
    // A stream may end without an end mark, and of a sliced array only the slice is written.
    let cut = stream(&batches);
    assert_eq!(rows(cut[..cut.len() - 8].to_vec(), "a", None), all);
    assert_eq!(rows(file(&[batches[2].slice(1, 1)]), "a", None), Ok((2, wire(&components[6..]))));
    // No rows, but a dimension.
    assert_eq!(rows(npy("'<f4'", "(0, 2)", &[]), "a", None), Ok((2, Vec::new())));
    assert_eq!(rows(file(&[batches[0].clone()]), "a", None), Ok((2, Vec::new())));
}

#[test]
fn nothing_is_guessed_after_an_unknown_type() {
    let image = stream(&[batch(vec![
        ("id", Arc::new(UInt64Array::from(vec![1, 2])) as ArrayRef),
        ("vector", lists(vec![1.0, 2.0], 1)),
    ])]);
    // One of these bytes is the type of the first column.
    let [known, unknown] = [Type::Int.0, Type::ENUM_MAX + 1];
    let refused =
        image.iter().enumerate().filter(|(_, byte)| **byte == known).filter_map(|(at, _)| {
            let mut image = image.clone();
            image[at] = unknown;
            rows(image, "a", None).err()
        });
    let said: Vec<String> = refused.collect();
    assert!(
        said.iter().any(|said| said.contains("vector (after a column of an unknown type")),
        "{said:?}"
    );
}

#[test]
fn a_run_end_encoded_column_before_the_vectors_is_skipped() {
    let runs =
        RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2]), &StringArray::from(vec!["z"]))
            .unwrap();
    let image =
        batch(vec![("runs", Arc::new(runs) as ArrayRef), ("vector", lists(vec![1.0, 2.0], 1))]);
    assert_eq!(rows(stream(&[image]), "a", None), Ok((1, wire(&[1.0, 2.0]))));
}

#[test]
fn the_column_is_the_named_one_or_vector_or_the_only_one() {
    let one = || lists(vec![1.0, 2.0], 1);
    let two = || lists(vec![3.0, 4.0], 1);
    let (ones, twos) = (Ok((1, wire(&[1.0, 2.0]))), Ok((1, wire(&[3.0, 4.0]))));
    assert_eq!(rows(file(&[crowd("embedding", vec![1.0, 2.0], 1)]), "a", None), ones);
    let both = file(&[batch(vec![("other", one()), ("vector", two())])]);
    assert_eq!(rows(both.clone(), "a", None), twos);
    assert_eq!(rows(both.clone(), "a", Some("other")), ones);
    let error = rows(both, "a", Some("text")).unwrap_err();
    assert!(error.contains("--column is text") && error.contains("other, vector"), "{error}");
    let error = rows(file(&[batch(vec![("one", one()), ("two", two())])]), "a", None).unwrap_err();
    assert!(error.contains("choose with --column: one, two"), "{error}");
}

#[test]
fn other_types_say_what_to_do() {
    let wide: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
    let item = Arc::new(Field::new("item", DataType::Float64, true));
    let doubles = file(&[batch(vec![(
        "v",
        Arc::new(FixedSizeListArray::new(item, 1, wide, None)) as ArrayRef,
    )])]);
    let numbers = [Some(vec![Some(1), Some(2)])];
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(numbers));
    let variable = stream(&[batch(vec![("v", list)])]);
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let holes: ArrayRef = Arc::new(Float32Array::from(vec![Some(1.0), None]));
    let holes = FixedSizeListArray::new(item, 2, holes, None);
    let missing = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        [Some(vec![Some(1.0)]), None],
        1,
    );
    let whole = file(&[crowd("vector", vec![1.0, 2.0], 1)]);
    let table = [
        (doubles, "column v is a fixed-size list of f64, only f32 is sent"),
        (variable, "no column is a fixed-size list of f32, but v (List of Int); cast one"),
        (file(&[batch(vec![("v", Arc::new(holes) as ArrayRef)])]), "v holds a null in row 0"),
        (stream(&[batch(vec![("v", Arc::new(missing) as ArrayRef)])]), "v holds a null in row 1"),
        (file(&[batch(vec![("v", lists(vec![0.0; 65_536], 65_536))])]), "dim is 65536"),
        (whole[..whole.len() - 1].to_vec(), "no footer at its end"),
        (b"ARROW1".to_vec(), "no footer at its end"),
        (vec![0xff; 4], "may be cut off"),
        (vec![0xff; 64], "its length is -1"),
        (npy("'<f8'", "(1, 1)", &[1.0, 2.0]), "or let --convert do it"),
        (npy("'>f4'", "(1, 2)", &[1.0, 2.0]), "its type is '>f4'"),
        (npy("'<f4'", "(1, 1)", &[1.0, 2.0]), "4 bytes behind the 4 that the shape says"),
        (npy("'<f4'", "(2, 2)", &[1.0, 2.0]), "cut off"),
        (npy("'<f4'", "(1, 0)", &[]), "dim is 0"),
        (fvecs(&[&[1.0]]), "nor named .fvecs"),
        (Vec::new(), "holds no vector"),
        (b"PAR1".to_vec(), "it is Parquet; write its column"),
        (b"\x89PNG".to_vec(), "neither .npy nor Arrow IPC"),
    ];
    for (bytes, expected) in table {
        let error = rows(bytes, "a.bin", None).unwrap_err();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    }
    for (bytes, expected) in [
        (fvecs(&[&[1.0, 2.0]])[..9].to_vec(), "cut off"),
        (fvecs(&[&[1.0], &[], &[]]), "row 1 has 0"),
        (Vec::new(), "holds no vector"),
        (vec![0; 8], "dim is 0"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00".to_vec(), "packed with gzip; unpack it first"),
    ] {
        let error = rows(bytes, "a.fvecs", None).unwrap_err();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    }
}

#[test]
fn requests_that_the_wire_cannot_carry_are_refused() {
    let limits = |bytes: &[u8]| {
        let image = VectorImage::parse(bytes, "a", &ImageOptions::default());
        image.unwrap().check_limits(65_535)
    };
    assert!(limits(&npy("'<f4'", "(1, 2)", &[1.0, 2.0])).is_ok());
    let error = limits(&npy("'<f4'", "(1, 20000)", &[0.0; 20_000])).unwrap_err().to_string();
    assert!(error.contains("lower max-vectors"), "{error}");
}

#[test]
fn good_files_give_rows_in_wire_order() {
    let components = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    for version in [1, 2, 3] {
        let rows =
            VectorRows::from_npy(&npy_image(version, "'<f4'", "False", "(2, 3)", &components), 3)
                .unwrap();
        assert_eq!((rows.count(), rows.dim()), (2, 3));
        assert_eq!(rows.components(1).collect::<Vec<_>>(), [4.0, 5.0, 6.0]);
    }
    let rows = VectorRows::from_fvecs(&fvecs(&[&components[..3], &components[3..]]), 3).unwrap();
    assert_eq!(rows.components(0).chain(rows.components(1)).collect::<Vec<_>>(), components);

    // Numpy wrote long axes so under Python 2.
    let rows = VectorRows::from_npy(&npy("'<f4'", "(2L, 3L)", &components), 3).unwrap();
    assert_eq!((rows.count(), rows.dim()), (2, 3));

    // Appending continues with the first row after the last one, as often as needed.
    let mut out = Vec::new();
    rows.append(1, 4, &mut out);
    let expected: Vec<u8> = [3, 0, 3, 0]
        .iter()
        .flat_map(|at| &components[*at..at + 3])
        .flat_map(|c| c.to_le_bytes())
        .collect();
    assert_eq!(out, expected);
}

/// A `.npy` image with components of another type.
fn npy_of(descr: &str, shape: &str, components: &[u8]) -> Vec<u8> {
    [npy(descr, shape, &[]), components.to_vec()].concat()
}

#[test]
fn other_types_are_converted_on_request_only() {
    let halves: Vec<u8> = [1.0, -2.0].map(|n| half::f16::from_f32(n).to_le_bytes()).concat();
    let doubles: Vec<u8> = [1.0_f64, -2.0].map(f64::to_le_bytes).concat();
    for (descr, components) in [
        ("'<f8'", doubles),
        ("'<f2'", halves),
        ("'|i1'", vec![1, 0xfe]),
        ("\"|i1\"", vec![1, 0xfe]),
    ] {
        let image = npy_of(descr, "(1, 2)", &components);
        assert_eq!(converted(image.clone()), Ok((2, wire(&[1.0, -2.0]))), "{descr}");
        let error = rows(image, "a", None).unwrap_err();
        assert!(error.contains(&format!("its type is {descr}")) && error.contains("--convert"));
    }
    assert_eq!(converted(npy_of("'|u1'", "(2, 1)", &[1, 254])), Ok((1, wire(&[1.0, 254.0]))));
    // f32 stays as it is, and what can't be converted is refused.
    assert_eq!(converted(npy("'<f4'", "(1, 1)", &[0.1])), Ok((1, wire(&[0.1]))));
    let error = converted(npy_of("'<i4'", "(1, 1)", &[1, 0, 0, 0])).unwrap_err();
    assert!(error.contains("its type is '<i4'") && !error.contains("--convert"), "{error}");
    let wide: Vec<u8> = [1.0_f64, 2.0, 3.0, 1e300].map(f64::to_le_bytes).concat();
    let wide = npy_of("'<f8'", "(2, 2)", &wide);
    assert_eq!(converted(wide.clone()), Ok((2, wire(&[1.0, 2.0, 3.0, f32::INFINITY]))));
    let options = ImageOptions { convert: true, ..ImageOptions::default() };
    let error = VectorImage::parse(&wide, "a", &options).unwrap().check_range().unwrap_err();
    let error = error.to_string();
    assert!(error.contains("row 1 holds a component beyond the range of f32"), "{error}");
}

#[test]
fn rows_that_are_not_finite_are_skipped_and_numbered() {
    let mut components: Vec<f32> = (0..40).map(|component| component as f32).collect();
    for (at, bad) in [(0, f32::NAN), (3, f32::INFINITY), (9, f32::NEG_INFINITY), (39, f32::NAN)] {
        components[at] = bad;
    }
    let pairs: Vec<&[f32]> = components.chunks(2).collect();
    let batches = [
        batch(vec![("v", lists(components[..10].to_vec(), 2))]),
        batch(vec![("v", lists(components[10..].to_vec(), 2))]),
    ];
    let images = [
        (npy("'<f4'", "(20, 2)", &components), "a"),
        (fvecs(&pairs), "a.fvecs"),
        (stream(&[batches[0].clone(), batches[0].slice(0, 0), batches[1].clone()]), "a"),
    ];
    for (bytes, name) in images {
        let image = VectorImage::parse(&bytes, name, &ImageOptions::default()).unwrap();
        let (mut cursor, mut refused) = (image.cursor(), RefusedRows::default());
        let (mut runs, mut out) = (Vec::new(), Vec::new());
        loop {
            let run = cursor.next_run(6, &mut refused);
            if run == 0 {
                break;
            }
            runs.push((cursor.number(), run));
            cursor.append_rows(run, &mut out);
        }
        assert_eq!(runs, [(2, 2), (5, 6), (11, 6), (17, 2)], "{name}");
        assert_eq!(refused.to_string(), "rows 0, 1, 4, 19");
        let expected: Vec<f32> = [&components[4..8], &components[10..38]].concat();
        assert_eq!((out, cursor.left()), (wire(&expected), 0), "{name}");
    }
}

#[test]
fn bad_files_say_what_to_do() {
    let two = [1.0, 2.0];
    let table = [
        (npy_image(1, "'<f4'", "False", "(1, 2)", &two), 3, "--dim 2"),
        (npy_image(1, "'>f4'", "False", "(1, 2)", &two), 2, "astype('<f4')"),
        (npy_image(1, "'<f8'", "False", "(1, 1)", &two), 1, "'<f8'"),
        (npy_image(1, "[('a', '<f4')]", "False", "(1, 2)", &two), 2, "astype"),
        (npy_image(1, "'<f4'", "True", "(1, 2)", &two), 2, "ascontiguousarray"),
        (npy_image(1, "'<f4'", "False", "(2,)", &two), 2, "reshape(-1, dim)"),
        (npy_image(1, "'<f4'", "False", "(1, 1, 2)", &two), 2, "3 axes"),
        (npy_image(1, "'<f4'", "False", "(2, 2)", &two), 2, "cut off"),
        (npy_image(1, "'<f4'", "False", "(18446744073709551615, 2)", &two), 2, "cut off"),
        (npy_image(1, "'<f4'", "False", "(0, 2)", &[]), 2, "holds no vector"),
        (npy_image(4, "'<f4'", "False", "(1, 2)", &two), 2, "version 4"),
        (npy_image(1, "'<f4'", "False", "(1, 2)", &two)[..30].to_vec(), 2, "cut off"),
        (b"PK\x03\x04 an npz file".to_vec(), 2, "neither"),
        (npy_image(1, "'<f4'", "False", "(1, 1)", &two), 1, "more than its shape (1, 1) says"),
        ([npy("'<f4'", "(1, 2)", &two), npy("'<f4'", "(1, 2)", &two)].concat(), 2, "another array"),
    ];
    for (bytes, dim, expected) in table {
        let message = VectorRows::from_npy(&bytes, dim).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    }
    let table = [
        (fvecs(&[&two]), 3, "--dim 2"),
        (fvecs(&[&two])[..9].to_vec(), 2, "cut off"),
        (fvecs(&[&two[..1], &two[..0], &two[..0]]), 1, "row 1 has 0"),
        (Vec::new(), 2, "no vector"),
        (vec![0xff; 64], 2, "cut off"),
    ];
    for (bytes, dim, expected) in table {
        let message = VectorRows::from_fvecs(&bytes, dim).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    }
}

proptest! {
    /// Damaged files are errors: any byte of a good one replaced, any end cut off.
    #[test]
    fn no_file_panics(at in 0usize..150, byte: u8, cut in 0usize..150, noise in vec(any::<u8>(), 0..60)) {
        let mut bytes = npy_image(1, "'<f4'", "False", "(1, 2)", &[1.0, 2.0]);
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % length);
        let _ = VectorRows::from_npy(&bytes, 2);
        let _ = VectorRows::from_npy(&[b"\x93NUMPY\x01\x00", &noise[..]].concat(), 2);
        let _ = VectorRows::from_fvecs(&noise, 2);
    }

    #[test]
    fn draws_stay_in_their_range(seed: u64, least in 1u32..70, span in 0u32..70) {
        let mut draw = Draw::new(seed);
        let drawn: Vec<u32> = (0..2_000).map(|_| draw.between(least, least + span)).collect();
        prop_assert!(drawn.iter().all(|n| (least..=least + span).contains(n)));
        prop_assert!(drawn.contains(&least) && drawn.contains(&(least + span)));
    }

    /// Damaged images are errors or other rows: bytes of a good one replaced, any end cut off.
    #[test]
    fn no_image_panics(kind in 0usize..4, edits in prop::collection::vec((any::<u32>(), any::<u8>()), 0..4), cut: u32) {
        let batches = [crowd("vector", vec![1.0, 2.0, 3.0, 4.0], 2)];
        let mut bytes = match kind {
            0 => file(&batches),
            1 => stream(&batches),
            2 => npy("'<f4'", "(1, 2)", &[1.0, 2.0]),
            _ => fvecs(&[&[1.0, 2.0], &[3.0, 4.0]]),
        };
        let length = bytes.len();
        for (at, byte) in edits {
            bytes[at as usize % length] = byte;
        }
        // Half of them aren't cut.
        bytes.truncate(length - (cut as usize % (2 * length)).saturating_sub(length));
        drop(rows(bytes, "a.fvecs", None));
    }

    /// A file that lost its end is noticed, wherever it was cut.
    #[test]
    fn cuts_are_noticed(cut in 1usize..1000) {
        let bytes = file(&[crowd("vector", vec![1.0, 2.0, 3.0, 4.0], 2)]);
        prop_assert!(rows(bytes[..bytes.len() - cut].to_vec(), "a", None).is_err());
    }
}
