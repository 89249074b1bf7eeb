//! `--ingest`: vectors of objects in a real service.

use std::fs;

use slipring_ingest::sink::read_segments;

use crate::command::run;
use crate::http::{Conduct, Server};
use crate::images::{
    DIGITS, DIGITS_SUM, DIM, arrow_file, arrow_stream, digits, digits_npy, fvecs, npy,
};
use crate::support::process::{Place, Process, serve};
use crate::support::service::Service;
use crate::support::{folder, segments, vector};

#[test]
fn vectors_of_every_format_are_in_the_segments() {
    let place = Place::new();
    let mut process = Process::start(serve(&place.words("--dim 64")));
    let digits = digits();
    let server = Server::start([
        ("digits.fvecs", Conduct::Right, fvecs(&digits, DIM)),
        ("digits.arrow", Conduct::Right, arrow_file(&digits, DIM)),
        // By its first bytes, whatever its name.
        ("stream", Conduct::Right, arrow_stream(&digits, DIM)),
    ]);
    let npy = digits_npy().display().to_string();
    let urls = ["digits.fvecs", "digits.arrow", "stream"].map(|path| server.url(path));
    let to = process.said("tcp").unwrap().to_owned();
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
        assert_eq!(segments::ids(&service.data(), 4), (0..1001).collect::<Vec<u32>>(), "{words}");
    }
}

#[test]
fn refused_vectors_are_counted_and_fail_the_object() {
    let mut service = Service::start(4, "");
    let mut rows: Vec<f32> = (0..100).flat_map(|id| vector(4, id)).collect();
    rows[4 * 25] = f32::NAN;
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
    for part in [&*urls[0], "10 of 100 vectors", "not-finite", "rows 20 to 29"] {
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    let line = ended.line("/nan.npy");
    let counts = ["vectors_sent", "vectors_answered", "vectors_refused"]
        .map(|key| line[key].as_u64().unwrap());
    assert_eq!((counts, line["bytes"].as_u64() > Some(1600)), ([100, 90, 10], true), "{line}");
    assert_eq!(ended.line("/good.npy")["vectors_answered"], 1);
    assert_eq!(ended.line("/none.npy")["vectors_sent"], 0);
    service.stop();
    let expected: Vec<u32> = (0..20).chain(30..100).chain([7]).collect();
    assert_eq!(segments::ids(&service.data(), 4), expected);
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
        ("empty.npy", Conduct::Right, Vec::new()),
    ]);
    let to = service.target().to_string();
    for (path, max_vectors, parts) in [
        ("narrow.npy", "16", ["wrong-dimension", "of 3 components", "is different"]),
        ("wide.fvecs", "16", ["wrong-dimension", "of 8 components", "is different"]),
        ("good.npy", "17", ["too-many-vectors", "17 vectors", "lower --max-vectors"]),
        ("cut.npy", "16", ["shape (100, 4)", "cut off", ""]),
        ("picture.png", "16", ["neither .npy nor Arrow IPC", ".fvecs", ""]),
        ("empty.npy", "16", ["holds no vector", "", ""]),
    ] {
        let url = server.url(path);
        let ended =
            run(&[&*url, "--ingest", &to, "--max-vectors", max_vectors, "--json"]).assert_code(1);
        assert!(
            parts.iter().all(|part| ended.stderr.contains(part)) && ended.stderr.contains(&url),
            "{ended:?}"
        );
        assert_eq!(ended.line(path)["vectors_answered"], 0, "{ended:?}");
    }
    service.stop();
    assert!(segments::ids(&service.data(), 4).is_empty());
}
