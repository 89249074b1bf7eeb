//! Arrow objects are sent message by message while they arrive: whatever the parts, and however
//! large the object is, but not a batch.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::sync::Arc;

use arrow_array::types::{Float32Type, Int32Type};
use arrow_array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, ListArray, RecordBatch};
use arrow_array::{FixedSizeListArray, StringArray, UInt64Array};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field};
use slipring_ingest::sink::read_segments;

use crate::large::{BESIDE_KIB_MAX, run_measured};
use crate::support::data;
use crate::support::service::Service;
use crate::support::vector;
use crate::tools::{Conduct, Server, arrow_file, arrow_stream, lists, run};

const ROWS: u32 = 2003;

fn components(rows: std::ops::Range<u32>) -> Vec<f32> {
    rows.flat_map(|row| vector(5, row)).collect()
}

/// Lists with lengths of their own, in batches of 300.
fn variable() -> Vec<RecordBatch> {
    let batch = |first: u32| {
        let rows = (first..(first + 300).min(ROWS))
            .map(|row| Some(vector(5, row).into_iter().map(Some).collect::<Vec<Option<f32>>>()));
        let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows));
        RecordBatch::try_from_iter([("v", column)]).unwrap()
    };
    let empty = batch(0).slice(0, 0);
    std::iter::once(empty).chain((0..ROWS).step_by(300).map(batch)).collect()
}

fn doubles() -> RecordBatch {
    let item = Arc::new(Field::new("item", DataType::Float64, false));
    let wide = components(0..ROWS).into_iter().map(f64::from);
    let values = Arc::new(Float64Array::from_iter_values(wide));
    let column: ArrayRef = Arc::new(FixedSizeListArray::new(item, 5, values, None));
    RecordBatch::try_from_iter([("v", column)]).unwrap()
}

fn written(batches: &[RecordBatch], is_file: bool, codec: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
    let schema = batches[0].schema();
    if is_file {
        let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        return writer.into_inner().unwrap();
    }
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// A column of words, whose dictionary is larger than all batches.
fn with_a_large_dictionary() -> RecordBatch {
    let words: Vec<String> = (0..200).map(|word| format!("{word:>1000}")).collect();
    let keys = Int32Array::from_iter_values((0..ROWS as i32).map(|row| row % 200));
    let values = Arc::new(StringArray::from(words));
    let words: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values));
    RecordBatch::try_from_iter([("words", words), ("v", lists(&components(0..ROWS), 5))]).unwrap()
}

