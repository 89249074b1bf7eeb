//! `--ingest`: vectors of objects in a real service; and services that violate the protocol, each
//! of which must make the object fail and be named.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use arrow_array::{ArrayRef, FixedSizeListArray, Float64Array, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field};
use rustix::process::{Pid, Signal, kill_process};
use slipring_ingest::sink::read_segments;
use slipring_ingest::wire::frames::{
    AckLevel, Answer, HELLO_ANSWER_BYTES, HelloAnswer, Limits, Mode, REQUEST_HEADER_BYTES, Status,
    encode_answer, encode_request, hello_answer,
};
use slipring_test_support::wait_until;

use crate::support::process::{Place, Process, serve};
use crate::support::service::Service;
use crate::support::{data, folder, vector};
use crate::tools::{Conduct, Server};
use crate::tools::{
    DIGITS, DIGITS_SUM, DIM, arrow_file, arrow_stream, digits, digits_npy, fvecs, npy,
};
use crate::tools::{get, run, start, wait};

#[test]
fn vectors_of_every_format_are_in_the_segments() {
    let place = Place::new();
    let mut process = Process::start(serve(&place.words("--dim 64")));
    let digits = digits();
    let server = Server::start([
        ("digits.fvecs", Conduct::Right, fvecs(&digits, DIM)),
        ("digits.arrow", Conduct::Right, arrow_file(&digits, DIM)),
        // Recognised by its first bytes, not by its name.
        ("stream", Conduct::Right, arrow_stream(&digits, DIM)),
    ]);
    let npy = digits_npy().display().to_string();
    let urls = ["digits.fvecs", "digits.arrow", "stream"].map(|path| server.url(path));
    let to = process.ready_value("tcp").unwrap().to_owned();
    let ended =
        run(&[&*npy, &urls[0], &urls[1], &urls[2], "--ingest", &to, "--json"]).assert_code(0);
    assert_eq!(ended.lines().len(), 4);
    for line in ended.lines() {
        let counts = ["vectors_sent", "vectors_answered", "vectors_refused"]
            .map(|key| line[key].as_u64().unwrap());
        assert_eq!(counts, [DIGITS, DIGITS, 0], "{line}");
    }
    assert_eq!(process.stop().code, Some(0));
    let read = read_segments(&place.data()).unwrap();
    assert_eq!((read.rows, read.sum), (4 * DIGITS, 4.0 * DIGITS_SUM));
}

#[test]
fn rows_keep_their_order_in_frames_of_any_size() {
    let folder = folder();
    let rows: Vec<f32> = (0..1001).flat_map(|id| vector(4, id)).collect();
    let file = folder.path().join("rows.arrow");
    fs::write(&file, arrow_file(&rows, 4)).unwrap();
    for (words, max_vectors) in [("", "1"), ("--max-vectors 4096", "4096"), ("--in-flight 1", "7")]
    {
        let mut service = Service::start(4, words);
        let to = service.server().unix().unwrap().display().to_string();
        let file = file.display().to_string();
        let ended = run(&[&*file, "--ingest", &to, "--max-vectors", max_vectors]).assert_code(0);
        assert!(ended.stdout.contains("1001 of 1001 vectors answered"), "{ended:?}");
        service.stop();
        assert_eq!(data::ids(&service.data(), 4), (0..1001).collect::<Vec<u32>>(), "{words}");
    }
}

#[test]
fn a_column_is_asked_for_where_there_are_columns() {
    let rows: Vec<f32> = (0..10).flat_map(|id| vector(5, id)).collect();
    let server = Server::start([
        ("a.npy", Conduct::Right, npy(&rows, 5)),
        ("a.fvecs", Conduct::Right, fvecs(&rows, 5)),
        ("array", Conduct::Right, npy(&rows, 5)),
    ]);
    let mut service = Service::start(5, "");
    let to = service.target().to_string();
    for path in ["a.npy", "a.fvecs", "array"] {
        let words = [&*server.url(path), "--ingest", &to, "--json", "--column", "embedding"];
        let ended = run(&words).assert_code(1);
        assert!(ended.stderr.contains("none named \"embedding\""), "{ended:?}");
        assert_eq!(ended.line(path)["vectors_sent"].as_u64().unwrap_or(0), 0);
    }
    service.stop();
}

