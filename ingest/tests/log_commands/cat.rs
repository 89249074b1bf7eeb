//! `log cat`: what it writes is read back, as a stream and as text.

use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, TimestampMicrosecondType, UInt64Type};
use arrow_ipc::reader::StreamReader;
use slipring_ingest::sink::Columns;

use crate::build::{ALL, Built, NONE, TIME_US, id, log, row, time};
use crate::support::process::BINARY;

/// Checks that an Arrow stream has the rows of these sequences.
#[track_caller]
pub fn check_stream(bytes: &[u8], columns: Columns, sequences: impl Iterator<Item = u64>) {
    let reader = StreamReader::try_new(bytes, None).unwrap();
    let names: Vec<String> = reader.schema().fields().iter().map(|f| f.name().clone()).collect();
    let further = columns.names().map(str::to_owned);
    assert_eq!(
        names,
        ["sequence", "vector"].map(str::to_owned).into_iter().chain(further).collect::<Vec<_>>()
    );
    let mut expected = sequences;
    for batch in reader {
        let batch = batch.unwrap();
        let found = batch.column(0).as_primitive::<UInt64Type>();
        let vectors = batch.column(1).as_fixed_size_list();
        for index in 0..batch.num_rows() {
            let sequence = expected.next().expect("no more rows");
            assert_eq!(found.value(index), sequence);
            let vector = vectors.value(index);
            assert_eq!(vector.as_primitive::<Float32Type>().values()[..], row(sequence));
            if columns.id {
                assert_eq!(batch.column(2).as_primitive::<UInt64Type>().value(index), id(sequence));
            }
            if columns.time {
                let times = batch.columns().last().unwrap();
                let times = times.as_primitive::<TimestampMicrosecondType>();
                assert_eq!(times.value(index), time(sequence));
            }
        }
    }
    assert_eq!(expected.next(), None, "rows are missing");
}

/// Checks lines of text.
#[track_caller]
pub fn check_csv(text: &str, columns: Columns, sequences: impl Iterator<Item = u64>) {
    let mut lines = text.lines();
    let names: Vec<&str> = ["sequence", "vector"].into_iter().chain(columns.names()).collect();
    assert_eq!(lines.next(), Some(names.join(",").as_str()));
    let mut sequences = sequences;
    for (line, sequence) in lines.by_ref().zip(sequences.by_ref()) {
        let (found, others) = line.split_once(",\"[").unwrap();
        let (vector, others) = others.split_once("]\"").unwrap();
        assert_eq!(found.parse(), Ok(sequence));
        let vector: Vec<f32> = vector.split(',').map(|c| c.parse().unwrap()).collect();
        assert_eq!(vector, row(sequence), "bit for bit");
        let further: Vec<&str> = others.split(',').skip(1).collect();
        let mut expected = Vec::new();
        if columns.id {
            expected.push(id(sequence).to_string());
        }
        if columns.time {
            let micros = time(sequence) - TIME_US;
            expected.push(format!("2023-11-14T22:13:20.{micros:06}Z"));
        }
        assert_eq!(further, expected);
    }
    assert_eq!((lines.next(), sequences.next()), (None, None));
}

#[track_caller]
fn check_both(data: &Path, words: &str, columns: Columns, sequences: Range<u64>) {
    let stream = log(&format!("cat {words}"), data);
    assert_eq!(stream.code, Some(0), "{words}: {}", stream.stderr);
    check_stream(&stream.stdout, columns, sequences.clone());
    let csv = log(&format!("cat {words} --format csv"), data);
    assert_eq!(csv.code, Some(0), "{words}: {}", csv.stderr);
    check_csv(&csv.text(), columns, sequences);
}

/// Empty, one record, many segments; all of it and every kind of range.
#[test]
fn ranges_are_written_in_order() {
    for columns in [NONE, ALL, Columns { id: false, time: true }] {
        let built = Built::whole(columns, 1, &[3, 1, 16, 2, 5]);
        let data = built.data();
        check_both(&data, "", columns, 0..27);
        for (from, to) in [(0, 27), (0, 1), (2, 5), (3, 4), (4, 4), (5, 26), (26, 27), (0, 100)] {
            check_both(
                &data,
                &format!("--lane 0 --from {from} --to {to}"),
                columns,
                from..to.min(27),
            );
        }
        check_both(&data, "--from 22", columns, 22..27);
        check_both(&data, "--from 1000", columns, 0..0);
        let empty = Built::whole(columns, 1, &[]);
        check_both(&empty.data(), "", columns, 0..0);
    }
}

#[test]
fn sequences_that_are_missing_are_said() {
    let built = Built::whole(NONE, 1, &[3, 2, 4]);
    fs::remove_file(built.data().join("lane=0/seg-00000000000000000003.arrow")).unwrap();
    let csv = log("cat --format csv --from 1", &built.data());
    assert_eq!(csv.code, Some(0), "{csv:?}");
    check_csv(&csv.text(), NONE, (1..3).chain(5..9));
    assert!(csv.stderr.contains("sequences 3 to 4 aren't in the log"), "{csv:?}");
    let csv = log("cat --format csv --to 3", &built.data());
    assert!(csv.stderr.is_empty(), "{csv:?}");
}

/// No further than what is known to be on the disk.
#[test]
fn a_live_segment_is_written_as_far_as_it_is_durable() {
    for (is_all, rows) in [(false, 5), (true, 9)] {
        let built = Built::crashed(ALL, &[3, 2, 4], is_all);
        check_both(&built.data(), "", ALL, 0..rows);
        check_both(&built.data(), "--from 4 --to 5", ALL, 4..5);
        let said = log("cat", &built.data()).stderr;
        assert_eq!(said.contains("4 vectors at the end of"), !is_all, "{said}");
        // Without the file the records say it, of those before them.
        fs::write(built.file("durable"), "{").unwrap();
        check_both(&built.data(), "", ALL, 0..5);
        fs::remove_file(built.file("durable")).unwrap();
        check_both(&built.data(), "", ALL, 0..5);
    }
}

/// Damage ends it with an error, behind what comes before.
#[test]
fn damage_ends_it() {
    let sealed = Built::whole(NONE, 1 << 20, &[3, 2, 4]);
    let live = Built::crashed(NONE, &[3, 2, 4], true);
    for (built, ending) in [(sealed, ".arrow"), (live, ".part")] {
        let path = built.file(ending);
        let mut bytes = fs::read(&path).unwrap();
        bytes[8192 + 1000] ^= 4;
        fs::write(&path, bytes).unwrap();
        let csv = log("cat --format csv", &built.data());
        assert_eq!(csv.code, Some(1), "{csv:?}");
        check_csv(&csv.text(), NONE, 0..3);
        let name = path.file_name().unwrap().to_str().unwrap();
        for said in [name, "at byte 8192", "checksum", "; "] {
            assert!(csv.stderr.contains(said), "{said}: {csv:?}");
        }
        let before = log("cat --format csv --to 3", &built.data());
        check_csv(&before.text(), NONE, 0..3);
    }
}

/// A reader that has enough ends it without a word.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let built = Built::whole(ALL, 1 << 20, &[16; 600]);
    for words in ["cat --format csv", "cat", "ls", "verify --json"] {
        let mut command = Command::new(BINARY);
        command.arg("log").args(words.split(' ')).arg("--data").arg(built.data());
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut few = [0; 20];
        if words.starts_with("cat") {
            (&reader).read_exact(&mut few).unwrap();
        }
        drop(reader);
        let code = child.wait().unwrap().code();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((code, said.as_str()), (Some(0), ""), "{words}");
    }
}
