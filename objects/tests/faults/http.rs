//! The HTTP of the faulty server, written by hand so that every fault of the protocol is possible.
//!
//! A request is read as far as a download needs it: a few headers, and nothing else. An answer is
//! made right first, then the fault edits it, and one function writes the result.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::{Fault, RetryAfter};
use super::object::Object;

/// None of our clients sends a longer header.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// One request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub method: String,
    /// The path without its first slash and without a query, with spaces decoded.
    pub key: String,
    pub range: Option<Asked>,
    pub if_match: Option<String>,
}

/// A `Range` header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    Bounded { first: u64, last: u64 },
    From(u64),
    Last(u64),
}

impl Asked {
    fn parse(value: &str) -> Option<Self> {
        let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
        Some(match (first.parse().ok(), last.parse().ok()) {
            (Some(first), Some(last)) if first <= last => Self::Bounded { first, last },
            (Some(first), None) if last.is_empty() => Self::From(first),
            (None, Some(last)) if first.is_empty() => Self::Last(last),
            _ => return None,
        })
    }

    /// The bytes of an object that the header names, or None if the object has none of them.
    pub fn resolve(self, object_bytes: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Bounded { first, last } => first..object_bytes.min(last + 1),
            Self::From(first) => first..object_bytes,
            Self::Last(bytes) => object_bytes.saturating_sub(bytes)..object_bytes,
        };
        (!range.is_empty()).then_some(range)
    }
}

impl Request {
    /// The next request of a connection, or None when the client has closed it.
    pub async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        unread: &mut Vec<u8>,
    ) -> io::Result<Option<Self>> {
        loop {
            if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let header = String::from_utf8_lossy(&unread[..end]).into_owned();
                unread.drain(..end + 4);
                return Self::parse(&header)
                    .map(Some)
                    .ok_or_else(|| io::Error::other(format!("not HTTP: {header}")));
            }
            if unread.len() > HEADER_BYTES_MAX {
                return Err(io::Error::other("a header without an end"));
            }
            if stream.read_buf(unread).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Whether the request asks for the byte at `position`.
    pub fn covers(&self, position: u64) -> bool {
        self.range.is_none_or(|asked| match asked {
            Asked::Bounded { first, last } => (first..=last).contains(&position),
            Asked::From(first) => first <= position,
            Asked::Last(_) => false,
        })
    }

    /// The first byte that the request asks for.
    pub fn first(&self) -> u64 {
        match self.range {
            Some(Asked::Bounded { first, .. } | Asked::From(first)) => first,
            _ => 0,
        }
    }

    fn parse(header: &str) -> Option<Self> {
        let mut lines = header.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, target) = (first.next()?.to_owned(), first.next()?);
        let key = target.split('?').next()?.strip_prefix('/')?.replace("%20", " ");
        let mut request = Self { method, key, ..Self::default() };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = Some(Asked::parse(value.trim())?),
                "if-match" => request.if_match = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        Some(request)
    }
}

const BEFORE_RESET: Duration = Duration::from_millis(3);

/// The bytes of an answer, and how they are sent.
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order in which they are sent.
    pub headers: Vec<(&'static str, String)>,
    pub body: &'static [u8],
    /// Sent after the body.
    trailing: &'static [u8],
    chunked: bool,
    /// Bytes of the header's text, or of the body, after which the answer ends as `end` says.
    header_cut: Option<usize>,
    body_cut: Option<usize>,
    pace: Option<(usize, Duration)>,
    end: End,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    KeepAlive,
    Close,
    Reset,
    /// The connection stays open until the client has closed it.
    Hold,
}

