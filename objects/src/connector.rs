//! The HTTP client of a store, wrapped: answers that the engine must understand become typed
//! errors.
//!
//! object_store hides the status of a failed request and drops its `Retry-After`. Both are read
//! here, before object_store sees the answer. Headers that it refuses are put right: a body gets
//! the length that it turns out to have, and a date the form that it reads. The wrapper adds no
//! request and holds no connection.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, HeaderMap, HeaderValue};

use crate::metadata;

/// An answer other than the object, as the source of an [`object_store::Error`]. Clients of
/// [`Stores`](crate::Stores) set it themselves; your own store must set it to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// A status that object_store gives as text only.
    Status {
        /// The HTTP status.
        status: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// 200 for a part.
    RangeIgnored,
    /// Another range than was asked for.
    Shifted {
        /// The first byte that was sent.
        start: u64,
        /// One past the last byte that was sent.
        end: u64,
        /// Bytes of the whole object, as the server says; `None` if it doesn't.
        size: Option<u64>,
    },
    /// A body without a length that is longer than such a body may be.
    Unsized {
        /// The most bytes of such a body.
        most_bytes: u64,
    },
    /// No credentials are set, and the machine has none.
    NoCredentials {
        /// What to set.
        set: &'static str,
    },
}

impl fmt::Display for StoreAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, .. } => write!(f, "status {status}"),
            Self::RangeIgnored => write!(f, "the whole object when a part was asked for"),
            Self::Shifted { start, end, size } => {
                write!(f, "bytes {start} to {end}")?;
                size.map_or(Ok(()), |size| write!(f, " of {size}"))?;
                write!(f, " instead of those that were asked for")
            }
            Self::Unsized { most_bytes } => {
                write!(f, "more than {most_bytes} bytes of a body without a length")
            }
            Self::NoCredentials { set } => write!(f, "no credentials; set {set}"),
        }
    }
}

impl std::error::Error for StoreAnswer {}

/// Makes wrapped clients.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    /// The most bytes of a body without a length, which is held in memory as a whole.
    pub(crate) unsized_bytes_max: u64,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        let unsized_bytes_max = self.unsized_bytes_max;
        Ok(HttpClient::new(WatchedClient { client, unsized_bytes_max }))
    }
}

#[derive(Debug)]
struct WatchedClient {
    client: HttpClient,
    unsized_bytes_max: u64,
}

#[async_trait]
impl HttpService for WatchedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(set) = metadata::credentials_of(&request) {
            return self.machine_credentials(request, set).await;
        }
        let asked = request.headers().get("range").map(bounds);
        let is_get = request.method().as_str() == "GET";
        let mut response = self.client.execute(request).await?;
        let status = response.status().as_u16();
        let answer = match status {
            200 if asked.is_some() => StoreAnswer::RangeIgnored,
            // The part of an object whose size the server doesn't know: the whole has an end.
            206 if asked.is_some() && is_of_unknown_size(response.headers()) => {
                StoreAnswer::RangeIgnored
            }
            206 if asked.is_some() => {
                match asked.flatten().and_then(|asked| shifted(asked, response.headers())) {
                    Some(shifted) => shifted,
                    None => {
                        mend_date(response.headers_mut());
                        set_length_of_range(response.headers_mut());
                        return Ok(response);
                    }
                }
            }
            200 if is_get => {
                mend_date(response.headers_mut());
                return self.with_length(response).await;
            }
            // object_store would take a part (206) for the whole object when it asked for the
            // whole.
            206 | 408 | 416 | 429 | 500.. => StoreAnswer::Status {
                status,
                retry_after: retry_after(response.headers(), SystemTime::now()),
            },
            _ => return Ok(response),
        };
        Err(answered(answer))
    }
}

impl WatchedClient {
    /// Asks the machine's own service, which answers soon where there is one.
    async fn machine_credentials(
        &self,
        request: HttpRequest,
        set: &'static str,
    ) -> Result<HttpResponse, HttpError> {
        let none = || answered(StoreAnswer::NoCredentials { set });
        // object_store goes on without a token after this refusal, if it is allowed to.
        let is_token = request.method().as_str() == "PUT";
        let asked = tokio::time::timeout(metadata::LONGEST, self.client.execute(request)).await;
        match asked {
            Ok(Ok(response)) if response.status().is_success() => Ok(response),
            Ok(Ok(response)) if is_token && response.status().as_u16() == 403 => Ok(response),
            _ => Err(none()),
        }
    }

    /// The answer with a length: a body without one is read to its end.
    async fn with_length(&self, response: HttpResponse) -> Result<HttpResponse, HttpError> {
        if response.headers().contains_key("content-length") {
            return Ok(response);
        }
        let (mut parts, body) = response.into_parts();
        let (mut chunks, mut bytes) = (body.bytes_stream(), Vec::new());
        while let Some(chunk) = chunks.try_next().await? {
            if (bytes.len() + chunk.len()) as u64 > self.unsized_bytes_max {
                let most_bytes = self.unsized_bytes_max;
                return Err(answered(StoreAnswer::Unsized { most_bytes }));
            }
            bytes.extend_from_slice(&chunk);
        }
        parts.headers.insert("content-length", HeaderValue::from(bytes.len()));
        Ok(HttpResponse::from_parts(parts, bytes.into()))
    }
}

