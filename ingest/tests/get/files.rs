//! Objects into files, or into nothing; interruptions; and refusals before anything is fetched.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::{Pid, Signal, kill_process};
use slipring_test_support::{Draw, wait_until};

use crate::support::folder;
use crate::support::process::refused;
use crate::tools::{Conduct, Server};
use crate::tools::{get, limited, names, run, start, wait};

/// Bytes in which no two positions agree except by chance.
pub fn noise(len: usize) -> Vec<u8> {
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
    // The parts of all four went through the same buffers, of which there are 16 at most.
    assert_eq!(ended.line("local file")["pool"], "hit");
    let lines = ended.lines();
    let buffers = &lines[3]["part_buffers"];
    let [gets, high_water] = ["gets", "high_water"].map(|name| buffers[name].as_u64().unwrap());
    assert!(gets >= 8 && (1..=16).contains(&high_water), "{buffers}");
    assert_eq!(buffers["buffer_bytes"], 1 << 20);

    // Once more, replacing the files, without a pool and without ranges.
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
    // Plain HTTP must be allowed explicitly.
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
    // The same object many times, through two buffers: a download that finds no buffer waits for
    // one.
    let mut words = vec![server.url("one.bin"); 12];
    words.extend(["--buffer-pool-size", "2", "--concurrency", "64"].map(str::to_owned));
    let ended = run(&words).assert_code(0);
    assert_eq!(ended.stdout.matches("one.bin").count(), 12, "{ended:?}");
    assert!(
        ended.stdout.contains("12 of 12 objects arrived: 24.00 MiB in ")
            && ended.stdout.contains("pool: 12 hit")
    );
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_failed_object_leaves_the_others() {
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
                ended.stdout.contains("2 of 4 objects arrived")
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
    let long: &'static str = "n".repeat(256).leak();
    let server = Server::start([
        ("taken", Conduct::Right, noise(10)),
        ("free", Conduct::Right, noise(10)),
        (long, Conduct::Right, noise(10)),
    ]);
    fs::create_dir(folder.path().join("taken")).unwrap();
    let out = folder.path().display().to_string();
    let urls = ["taken", "free", long].map(|path| server.url(path));
    let ended = run(&[&*urls[0], &urls[1], &urls[2], "-o", &out, "--json"]).assert_code(1);
    assert!(
        ended.stderr.contains(&server.url("taken")) && ended.stderr.contains("Is a directory"),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("File name too long"), "{ended:?}");
    // That is known before anything is fetched for them.
    assert_eq!(server.requests(), 1);
    assert_eq!(names(folder.path()), ["free", "taken"]);
}

/// The number of threads of this name in a process.
fn count_threads(process: u32, wanted: &str) -> usize {
    let threads =
        std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let names =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.trim() == wanted).count()
}

#[test]
fn an_interruption_leaves_whole_files_only() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = folder();
        let server = Server::start([
            ("whole", Conduct::Right, vec![1; 1000]),
            ("stalled", Conduct::Stall, vec![2; 100_000]),
            ("never", Conduct::Right, vec![3; 1000]),
        ]);
        // One object at a time, so that the last one isn't started.
        let out = folder.path().display().to_string();
        let urls = ["whole", "stalled", "never"].map(|path| server.url(path));
        let child = start(get(&[
            &*urls[0],
            &urls[1],
            &urls[2],
            "-o",
            &out,
            "--json",
            "--concurrency",
            "4",
            "--buffer-pool",
        ]));
        wait_until("the stalled object is under way", || server.requests() == 2);
        wait_until("the pool is looked at", || count_threads(child.id(), "slipring-ticker") == 1);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = wait(child).assert_code(130);
        assert!(ended.stderr.contains("interrupted: 1 of 3 objects"), "{ended:?}");
        assert_eq!(ended.lines().len(), 1, "{ended:?}");
        assert_eq!((names(folder.path()), server.requests()), (vec!["whole".to_owned()], 2));
    }
}

#[test]
fn connecting_is_interrupted_too() {
    let folder = folder();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    // Nothing accepts, and the queue of waiting connections is full.
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&socket).unwrap();
    let to = socket.display().to_string();
    let child = start(get(&["any", "--ingest", &to, "--timeout", "1h"]));
    wait_until("it connects", || count_threads(child.id(), "connect") == 1);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = wait(child).assert_code(130);
    assert!(ended.stderr.contains("interrupted: 0 of 1 objects"), "{ended:?}");
}

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
    // Without files no names can clash.
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
        (&["s3://bucket/x.npy?signature=a"], &["`?signature=***` isn't part of a key", "%3F"]),
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
