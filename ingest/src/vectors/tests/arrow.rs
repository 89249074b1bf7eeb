//! Arrow images beyond the plain ones: packed bodies, lists of one length, streams and files that
//! follow each other, and the choice of the column.

use arrow_array::types::Float64Type;
use arrow_array::{Array, Int8Array, LargeListArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;

use super::*;

pub(super) const CODECS: [CompressionType; 2] = [CompressionType::LZ4_FRAME, CompressionType::ZSTD];

pub(super) fn packed(batches: &[RecordBatch], codec: CompressionType) -> (Vec<u8>, Vec<u8>) {
    let options = IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
    let schema = batches[0].schema();
    let mut stream =
        StreamWriter::try_new_with_options(Vec::new(), &schema, options.clone()).unwrap();
    let mut file = FileWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    for batch in batches {
        stream.write(batch).unwrap();
        file.write(batch).unwrap();
    }
    (stream.into_inner().unwrap(), file.into_inner().unwrap())
}

/// Lists of these rows.
fn variable(rows: &[Option<Vec<Option<f32>>>]) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows.iter().cloned()))
}

fn row(components: &[f32]) -> Option<Vec<Option<f32>>> {
    Some(components.iter().copied().map(Some).collect())
}

#[test]
fn packed_bodies_are_read() {
    // Long enough to be packed, and with a second batch that is so short that it is left as it is.
    let components: Vec<f32> = (0..600).map(|component| (component % 7) as f32).collect();
    let label = |rows: usize| Arc::new(StringArray::from(vec!["a label"; rows])) as ArrayRef;
    let batches = [
        batch(vec![("label", label(299)), ("v", lists(components[..598].to_vec(), 2))]),
        batch(vec![("label", label(1)), ("v", lists(components[598..].to_vec(), 2))]),
    ];
    for codec in CODECS {
        let (stream, file) = packed(&batches, codec);
        assert!(stream.len() < 600 * 4, "{codec:?}: {} bytes", stream.len());
        for image in [stream, file] {
            assert_eq!(rows(image, "a", None), Ok((2, wire(&components))), "{codec:?}");
        }
    }
}

#[test]
fn damaged_packed_bodies_are_errors() {
    let zeros = batch(vec![("v", lists(vec![0.0; 1 << 20], 64))]);
    // A declared length that the packed bytes don't account for isn't believed.
    let error = rows(packed(&[zeros], CompressionType::ZSTD).0, "a", None).unwrap_err();
    assert!(error.contains("would become 4194304") && error.contains("ZSTD"), "{error}");
    let components: Vec<f32> = (0..512).map(|component| (component % 7) as f32).collect();
    for codec in CODECS {
        let (stream, _) = packed(&[batch(vec![("v", lists(components.clone(), 8))])], codec);
        let mut errors = 0;
        for at in stream.len() - 300..stream.len() - 8 {
            let mut image = stream.clone();
            image[at] ^= 0x55;
            errors += usize::from(rows(image, "a", None).is_err());
        }
        assert!(errors > 0, "{codec:?}");
    }
}

#[test]
fn lists_of_one_length_are_taken() {
    let components = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let all: Vec<_> = components.chunks(2).map(row).collect();
    let lists = variable(&all);
    let sliced = batch(vec![("v", Arc::clone(&lists))]).slice(1, 2);
    let expected = Ok((2, wire(&components)));
    let whole = batch(vec![("id", Arc::new(Int32Array::from(vec![1, 2, 3])) as _), ("v", lists)]);
    assert_eq!(rows(stream(std::slice::from_ref(&whole)), "a", None), expected);
    assert_eq!(rows(file(&[whole.slice(0, 0), whole.clone()]), "a", None), expected);
    assert_eq!(rows(packed(&[whole], CODECS[1]).0, "a", None), expected);
    assert_eq!(rows(stream(&[sliced]), "a", None), Ok((2, wire(&components[2..]))));
    let large = LargeListArray::from_iter_primitive::<Float32Type, _, _>(all);
    let large = batch(vec![("v", Arc::new(large) as ArrayRef)]);
    assert_eq!(
        rows(stream(&[large.clone(), large]), "a", None),
        Ok((2, wire(&components.repeat(2))))
    );
}

#[test]
fn lists_of_other_lengths_and_nulls_are_refused_with_their_row() {
    let first = batch(vec![("v", variable(&[row(&[1.0, 2.0]), row(&[3.0, 4.0])]))]);
    let holes = |rows: &[Option<Vec<Option<f32>>>]| batch(vec![("v", variable(rows))]);
    let table = [
        (holes(&[row(&[1.0, 2.0]), row(&[3.0])]), "row 3 has 1 components, the first row has 2"),
        (holes(&[row(&[])]), "row 2 has 0 components"),
        (holes(&[row(&[1.0, 2.0]), None]), "column v holds a null in row 3"),
        (holes(&[Some(vec![Some(1.0), None])]), "column v holds a null in row 2"),
    ];
    for (second, expected) in table {
        let error = rows(stream(&[first.clone(), second]), "a", None).unwrap_err();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    }
    // Without a row, nothing says the dimension.
    let error = rows(stream(&[first.slice(0, 0)]), "a", None).unwrap_err();
    assert!(error.contains("holds no vector"), "{error}");
}

