//! Which request a URL becomes, what of it is shown, and what a server may do with it.

use std::time::{Duration, Instant};

use object_store::path::Path;
use slipring_objects::{
    Cause, Download, DownloadError, RangeEngine, RangeOptions, ServerOptions, StoreError, Stores,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{in_time, name};
use super::web_server::{WebServer, answer};

pub const BODY: &[u8] = b"the object";

pub fn stores(settings: &[(&str, String)]) -> Stores {
    Stores::new(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())))
}

/// Settings of S3 with signatures.
pub fn s3(server: &WebServer) -> Stores {
    stores(&[
        ("aws_endpoint", format!("http://{}", server.address)),
        ("aws_allow_http", "true".to_owned()),
        ("aws_access_key_id", "AKID".to_owned()),
        ("aws_secret_access_key", "very secret".to_owned()),
        ("aws_region", "eu-central-1".to_owned()),
    ])
}

/// What the download of this URL comes to, with few and fast retries.
pub async fn get(stores: &Stores, url: &str) -> Result<Download, DownloadError> {
    let options = RangeOptions {
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        ..RangeOptions::default()
    };
    let engine = RangeEngine::new(&options).unwrap();
    let (store, path) = stores.open(url).unwrap_or_else(|error| panic!("{error}"));
    in_time(engine.get(&*store, &path), url).await
}

pub async fn failed(stores: &Stores, url: &str) -> DownloadError {
    get(stores, url).await.map(|download| download.stats).expect_err(url)
}

/// A part of the object or the whole of it, as it is asked for.
fn whole_or_part(head: &str) -> Vec<u8> {
    if head.to_ascii_lowercase().contains("\r\nrange:") {
        answer("206 Part", &["content-range: bytes 0-9/10", "etag: \"e\""], BODY)
    } else {
        answer("200 OK", &["etag: \"e\""], BODY)
    }
}

#[tokio::test]
async fn a_web_address_is_sent_as_it_was_written() {
    let server = WebServer::start(whole_or_part).await;
    let stores = Stores::default();
    for (target, sent) in [
        ("/x/a%2Fb", "/x/a%2Fb"),
        ("/x/a/b", "/x/a/b"),
        ("/x//b/", "/x//b/"),
        (
            "/a?X-Amz-Signature=00ff&X-Amz-Credential=a%2Fb",
            "/a?X-Amz-Signature=00ff&X-Amz-Credential=a%2Fb",
        ),
        ("/c/b?sv=1&sig=a%2Bb%3D", "/c/b?sv=1&sig=a%2Bb%3D"),
        ("/a+b&c=d;e,f~(g)!*'", "/a+b&c=d;e,f~(g)!*'"),
        ("/a b\\c|ü", "/a%20b%5Cc%7C%C3%BC"),
        ("/%25%41%zz", "/%25%41%zz"),
    ] {
        let url = format!("http://{}{target}", server.address);
        let download = get(&stores, &url).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(&download.bytes[..], BODY, "{url}");
        assert_eq!(server.targets().last().unwrap(), sent, "{url}");
    }
    assert_eq!(stores.clients(), 1, "one client has the connections of all");
}