/// An ETag that is never the same twice. A repeated one would vouch for bytes of another object.
fn other_etag() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("\"other-{}\"", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Answer {
    fn of_status(status: u16) -> Self {
        Self {
            status,
            headers: vec![("content-length", "0".to_owned())],
            body: &[],
            trailing: &[],
            chunked: false,
            header_cut: None,
            body_cut: None,
            pace: None,
            end: End::KeepAlive,
        }
    }

    /// The answer of a server without faults.
    pub fn right(request: &Request, object: Option<&Object>) -> Self {
        let Some(object) = object else { return Self::of_status(404) };
        if request.if_match.as_ref().is_some_and(|asked| asked != &object.etag && asked != "*") {
            return Self::of_status(412);
        }
        let total = object.bytes.len() as u64;
        let mut answer = Self::of_status(200);
        answer.body = object.bytes;
        if let Some(asked) = request.range {
            let Some(range) = asked.resolve(total) else {
                let mut refusal = Self::of_status(416);
                refusal.set("content-range", format!("bytes */{total}"));
                return refusal;
            };
            (answer.status, answer.body) = (206, object.range(range.clone()));
            answer.set("content-range", format!("bytes {}-{}/{total}", range.start, range.end - 1));
        }
        answer.set("content-length", answer.body.len().to_string());
        answer.set("etag", object.etag.clone());
        answer.set("last-modified", object.last_modified.clone());
        answer.set("accept-ranges", "bytes".to_owned());
        answer
    }

    /// The answer with this fault. An answer is never short or long if no range was asked for: it
    /// defines the object, so no client could tell.
    pub fn faulty(fault: &Fault, request: &Request, object: Option<&Object>) -> Self {
        // With these faults the server ignores If-Match: only the client's own check is left.
        let unconditional = Request { if_match: None, ..request.clone() };
        let ranged = request.range.is_some() && request.method == "GET";
        let mut answer = match fault {
            Fault::OtherEtag | Fault::NoEtag | Fault::Nameless | Fault::WeakEtag => {
                Self::right(&unconditional, object)
            }
            Fault::Whole => Self::right(&Request { range: None, ..request.clone() }, object),
            Fault::Shifted { by } => Self::shifted(request, object, *by),
            Fault::Status { status, .. } => Self::of_status(*status),
            Fault::Redirect { .. } => Self::of_status(302),
            _ => Self::right(request, object),
        };
        match fault {
            Fault::Short { .. } | Fault::Long { .. } if !ranged => {}
            Fault::Status { retry_after, .. } => answer.set_retry_after(*retry_after),
            Fault::Redirect { to } => answer.set("location", format!("/{to}")),
            Fault::OtherEtag => answer.set("etag", other_etag()),
            Fault::WeakEtag => answer.weaken(),
            Fault::NoEtag => answer.unset("etag"),
            Fault::NoLastModified => answer.unset("last-modified"),
            Fault::Nameless => {
                answer.unset("etag");
                answer.unset("last-modified");
            }
            Fault::NoContentRange => answer.unset("content-range"),
            Fault::Resized { by } => answer.resize(*by),
            Fault::Short { by } => answer.shorten(*by),
            Fault::Long { by } => answer.lengthen(*by, true),
            Fault::Trailing { by } => answer.lengthen(*by, false),
            _ => answer.spoil_transfer(fault),
        }
        answer
    }

    /// Applies the faults of the transfer, not of the headers.
    fn spoil_transfer(&mut self, fault: &Fault) {
        match *fault {
            Fault::NoLength | Fault::Chunked => {
                self.unset("content-length");
                self.chunked = *fault == Fault::Chunked;
                self.end = if self.chunked { End::KeepAlive } else { End::Close };
                if self.chunked {
                    self.set("transfer-encoding", "chunked".to_owned());
                }
            }
            Fault::Cut { after } => (self.body_cut, self.end) = (Some(after), End::Close),
            Fault::ResetBody { after } => (self.body_cut, self.end) = (Some(after), End::Reset),
            Fault::Stalled { after } => (self.body_cut, self.end) = (Some(after), End::Hold),
            Fault::CutHeader => {
                (self.header_cut, self.end) = (Some(self.header().len() - 2), End::Close)
            }
            Fault::ResetHeader => (self.header_cut, self.end) = (Some(20), End::Reset),
            Fault::Silent => (self.header_cut, self.end) = (Some(0), End::Hold),
            Fault::Slow { bytes, pause } => self.pace = Some((bytes, pause)),
            _ => {}
        }
    }

    fn shifted(request: &Request, object: Option<&Object>, by: u64) -> Self {
        let mut shifted = request.clone();
        let total = object.map_or(0, |object| object.bytes.len() as u64);
        let range = request.range.map_or(Some(0..total), |asked| asked.resolve(total));
        if let Some(range) = range.filter(|range| !range.is_empty() && request.method == "GET") {
            // Forwards if the object is long enough, else backwards. A range of the whole object
            // can't be shifted: it loses its first bytes.
            let by = by.max(1);
            let (first, end) = if range.end + by <= total {
                (range.start + by, range.end + by)
            } else if range.start >= by {
                (range.start - by, range.end - by)
            } else {
                (range.start + by.min(range.end - range.start - 1), range.end)
            };
            shifted.range = Some(Asked::Bounded { first, last: end - 1 });
        }
        Self::right(&shifted, object)
    }

    fn resize(&mut self, by: u64) {
        let Some(range) = self.get("content-range").map(str::to_owned) else { return };
        if let Some((range, Ok(total))) =
            range.split_once('/').map(|(range, total)| (range, total.parse::<u64>()))
        {
            self.set("content-range", format!("{range}/{}", total + by));
        }
    }

    fn shorten(&mut self, by: usize) {
        self.body = &self.body[..self.body.len().saturating_sub(by)];
        self.set("content-length", self.body.len().to_string());
    }

    fn lengthen(&mut self, by: usize, is_in_length: bool) {
        // The object's own bytes, so that even their values look plausible.
        self.trailing = &self.body[..by.min(self.body.len())];
        if is_in_length {
            self.set("content-length", (self.body.len() + self.trailing.len()).to_string());
        }
    }

    fn weaken(&mut self) {
        if let Some(weak) = self.get("etag").map(|etag| format!("W/{etag}")) {
            self.set("etag", weak);
        }
    }

    fn set_retry_after(&mut self, retry_after: RetryAfter) {
        let value = match retry_after {
            RetryAfter::None => return,
            RetryAfter::Seconds(seconds) => seconds.to_string(),
            RetryAfter::Date(seconds) => {
                httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
            }
            RetryAfter::Garbage => "soon".to_owned(),
        };
        self.set("retry-after", value);
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.unset(name);
        self.headers.push((name, value));
    }

    fn unset(&mut self, name: &str) {
        self.headers.retain(|(known, _)| *known != name);
    }

    fn header(&self) -> String {
        let mut text = format!("HTTP/1.1 {} Said\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text + "\r\n"
    }

    /// Writes the answer. Returns true if the connection can carry another request.
    pub async fn write(&self, stream: &mut TcpStream, head: bool) -> io::Result<bool> {
        let header = self.header();
        stream
            .write_all(
                &header.as_bytes()[..self.header_cut.unwrap_or(header.len()).min(header.len())],
            )
            .await?;
        if self.header_cut.is_none() && !head {
            let body = &self.body[..self.body_cut.unwrap_or(self.body.len()).min(self.body.len())];
            let (piece_bytes, pause) = self.pace.unwrap_or((16 << 10, Duration::ZERO));
            for piece in body.chunks(piece_bytes) {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                self.write_piece(stream, piece).await?;
            }
            stream.write_all(if self.chunked { b"0\r\n\r\n" } else { self.trailing }).await?;
        }
        self.end_connection(stream).await
    }

    async fn write_piece(&self, stream: &mut TcpStream, piece: &[u8]) -> io::Result<()> {
        if !self.chunked {
            return stream.write_all(piece).await;
        }
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        stream.write_all(piece).await?;
        stream.write_all(b"\r\n").await
    }

    async fn end_connection(&self, stream: &mut TcpStream) -> io::Result<bool> {
        match self.end {
            End::KeepAlive => return Ok(true),
            End::Close => stream.shutdown().await?,
            // Without a linger time, closing is a reset, and the client loses what it hasn't read
            // yet. The pause gives it time to read.
            End::Reset => {
                tokio::time::sleep(BEFORE_RESET).await;
                stream.set_zero_linger()?;
            }
            End::Hold => while stream.read(&mut [0; 64]).await? > 0 {},
        }
        Ok(false)
    }
}

#[tokio::test]
async fn two_requests_in_a_row_are_two() {
    let mut stream: &[u8] =
        b"GET /a%20a/b?c HTTP/1.1\r\nRange: bytes=1-2\r\nIF-MATCH: \"e\"\r\n\r\nHEAD /d HTTP/1.1\r\n\r\n";
    let mut unread = Vec::new();
    let first = Request::read(&mut stream, &mut unread).await.unwrap().unwrap();
    assert_eq!((first.method.as_str(), first.key.as_str()), ("GET", "a a/b"));
    assert_eq!(first.range, Some(Asked::Bounded { first: 1, last: 2 }));
    assert_eq!(first.if_match.as_deref(), Some("\"e\""));
    let second = Request::read(&mut stream, &mut unread).await.unwrap().unwrap();
    assert_eq!((second.method.as_str(), second.key.as_str(), second.range), ("HEAD", "d", None));
    assert_eq!(Request::read(&mut stream, &mut unread).await.unwrap(), None);
}

#[test]
fn ranges_are_resolved() {
    let resolve = |value: &str| Asked::parse(value).and_then(|asked| asked.resolve(10));
    assert_eq!(resolve("bytes=0-0"), Some(0..1));
    assert_eq!(resolve("bytes=8-20"), Some(8..10));
    assert_eq!(resolve("bytes=3-"), Some(3..10));
    assert_eq!(resolve("bytes=-4"), Some(6..10));
    assert_eq!(resolve("bytes=-40"), Some(0..10));
    for none in ["bytes=10-", "bytes=2-1", "bytes=-", "lines=1-2", "bytes=a-b"] {
        assert_eq!(resolve(none), None, "{none}");
    }
}