/// Rows and a header that cross the bounds of parts, which are 1 KiB here.
#[test]
fn rows_that_cross_parts_arrive_whole_and_in_order() {
    let rows: Vec<f32> = (0..2003).flat_map(|id| vector(5, id)).collect();
    // Whole bytes only: the conversion of rows that were cut must not shift them.
    let wide: Vec<f64> = rows.iter().map(|component| f64::from(*component)).collect();
    let mut nan = rows.clone();
    (nan[5 * 700], nan[5 * 1900 + 4]) = (f32::NAN, f32::INFINITY);
    let server = Server::start([
        ("a.npy", Conduct::Right, npy(&rows, 5)),
        ("a.fvecs", Conduct::Right, fvecs(&rows, 5)),
        ("A.FVECS", Conduct::Right, fvecs(&rows, 5)),
        ("wide.npy", Conduct::Right, npy_f64(&wide, 5)),
        ("nan.npy", Conduct::Right, npy(&nan, 5)),
        // Its first bytes go before its name.
        ("arrow.npy", Conduct::Right, arrow_file(&rows, 5)),
    ]);
    // A part may have any size.
    for ranges in [&["--part-size", "1025"][..], &["--no-ranges"]] {
        for path in ["a.npy", "a.fvecs", "A.FVECS", "wide.npy", "nan.npy", "arrow.npy"] {
            let mut service = Service::start(5, "");
            let (to, url) = (service.target().to_string(), server.url(path));
            let words = [&*url, "--ingest", &to, "--json", "--convert", "--max-vectors", "64"];
            let ended = run(&[&words[..], &["--buffer-pool-size", "3"], ranges].concat());
            let refused = path == "nan.npy";
            let ended = ended.assert_code(i32::from(refused));
            let line = ended.line(path);
            let left_out = if refused { 2 } else { 0 };
            assert_eq!(line["vectors_answered"], 2003 - left_out, "{line}");
            assert_eq!(line["vectors_refused"], left_out, "{line}");
            assert!(!refused || ended.stderr.contains(": rows 700, 1900;"), "{ended:?}");
            let buffers = &line["part_buffers"];
            assert!(buffers["high_water"].as_u64() <= Some(3), "{line}");
            service.stop();
            let expected: Vec<u32> =
                (0..2003).filter(|id| !refused || ![700, 1900].contains(id)).collect();
            assert_eq!(data::ids(&service.data(), 5), expected, "{path}");
        }
    }
}

#[test]
fn damage_is_known_before_the_first_row_if_the_size_shows_it() {
    let rows: Vec<f32> = (0..1000).flat_map(|id| vector(4, id)).collect();
    let (whole, mut cut, mut longer) = (fvecs(&rows, 4), npy(&rows, 4), npy(&rows, 4));
    cut.truncate(cut.len() - 1);
    longer.push(0);
    let mut other = whole.clone();
    other[20 * 900] = 5;
    let server = Server::start([
        ("cut.npy", Conduct::Right, cut),
        ("longer.npy", Conduct::Right, longer),
        ("header.npy", Conduct::Right, npy(&rows, 4)[..50].to_vec()),
        ("cut.fvecs", Conduct::Right, whole[..whole.len() - 1].to_vec()),
        ("empty.fvecs", Conduct::Right, Vec::new()),
        ("other.fvecs", Conduct::Right, other),
    ]);
    let mut service = Service::start(4, "");
    let to = service.target().to_string();
    for (path, said) in [
        ("cut.npy", "cut off"),
        ("longer.npy", "1 bytes behind the 16000"),
        ("header.npy", "header is cut off"),
        ("cut.fvecs", "cut off"),
        ("empty.fvecs", "holds no vector"),
        ("other.fvecs", "row 900 has 5 components, row 0 has 4"),
    ] {
        let url = server.url(path);
        let words = [&*url, "--ingest", &to, "--json", "--part-size", "1KiB"];
        let ended = run(&words).assert_code(1);
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
        let sent = ended.line(path)["vectors_sent"].as_u64().unwrap();
        assert_eq!(sent > 0, path == "other.fvecs", "{path}: {sent} sent");
        let before = format!("; rows 0 to {} were sent before", sent.saturating_sub(1));
        assert_eq!(ended.stderr.contains(&before), sent > 0, "{path}: {ended:?}");
    }
    service.stop();
}

