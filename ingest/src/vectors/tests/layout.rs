//! What writers other than arrow-rs do differently, and batches that aren't of their schema.

use arrow_ipc::writer::IpcWriteOptions;
use arrow_ipc::{Footer, MetadataVersion, root_as_footer, root_as_message};

use super::*;

/// Two batches of a Categorical and an Array of polars 2.1:
/// `DataFrame({"word": ["a", "b", "a"], "vector": [[1, 2], [3, 4], [5, 6]]})
/// .write_ipc("polars.arrow", record_batch_size=2)`. The schema at its beginning is a flatbuffer
/// without the length and the mark before it.
const POLARS: &[u8] = include_bytes!("polars.arrow");

fn versions(batch: &RecordBatch, version: MetadataVersion) -> [Vec<u8>; 2] {
    let options = IpcWriteOptions::try_new(8, false, version).unwrap();
    let schema = batch.schema();
    let mut file = FileWriter::try_new_with_options(Vec::new(), &schema, options.clone()).unwrap();
    let mut stream = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    file.write(batch).unwrap();
    stream.write(batch).unwrap();
    [file.into_inner().unwrap(), stream.into_inner().unwrap()]
}

/// The messages of a stream, without its end mark.
fn messages(stream: &[u8]) -> Vec<&[u8]> {
    let (mut left, mut messages) = (stream, Vec::new());
    loop {
        let length = u32::from_le_bytes(left[4..8].try_into().unwrap()) as usize;
        if length == 0 {
            return messages;
        }
        let head = root_as_message(&left[8..8 + length]).unwrap();
        let (message, after) = left.split_at(8 + length + head.bodyLength() as usize);
        messages.push(message);
        left = after;
    }
}

/// The file with another version in its footer, as pyarrow writes it behind messages of version 4.
fn with_footer_of_v5(mut file: Vec<u8>) -> Vec<u8> {
    let tail = file.len() - 10;
    let bytes = u32::from_le_bytes(file[tail..tail + 4].try_into().unwrap()) as usize;
    let footer = root_as_footer(&file[tail - bytes..tail]).unwrap();
    let field = usize::from(footer._tab.vtable().get(Footer::VT_VERSION));
    let at = tail - bytes + footer._tab.loc() + field;
    file[at..at + 2].copy_from_slice(&MetadataVersion::V5.0.to_le_bytes());
    file
}

#[test]
fn files_of_polars_are_read() {
    let expected = Ok((2, wire(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])));
    assert_eq!(rows(POLARS.to_vec(), "a", None), expected);
    // Cut off anywhere, it is an error.
    for bytes in 0..POLARS.len() {
        assert!(rows(POLARS[..bytes].to_vec(), "a", None).is_err(), "{bytes}");
    }
    let twice = rows([POLARS, POLARS].concat(), "a", None).unwrap_err();
    assert!(twice.contains("Arrow: "), "{twice}");
}

/// Before version 5 of the metadata more columns have a buffer of validity, and an error in
/// counting them takes another column's rows.
#[test]
fn buffers_are_counted_by_the_version() {
    let runs = || {
        let (ends, values) = (Int32Array::from(vec![2]), Int32Array::from(vec![7]));
        Arc::new(RunArray::try_new(&ends, &values).unwrap()) as ArrayRef
    };
    let numbers = (0..4).map(|number| number as f32).collect::<Vec<_>>();
    let names = ["r0", "r1", "r2", "r3"];
    for count in 0..=names.len() {
        let mut columns: Vec<(&str, ArrayRef)> =
            names[..count].iter().map(|name| (*name, runs())).collect();
        columns.push(("x", lists(vec![9.0; 4], 2)));
        columns.push(("vector", lists(numbers.clone(), 2)));
        columns.push(("behind", runs()));
        for version in [MetadataVersion::V4, MetadataVersion::V5] {
            let [file, stream] = versions(&batch(columns.clone()), version);
            for image in [with_footer_of_v5(file.clone()), file, stream] {
                assert_eq!(rows(image, "a", None), Ok((2, wire(&numbers))), "{count} {version:?}");
            }
        }
    }
    for version in [MetadataVersion::V4, MetadataVersion::V5] {
        for image in versions(&crowd("vector", numbers.clone(), 2), version) {
            assert_eq!(rows(image, "a", None), Ok((2, wire(&numbers))), "{version:?}");
        }
    }
}

#[test]
fn a_batch_of_another_schema_is_refused() {
    let vector = |first: f32| lists(vec![first, 1.0, 2.0, 3.0], 2);
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let view: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b"]));
    let one = stream(&[batch(vec![("vector", vector(0.0)), ("i", ints.clone())])]);
    let schema = messages(&one)[0];
    for other in [
        vec![("vector", vector(0.0))],
        vec![("vector", vector(0.0)), ("i", text)],
        vec![("vector", vector(0.0)), ("i", view)],
        vec![("vector", vector(0.0)), ("i", ints.clone()), ("j", ints)],
        vec![("vector", vector(0.0)), ("x", vector(9.0))],
    ] {
        let image = [schema, messages(&stream(&[batch(other.clone())]))[1]].concat();
        let error = rows(image, "a.arrows", None).unwrap_err();
        assert!(error.contains("aren't those of the schema"), "{other:?}: {error}");
    }
}
