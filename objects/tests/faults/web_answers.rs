//! Answers of servers in the web that aren't wrong by the letter, but aren't the object as it is
//! asked for: statuses, headers that aren't ASCII, packed bodies, and bodies without a length that
//! take their time.

use std::net::SocketAddr;
use std::time::Duration;

use slipring_objects::{Cause, Download, DownloadError, RangeEngine, RangeOptions, Stores};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::harness::{failed as must_fail, in_time, name};
use super::names::{BODY, failed, s3, stores};
use super::web_server::{WebServer, answer};

/// Stores of each kind that ask this server, with the URL of an object.
fn everywhere(server: &WebServer) -> [(Stores, String); 4] {
    let url = format!("http://{}", server.address);
    let gs = stores(&[
        ("google_base_url", url.clone()),
        ("google_allow_http", "true".to_owned()),
        ("google_skip_signature", "true".to_owned()),
    ]);
    let az = stores(&[
        ("azure_storage_account_name", "account".to_owned()),
        ("azure_endpoint", url.clone()),
        ("azure_allow_http", "true".to_owned()),
        ("azure_skip_signature", "true".to_owned()),
    ]);
    [
        (Stores::default(), format!("{url}/bucket/key")),
        (s3(server), "s3://bucket/key".to_owned()),
        (gs, "gs://bucket/key".to_owned()),
        (az, "az://bucket/key".to_owned()),
    ]
}

/// The download with these options and no retries.
async fn get_once(
    stores: &Stores,
    url: &str,
    options: RangeOptions,
) -> Result<Download, DownloadError> {
    let engine = RangeEngine::new(&RangeOptions { retries: 0, ..options }).unwrap();
    let (store, path) = stores.open(url).unwrap_or_else(|error| panic!("{error}"));
    in_time(engine.get(&*store, &path), url).await
}

fn asks_for_a_part(head: &str) -> bool {
    head.to_ascii_lowercase().contains("\r\nrange:")
}