#[test]
fn messages_that_cross_parts_arrive_whole_and_in_order() {
    let all = components(0..ROWS);
    let (one, two) = all.split_at(5 * 700);
    let streams = [arrow_stream(one, 5), arrow_stream(two, 5), vec![0; 5000]].concat();
    let plain: Vec<RecordBatch> = (0..ROWS)
        .step_by(7)
        .map(|first| {
            let rows = components(first..(first + 7).min(ROWS));
            RecordBatch::try_from_iter([("v", lists(&rows, 5))]).unwrap()
        })
        .collect();
    let file = written(&plain, true, None);
    // Without the mark of its end, which older writers left out.
    let footer_bytes = &file[file.len() - 10..file.len() - 6];
    let footer_at = file.len() - 10 - u32::from_le_bytes(footer_bytes.try_into().unwrap()) as usize;
    let mut unmarked = file.clone();
    assert_eq!(unmarked[footer_at - 8..footer_at], [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    unmarked.drain(footer_at - 8..footer_at);
    let server = Server::start([
        ("file", Conduct::Right, arrow_file(&all, 5)),
        ("stream", Conduct::Right, arrow_stream(&all, 5)),
        ("streams", Conduct::Right, streams),
        ("small", Conduct::Right, file),
        ("unmarked", Conduct::Right, unmarked),
        ("lists", Conduct::Right, written(&variable(), false, None)),
        ("zstd", Conduct::Right, written(&plain, true, Some(CompressionType::ZSTD))),
        ("lz4", Conduct::Right, written(&variable(), false, Some(CompressionType::LZ4_FRAME))),
        ("doubles", Conduct::Right, written(&[doubles()], true, None)),
        ("words", Conduct::Right, written(&[with_a_large_dictionary()], false, None)),
    ]);
    let paths = [
        "file", "stream", "streams", "small", "unmarked", "lists", "zstd", "lz4", "doubles",
        "words",
    ];
    for part_size in ["3008", "8MiB"] {
        for path in paths {
            let mut service = Service::start(5, "");
            let (to, url) = (service.target().to_string(), server.url(path));
            let words = [&*url, "--ingest", &to, "--json", "--part-size", part_size, "--convert"];
            let limits = ["--buffer-pool-size", "3", "--batch-max", "128KiB"];
            let ended = run(&[&words[..], &limits].concat()).assert_code(0);
            let line = ended.line(path);
            assert_eq!(line["vectors_answered"], ROWS, "{line}");
            assert!(line["part_buffers"]["high_water"].as_u64() <= Some(3), "{line}");
            service.stop();
            let expected: Vec<u32> = (0..ROWS).collect();
            assert_eq!(data::ids(&service.data(), 5), expected, "{path} in {part_size}");
        }
    }
}

#[test]
fn damage_is_known_when_it_arrives() {
    let all = components(0..ROWS);
    let (file, stream) = (arrow_file(&all, 5), arrow_stream(&all, 5));
    let moved: ArrayRef = Arc::new(UInt64Array::from(vec![1]));
    let no_vectors = RecordBatch::try_from_iter([("n", moved)]).unwrap();
    let server = Server::start([
        ("cut.arrow", Conduct::Right, file[..file.len() - 1].to_vec()),
        ("half.arrow", Conduct::Right, file[..file.len() / 2].to_vec()),
        ("half.arrows", Conduct::Right, stream[..stream.len() / 2].to_vec()),
        ("two.arrow", Conduct::Right, [file.clone(), file.clone()].concat()),
        ("note.arrows", Conduct::Right, [&stream[..], b"\0\0\0\0\0\0\0\0a note"].concat()),
        ("none.arrow", Conduct::Right, written(&[no_vectors], true, None)),
        ("start.arrow", Conduct::Right, b"ARROW1\0".to_vec()),
        ("empty.arrows", Conduct::Right, Vec::new()),
    ]);
    let mut service = Service::start(5, "");
    let to = service.target().to_string();
    for (path, said, is_sent) in [
        ("cut.arrow", "no footer at its end", true),
        ("half.arrow", "may be cut off", true),
        ("half.arrows", "may be cut off", true),
        ("two.arrow", "these are several files", true),
        ("note.arrows", "14 bytes from byte", true),
        ("none.arrow", "no column is a fixed-size list of f32, but n (Int)", false),
        ("start.arrow", "no footer at its end", false),
        ("empty.arrows", "doesn't begin with a schema", false),
    ] {
        for part_size in ["1KiB", "8MiB"] {
            let url = server.url(path);
            let words = [&*url, "--ingest", &to, "--json", "--part-size", part_size];
            let ended = run(&words).assert_code(1);
            assert!(ended.stderr.contains(said), "{said}: {ended:?}");
            let line = ended.line(path);
            assert_eq!(line["vectors_sent"].as_u64() > Some(0), is_sent, "{line}");
        }
    }
    service.stop();
}

/// ZSTD makes thousands of zeros of a byte, as no other vectors.
#[test]
fn zeros_are_unpacked_too() {
    let rows = 200_000;
    let batch = RecordBatch::try_from_iter([("v", lists(&vec![0.0; 5 * rows], 5))]).unwrap();
    let batches = [batch];
    let server = Server::start([
        ("zeros.arrow", Conduct::Right, written(&batches, true, Some(CompressionType::ZSTD))),
        ("zeros.arrows", Conduct::Right, written(&batches, false, Some(CompressionType::ZSTD))),
    ]);
    let mut service = Service::start(5, "");
    let to = service.target().to_string();
    for path in ["zeros.arrow", "zeros.arrows"] {
        let ended = run(&[&*server.url(path), "--ingest", &to, "--json"]).assert_code(0);
        assert_eq!(ended.line(path)["vectors_answered"], rows);
    }
    service.stop();
}

/// Whole bodies with all of their columns, and packed ones by what they become.
#[test]
fn a_batch_beyond_the_limit_is_named() {
    let zeros: Vec<f32> = (0..100_000).map(|component| (component % 3) as f32).collect();
    let batch = RecordBatch::try_from_iter([("v", lists(&zeros, 5))]).unwrap();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(200_000)]));
    let text = [("text", text), ("v", lists(&[1.0; 5], 5))];
    let text = RecordBatch::try_from_iter(text).unwrap();
    let packed = written(std::slice::from_ref(&batch), false, Some(CompressionType::LZ4_FRAME));
    assert!(packed.len() < 128 << 10, "{}", packed.len());
    let server = Server::start([
        ("large.arrow", Conduct::Right, written(std::slice::from_ref(&batch), true, None)),
        ("packed.arrows", Conduct::Right, packed),
        ("text.arrow", Conduct::Right, written(&[text], true, None)),
    ]);
    let mut service = Service::start(5, "");
    let to = service.target().to_string();
    for (path, bytes) in [
        ("large.arrow", "takes 400"),
        ("packed.arrows", "takes 400000 bytes"),
        ("text.arrow", "takes 200"),
    ] {
        for part_size in ["1KiB", "8MiB"] {
            let url = server.url(path);
            let words = [&*url, "--ingest", &to, "--json", "--part-size", part_size];
            let ended = run(&[&words[..], &["--batch-max", "128KiB"]].concat());
            let ended = ended.assert_code(1);
            for part in [bytes, "at most 131072 are held", "max_chunksize, or raise --batch-max"] {
                assert!(ended.stderr.contains(part), "{part}: {ended:?}");
            }
            assert_eq!(ended.line(path)["vectors_sent"], 0);
        }
    }
    service.stop();
    for words in ["--batch-max 0", "--batch-max x"] {
        let mut line = vec!["a", "--ingest", &to];
        line.extend(words.split(' '));
        let ended = run(&line).assert_code(2);
        assert!(ended.stderr.contains("--batch-max"), "{ended:?}");
    }
}

