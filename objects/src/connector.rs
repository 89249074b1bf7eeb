//! The HTTP client of a store, wrapped: answers that the engine must understand become typed
//! errors.
//!
//! object_store hides the status of a failed request and drops its `Retry-After`. Both are read
//! here, before object_store sees the answer. The wrapper adds no request and holds no connection.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, HeaderMap, HeaderValue};

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
    },
}

impl fmt::Display for StoreAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, .. } => write!(f, "status {status}"),
            Self::RangeIgnored => write!(f, "the whole object when a part was asked for"),
            Self::Shifted { start, end } => {
                write!(f, "bytes {start} to {end} instead of those that were asked for")
            }
        }
    }
}

impl std::error::Error for StoreAnswer {}

/// Makes wrapped clients.
#[derive(Debug, Default)]
pub(crate) struct Connector(ReqwestConnector);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(WatchedClient(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct WatchedClient(HttpClient);

#[async_trait]
impl HttpService for WatchedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let asked = request.headers().get("range").map(bounds);
        let response = self.0.execute(request).await?;
        let status = response.status().as_u16();
        let answer = match status {
            200 if asked.is_some() => StoreAnswer::RangeIgnored,
            206 if asked.is_some() => {
                match asked.flatten().and_then(|asked| shifted(asked, response.headers())) {
                    Some(shifted) => shifted,
                    None => return Ok(response),
                }
            }
            // object_store would take a part (206) for the whole object when it asked for the
            // whole.
            206 | 408 | 416 | 429 | 500.. => StoreAnswer::Status {
                status,
                retry_after: retry_after(response.headers(), SystemTime::now()),
            },
            _ => return Ok(response),
        };
        Err(HttpError::new(HttpErrorKind::Unknown, answer))
    }
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
    // No object has that many bytes, and adding one to it would overflow.
    let Some(end) = end.checked_add(1) else { return Some(StoreAnswer::Shifted { start, end }) };
    let size: u64 = size.parse().ok()?;
    let right = start == first && end == size.min(last.saturating_add(1));
    (!right).then_some(StoreAnswer::Shifted { start, end })
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
        for (said, start, end) in
            [("bytes 1-9/100", 1, 10), ("bytes 0-8/100", 0, 9), ("bytes 0-10/100", 0, 11)]
        {
            assert_eq!(
                answer("bytes=0-9", said),
                Some(StoreAnswer::Shifted { start, end }),
                "{said}"
            );
        }
        for said in ["bytes 0-18446744073709551615/100", "bytes 0-18446744073709551615/*"] {
            assert_eq!(
                answer("bytes=0-9", said),
                Some(StoreAnswer::Shifted { start: 0, end: u64::MAX }),
                "{said}"
            );
        }
    }
}
