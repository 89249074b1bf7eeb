//! An answer of the faulty server, written by hand so that every fault of the protocol is possible:
//! the right answer is made first, the fault edits it, and one function writes what came of it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::{Fault, RetryAfter};
use super::object::Object;
use super::request::Request;

const BEFORE_RESET: Duration = Duration::from_millis(3);

/// What goes over the wire.
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order in which they are sent.
    pub headers: Vec<(&'static str, String)>,
    pub body: &'static [u8],
    /// Sent after the body.
    trailing: &'static [u8],
    chunked: bool,
    /// Bytes of the header's text, then of the body, after which `end` comes.
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

/// Never the same twice: an ETag that comes again would vouch for bytes that it doesn't belong to.
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

    /// What a sound server says.
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

    /// What the server with this fault says instead. Nothing is short, long or shifted where no
    /// range was asked for: then the answer is whatever the object is, and nobody could tell.
    pub fn faulty(fault: &Fault, request: &Request, object: Option<&Object>) -> Self {
        // These don't ask whether the object is still the same one: nothing behind the client
        // protects it.
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

    /// The faults of the connection rather than of what is said.
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
            // Forwards where the object has room, else backwards; the whole object can't be
            // shifted, and loses its first bytes.
            let by = by.max(1);
            let (first, end) = if range.end + by <= total {
                (range.start + by, range.end + by)
            } else if range.start >= by {
                (range.start - by, range.end - by)
            } else {
                (range.start + by.min(range.end - range.start - 1), range.end)
            };
            shifted.range = Some(super::request::Asked::Bounded { first, last: end - 1 });
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

    fn lengthen(&mut self, by: usize, told: bool) {
        // Any bytes will do: the object's own, so that even their values look plausible.
        self.trailing = &self.body[..by.min(self.body.len())];
        if told {
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

    /// Writes the answer; true when the connection may carry another request.
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
        self.finish(stream).await
    }

    async fn write_piece(&self, stream: &mut TcpStream, piece: &[u8]) -> io::Result<()> {
        if !self.chunked {
            return stream.write_all(piece).await;
        }
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        stream.write_all(piece).await?;
        stream.write_all(b"\r\n").await
    }

    async fn finish(&self, stream: &mut TcpStream) -> io::Result<bool> {
        match self.end {
            End::KeepAlive => return Ok(true),
            End::Close => stream.shutdown().await?,
            // Without a time to linger, closing is a reset, and the client loses what it hasn't
            // read yet: it gets some time for that.
            End::Reset => {
                tokio::time::sleep(BEFORE_RESET).await;
                stream.set_zero_linger()?;
            }
            End::Hold => while stream.read(&mut [0; 64]).await? > 0 {},
        }
        Ok(false)
    }
}