#[test]
fn streams_that_follow_each_other_are_all_read() {
    let part = |components: &[f32]| batch(vec![("v", lists(components.to_vec(), 2))]);
    let (one, two) =
        (stream(&[part(&[1.0, 2.0])]), stream(&[part(&[3.0, 4.0]), part(&[5.0, 6.0])]));
    let all = Ok((2, wire(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])));
    assert_eq!(rows([&one[..], &two].concat(), "a", None), all);
    // Also without the first one's end mark, and with zeros behind the last one.
    assert_eq!(rows([&one[..one.len() - 8], &two].concat(), "a", None), all);
    assert_eq!(rows([&one[..], &two, &[0; 61]].concat(), "a", None), all);
    // The column's place is another one.
    let id: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let moved = stream(&[batch(vec![("id", id), ("v", lists(vec![3.0, 4.0], 2))])]);
    assert_eq!(rows([&one[..], &moved].concat(), "a", None), Ok((2, wire(&[1.0, 2.0, 3.0, 4.0]))));

    let end = one.len();
    let refused = |behind: &[u8], expected: &str| {
        let error = rows([&one[..], behind].concat(), "a", None).unwrap_err();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    };
    refused(b"a note", &format!("6 bytes from byte {end} on, behind the end of the stream"));
    refused(&npy("'<f4'", "(1, 2)", &[1.0, 2.0]), &format!("from byte {end} on"));
    let wider = stream(&[batch(vec![("v", lists(vec![1.0; 3], 3))])]);
    refused(&wider, &format!("the stream at byte {end} has vectors of 3 components of f32"));
    refused(&two[..two.len() - 20], "may be cut off");
}

#[test]
fn files_that_follow_each_other_are_refused() {
    let part = |components: &[f32]| batch(vec![("v", lists(components.to_vec(), 2))]);
    let one = file(&[part(&[1.0, 2.0])]);
    for second in [one.clone(), file(&[part(&[3.0, 4.0]), part(&[5.0, 6.0])])] {
        let error = rows([&one[..], &second].concat(), "a", None).unwrap_err();
        assert!(error.contains("several files") || error.contains("is damaged"), "{error}");
    }
    // A file without batches isn't taken for two.
    let mut writer = FileWriter::try_new(Vec::new(), &part(&[1.0, 2.0]).schema()).unwrap();
    writer.finish().unwrap();
    assert_eq!(rows(writer.into_inner().unwrap(), "a", None), Ok((2, Vec::new())));
}

/// Where the footer of a file begins.
fn footer_at(file: &[u8]) -> usize {
    let (before, tail) = file.split_last_chunk::<10>().unwrap();
    before.len() - u32::from_le_bytes(tail[..4].try_into().unwrap()) as usize
}

