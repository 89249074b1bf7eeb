//! What is refused before anything is fetched: exit code 2. And a service that isn't there.

use crate::command::{get, names, run};
use crate::http::{Conduct, Server};
use crate::support::process::refused;

#[test]
fn names_that_clash_are_refused_before_anything_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let server =
        Server::start([("a/name", Conduct::Right, vec![1]), ("b/name", Conduct::Right, vec![2])]);
    let [first, second] = ["a/name", "b/name"].map(|path| server.url(path));
    refused(get(&[&*first, &second, "-o", &out]), 2, &[&first, &second, "\"name\"", "two folders"]);
    for path in ["", "a/", "a/name/", "a/.."] {
        refused(get(&[&*first, &server.url(path), "-o", &out]), 2, &[&server.url(path)]);
    }
    assert_eq!((server.requests(), names(folder.path()).len()), (0, 0));
    // Without files nothing clashes.
    run(&[first, second]).assert_code(0);
}

#[test]
fn bad_usage_names_the_option() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let file = file.display().to_string();
    let cases: [(&[&str], &[&str]); 25] = [
        (&[], &["<URL>"]),
        (&["x", "-o"], &["--output"]),
        (&["x", "-o", &file], &["--output", &file]),
        (&["x", "-o", "y", "--ingest", "127.0.0.1:9900"], &["--output", "--ingest"]),
        (&["x", "--column", "v"], &["--ingest"]),
        (&["x", "--ingest", ""], &["--ingest"]),
        (&["x", "--part-size", "0"], &["--part-size", "1024"]),
        (&["x", "--part-size", "8XB"], &["--part-size", "64KiB"]),
        (&["x", "--part-size", "8MiB", "--no-ranges"], &["--part-size", "--no-ranges"]),
        (&["x", "--concurrency", "0"], &["--concurrency", "1 to 1024"]),
        (&["x", "--concurrency", "5000"], &["--concurrency", "1 to 1024"]),
        (&["x", "--parallel", "0"], &["--parallel", "1 to 1024"]),
        (&["x", "--parallel", "1025"], &["--parallel", "1 to 1024"]),
        (&["x", "--buffer-pool-size", "0"], &["--buffer-pool-size", "1 or more"]),
        (&["x", "--buffer-pool-shrink-after", "10"], &["--buffer-pool-shrink-after", "10s"]),
        (
            &["x", "--buffer-pool-shrink-after", "500ms"],
            &["--buffer-pool-shrink-after", "whole seconds", "0s"],
        ),
        (&["x", "--timeout", "0s"], &["--timeout"]),
        (&["x", "--total-timeout", "0s"], &["--total-timeout"]),
        (&["x", "--max-vectors", "0"], &["--max-vectors", "65535"]),
        (&["gopher://host/x"], &["gopher://host/x", "s3://"]),
        (&["s3://bucket"], &["s3://bucket"]),
        (&["http://host/x.npy?signature=a"], &["`?signature=a` isn't part of a key", "%3F"]),
        (&["/dev/zero"], &["/dev/zero", "isn't a regular file"]),
        (&["x", "-o", "/proc"], &["--output /proc"]),
        (&["--nonsense", "x"], &["--nonsense"]),
    ];
    for (words, names) in cases {
        println!("{words:?}");
        refused(get(words), 2, names);
    }
}

#[test]
fn a_service_that_is_not_there_is_known_before_anything_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([("a.npy", Conduct::Right, vec![1])]);
    let socket = folder.path().join("socket").display().to_string();
    refused(
        get(&[&*server.url("a.npy"), "--ingest", &socket]),
        1,
        &[&socket, "is the service running"],
    );
    assert_eq!(server.requests(), 0);
}
