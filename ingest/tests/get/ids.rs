//! `--ingest` into a service that stores ids: each row has its own in the segments, whatever is
//! left out, and however rows are cut over batches, requests and parts.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow_ipc::writer::{FileWriter, StreamWriter};

use crate::support::data::rows_with_ids;
use crate::support::service::Service;
use crate::support::vector;
use crate::tools::{Conduct, Ended, Server, fvecs, lists, npy, run};

const ROWS: u32 = 2003;
/// Rows with a component that isn't finite.
const BAD_ROWS: [u32; 3] = [0, 700, 1900];

/// Vectors whose first component is their row.
fn components() -> Vec<f32> {
    let mut components: Vec<f32> = (0..ROWS).flat_map(|row| vector(5, row)).collect();
    for row in BAD_ROWS {
        components[5 * row as usize + 4] = f32::NAN;
    }
    components
}

/// The id of a row: no two are the same, and none follows from another.
fn id(row: u32) -> u64 {
    u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn uint64(rows: Range<u32>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(rows.map(id)))
}

fn int64(rows: Range<u32>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.map(|row| i64::from(row) * 3)))
}

/// The id of a row in an object.
type IdOf = fn(u32) -> u64;

/// Batches of 500 rows, with a column of ids of this name before or behind the vectors.
fn batches(name: &str, is_first: bool, ids: impl Fn(Range<u32>) -> ArrayRef) -> Vec<RecordBatch> {
    let components = components();
    let batch = |(batch, rows): (usize, &[f32])| {
        let first = batch as u32 * 500;
        let ids = (name, ids(first..first + (rows.len() / 5) as u32));
        let vectors = ("embedding", lists(rows, 5));
        let columns = if is_first { [ids, vectors] } else { [vectors, ids] };
        RecordBatch::try_from_iter(columns).unwrap()
    };
    components.chunks(500 * 5).enumerate().map(batch).collect()
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn file(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// All good rows are there, each with its id.
#[track_caller]
fn assert_stored(service: &mut Service, ended: &Ended, ids: impl Fn(u32) -> u64) {
    assert!(ended.stderr.contains("3 of 2003 vectors weren't sent"), "{ended:?}");
    service.stop();
    let good = (0..ROWS).filter(|row| !BAD_ROWS.contains(row));
    let expected: Vec<(u64, Vec<f32>)> = good.map(|row| (ids(row), vector(5, row))).collect();
    assert!(rows_with_ids(&service.data(), 5) == expected, "{ended:?}");
}

#[test]
fn each_row_has_the_id_of_its_column() {
    let server = Server::start([
        ("a.arrows", Conduct::Right, stream(&batches("id", true, uint64))),
        ("a.arrow", Conduct::Right, file(&batches("id", false, uint64))),
        ("key.arrow", Conduct::Right, file(&batches("key", true, uint64))),
        ("int64.arrows", Conduct::Right, stream(&batches("id", false, int64))),
    ]);
    let triple: IdOf = |row| u64::from(row) * 3;
    let own = id as IdOf;
    let cases = [
        ("a.arrows", "--max-vectors 7", own),
        ("a.arrow", "--part-size 1KiB", own),
        ("a.arrow", "--id-column id --no-ranges --max-vectors 4096", own),
        ("key.arrow", "--id-column key --part-size 1KiB", own),
        ("int64.arrows", "--convert", triple),
    ];
    for (path, words, ids) in cases {
        for serve in ["--columns id", "--columns id,time --slots 4 --stages threads"] {
            let mut service = Service::start(5, serve);
            let (to, url) = (service.target().to_string(), server.url(path));
            let mut line = vec![&*url, "--ingest", &to];
            line.extend(words.split(' '));
            let ended = run(&line).assert_code(1);
            assert_stored(&mut service, &ended, ids);
        }
    }
}

#[test]
fn rows_without_ids_have_their_numbers() {
    let components = components();
    let server = Server::start([
        ("a.npy", Conduct::Right, npy(&components, 5)),
        ("a.fvecs", Conduct::Right, fvecs(&components, 5)),
        // The numbers are asked for, so the column isn't read.
        ("a.arrow", Conduct::Right, file(&batches("id", true, int64))),
    ]);
    for path in ["a.npy", "a.fvecs", "a.arrow"] {
        for part_size in ["1KiB", "8MiB"] {
            let mut service = Service::start(5, "--columns id");
            let (to, url) = (service.target().to_string(), server.url(path));
            let words = [&*url, "--ingest", &to, "--number-rows-from", "7000000000"];
            let ended = run(&[&words[..], &["--part-size", part_size]].concat()).assert_code(1);
            assert_stored(&mut service, &ended, |row| 7_000_000_000 + u64::from(row));
        }
    }
}

/// Objects of all kinds in one run, over connections that are used again.
#[test]
fn an_object_without_ids_fails_alone() {
    let rows: Vec<f32> = (0..20).flat_map(|row| vector(5, row)).collect();
    let good = RecordBatch::try_from_iter([("id", uint64(0..20)), ("v", lists(&rows, 5))]);
    let good = good.unwrap();
    let negative: ArrayRef = Arc::new(Int64Array::from_iter_values((0..20).map(|row| 5 - row)));
    let negative = RecordBatch::try_from_iter([("id", negative), ("v", lists(&rows, 5))]).unwrap();
    let bare = RecordBatch::try_from_iter([("v", lists(&rows, 5))]).unwrap();
    let server = Server::start([
        ("bare.npy", Conduct::Right, npy(&rows, 5)),
        ("good.arrow", Conduct::Right, file(std::slice::from_ref(&good))),
        ("bare.fvecs", Conduct::Right, fvecs(&rows, 5)),
        ("bare.arrow", Conduct::Right, file(&[bare])),
        ("negative.arrow", Conduct::Right, stream(&[negative])),
        ("good.arrows", Conduct::Right, stream(&[good])),
    ]);
    let paths =
        ["bare.npy", "good.arrow", "bare.fvecs", "bare.arrow", "negative.arrow", "good.arrows"];
    let urls = paths.map(|path| server.url(path));
    for parallel in ["1", "6"] {
        let mut service = Service::start(5, "--columns id");
        let to = service.target().to_string();
        let mut words: Vec<&str> = urls.iter().map(|url| &**url).collect();
        words.extend(["--ingest", &to, "--json", "--parallel", parallel, "--convert"]);
        let ended = run(&words).assert_code(1);
        for (path, said) in [
            ("bare.npy", ".npy has none: write the vectors and a column of ids (uint64) as Arrow"),
            ("bare.fvecs", ".fvecs has none"),
            ("bare.arrow", "no column is named id: name the column of the ids with --id-column"),
            ("negative.arrow", "column id: row 6 has the id -1"),
        ] {
            let line = ended.line(path);
            assert!(line["error"].as_str().unwrap().contains(said), "{line}");
            assert_eq!(line["vectors_sent"], 0, "{line}");
        }
        assert_eq!(ended.line("good.arrow")["vectors_answered"], 20);
        assert_eq!(ended.line("good.arrows")["vectors_answered"], 20);
        service.stop();
        let stored = rows_with_ids(&service.data(), 5);
        assert_eq!(stored.len(), 40);
        assert!(stored.iter().all(|(stored, row)| *stored == id(row[0] as u32)), "{stored:?}");
    }
}

#[test]
fn options_for_ids_are_checked_before_a_vector_is_sent() {
    let server = Server::start([
        ("a.npy", Conduct::Right, npy(&components(), 5)),
        ("a.arrow", Conduct::Right, file(&batches("id", true, uint64))),
    ]);
    let [npy, arrow] = ["a.npy", "a.arrow"].map(|path| server.url(path));
    // A service without the column takes Arrow with a column of ids as before.
    let mut service = Service::start(5, "");
    let to = service.target().to_string();
    let ended = run(&[&*arrow, "--ingest", &to, "--json"]).assert_code(1);
    assert_eq!(ended.line("a.arrow")["vectors_answered"], 2000);
    for words in [[&*arrow, "--id-column", "id"], [&npy, "--number-rows-from", "0"]] {
        let ended = run(&[&words[..], &["--ingest", &to, "--json"]].concat()).assert_code(1);
        let said = "the service stores no ids; leave out --id-column and --number-rows-from, or";
        assert!(ended.stderr.contains(said), "{ended:?}");
        assert_eq!(ended.lines()[0]["vectors_sent"], 0);
    }
    assert_eq!(service.stop().vectors_in_segments, 2000);

    let mut service = Service::start(5, "--columns id");
    let to = service.target().to_string();
    for (words, code, said) in [
        (vec![&*npy, "--id-column", "id"], 1, ".npy has none"),
        (vec![&arrow, "--id-column", "embedding"], 1, "column embedding can't be ids"),
        (
            vec![&npy, &arrow, "--number-rows-from", "3"],
            2,
            "--number-rows-from is 3: the rows of 2",
        ),
        (vec![&npy, "--number-rows-from", "0", "--id-column", "id"], 2, "cannot be used with"),
        (vec![&npy, "--number-rows-from", "x"], 2, "invalid value 'x'"),
        (vec![&npy, "--number-rows-from", "18446744073709551615"], 1, "with 2003 rows the numbers"),
    ] {
        let ended = run(&[&words[..], &["--ingest", &to]].concat()).assert_code(code);
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    }
    assert_eq!(service.stop().vectors_in_segments, 0);
}
