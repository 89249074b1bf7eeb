//! Reads one request: its method, what it names, and the few headers that matter here.

use std::io::{self, BufRead, Read};

/// All lines of a request together; a client that sends more isn't ours.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// A request without its body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Without a query, percent signs resolved.
    pub path: String,
    pub range: Option<String>,
    pub if_match: Option<String>,
    /// Whether the connection ends behind the answer.
    pub closes: bool,
}

impl Request {
    /// The next one of a connection; none when the client has closed it.
    ///
    /// # Errors
    /// The connection broke, or what came is no request.
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
                // The body isn't read, so nothing behind it could be.
                "content-length" if value != "0" => request.closes = true,
                "transfer-encoding" => request.closes = true,
                _ => {}
            }
        }
    }
}

/// Without percent signs; none if the bytes behind them aren't text.
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
}