#[test]
fn refused_vectors_are_counted_and_fail_the_object() {
    let mut service = Service::start(4, "");
    let mut rows: Vec<f32> = (0..100).flat_map(|id| vector(4, id)).collect();
    rows[4 * 25] = f32::NAN;
    rows[4 * 99 + 3] = f32::INFINITY;
    let server = Server::start([
        ("nan.npy", Conduct::Right, npy(&rows, 4)),
        ("good.npy", Conduct::Right, npy(&vector(4, 7), 4)),
        ("none.npy", Conduct::Right, npy(&[], 4)),
    ]);
    let to = service.target().to_string();
    let urls = ["nan.npy", "good.npy", "none.npy"].map(|path| server.url(path));
    // One connection for all three: what follows a refusal still arrives.
    let words = [
        &*urls[0],
        &urls[1],
        &urls[2],
        "--ingest",
        &to,
        "--json",
        "--max-vectors",
        "10",
        "--concurrency",
        "4",
    ];
    let ended = run(&words).assert_code(1);
    for part in [&*urls[0], "2 of 100 vectors weren't sent", "NaN or infinite", ": rows 25, 99;"] {
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    let line = ended.line("/nan.npy");
    let counts = ["vectors_sent", "vectors_answered", "vectors_refused"]
        .map(|key| line[key].as_u64().unwrap());
    assert_eq!((counts, line["bytes"].as_u64() > Some(1600)), ([98, 98, 2], true), "{line}");
    assert_eq!(ended.line("/good.npy")["vectors_answered"], 1);
    assert_eq!(ended.line("/none.npy")["vectors_sent"], 0);
    service.stop();
    let expected: Vec<u32> = (0..25).chain(26..99).chain([7]).collect();
    assert_eq!(data::ids(&service.data(), 4), expected);
}

fn f32_bytes(component: &f32) -> [u8; 4] {
    component.to_le_bytes()
}

/// A `.npy` image of doubles.
fn npy_f64(components: &[f64], dim: usize) -> Vec<u8> {
    let rows = components.len() / dim;
    let header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {dim}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(components.iter().flat_map(|component| component.to_le_bytes()));
    bytes
}

#[test]
fn other_types_and_streams_in_a_row_arrive() {
    let mut service = Service::start(4, "");
    let rows: Vec<f32> = (0..30).flat_map(|id| vector(4, id)).collect();
    let wide: Vec<f64> = rows[..40].iter().copied().map(f64::from).collect();
    let streams = [arrow_stream(&rows[40..80], 4), arrow_stream(&rows[80..], 4)].concat();
    let mut out_of_range: Vec<f64> = (30..60).flat_map(|id| vector(4, id)).map(f64::from).collect();
    (out_of_range[4 * 3 + 1], out_of_range[4 * 29 + 2]) = (1e40, -1e40);
    let server = Server::start([
        ("wide.npy", Conduct::Right, npy_f64(&wide, 4)),
        ("two.arrows", Conduct::Right, streams),
        ("huge.npy", Conduct::Right, npy_f64(&out_of_range, 4)),
    ]);
    let to = service.target().to_string();
    let urls = ["wide.npy", "two.arrows", "huge.npy"].map(|path| server.url(path));
    let words = [&*urls[0], &urls[1], "--ingest", &to, "--convert", "--json", "--concurrency", "4"];
    let ended = run(&words).assert_code(0);
    assert_eq!(ended.line("two.arrows")["vectors_answered"], 20);
    // What f32 can't hold is left out and named, in whichever part it is.
    for parts in [&["--no-ranges"][..], &["--part-size", "1024"]] {
        let words = [&[&*urls[2], "--ingest", &to, "--convert", "--json"], parts].concat();
        let ended = run(&words).assert_code(1);
        assert!(ended.stderr.contains("infinite as f32: rows 3, 29; the others"), "{ended:?}");
        let line = ended.line("huge.npy");
        assert_eq!((&line["vectors_answered"], &line["vectors_refused"]), (&28.into(), &2.into()));
    }
    service.stop();
    let sent = (30..60).filter(|id| ![33, 59].contains(id));
    let mut all: Vec<u32> = (0..30).chain(sent.clone()).chain(sent).collect();
    all.sort_unstable();
    let mut found = data::ids(&service.data(), 4);
    found.sort_unstable();
    assert_eq!(found, all);
}

/// A name or a text of a server can't forge lines, nor control a terminal.
#[test]
fn control_characters_are_escaped_in_what_is_printed() {
    let folder = folder();
    let file = folder.path().join("gpj\u{202e}.npy");
    fs::write(&file, npy(&vector(4, 1), 4)).unwrap();
    let mut service = Service::start(4, "");
    let to = service.target().to_string();
    let local = file.display().to_string();
    let ended = run(&[&*local, "--ingest", &to]).assert_code(0);
    assert!(ended.stdout.contains(r"gpj\u{202e}.npy: 1 of 1 vectors answered"), "{ended:?}");
    let is_plain = |text: &str| text.chars().all(|c| c == '\n' || !c.is_control());
    let odd = folder.path().join("none\nslipring: ready\u{1b}[2J").display().to_string();
    let ended = run(&[&*odd, "--ingest", &to]);
    assert!(
        ended.code != Some(0) && ended.stderr.contains(r"none\nslipring: ready\u{1b}[2J"),
        "{ended:?}"
    );
    assert!(is_plain(&ended.stderr) && ended.stderr.lines().count() == 1, "{ended:?}");

    // A column's name is the file's own.
    let item = std::sync::Arc::new(Field::new("item", DataType::Float64, false));
    let values = std::sync::Arc::new(Float64Array::from(vec![1.0; 4]));
    let column: ArrayRef = std::sync::Arc::new(FixedSizeListArray::new(item, 4, values, None));
    let batch = RecordBatch::try_from_iter([("v\u{1b}\n", column)]).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let file = folder.path().join("column.arrows");
    fs::write(&file, writer.into_inner().unwrap()).unwrap();
    let ended = run(&[&*file.display().to_string(), "--ingest", &to, "--json"]).assert_code(1);
    assert!(ended.stderr.contains(r"column v\u{1b}\n is a fixed-size list of f64"), "{ended:?}");
    assert_eq!((ended.lines().len(), is_plain(&ended.stderr)), (1, true), "{ended:?}");
    // As a value of JSON the name is itself.
    let ended = run(&[&*local, "--ingest", &to, "--json"]).assert_code(0);
    assert_eq!(ended.lines()[0]["url"], local);
    service.stop();
}

#[test]
fn what_no_service_takes_says_what_to_do() {
    let mut service = Service::start(4, "--max-vectors 16");
    let good: Vec<f32> = (0..100).flat_map(|id| vector(4, id)).collect();
    let (narrow, wide) = (vec![1.0; 300], vec![1.0; 800]);
    let server = Server::start([
        ("narrow.npy", Conduct::Right, npy(&narrow, 3)),
        ("wide.fvecs", Conduct::Right, fvecs(&wide, 8)),
        ("good.npy", Conduct::Right, npy(&good, 4)),
        ("cut.npy", Conduct::Right, npy(&good, 4)[..1000].to_vec()),
        ("picture.png", Conduct::Right, b"\x89PNG".to_vec()),
        (
            "more.npy",
            Conduct::Right,
            [npy(&good[..4], 4), wide[..4].iter().flat_map(f32_bytes).collect()].concat(),
        ),
        ("table.parquet", Conduct::Right, b"PAR1\x15\x04".to_vec()),
        ("packed.fvecs", Conduct::Right, b"\x1f\x8b\x08\x00\x00\x00\x00\x00".to_vec()),
        ("pointer.npy", Conduct::Right, b"version https://git-lfs.github.com/spec/v1\n".to_vec()),
        ("page.fvecs", Conduct::Right, b"<!DOCTYPE html>\n<html></html>".to_vec()),
        ("wide.npy", Conduct::Right, npy_f64(&[1.0, 2.0, 3.0, 4.0], 4)),
        ("streams.arrows", Conduct::Right, [arrow_stream(&good, 4), b"a note".to_vec()].concat()),
        ("empty.npy", Conduct::Right, Vec::new()),
    ]);
    let to = service.target().to_string();
    for (path, max_vectors, parts) in [
        (
            "narrow.npy",
            "16",
            ["wrong-dimension", "of 3 components", "use a service of this dimension"],
        ),
        (
            "wide.fvecs",
            "16",
            ["wrong-dimension", "of 8 components", "use a service of this dimension"],
        ),
        ("cut.npy", "16", ["shape (100, 4)", "cut off", ""]),
        ("picture.png", "16", ["neither .npy nor Arrow IPC", ".fvecs", ""]),
        ("more.npy", "16", ["16 bytes behind the 16 that the shape says", "file of its own", ""]),
        ("table.parquet", "16", ["it is Parquet", "Arrow IPC", "write_feather"]),
        ("packed.fvecs", "16", ["packed with gzip", "unpack it", "Content-Encoding"]),
        ("pointer.npy", "16", ["git LFS pointer", "git lfs pull", ""]),
        ("page.fvecs", "16", ["HTML page", "use the URL of the file", ""]),
        ("wide.npy", "16", ["'<f8'", "astype('<f4')", "--convert"]),
        ("streams.arrows", "16", ["6 bytes from byte", "behind the end of the stream", ""]),
        ("empty.npy", "16", ["holds no vector", "", ""]),
    ] {
        let url = server.url(path);
        let ended =
            run(&[&*url, "--ingest", &to, "--max-vectors", max_vectors, "--json"]).assert_code(1);
        assert!(
            parts.iter().all(|part| ended.stderr.contains(part)) && ended.stderr.contains(&url),
            "{ended:?}"
        );
        // What is behind the rows is known after them.
        let sent = if path == "streams.arrows" { 100 } else { 0 };
        assert_eq!(ended.line(path)["vectors_answered"], sent, "{ended:?}");
    }
    service.stop();
    assert_eq!(data::ids(&service.data(), 4), (0..100).collect::<Vec<u32>>());
}

/// Frames of the object: one vector each.
const FRAMES: usize = 3;

/// A service that answers the hello with these bytes and counts the bytes that come afterwards.
fn lying_service(hello: [u8; HELLO_ANSWER_BYTES]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap().to_string(), Arc::default());
    let count: Arc<AtomicUsize> = Arc::clone(&seen);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answered = stream
                .read_exact(&mut [0; REQUEST_HEADER_BYTES])
                .and_then(|()| stream.write_all(&hello));
            let mut rest = Vec::new();
            let _reset = answered.and_then(|()| stream.read_to_end(&mut rest));
            count.fetch_add(rest.len(), Ordering::SeqCst);
        }
    });
    (address, seen)
}