/// S3's keys by every spelling: the request is for that key alone, and is signed.
#[tokio::test]
async fn a_key_is_asked_for_exactly() {
    let server = WebServer::start(whole_or_part).await;
    let stores = s3(&server);
    for (key, sent) in [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a//b", "a//b"),
        ("a/%2Fb", "a//b"),
        ("/a", "/a"),
        ("a/", "a/"),
        ("a//", "a//"),
        ("%252F//", "%252F//"),
        ("a%0Ab", "a%0Ab"),
        ("a\tb ", "a%09b%20"),
        ("100%", "100%25"),
        ("%2541//", "%2541//"),
        ("q%3Fr%23s", "q%3Fr%23s"),
        ("a+b/ü", "a%2Bb/%C3%BC"),
        ("...", "..."),
    ] {
        let url = format!("s3://bucket/{key}");
        get(&stores, &url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(*server.targets().last().unwrap(), format!("/bucket/{sent}"), "{url}");
        let head = server.seen().pop().unwrap();
        assert!(head.contains("Credential=AKID/") && head.contains("/eu-central-1/s3/"), "{head}");
    }
    let before = server.seen().len();
    for key in ["a/../b2", "../b", "a/%2e%2E/b", "a/.", "./a", "a%2F..%2Fb"] {
        let refused = stores.open(&format!("s3://bucket/{key}")).unwrap_err().to_string();
        assert!(refused.contains("resolves on the way; write s3://bucket/"), "{refused}");
    }
    assert_eq!(server.seen().len(), before, "nothing was asked for");
}

/// Whether a request has the header of user and password `me` and `p w`.
fn has_basic(head: &str) -> bool {
    head.contains("Basic bWU6cCB3")
}

#[tokio::test]
async fn user_and_password_are_sent_to_their_host_only() {
    let other = WebServer::start(whole_or_part).await;
    let to = format!("location: http://{}/there", other.address);
    let server = WebServer::start(move |head| match head.starts_with("GET /away") {
        true => answer("302 Found", &[&to], b""),
        false if has_basic(head) => whole_or_part(head),
        false => answer("401 No", &["www-authenticate: Basic"], b""),
    })
    .await;
    let (stores, host) = (Stores::default(), server.address);
    let got = get(&stores, &format!("http://me:p%20w@{host}/a")).await.unwrap();
    assert_eq!(&got.bytes[..], BODY);
    let refused = failed(&stores, &format!("http://{host}/a")).await;
    assert_eq!(name(&refused.cause), "Unauthenticated", "{refused}");
    get(&stores, &format!("http://me:p%20w@{host}/away")).await.unwrap();
    assert!(server.seen().iter().any(|head| head.starts_with("GET /away") && has_basic(head)));
    assert!(!other.seen().is_empty() && other.seen().iter().all(|head| !has_basic(head)));
}

#[tokio::test]
async fn no_secret_is_in_an_error() {
    let xml = b"<?xml version=\"1.0\"?><Error><Code>InvalidToken</Code><Message>bad</Message><Token-0>hidden</Token-0></Error>";
    let server = WebServer::start(|head| match head.split(' ').nth(1).unwrap_or_default() {
        target if target.starts_with("/403") => answer("403 No", &[], xml),
        target if target.starts_with("/loop") => {
            answer("302 On", &["location: /loop?sig=hidden"], b"")
        }
        target if target.starts_with("/bad") => b"garbage hidden\r\n\r\n".to_vec(),
        target if target.starts_with("/b/repeated") || target.starts_with("/repeated") => {
            answer("401 No", &[], head.as_bytes())
        }
        target => answer(target.get(1..4).unwrap_or("404"), &[], b"https://u:hidden@h/?sig=hidden"),
    })
    .await;
    let error = failed(&s3(&server), "s3://b/repeated").await.to_string();
    assert!(error.contains("GET /b/repeated") && !error.contains("Signature="), "{error}");
    let stores = Stores::default();
    for path in ["403", "404", "401", "400", "500", "429", "loop", "bad", "200", "repeated"] {
        let url = format!(
            "http://me:hidden@{}/{path}?X-Amz-Signature=hidden&token=hidden",
            server.address
        );
        let Err(StoreError::Download(error)) =
            in_time(stores.download(&url), path).await.map(|_| ())
        else {
            assert_eq!(path, "200");
            continue;
        };
        assert!(!error.to_string().contains("hidden"), "{path}: {error}");
        assert!(error.to_string().starts_with(&format!("object {path}")), "{error}");
    }
}

fn lenient() -> ServerOptions {
    ServerOptions { insecure_redirects: true, ..ServerOptions::default() }
}

#[tokio::test]
async fn encryption_is_not_taken_away_by_a_redirect() {
    let plain = WebServer::start(whole_or_part).await;
    let to = format!("location: http://{}/there", plain.address);
    let server = WebServer::start_tls(move |head| match head.contains("/direct") {
        true => whole_or_part(head),
        false => answer("302 Found", &[&to], b""),
    })
    .await;
    let endpoint = format!("https://{}", server.address);
    let settings = [
        ("allow_invalid_certificates", "true".to_owned()),
        ("aws_allow_http", "true".to_owned()),
        ("aws_skip_signature", "true".to_owned()),
        ("aws_endpoint", endpoint.clone()),
        ("aws_metadata_endpoint", "http://127.0.0.1:1".to_owned()),
    ];
    let strict = stores(&settings);
    assert_eq!(&get(&strict, &format!("{endpoint}/direct")).await.unwrap().bytes[..], BODY);
    for url in [format!("{endpoint}/bucket/key"), "s3://bucket/key".to_owned()] {
        let error = failed(&strict, &url).await;
        assert_eq!(
            (name(&error.cause).as_str(), error.retries),
            ("InsecureRedirect", 0),
            "{error}"
        );
        assert!(plain.seen().is_empty(), "nothing is sent in the open");
    }
    let allowed = stores(&settings).with_servers(lenient());
    for url in [format!("{endpoint}/bucket/key"), "s3://bucket/key".to_owned()] {
        let got = get(&allowed, &url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(&got.bytes[..], BODY);
    }
    // A certificate that isn't trusted is no reason to try again.
    let error = failed(&Stores::default(), &format!("{endpoint}/a")).await;
    assert_eq!((name(&error.cause).as_str(), error.retries), ("Tls", 0), "{error}");
    // Nor is a server that speaks no TLS.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/a", listener.local_addr().unwrap());
    let speaking = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await;
            let _gone = stream.read(&mut [0; 1024]).await;
        }
    });
    let error = failed(&strict, &url).await;
    assert_eq!((name(&error.cause).as_str(), error.retries), ("Tls", 0), "{error}");
    speaking.abort();
}