#[test]
fn rows_of_a_large_arrow_object_are_sent_from_few_buffers() {
    let (dim, rows, batch_rows) = (64_usize, 1_u64 << 20, 1 << 14);
    let folder = tempfile::tempdir().unwrap();
    let batch = RecordBatch::try_from_iter([("v", lists(&vec![1.0; dim * batch_rows], dim))]);
    let batch = batch.unwrap();
    for name in ["large.arrow", "large.arrows"] {
        let path = folder.path().join(name);
        let out = BufWriter::new(File::create(&path).unwrap());
        let mut out = if name == "large.arrow" {
            let mut writer = FileWriter::try_new(out, &batch.schema()).unwrap();
            (0..rows / batch_rows as u64).for_each(|_| writer.write(&batch).unwrap());
            writer.into_inner().unwrap()
        } else {
            let mut writer = StreamWriter::try_new(out, &batch.schema()).unwrap();
            (0..rows / batch_rows as u64).for_each(|_| writer.write(&batch).unwrap());
            writer.into_inner().unwrap()
        };
        out.flush().unwrap();
        assert!(out.stream_position().unwrap() > 256 << 20);
        drop(out);

        let mut service = Service::start(dim as u32, "");
        let to = service.target().to_string();
        let url = path.display().to_string();
        let words = [&*url, "--ingest", &to, "--json", "--buffer-pool-size", "4"];
        let (ended, peak_kib) = run_measured(&words);
        let line = ended.assert_code(0).line(name);
        assert!(peak_kib < 2 * BESIDE_KIB_MAX, "{peak_kib} KiB of 256 MiB: {line}");
        let counts = ["vectors_sent", "vectors_answered"].map(|key| line[key].as_u64().unwrap());
        assert_eq!(counts, [rows, rows], "{line}");
        service.stop();
        let read = read_segments(&service.data()).unwrap();
        assert_eq!((read.rows, read.sum), (rows, rows as f64 * dim as f64));
        std::fs::remove_file(path).unwrap();
    }
}