/// A service that accepts the hello and says something else than the hello gets no vectors, and the
/// object fails.
#[test]
fn a_hello_s_answer_must_fit_the_hello() {
    let server = Server::start([("a.npy", Conduct::Right, npy(&[1.0; 500], 1))]);
    let (limits, status) = (Limits::new(1, 64), Status::Ok);
    let good = HelloAnswer { status, limits, lane: 0, in_flight_max: 64, ack: AckLevel::Received };
    for (at, byte, named) in [
        (5, 1, "id column 1, but 0 was asked for"),
        (8, 5, "dimension 5, but 1 was asked for"),
        (12, 0, "max vectors 0, but 1 to 65535 was asked for"),
        (16, 0, "in flight 0, but 1 or more was asked for"),
        (18, 1, "element type 1, this client knows 0"),
        (19, 1, "ack level 1, but 0 was asked for"),
        (19, 2, "ack level 2, this client knows 1"),
        (20, 1, "reserved 1, this client knows 0"),
    ] {
        let mut hello = hello_answer(&good);
        hello[at] = byte;
        let (to, seen) = lying_service(hello);
        let words = [&*server.url("a.npy"), "--ingest", &to, "--timeout", "2s", "--json"];
        let ended = run(&words).assert_code(1);
        assert!(ended.stderr.contains(named) && ended.stderr.contains(&to), "{named}: {ended:?}");
        assert_eq!(ended.line("a.npy")["vectors_sent"], 0, "{ended:?}");
        assert_eq!(seen.load(Ordering::SeqCst), 0, "{named}");
    }
}

