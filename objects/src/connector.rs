//! The HTTP client of a store, watched: answers that the engine has to understand leave it as typed errors.
//!
//! object_store keeps the status of a failed request to itself and drops its `Retry-After`; both are read here, before it sees the answer. It
//! adds no request and holds no connection of its own.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, HeaderMap};

/// An answer that isn't the object, as the source of an [`HttpError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A status that object_store would only describe.
    Status { status: u16, retry_after: Option<Duration> },
    /// 200 for a part.
    RangeIgnored,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, .. } => write!(f, "status {status}"),
            Self::RangeIgnored => write!(f, "the whole object when a part was asked for"),
        }
    }
}

impl std::error::Error for Answer {}

/// Makes watched clients.
#[derive(Debug, Default)]
pub(crate) struct Connector(ReqwestConnector);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Watched(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct Watched(HttpClient);

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let asks_range = request.headers().contains_key("range");
        let response = self.0.execute(request).await?;
        let status = response.status().as_u16();
        let answer = match status {
            200 if asks_range => Answer::RangeIgnored,
            408 | 416 | 429 | 500.. => {
                Answer::Status { status, retry_after: retry_after(response.headers(), SystemTime::now()) }
            }
            _ => return Ok(response),
        };
        Err(HttpError::new(HttpErrorKind::Unknown, answer))
    }
}

/// `Retry-After` as seconds, or as a date; a date that has passed is no wait. What is neither is as good as none.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::HeaderValue;

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
}
