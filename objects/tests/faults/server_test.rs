//! The faulty server's own test, over a bare socket: each fault has the effect that it names.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::{Fault, RetryAfter};
use super::object::Object;
use super::server::Server;

/// How a connection ended.
#[derive(Debug, PartialEq)]
enum Ended {
    /// The server sent nothing more for a while, and the client closed it.
    Open,
    Closed,
    Reset,
}

struct Said {
    header: String,
    body: Vec<u8>,
    ended: Ended,
}

const PATIENCE: Duration = Duration::from_millis(200);

/// Asks for `range` of `a` and reads until the server ends the connection or sends nothing for a
/// while.
async fn ask(server: &Server, range: &str, more: &str) -> Said {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET /a HTTP/1.1\r\nhost: here\r\nrange: bytes={range}\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let ended = loop {
        match tokio::time::timeout(PATIENCE, stream.read_buf(&mut said)).await {
            Err(_) => break Ended::Open,
            Ok(Ok(0)) => break Ended::Closed,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                break Ended::Reset;
            }
        }
    };
    let split =
        said.windows(4).position(|four| four == b"\r\n\r\n").map_or(said.len(), |at| at + 4);
    let body = said.split_off(split);
    Said { header: String::from_utf8_lossy(&said).into_owned(), body, ended }
}

fn object() -> Object {
    Object::new("a", 7, 1000)
}

/// Checks the answer with one fault to `bytes=100-199`: what its header holds and lacks, its body,
/// and how the connection ends.
async fn assert_said(fault: Fault, holds: &[&str], lacks: &[&str], body: &[u8], ended: Ended) {
    let server = Server::start([object()]).await;
    server.set_faults([fault.clone()]);
    let said = ask(&server, "100-199", "").await;
    for part in holds {
        assert!(said.header.contains(part), "{fault:?}: no {part} in\n{}", said.header);
    }
    for part in lacks {
        assert!(!said.header.contains(part), "{fault:?}: {part} in\n{}", said.header);
    }
    assert_eq!(said.body, body, "{fault:?}");
    assert_eq!(said.ended, ended, "{fault:?}");
    assert_eq!(server.fault_counts().get(fault.name()), Some(&1));
}

const RIGHT_RANGE: &str = "content-range: bytes 100-199/1000\r\n";
const RIGHT_LENGTH: &str = "content-length: 100\r\n";
const PARTIAL: &str = "HTTP/1.1 206 ";