/// A service that answers the hello, reads one frame with a vector of dimension 1, calls `answer`,
/// and keeps the connection open or closes it.
fn false_service(keep_open: bool, answer: impl Fn(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut asked = [0; REQUEST_HEADER_BYTES];
            if stream.read_exact(&mut asked).is_err() {
                continue;
            }
            let dim = u32::from_le_bytes(asked[4..8].try_into().unwrap());
            let (limits, status) = (Limits::new(dim, 65_535), Status::Ok);
            let hello =
                HelloAnswer { status, limits, lane: 0, in_flight_max: 64, ack: AckLevel::Received };
            if stream.write_all(&hello_answer(&hello)).is_err() {
                continue;
            }
            let mut frame = vec![0; Limits::new(1, 1).frame_bytes_max(Mode::Header)];
            if stream.read_exact(&mut frame).is_ok() {
                answer(&mut stream);
            }
            if keep_open {
                open.push(stream);
            }
        }
    });
    address
}

fn answered(status: Status, sequence: u64, vectors: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let answer = Answer { status, sequence, vectors, credits: 8, ..Answer::default() };
    encode_answer(Mode::Header, &answer, &mut bytes);
    bytes
}

#[test]
fn wrong_answers_fail_the_object() {
    let server = Server::start([("a.npy", Conduct::Right, npy(&[1.0], 1))]);
    let mut request = Vec::new();
    encode_request(Mode::Header, 1, 0, &[1.0], &mut request);
    request[0] = b'X';
    let cases = [
        (answered(Status::Ok, 1, 2), "accepts 2 vectors instead of 1"),
        (answered(Status::Ok, 1, 0), "accepts 0 vectors instead of 1"),
        (answered(Status::Ok, 7, 1), "sequence 7"),
        (answered(Status::ShuttingDown, 0, 0), "shutting-down"),
        (answered(Status::Failed, 1, 0), "see the service's own log"),
        (answered(Status::Busy, 1, 0), "raise its --in-flight"),
        (request, "not with \"SR\""),
        (Vec::new(), "ended with 1 requests unanswered"),
    ];
    for (bytes, expected) in cases {
        let to = false_service(false, move |stream| stream.write_all(&bytes).unwrap());
        let ended = run(&[&*server.url("a.npy"), "--ingest", &to, "--max-vectors", "1", "--json"])
            .assert_code(1);
        assert!(
            ended.stderr.contains(expected) && ended.stderr.contains(&to),
            "{expected}: {ended:?}"
        );
        assert_eq!(ended.line("a.npy")["vectors_answered"], 0, "{ended:?}");
    }
}