#[test]
fn the_footer_must_be_that_of_the_messages() {
    let part = |name, components: &[f32]| batch(vec![(name, lists(components.to_vec(), 2))]);
    let one = file(&[part("v", &[1.0, 2.0])]);
    let two = file(&[part("v", &[1.0, 2.0]), part("v", &[3.0, 4.0])]);
    let other = file(&[part("other", &[1.0, 2.0])]);
    let with_footer_of = |messages: &[u8], footer: &[u8]| {
        [&messages[..footer_at(messages)], &footer[footer_at(footer)..]].concat()
    };
    let all = Ok((2, wire(&[1.0, 2.0, 3.0, 4.0])));
    assert_eq!(rows(with_footer_of(&two, &two), "a", None), all);
    for (messages, footer, expected) in [
        (&one, &two, "it lists other batches"),
        (&two, &one, "it lists other batches"),
        (&one, &other, "its schema is another one"),
    ] {
        let error = rows(with_footer_of(messages, footer), "a", None).unwrap_err();
        let expected =
            format!("the footer at byte {} isn't this file's: {expected}", { footer_at(messages) });
        assert!(error.contains(&expected), "{error:?} should contain {expected:?}");
    }
    // Older writers left out the mark of the end, or padded before the footer.
    let at = footer_at(&two);
    assert_eq!(two[at - 8..at], [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert_eq!(rows([&two[..at - 8], &two[at..]].concat(), "a", None), all);
    assert_eq!(rows([&two[..at], &[0; 24], &two[at..]].concat(), "a", None), all);
    // Bytes that are neither.
    let between = |bytes: &[u8]| rows([&two[..at], bytes, &two[at..]].concat(), "a", None);
    let error = between(b"a note").unwrap_err();
    assert!(error.contains(&format!("6 bytes from byte {at} on are neither")), "{error}");
    let error = rows([&two[..at - 8], b"a note", &two[at..]].concat(), "a", None).unwrap_err();
    assert!(error.contains(&format!("the message at byte {}", at - 8)), "{error}");
}

/// Rows of two dimensions in one image, whichever kind of list comes first.
#[test]
fn streams_of_other_dimensions_are_refused() {
    let of_two = stream(&[batch(vec![("v", variable(&[row(&[1.0, 2.0]), row(&[3.0, 4.0])]))])]);
    let fixed = |dim: i32| stream(&[batch(vec![("v", lists(vec![7.0; 6], dim))])]);
    let expected = Ok((2, wire(&[1.0, 2.0, 3.0, 4.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0])));
    assert_eq!(rows([&of_two[..], &fixed(2)].concat(), "a", None), expected);
    let error = rows([&of_two[..], &fixed(3)].concat(), "a", None).unwrap_err();
    let at = of_two.len();
    let expected = format!("at byte {at} has vectors of 3 components of f32, the one before it of");
    assert!(error.contains(&expected), "{error}");
    let error = rows([&fixed(3)[..], &of_two].concat(), "a", None).unwrap_err();
    assert!(error.contains("row 2 has 2 components, the first row has 3"), "{error}");
}

#[test]
fn the_column_is_chosen_by_name_then_by_type() {
    let one = || lists(vec![1.0, 2.0], 2);
    let list = || variable(&[row(&[3.0, 4.0])]);
    let wide = || -> ArrayRef {
        let rows = [Some(vec![Some(5.0), Some(6.0)])];
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(rows, 2))
    };
    let text = || -> ArrayRef { Arc::new(StringArray::from(vec!["a"])) };
    let of = |columns: Vec<(&str, ArrayRef)>| stream(&[batch(columns)]);
    let is = |image, components: &[f32]| {
        assert_eq!(rows(image, "a", None), Ok((2, wire(components))));
    };
    is(of(vec![("other", one()), ("vector", list())]), &[3.0, 4.0]);
    is(of(vec![("list", list()), ("fixed", one())]), &[1.0, 2.0]);
    is(of(vec![("wide", wide()), ("list", list())]), &[3.0, 4.0]);
    // A column of another type may have the usual name.
    is(of(vec![("vector", text()), ("fixed", one())]), &[1.0, 2.0]);
    assert_eq!(converted(of(vec![("wide", wide())])), Ok((2, wire(&[5.0, 6.0]))));

    let refused = |image, column, expected: &str| {
        let error = rows(image, "a", column).unwrap_err();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    };
    let kind =
        "column wide is a fixed-size list of f64, only f32 is sent; cast it, or let --convert";
    refused(of(vec![("wide", wide())]), None, kind);
    refused(of(vec![("fixed", one()), ("wide", wide())]), Some("wide"), kind);
    refused(of(vec![("vector", wide()), ("fixed", one())]), None, "column vector is a fixed-size");
    refused(of(vec![("a", list()), ("b", list())]), None, "several columns are lists of f32");
    let twice = || of(vec![("v", one()), ("v", one()), ("w", one())]);
    refused(twice(), Some("v"), "2 columns are named v; rename");
    assert_eq!(rows(twice(), "a", Some("w")), Ok((2, wire(&[1.0, 2.0]))));
    refused(of(vec![("vector", one()), ("vector", list())]), None, "2 columns are named vector");
}

#[test]
fn components_of_arrow_are_converted_on_request() {
    let values = Arc::new(Int8Array::from(vec![1, -2, 3, -128]));
    let item = Arc::new(Field::new("item", values.data_type().clone(), false));
    let column: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, values, None));
    let small = batch(vec![("v", column)]);
    let doubles = [[0.5, 1.0], [2.0, 1e39]].map(|row| Some(row.map(Some)));
    let wide = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(doubles, 2);
    let wide = batch(vec![("v", Arc::new(wide) as ArrayRef)]);
    for (image, out_of_range) in [
        (stream(std::slice::from_ref(&small)), stream(&[wide.slice(0, 1), wide.slice(1, 1)])),
        (packed(&[small], CODECS[0]).1, packed(&[wide], CODECS[0]).1),
    ] {
        assert_eq!(converted(image), Ok((2, wire(&[1.0, -2.0, 3.0, -128.0]))));
        let options = ImageOptions { convert: true, ..ImageOptions::default() };
        let error = VectorImage::parse(&out_of_range, "a", &options).unwrap().check_range();
        let error = error.unwrap_err().to_string();
        assert!(error.contains("row 1 holds a component beyond"), "{error}");
    }
}