#[tokio::test]
async fn a_sound_answer_is_right() {
    let object = object();
    let etag = format!("etag: {}\r\n", object.etag);
    let holds = [PARTIAL, RIGHT_RANGE, RIGHT_LENGTH, &etag, "last-modified: "];
    assert_said(Fault::None, &holds, &[], object.range(100..200), Ended::Open).await;
    let server = Server::start([object.clone()]).await;
    assert!(ask(&server, "1000-", "").await.header.starts_with("HTTP/1.1 416 "));
    assert!(ask(&server, "0-", "if-match: \"b\"\r\n").await.header.starts_with("HTTP/1.1 412 "));
    assert_eq!(
        ask(&server, "0-", &format!("if-match: {}\r\n", object.etag)).await.body,
        object.bytes
    );
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn bodies_have_the_wrong_length() {
    let right = object().range(100..200);
    let all = [right, &right[..30]].concat();
    let headers = [PARTIAL, RIGHT_RANGE, RIGHT_LENGTH];
    assert_said(Fault::Cut { after: 30 }, &headers, &[], &right[..30], Ended::Closed).await;
    assert_said(Fault::Trailing { by: 30 }, &headers, &[], &all, Ended::Open).await;
    let short = [PARTIAL, RIGHT_RANGE, "content-length: 70\r\n"];
    assert_said(Fault::Short { by: 30 }, &short, &[], &right[..70], Ended::Open).await;
    let long = [PARTIAL, RIGHT_RANGE, "content-length: 130\r\n"];
    assert_said(Fault::Long { by: 30 }, &long, &[], &all, Ended::Open).await;
    let chunked = [b"64\r\n", right, b"\r\n0\r\n\r\n"].concat();
    assert_said(Fault::Chunked, &[RIGHT_RANGE], &["content-length"], &chunked, Ended::Open).await;
    assert_said(Fault::NoLength, &[RIGHT_RANGE], &["content-length"], right, Ended::Closed).await;
}

#[tokio::test]
async fn ranges_and_headers_are_others() {
    let object = object();
    let right = object.range(100..200);
    let shifted = Fault::Shifted { by: 5 };
    assert_said(
        shifted,
        &["bytes 105-204/1000", RIGHT_LENGTH],
        &[],
        object.range(105..205),
        Ended::Open,
    )
    .await;
    let back = Fault::Shifted { by: 850 };
    assert_said(back, &["bytes 199-199/1000"], &[], object.range(199..200), Ended::Open).await;
    assert_said(Fault::Resized { by: 5 }, &["bytes 100-199/1005"], &[], right, Ended::Open).await;
    let whole = ["HTTP/1.1 200 ", "content-length: 1000\r\n"];
    assert_said(Fault::Whole, &whole, &["content-range"], object.bytes, Ended::Open).await;
    assert_said(
        Fault::NoContentRange,
        &[PARTIAL, RIGHT_LENGTH],
        &["content-range"],
        right,
        Ended::Open,
    )
    .await;
    assert_said(Fault::NoEtag, &[RIGHT_RANGE], &["etag"], right, Ended::Open).await;
    assert_said(Fault::NoLastModified, &[RIGHT_RANGE], &["last-modified"], right, Ended::Open)
        .await;
    assert_said(Fault::Nameless, &[RIGHT_RANGE], &["etag", "last-modified"], right, Ended::Open)
        .await;
    assert_said(Fault::OtherEtag, &["etag: \"other-"], &[], right, Ended::Open).await;
    assert_said(Fault::WeakEtag, &[&format!("etag: W/{}", object.etag)], &[], right, Ended::Open)
        .await;
    let new = object.replaced();
    assert_said(Fault::Replaced, &[&new.etag], &[&object.etag], new.range(100..200), Ended::Open)
        .await;
}

#[tokio::test]
async fn statuses_say_when_to_come_again() {
    let status = |retry_after| Fault::Status { status: 503, retry_after };
    assert_said(status(RetryAfter::None), &["HTTP/1.1 503 "], &["retry-after"], &[], Ended::Open)
        .await;
    assert_said(status(RetryAfter::Seconds(7)), &["retry-after: 7\r\n"], &[], &[], Ended::Open)
        .await;
    assert_said(status(RetryAfter::Date(7)), &["retry-after: ", " GMT\r\n"], &[], &[], Ended::Open)
        .await;
    let to = Fault::Redirect { to: "b".to_owned() };
    assert_said(to, &["HTTP/1.1 302 ", "location: /b\r\n"], &[], &[], Ended::Open).await;
}

#[tokio::test]
async fn connections_end_or_stand_still() {
    let right = object().range(100..200);
    assert_said(Fault::ResetHeader, &[], &["\r\n\r\n"], &[], Ended::Reset).await;
    assert_said(Fault::CutHeader, &[PARTIAL, RIGHT_RANGE], &["\r\n\r\n"], &[], Ended::Closed).await;
    assert_said(Fault::Silent, &[], &["HTTP"], &[], Ended::Open).await;
    assert_said(Fault::Stalled { after: 30 }, &[RIGHT_LENGTH], &[], &right[..30], Ended::Open)
        .await;
    assert_said(Fault::Garbage, &["what?"], &["HTTP"], &[], Ended::Closed).await;
    let slow = Fault::Slow { bytes: 1, pause: Duration::from_millis(1) };
    assert_said(slow, &[RIGHT_LENGTH], &[], right, Ended::Open).await;
}

#[tokio::test]
async fn a_reset_comes_in_the_body() {
    let server = Server::start([object()]).await;
    server.set_faults([Fault::ResetBody { after: 30 }]);
    let said = ask(&server, "100-199", "").await;
    assert_eq!(said.ended, Ended::Reset);
    // The reset discards what the client hadn't read before.
    assert!(object().range(100..130).starts_with(&said.body));
}
