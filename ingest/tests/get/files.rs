//! Objects into files, or into nothing.

use std::fs;

use slipring_test_support::Draw;

use crate::command::{get, limited, names, run, start, wait};
use crate::http::{Conduct, Server};

/// Bytes that no two places share by chance.
fn noise(len: usize) -> Vec<u8> {
    let mut draw = Draw::new(len as u64);
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| draw.next().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

#[test]
fn objects_become_files() {
    let folder = tempfile::tempdir().unwrap();
    let (large, small) = (noise((5 << 20) + 17), noise(1000));
    let server = Server::start([
        ("a/large.bin", Conduct::Right, large.clone()),
        ("a/empty", Conduct::Right, Vec::new()),
        ("b/small%20one", Conduct::Right, small.clone()),
    ]);
    let local = folder.path().join("local file");
    fs::write(&local, &small).unwrap();
    let out = folder.path().join("new/out");
    let words = [
        server.url("a/large.bin"),
        server.url("a/empty"),
        server.url("b/small%20one"),
        local.display().to_string(),
        "-o".to_owned(),
        out.display().to_string(),
        "--json".to_owned(),
        "--part-size".to_owned(),
        "1MiB".to_owned(),
        "--buffer-pool".to_owned(),
    ];
    let ended = run(&words).assert_code(0);
    assert_eq!(names(&out), ["empty", "large.bin", "local file", "small one"]);
    assert_eq!(fs::read(out.join("large.bin")).unwrap(), large);
    assert_eq!(fs::read(out.join("empty")).unwrap(), b"");
    assert_eq!(fs::read(out.join("local file")).unwrap(), small);
    assert_eq!(fs::read(out.join("small one")).unwrap(), small);
    assert_eq!(ended.stderr, "", "bars are for terminals");

    assert_eq!(ended.lines().len(), 4);
    let line = ended.line("large.bin");
    assert_eq!(
        (line["url"].as_str().unwrap(), line["bytes"].as_u64()),
        (&*words[0], Some(large.len() as u64))
    );
    assert_eq!((line["pool"].as_str(), line["retries"].as_u64()), (Some("hit"), Some(0)));
    assert!(
        line["ranges"].as_u64().unwrap() > 1 && line["elapsed_ms"].as_f64().unwrap() > 0.0,
        "{line}"
    );
    let line = ended.line("a/empty");
    assert_eq!((line["bytes"].as_u64(), line["error"].as_str()), (Some(0), None));
    assert_eq!(ended.line("local file")["pool"], "skip");

    // Once more, over the files that are there, without pool and ranges.
    let ended = run(&[&*words[0], "-o", &words[5], "--json", "--no-ranges"]).assert_code(0);
    let line = ended.line("large.bin");
    assert_eq!((line["pool"].as_str(), line["ranges"].as_u64()), (Some("off"), Some(1)));
    assert_eq!(fs::read(out.join("large.bin")).unwrap(), large);
    assert_eq!(names(&out).len(), 4);
}

#[test]
fn endpoint_and_credentials_come_from_the_environment() {
    let bytes = noise(3000);
    let server = Server::start([("bucket/folder/key", Conduct::Right, bytes.clone())]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let words = ["s3://bucket/folder/key", "-o", &out, "--json"];
    let mut command = get(&words);
    command
        .env("AWS_ENDPOINT", server.url("").trim_end_matches('/'))
        .env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    // Plain HTTP is for whoever says so.
    let refused = wait(start(command)).assert_code(1);
    assert!(
        refused.stderr.contains(words[0]) && refused.stderr.contains("AWS_ALLOW_HTTP=true"),
        "{refused:?}"
    );
    assert_eq!(
        (refused.line("/key")["retries"].as_u64(), server.requests()),
        (Some(0), 0),
        "{refused:?}"
    );
    let mut command = get(&words);
    command
        .env("AWS_ENDPOINT", server.url("").trim_end_matches('/'))
        .env("AWS_REGION", "us-east-1");
    command
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "b")
        .env("AWS_ALLOW_HTTP", "true");
    let ended = wait(start(command)).assert_code(0);
    assert_eq!(ended.line("/key")["bytes"], 3000);
    assert_eq!(fs::read(folder.path().join("key")).unwrap(), bytes);
}

#[test]
fn without_a_folder_it_is_measured() {
    let server = Server::start([("one.bin", Conduct::Right, noise(2 << 20))]);
    // Many times the same, through two buffers: whoever finds none waits for one.
    let mut words = vec![server.url("one.bin"); 12];
    words.extend(["--buffer-pool-size", "2", "--concurrency", "64"].map(str::to_owned));
    let ended = run(&words).assert_code(0);
    assert_eq!(ended.stdout.matches("one.bin").count(), 12, "{ended:?}");
    assert!(
        ended.stdout.contains("12 of 12 objects are there: 24.00 MiB in ")
            && ended.stdout.contains("pool: 12 hit")
    );
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_failed_object_ends_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([
        ("first", Conduct::Right, noise(1000)),
        ("cut", Conduct::Cut, noise(100_000)),
        ("last", Conduct::Right, noise(2 << 20)),
    ]);
    let out = folder.path().display().to_string();
    let urls = ["first", "missing", "cut", "last"].map(|path| server.url(path));
    let [first, missing, cut, last] = &urls;
    for json in [&["--json"][..], &[]] {
        let words: Vec<&str> =
            [&[&**first, missing, cut, last, "-o", &out, "--retries", "0"][..], json].concat();
        let ended = run(&words).assert_code(1);
        let said: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!(said.len(), 2, "{ended:?}");
        assert!(
            said.iter().any(|line| line.contains(missing) && line.contains("not found")),
            "{ended:?}"
        );
        assert!(said.iter().any(|line| line.contains(cut)), "{ended:?}");
        assert_eq!(
            names(folder.path()),
            ["first", "last"],
            "neither half files nor temporary ones"
        );
        if json.is_empty() {
            assert!(
                ended.stdout.contains("2 of 4 objects are there")
                    && ended.stdout.matches("FAILED").count() == 2
            );
            continue;
        }
        assert_eq!(ended.lines().len(), 4);
        assert_eq!(ended.line("/last")["bytes"], 2 << 20);
        let line = ended.line("/missing");
        assert_eq!((line["bytes"].as_u64(), line["pool"].is_null()), (Some(0), true));
        assert!(line["error"].as_str().unwrap().contains("not found"));
    }
}

#[test]
fn a_file_beyond_the_limit_of_file_sizes_is_a_failed_object() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([
        ("large", Conduct::Right, noise(2 << 20)),
        ("small", Conduct::Right, noise(10)),
    ]);
    let out = folder.path().display().to_string();
    let words = [&*server.url("large"), &server.url("small"), "-o", &out];
    let ended = wait(start(limited("ulimit -S -f 100", get(&words)))).assert_code(1);
    assert!(
        ended.stderr.contains(&server.url("large")) && ended.stderr.contains("File too large"),
        "{ended:?}"
    );
    assert_eq!(names(folder.path()), ["small"]);
}

#[test]
fn a_file_that_cannot_be_written_is_a_failed_object() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::start([("taken", Conduct::Right, noise(10)), ("free", Conduct::Right, noise(10))]);
    fs::create_dir(folder.path().join("taken")).unwrap();
    let out = folder.path().display().to_string();
    let ended =
        run(&[&*server.url("taken"), &server.url("free"), "-o", &out, "--json"]).assert_code(1);
    assert!(
        ended.stderr.contains(&server.url("taken")) && ended.stderr.contains("Is a directory"),
        "{ended:?}"
    );
    // It was fetched, and that is measured.
    let line = ended.line("/taken");
    assert_eq!((line["bytes"].as_u64(), line["error"].is_string()), (Some(10), true));
    assert_eq!(names(folder.path()), ["free", "taken"]);
}
