//! URLs at the command line: what is asked for, what is shown of them, and what ends soon.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::tools::{get, names, run, start, wait};

const BODY: &[u8] = b"the object";

/// Answers each request by `answer`, which gets its header. Returns the headers that it saw.
fn serve(
    answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut head, mut piece) = (Vec::new(), [0; 1024]);
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(bytes) if bytes > 0 => head.extend_from_slice(&piece[..bytes]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            log.lock().unwrap().push(head.clone());
            // A client may be gone.
            let _gone = stream.write_all(&answer(&head));
        }
    });
    (address, seen)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn a_signed_url_is_fetched_and_its_secrets_are_shown_nowhere() {
    let (address, seen) = serve(|head| match head.contains("GET /bad") {
        true => answer(
            "403 No",
            "",
            b"<Error><Code>Denied</Code><Message>No.</Message><Token-0>hidden</Token-0></Error>",
        ),
        false => answer("200 OK", "etag: \"e\"\r\n", BODY),
    });
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let query = "X-Amz-Signature=hidden&part=1";
    let good = format!("http://me:hidden@{address}/x/a%2Fb?{query}");
    let bad = format!("http://me:hidden@{address}/bad?{query}");
    let ended = run(&[&*good, &bad, "-o", &out, "--json"]).assert_code(1);
    assert_eq!(names(folder.path()), ["b"]);
    assert_eq!(fs::read(folder.path().join("b")).unwrap(), BODY);
    let seen = seen.lock().unwrap().clone();
    assert!(
        seen.iter().any(|head| head.starts_with(&format!("GET /x/a%2Fb?{query} "))),
        "{seen:?}"
    );
    assert!(seen.iter().all(|head| head.contains("Basic bWU6aGlkZGVu")), "{seen:?}");
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!text.contains("hidden") && text.contains("X-Amz-Signature=***"), "{text}");
    assert!(ended.stderr.contains("Denied No."), "{text}");
    let table = run(&[&*good]).assert_code(0);
    assert!(!table.stdout.contains("hidden") && table.stdout.contains("***@"), "{table:?}");
}

#[test]
fn another_object_is_never_fetched() {
    let (address, seen) = serve(|_| answer("200 OK", "etag: \"e\"\r\n", BODY));
    for url in ["s3://b/a/../b2", "s3://b/a/%2E%2e/b2", "s3://b/b2?x", "gs://b/./b2", "s3://b/"] {
        let mut command = get(&[url]);
        command.env("AWS_ENDPOINT", format!("http://{address}")).env("AWS_ALLOW_HTTP", "true");
        let ended = wait(start(command)).assert_code(2);
        assert!(ended.stderr.contains(url) && ended.stderr.contains("it"), "{ended:?}");
    }
    let ended = run(&[&format!("http://{address}/a/../b2")]).assert_code(2);
    assert!(ended.stderr.contains(&format!("write http://{address}/b2")), "{ended:?}");
    assert!(seen.lock().unwrap().is_empty(), "nothing was asked for");
}

/// What isn't there is named as what it is: a kind of URL, a file, a server.
#[test]
fn what_is_not_there_is_named() {
    for (url, said) in [
        ("ftp://host/key", "ftp://host/key: there is no store for ftp://; give s3://, gs://"),
        ("s3:///key", "its bucket is missing"),
    ] {
        let ended = run(&[url]).assert_code(2);
        assert!(ended.stderr.contains(said) && !ended.stderr.contains("x/y"), "{ended:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").display().to_string();
    let ended = run(&[&*missing]).assert_code(1);
    assert!(ended.stderr.contains("missing: there is no such file"), "{ended:?}");
    assert!(!ended.stderr.contains("endpoint") && !ended.stderr.contains("bytes 0"), "{ended:?}");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(&[&*format!("http://{gone}/a"), "--retries", "0"]).assert_code(1);
    assert!(ended.stderr.contains("nothing listens there; check host and port"), "{ended:?}");
    assert!(!ended.stderr.contains("error sending request"), "{ended:?}");
}

#[test]
fn a_packed_object_is_named() {
    let (address, _) =
        serve(|_| answer("200 OK", "etag: \"e\"\r\ncontent-encoding: gzip\r\n", BODY));
    let ended = run(&[&format!("http://{address}/a"), "--json"]).assert_code(0);
    assert_eq!(ended.line("/a")["content_encoding"], "gzip");
    assert!(ended.stderr.contains("packed (Content-Encoding: \"gzip\")"), "{ended:?}");
    let (address, _) = serve(|_| answer("200 OK", "content-encoding: identity\r\n", BODY));
    let ended = run(&[&format!("http://{address}/a"), "--json"]).assert_code(0);
    assert!(ended.line("/a").get("content_encoding").is_none() && ended.stderr.is_empty());
}

#[test]
fn without_credentials_it_says_what_to_set() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = get(&["s3://bucket/key"]);
    let service = format!("http://{}", silent.local_addr().unwrap());
    command.env("AWS_METADATA_ENDPOINT", service).env("AWS_ENDPOINT", "http://127.0.0.1:1");
    let started = Instant::now();
    let ended = wait(start(command)).assert_code(1);
    for part in ["AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE=true", "no credentials are set"] {
        assert!(ended.stderr.contains(part), "{ended:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn what_a_server_may_do_is_named_by_its_option() {
    let unsized_object = |_: &str| b"HTTP/1.0 200 OK\r\n\r\n0123456789".to_vec();
    let (address, _) = serve(unsized_object);
    let url = format!("http://{address}/a");
    let ended = run(&[&*url, "--json"]).assert_code(0);
    assert_eq!(ended.line("/a")["bytes"], 10);
    let ended = run(&[&*url, "--unsized-max", "9"]).assert_code(1);
    assert!(ended.stderr.contains("more than 9 bytes arrived; raise --unsized-max"), "{ended:?}");
}
