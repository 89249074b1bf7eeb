//! A request as the faulty server reads it: the few headers that a download sends, and nothing else
//! of HTTP.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt};

/// No client of ours sends a longer header.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// One request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub method: String,
    /// The path without its first slash and without a query, with its spaces as such.
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

    /// The bytes of an object that are meant, or none if it has none of them.
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
    /// The next request of a connection; none when the client has closed it.
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

    /// Whether the byte at `position` is asked for.
    pub fn covers(&self, position: u64) -> bool {
        self.range.is_none_or(|asked| match asked {
            Asked::Bounded { first, last } => (first..=last).contains(&position),
            Asked::From(first) => first <= position,
            Asked::Last(_) => false,
        })
    }

    /// The first byte that is asked for.
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