#[test]
fn what_was_answered_before_the_end_is_counted() {
    let server = Server::start([("a.npy", Conduct::Right, npy(&[1.0; FRAMES], 1))]);
    let to = false_service(false, |stream| {
        stream.write_all(&answered(Status::Ok, 1, 1)).unwrap();
        // The other frames are read, so that closing the connection isn't a reset.
        stream.read_exact(&mut [0; 2 * 28]).unwrap();
    });
    let ended = run(&[&*server.url("a.npy"), "--ingest", &to, "--max-vectors", "1", "--json"])
        .assert_code(1);
    assert!(ended.stderr.contains("ended with 2 requests unanswered"), "{ended:?}");
    let line = ended.line("a.npy");
    assert_eq!(
        (line["vectors_sent"].as_u64(), line["vectors_answered"].as_u64()),
        (Some(3), Some(1)),
        "{line}"
    );
}

#[test]
fn a_frame_that_makes_room_for_others_is_refused_by_its_reason() {
    let server = Server::start([("a.npy", Conduct::Right, npy(&[1.0; FRAMES], 1))]);
    let to = false_service(false, |stream| {
        stream.write_all(&answered(Status::Ok, 1, 1)).unwrap();
        stream.read_exact(&mut [0; 2 * 28]).unwrap();
        // At that point the service no longer knows the sequence of the frame.
        stream.write_all(&answered(Status::Busy, 0, 0)).unwrap();
    });
    let ended = run(&[&*server.url("a.npy"), "--ingest", &to, "--max-vectors", "1", "--json"])
        .assert_code(1);
    assert!(ended.stderr.contains("raise its --in-flight or --carry-bytes"), "{ended:?}");
    let line = ended.line("a.npy");
    assert_eq!(
        (line["vectors_answered"].as_u64(), line["vectors_refused"].as_u64()),
        (Some(1), Some(1)),
        "{line}"
    );
}