fn answered(answer: StoreAnswer) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, answer)
}

/// Writes `Last-Modified` as object_store reads it. It is a hint: a time that can't be read counts
/// as absent, which is the beginning of time, as object_store has it.
fn mend_date(headers: &mut HeaderMap) {
    let Some(date) = headers.get("last-modified") else { return };
    let time = date.to_str().ok().and_then(|date| httpdate::parse_http_date(date.trim()).ok());
    let text = httpdate::fmt_http_date(time.unwrap_or(SystemTime::UNIX_EPOCH));
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert("last-modified", value);
    }
}

/// Gives the body of a part the length of its range. The engine checks that it has it.
fn set_length_of_range(headers: &mut HeaderMap) {
    if headers.contains_key("content-length") {
        return;
    }
    let bytes = headers.get("content-range").and_then(|value| {
        let range = value.to_str().ok()?.trim().strip_prefix("bytes ")?.split_once('/')?.0;
        let (start, end) = range.split_once('-')?;
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        end.checked_sub(start)?.checked_add(1)
    });
    if let Some(bytes) = bytes {
        headers.insert("content-length", HeaderValue::from(bytes));
    }
}

fn is_of_unknown_size(headers: &HeaderMap) -> bool {
    let range = headers.get("content-range").and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.trim_end().ends_with("/*"))
}

/// The first and the last byte of a `Range` header that has both.
fn bounds(value: &HeaderValue) -> Option<(u64, u64)> {
    let (first, last) = value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// The range in `Content-Range`, if it isn't the requested one up to the object's end. object_store
/// refuses a missing one.
fn shifted((first, last): (u64, u64), headers: &HeaderMap) -> Option<StoreAnswer> {
    let (range, size) = headers
        .get("content-range")?
        .to_str()
        .ok()?
        .trim()
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let size: Option<u64> = size.parse().ok();
    // No object has that many bytes, and adding one to it would overflow.
    let Some(end) = end.checked_add(1) else {
        return Some(StoreAnswer::Shifted { start, end, size });
    };
    let right = start == first && end == size?.min(last.saturating_add(1));
    (!right).then_some(StoreAnswer::Shifted { start, end, size })
}

/// `Retry-After` as seconds, or as a date. A past date means no wait. Anything else counts as
/// absent.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let wait = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", HeaderValue::from_static(value));
            retry_after(&headers, now)
        };
        assert_eq!(wait("0"), Some(Duration::ZERO));
        assert_eq!(wait(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        for none in ["", "-1", "soon", "99999999999999999999"] {
            assert_eq!(wait(none), None, "{none}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn another_range_than_was_asked_for_is_noticed() {
        let answer = |asked: &'static str, said: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-range", HeaderValue::from_static(said));
            shifted(bounds(&HeaderValue::from_static(asked))?, &headers)
        };
        for (asked, said) in [
            ("bytes=0-9", "bytes 0-9/100"),
            ("bytes=90-109", "bytes 90-99/100"),
            // Not decided by this function.
            ("bytes=-5", "bytes 95-99/100"),
            ("bytes=5-", "bytes 5-99/100"),
            ("bytes=0-9", "bytes */100"),
            ("bytes=0-9", "bytes 0-9/*"),
        ] {
            assert_eq!(answer(asked, said), None, "{asked}, {said}");
        }
        let shifted = |start, end, size| Some(StoreAnswer::Shifted { start, end, size });
        for (said, start, end, size) in [
            ("bytes 1-9/100", 1, 10, 100),
            ("bytes 0-8/100", 0, 9, 100),
            ("bytes 0-10/100", 0, 11, 100),
            // The right bytes of an object that can't have them.
            ("bytes 0-9/5", 0, 10, 5),
            ("bytes 0-18446744073709551615/100", 0, u64::MAX, 100),
        ] {
            assert_eq!(answer("bytes=0-9", said), shifted(start, end, Some(size)), "{said}");
        }
        let endless = "bytes 0-18446744073709551615/*";
        assert_eq!(answer("bytes=0-9", endless), shifted(0, u64::MAX, None));
    }

    #[test]
    fn a_date_is_a_hint() {
        let mended = |date: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("last-modified", HeaderValue::from_bytes(date).unwrap());
            mend_date(&mut headers);
            headers["last-modified"].to_str().unwrap().to_owned()
        };
        let right = "Sun, 06 Nov 1994 08:49:37 GMT";
        for date in [right, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(mended(date.as_bytes()), right);
        }
        for date in [&b"yesterday"[..], b"", b"\xff", b"1994-11-06T08:49:37Z"] {
            assert_eq!(mended(date), "Thu, 01 Jan 1970 00:00:00 GMT");
        }
    }
}