#[tokio::test]
async fn a_redirect_in_a_circle_ends_without_retries() {
    let server = WebServer::start(|_| answer("302 On", &["location: /again"], b"")).await;
    let error = failed(&Stores::default(), &format!("http://{}/a", server.address)).await;
    assert_eq!((name(&error.cause).as_str(), error.retries), ("Redirect", 0), "{error}");
    assert_eq!(server.seen().len(), 11, "ten redirects");
    // An address that isn't http's is no address that has to be allowed.
    let server =
        WebServer::start(|_| answer("302 On", &["location: ftp://127.0.0.1/x"], b"")).await;
    for (stores, url) in [
        (Stores::default(), format!("http://{}/a", server.address)),
        (s3(&server), "s3://bucket/a".to_owned()),
    ] {
        let error = failed(&stores, &url).await;
        assert_eq!((name(&error.cause).as_str(), error.retries), ("Redirect", 0), "{error}");
        assert!(error.to_string().contains("another scheme"), "{error}");
    }
}

#[tokio::test]
async fn an_object_without_a_length_is_read_to_its_end() {
    let chunked = |head: &str| {
        match head.to_ascii_lowercase().contains("\r\nrange:") {
        true => answer("206 Part", &["content-range: bytes 0-9/*", "etag: \"e\""], BODY),
        false => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n4\r\nthe \r\n6\r\nobject\r\n0\r\n\r\n".to_vec(),
    }
    };
    let old = |_: &str| [b"HTTP/1.0 200 OK\r\n\r\n", BODY].concat();
    let cut = |_: &str| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n4\r\nthe \r\n"
            .to_vec()
    };
    let empty = |_: &str| b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
    let servers = [WebServer::start(chunked).await, WebServer::start(old).await];
    for server in &servers {
        let url = format!("http://{}/a", server.address);
        assert_eq!(&get(&Stores::default(), &url).await.unwrap().bytes[..], BODY);
        assert_eq!(&get(&s3(server), "s3://bucket/a").await.unwrap().bytes[..], BODY);
        for (most, fits) in [(10, true), (9, false)] {
            let servers = ServerOptions { unsized_bytes_max: most, ..ServerOptions::default() };
            match get(&Stores::default().with_servers(servers), &url).await {
                Ok(download) => assert!(fits && download.bytes == BODY),
                Err(error) => {
                    assert_eq!((name(&error.cause).as_str(), error.retries), ("Unsized", 0));
                    assert!(!fits && error.to_string().contains("`unsized_bytes_max`"), "{error}");
                }
            }
        }
    }
    let server = WebServer::start(cut).await;
    let error = failed(&Stores::default(), &format!("http://{}/a", server.address)).await;
    assert_eq!(name(&error.cause), "Connection", "{error}");
    let server = WebServer::start(empty).await;
    let url = format!("http://{}/a", server.address);
    assert!(get(&Stores::default(), &url).await.unwrap().bytes.is_empty());
}