#[test]
fn a_deaf_service_times_out_or_is_interrupted() {
    let server = Server::start([("a.npy", Conduct::Right, npy(&[1.0; FRAMES], 1))]);
    let to = false_service(true, |_| ());
    let url = server.url("a.npy");
    let ended = run(&[&*url, "--ingest", &to, "--timeout", "300ms"]).assert_code(1);
    assert!(ended.stderr.contains("no progress for 300ms with 1 requests unanswered"), "{ended:?}");
    // A service that stops reading in the middle of a frame that is larger than the sockets'
    // buffers.
    let folder = folder();
    let large = folder.path().join("large.npy");
    std::fs::write(&large, npy(&vec![1.0; 8 << 20], 1 << 12)).unwrap();
    let large = large.display().to_string();
    let ended = run(&[&*large, "--ingest", &to, "--timeout", "300ms", "--max-vectors", "2048"])
        .assert_code(1);
    assert!(ended.stderr.contains("no progress for 300ms with 1 requests unanswered"), "{ended:?}");

    let received = folder.path().join("received");
    let to = false_service(true, {
        let received = received.clone();
        move |_| std::fs::write(&received, "it has a frame").unwrap()
    });
    let child = start(get(&[&*url, "--ingest", &to]));
    wait_until("a frame is sent", || received.exists());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = wait(child).assert_code(130);
    // The error says how many vectors the service may have, so that the operator doesn't
    // unknowingly send them twice.
    for part in [
        "interrupted after 3 of its vectors were sent and 0 answered",
        "interrupted: 0 of 1 objects",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
}