#[tokio::test]
async fn only_200_and_206_are_the_object() {
    for status in [201, 202, 203, 204, 205, 207, 226, 299, 300, 304, 305, 306, 405, 409] {
        let server = WebServer::start(move |_| {
            let body: &[u8] = if [204, 304].contains(&status) { b"" } else { b"in preparation" };
            answer(&format!("{status} Odd"), &["etag: \"e\""], body)
        })
        .await;
        for (stores, url) in everywhere(&server) {
            for enabled in [true, false] {
                let options = RangeOptions { enabled, ..RangeOptions::default() };
                let what = format!("{status}, {url}, {enabled}");
                let error = must_fail(get_once(&stores, &url, options).await, &what);
                let text = error.to_string();
                assert!(text.contains(&status.to_string()), "{what}: {text}");
                for wrong in ["Range request", "already exists", "not found"] {
                    assert!(!text.contains(wrong), "{what}: {text}");
                }
                assert_eq!(error.retries, 0, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_range_that_is_not_served_has_a_way_out() {
    let server = WebServer::start(|head| match asks_for_a_part(head) {
        true => answer("416 No", &[], b""),
        false => answer("200 OK", &["etag: \"e\""], BODY),
    })
    .await;
    let url = format!("http://{}/a", server.address);
    let error = failed(&Stores::default(), &url).await;
    assert!(matches!(error.cause, Cause::Status { status: 416 }), "{error:?}");
    assert!(error.to_string().contains("turn `enabled` off"), "{error}");
}

/// The second part may have another ETag.
async fn two_parts(first: &'static [u8], second: &'static [u8]) -> WebServer {
    const PART: usize = 1 << 20;
    WebServer::start(move |head| {
        let is_first = head.to_ascii_lowercase().contains("bytes=0-");
        let (range, tag) =
            if is_first { ("0-1048575", first) } else { ("1048576-2097151", second) };
        let range = format!("content-range: bytes {range}/2097152");
        let whole = answer("206 Part", &[&range, "x-tag: "], &[7; PART]);
        let at = whole.windows(7).position(|part| part == b"x-tag: ").expect("it is there");
        [&whole[..at], b"etag: ", tag, &whole[at + 7..]].concat()
    })
    .await
}

#[tokio::test]
async fn a_tag_that_is_not_ascii_holds_the_parts_together() {
    let options = RangeOptions { part_bytes: Some(1 << 20), ..RangeOptions::default() };
    for (second, is_same) in [(&b"\"\xe9\""[..], true), (b"\"\xe8\"", false), (b"\"e\"", false)] {
        let server = two_parts(b"\"\xe9\"", second).await;
        for (stores, url) in everywhere(&server) {
            match get_once(&stores, &url, options.clone()).await {
                Ok(download) => assert!(is_same && download.bytes.len() == 2 << 20, "{url}"),
                Err(error) => {
                    assert!(!is_same && name(&error.cause) == "Changed", "{url}: {error}");
                }
            }
        }
        let seen = server.seen().join("").to_ascii_lowercase();
        assert!(!seen.contains("if-match"), "the server has no such tag: {seen}");
    }
}

#[tokio::test]
async fn no_store_insists_on_a_date() {
    let server = WebServer::start(|head| match asks_for_a_part(head) {
        true => answer("206 Part", &["content-range: bytes 0-9/10", "etag: \"e\""], BODY),
        false => answer("200 OK", &["etag: \"e\""], BODY),
    })
    .await;
    for (stores, url) in everywhere(&server) {
        for enabled in [true, false] {
            let options = RangeOptions { enabled, ..RangeOptions::default() };
            let object = get_once(&stores, &url, options).await;
            let object = object.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(&object.bytes[..], BODY, "{url}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_packed_for_the_way_is_refused() {
    let server = WebServer::start(|head| {
        let status = if asks_for_a_part(head) { "206 Part" } else { "200 OK" };
        let coding = if head.contains("/plain") { "chunked" } else { "gzip, chunked" };
        format!(
            "HTTP/1.1 {status}\r\ntransfer-encoding: {coding}\r\netag: \"e\"\r\n\
             content-range: bytes 0-9/10\r\nconnection: close\r\n\r\na\r\nthe object\r\n0\r\n\r\n"
        )
        .into_bytes()
    })
    .await;
    for enabled in [true, false] {
        let options = RangeOptions { enabled, ..RangeOptions::default() };
        let url = format!("http://{}/packed", server.address);
        let got = get_once(&Stores::default(), &url, options.clone()).await;
        let error = must_fail(got, "packed");
        assert_eq!(name(&error.cause), "Packed", "{error}");
        assert!(error.to_string().contains("`Transfer-Encoding`"), "{error}");
        let url = format!("http://{}/plain", server.address);
        let object = get_once(&Stores::default(), &url, options).await.unwrap();
        assert_eq!(&object.bytes[..], BODY);
    }
}

/// Sends `head`, then `piece` every `pause`, as often as `times`, and `end`. The connection stays
/// open.
async fn drips(
    head: &'static str,
    piece: Vec<u8>,
    pause: Duration,
    times: usize,
    end: &'static [u8],
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let piece = piece.clone();
            tokio::spawn(async move {
                let _asked = stream.read(&mut [0; 4096]).await;
                let mut sent = stream.write_all(head.as_bytes()).await;
                for _ in 0..times {
                    tokio::time::sleep(pause).await;
                    sent = sent.and(stream.write_all(&piece).await);
                }
                let _gone = sent.and(stream.write_all(end).await);
                let _gone = stream.read(&mut [0; 4096]).await;
            });
        }
    });
    address
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(bytes: usize) -> Vec<u8> {
    [format!("{bytes:x}\r\n").as_bytes(), &vec![7; bytes], b"\r\n"].concat()
}

#[tokio::test]
async fn an_object_without_a_length_has_time_while_it_moves() {
    let window = Duration::from_secs(2);
    let options = RangeOptions { request_timeout: window, ..RangeOptions::default() };
    // Longer than the limit in all, but each fraction of it brings enough.
    let moves = drips(CHUNKED, chunk(256 << 10), window / 8, 20, b"0\r\n\r\n").await;
    let url = format!("http://{moves}/a");
    let object = get_once(&Stores::default(), &url, options.clone()).await;
    let object = object.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((object.bytes.len(), object.stats.retries), (20 * (256 << 10), 0));
    // A megabyte, and then nothing.
    let stalls = drips(CHUNKED, chunk(1 << 20), Duration::ZERO, 1, b"").await;
    // A byte now and then.
    let crawls = drips(CHUNKED, chunk(1), window / 20, 10_000, b"").await;
    for (address, arrived) in [(stalls, 1 << 20), (crawls, 1)] {
        let url = format!("http://{address}/a");
        let error = must_fail(get_once(&Stores::default(), &url, options.clone()).await, "slow");
        let Cause::RequestTimeout { got_bytes, .. } = error.cause else { panic!("{error:?}") };
        assert!(got_bytes >= arrived, "{error}");
    }
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_its_text() {
    let head = "HTTP/1.1 404 None\r\ncontent-length: 1000\r\n\r\n";
    let stalls = drips(head, b"Not".to_vec(), Duration::ZERO, 1, b"").await;
    let crawls = drips(head, b"n".to_vec(), Duration::from_millis(100), 10_000, b"").await;
    for address in [stalls, crawls] {
        let error = failed(&Stores::default(), &format!("http://{address}/a")).await;
        assert!(matches!(error.cause, Cause::NotFound(_)), "{error:?}");
        assert_eq!(error.retries, 0, "{error}");
    }
}