#[tokio::test]
async fn a_date_in_any_form_is_a_hint() {
    for date in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "yesterday", "-1"] {
        let header = format!("last-modified: {date}");
        let server = WebServer::start(move |head| {
            let range = head.to_ascii_lowercase().contains("\r\nrange:");
            let status = if range { "206 Part" } else { "200 OK" };
            answer(status, &[&header, "content-range: bytes 0-9/10", "etag: \"e\""], BODY)
        })
        .await;
        let url = format!("http://{}/a", server.address);
        assert_eq!(&get(&Stores::default(), &url).await.unwrap().bytes[..], BODY, "{date}");
        assert_eq!(&get(&s3(&server), "s3://b/a").await.unwrap().bytes[..], BODY, "{date}");
    }
}

/// The machine's service is silent, refuses connections, or knows no credentials.
#[tokio::test]
async fn without_credentials_it_ends_soon_and_says_what_to_set() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let none = WebServer::start(|_| answer("404 None", &[], b"")).await;
    let refuses = WebServer::start(|_| answer("403 No", &[], b"")).await;
    for service in [silent.local_addr().unwrap(), gone, none.address, refuses.address] {
        let stores = stores(&[("aws_metadata_endpoint", format!("http://{service}"))]);
        for url in ["s3://bucket/key", "s3://bucket/a//b"] {
            let started = Instant::now();
            let error = failed(&stores, url).await;
            let Cause::NoCredentials { set } = error.cause else { panic!("{url}: {error}") };
            assert!(set.contains("AWS_ACCESS_KEY_ID") && set.contains("AWS_SKIP_SIGNATURE=true"));
            assert_eq!(error.retries, 0);
            assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
        }
    }
}

#[tokio::test]
async fn servers_that_disagree_are_named_with_the_way_out() {
    // The first answer tells an ETag; none ever matches.
    let server = WebServer::start(|head| {
        let head = head.to_ascii_lowercase();
        if head.contains("if-match") {
            answer("412 No", &[], b"")
        } else if head.contains("\r\nrange:") {
            let part = vec![7; 2 << 20];
            answer("206 Part", &["content-range: bytes 0-2097151/4194304", "etag: \"e\""], &part)
        } else {
            answer("200 OK", &["etag: \"f\""], &vec![7; 4 << 20])
        }
    })
    .await;
    let url = format!("http://{}/a", server.address);
    let error = failed(&Stores::default(), &url).await;
    assert_eq!(name(&error.cause), "Changed", "{error}");
    assert!(error.to_string().contains("turn `enabled` off"), "{error}");
    let whole = RangeOptions { enabled: false, ..RangeOptions::default() };
    let stores = Stores::default();
    let (store, path) = stores.open(&url).unwrap();
    let got = RangeEngine::new(&whole).unwrap().get(&*store, &path).await.unwrap();
    assert_eq!((got.bytes.len(), path), (4 << 20, Path::from("a")));
}

