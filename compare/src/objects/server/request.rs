//! One request: its method, its path, the few headers that matter here, and which bytes of an
//! object its range asks for.

use std::io::{self, BufRead, Read};
use std::ops::Range;

/// All lines of a request together. None of our clients sends more.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// A request without its body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Without a query, percent-decoded.
    pub path: String,
    pub range: Option<String>,
    pub if_match: Option<String>,
    /// Whether the connection ends after the answer.
    pub closes: bool,
}

impl Request {
    /// The next request of a connection, or None when the client has closed it.
    ///
    /// # Errors
    /// The connection broke, or the bytes are no request.
    pub fn read(connection: &mut impl BufRead) -> io::Result<Option<Self>> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut head = connection.take(HEAD_BYTES_MAX);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (Some(method), Some(target), Some(version)) =
            (words.next(), words.next(), words.next())
        else {
            return Err(wrong("the first line isn't method, path and version"));
        };
        let path = resolved(target.split('?').next().unwrap_or_default());
        let mut request = Self {
            method: method.to_owned(),
            path: path.ok_or_else(|| wrong("the path isn't text"))?,
            closes: version != "HTTP/1.1",
            ..Self::default()
        };
        loop {
            line.clear();
            if head.read_line(&mut line)? == 0 {
                return Err(wrong("the request ends within its head, or the head is too long"));
            }
            let Some((name, value)) = line.split_once(':') else {
                return if line.trim().is_empty() {
                    Ok(Some(request))
                } else {
                    Err(wrong("a header has no colon"))
                };
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = Some(value.to_owned()),
                "if-match" => request.if_match = Some(value.to_owned()),
                "connection" => request.closes = value.eq_ignore_ascii_case("close"),
                // The body isn't read, so no request after it can be read.
                "content-length" if value != "0" => request.closes = true,
                "transfer-encoding" => request.closes = true,
                _ => {}
            }
        }
    }
}

/// Percent-decoded. None if the result isn't text.
fn resolved(target: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(target.len());
    let mut rest = target.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The bytes of an object that answer a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All bytes. The request has no range, or one that this server doesn't understand; a server
    /// may ignore those.
    Whole,
    /// These bytes, at least one.
    Bytes(Range<u64>),
    /// The object has none of the bytes that the request asks for.
    Nothing,
}

/// The part of an object of `len` bytes that `header` names: `bytes=a-b` with b included,
/// `bytes=a-`, or `bytes=-n` for the last n. It doesn't understand a list of several ranges.
pub fn part(header: Option<&str>, len: u64) -> Part {
    let Some((from, to)) =
        header.and_then(|header| header.trim().strip_prefix("bytes=")?.split_once('-'))
    else {
        return Part::Whole;
    };
    let (from, to) = (from.trim(), to.trim());
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?
    };
    match (number(from), number(to)) {
        (None, Some(0)) if from.is_empty() => Part::Nothing,
        (None, Some(_)) if from.is_empty() && len == 0 => Part::Nothing,
        (None, Some(last)) if from.is_empty() => Part::Bytes(len.saturating_sub(last)..len),
        (Some(first), _) if to.is_empty() => bytes_from(first, len, len),
        (Some(first), Some(last)) if first <= last => {
            bytes_from(first, last.saturating_add(1).min(len), len)
        }
        _ => Part::Whole,
    }
}

fn bytes_from(first: u64, end: u64, len: u64) -> Part {
    if first < len { Part::Bytes(first..end) } else { Part::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut text: &[u8]) -> io::Result<Option<Request>> {
        Request::read(&mut text)
    }

    #[test]
    fn requests_follow_each_other_on_a_connection() {
        let mut text: &[u8] = b"GET /b/a%20%C3%A4?x=1 HTTP/1.1\r\nHost: h\r\nRANGE: bytes=0-1\r\nIf-Match: \"e\"\r\n\r\nHEAD / HTTP/1.0\r\n\r\n";
        let first = Request::read(&mut text).unwrap().unwrap();
        assert_eq!(
            (first.method.as_str(), first.path.as_str(), first.closes),
            ("GET", "/b/a ä", false)
        );
        assert_eq!(
            (first.range.as_deref(), first.if_match.as_deref()),
            (Some("bytes=0-1"), Some("\"e\""))
        );
        let second = Request::read(&mut text).unwrap().unwrap();
        assert_eq!((second.method.as_str(), second.closes, second.range), ("HEAD", true, None));
        assert_eq!(Request::read(&mut text).unwrap(), None);
    }

    #[test]
    fn a_body_ends_the_connection() {
        for header in ["Content-Length: 5", "Transfer-Encoding: chunked", "Connection: close"] {
            assert!(
                read(format!("PUT /a HTTP/1.1\r\n{header}\r\n\r\n").as_bytes())
                    .unwrap()
                    .unwrap()
                    .closes,
                "{header}"
            );
        }
        assert!(!read(b"GET /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap().closes);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = format!("GET /a HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(HEAD_BYTES_MAX as usize));
        let odd = [
            "GET /a\r\n\r\n",
            "GET /%4 HTTP/1.1\r\n\r\n",
            "GET /%ff HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nno\r\n\r\n",
        ];
        for text in odd.into_iter().chain(["GET /a HTTP/1.1\r\na: b\r\n", long.as_str()]) {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_cut_to_the_object() {
        let of = |header| part(Some(header), 10);
        assert_eq!(of("bytes=0-0"), Part::Bytes(0..1));
        assert_eq!(of("bytes=0-9"), Part::Bytes(0..10));
        assert_eq!(of("bytes=3-100"), Part::Bytes(3..10));
        assert_eq!(of("bytes=9-"), Part::Bytes(9..10));
        assert_eq!(of(" bytes=2 - 4 "), Part::Bytes(2..5));
        assert_eq!(of("bytes=0-18446744073709551615"), Part::Bytes(0..10));
        assert_eq!((of("bytes=-3"), of("bytes=-30")), (Part::Bytes(7..10), Part::Bytes(0..10)));
    }

    #[test]
    fn what_the_object_has_no_byte_of_is_said() {
        for nothing in ["bytes=10-", "bytes=10-10", "bytes=18446744073709551615-", "bytes=-0"] {
            assert_eq!(part(Some(nothing), 10), Part::Nothing, "{nothing}");
        }
        assert_eq!(
            [part(Some("bytes=0-"), 0), part(Some("bytes=-1"), 0)],
            [Part::Nothing, Part::Nothing]
        );
        assert_eq!(part(None, 0), Part::Whole);
    }

    #[test]
    fn what_is_no_range_is_passed_over() {
        let odd = [
            "",
            "0-1",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=a-b",
        ];
        for header in odd {
            assert_eq!(part(Some(header), 10), Part::Whole, "{header}");
        }
        assert_eq!(part(None, 10), Part::Whole);
        assert_eq!(
            part(Some("bytes=99999999999999999999-"), 10),
            Part::Whole,
            "not even a number of 64 bits"
        );
    }
}