#[tokio::test]
async fn headers_that_are_not_ascii_are_left_out() {
    let headers = [
        "content-disposition: attachment; filename=\"é日.bin\"",
        "content-type: text/plain; name=é",
        "content-language: é",
        "cache-control: é",
        "x-amz-meta-name: é",
        "last-modified: é",
        "server: é",
    ];
    let server = WebServer::start(move |head| {
        let etag = if head.contains("/etag") { "etag: \"é\"" } else { "etag: \"e\"" };
        let mut headers = headers.to_vec();
        headers.push(etag);
        if head.to_ascii_lowercase().contains("\r\nrange:") {
            headers.push("content-range: bytes 0-9/10");
            return answer("206 Part", &headers, BODY);
        }
        answer("200 OK", &headers, BODY)
    })
    .await;
    for (stores, url) in [
        (Stores::default(), format!("http://{}/a", server.address)),
        (Stores::default(), format!("http://{}/etag", server.address)),
        (s3(&server), "s3://bucket/a".to_owned()),
        (s3(&server), "s3://bucket/etag".to_owned()),
    ] {
        let object = get(&stores, &url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(&object.bytes[..], BODY, "{url}");
    }
}

/// The connection stays open behind the text, so who reads on waits.
#[tokio::test]
async fn a_refusal_is_its_status_whatever_its_text_is() {
    let endless = b"x".repeat(1 << 20);
    let server = WebServer::start(move |head| {
        let status = head.split(['/', ' ']).find(|part| part.starts_with('4')).unwrap_or("404");
        let status = format!("{status} No");
        match head {
            _ if head.contains("/latin") => answer(&status, &[], b"nicht gefunden: \xe9\xfc"),
            _ if head.contains("/gzip") => {
                answer(&status, &["content-encoding: gzip"], b"\x1f\x8b\x08\0\xff")
            }
            _ => {
                let mut text = answer(&status, &[], &endless);
                let length = format!("content-length: {}", endless.len());
                let at = text.windows(length.len()).position(|part| part == length.as_bytes());
                let at = at.expect("it has a length") + "content-length: ".len();
                text.splice(at..at + 7, *b"9999999");
                text
            }
        }
    })
    .await;
    let s3 = s3(&server);
    for kind in ["latin", "gzip", "long"] {
        for status in [400, 401, 403, 404] {
            for url in [
                format!("http://{}/{kind}/{status}", server.address),
                format!("s3://bucket/{kind}/{status}"),
            ] {
                let error = failed(&s3, &url).await;
                let is_right = match status {
                    404 => matches!(error.cause, Cause::NotFound(_)),
                    401 => matches!(error.cause, Cause::Unauthenticated(_)),
                    403 => matches!(error.cause, Cause::Denied(_)),
                    _ => error.to_string().contains("400"),
                };
                assert!(is_right && error.retries == 0, "{url}: {error:?}");
            }
        }
    }
}

/// Crate object_store panics where it can't make a request of what a file of credentials holds.
#[tokio::test]
async fn a_client_that_panics_is_an_error_of_its_object() {
    let server = WebServer::start(whole_or_part).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "hidden\n").unwrap();
    let address = format!("http://{}", server.address);
    let pod = stores(&[
        ("aws_endpoint", address.clone()),
        ("aws_allow_http", "true".to_owned()),
        ("aws_container_credentials_full_uri", address.clone()),
        ("aws_container_authorization_token_file", token.display().to_string()),
    ]);
    let error = failed(&pod, "s3://bucket/key").await;
    assert!(matches!(error.cause, Cause::Panicked { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("check endpoint and credentials") && !text.contains("hidden"), "{text}");
    // The engine and the others go on.
    let object = get(&Stores::default(), &format!("{address}/a")).await.unwrap();
    assert_eq!(&object.bytes[..], BODY);
}
