//! The HTTP client of a store, wrapped: answers that the engine must understand become typed
//! errors.
//!
//! object_store hides the status of a failed request and drops its `Retry-After`. Both are read
//! here, before object_store sees the answer. Headers that it refuses are put right: a body gets
//! the length that it turns out to have, a date the form that it reads, and what isn't ASCII goes.
//! What isn't an object but has a success's status is refused. The wrapper adds no request and
//! holds no connection.

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientConfigKey, ClientOptions, HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::metadata;
use crate::progress;
use crate::redact::hide_parameters;

/// Shorter secrets than this aren't looked for in the text of a refusal: they are in many words.
const REPEATED_BYTES_MIN: usize = 4;
/// The most bytes that are read of a text that isn't an object: a refusal, or credentials.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// How long a refusal's text is waited for. Its status is known, and tells more.
const TEXT_LONGEST: Duration = Duration::from_secs(2);

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
    /// A body that is packed for the way, by another `Transfer-Encoding` than `chunked`.
    Packed,
    /// A redirect to another scheme than http and https.
    Elsewhere,
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
            Self::Packed => write!(f, "a body with another Transfer-Encoding than chunked"),
            Self::Elsewhere => write!(f, "a redirect to another scheme than http and https"),
            Self::NoCredentials { set } => write!(f, "no credentials; set {set}"),
        }
    }
}

impl Error for StoreAnswer {}

/// Makes wrapped clients.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    /// The most bytes of a body without a length, which is held in memory as a whole.
    pub(crate) unsized_bytes_max: u64,
    /// Whether the first version of EC2's service may be asked when the second one refuses.
    pub(crate) first_metadata: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let allows_http = allows_http.is_some_and(|value| is_true(&value));
        Ok(HttpClient::new(WatchedClient { client, allows_http, settings: self.clone() }))
    }
}

/// Whether object_store reads a setting as true.
pub(crate) fn is_true(value: &str) -> bool {
    ["1", "on", "true", "y", "yes"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[derive(Debug)]
struct WatchedClient {
    client: HttpClient,
    allows_http: bool,
    settings: Connector,
}

#[async_trait]
impl HttpService for WatchedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(set) = metadata::credentials_of(&request) {
            return self.machine_credentials(request, set).await;
        }
        let (asked, secrets) = (request.headers().get("range").map(bounds), secrets_of(&request));
        let is_get = request.method().as_str() == "GET";
        let sends = ["POST", "PUT"].contains(&request.method().as_str());
        let may_be_http = self.allows_http || request.uri().scheme_str() == Some("https");
        let executed = self.client.execute(request).await;
        let mut response = executed.map_err(|error| match may_be_http && is_elsewhere(&error) {
            true => answered(StoreAnswer::Elsewhere),
            false => error,
        })?;
        let status = response.status().as_u16();
        let answer = match status {
            200 | 206 if is_get && is_packed(response.headers()) => StoreAnswer::Packed,
            200 if asked.is_some() => StoreAnswer::RangeIgnored,
            // The part of an object whose size the server doesn't know: the whole has an end.
            206 if asked.is_some() && is_of_unknown_size(response.headers()) => {
                StoreAnswer::RangeIgnored
            }
            206 if asked.is_some() => {
                match asked.flatten().and_then(|asked| shifted(asked, response.headers())) {
                    Some(shifted) => shifted,
                    None => {
                        mend(response.headers_mut());
                        set_length_of_range(response.headers_mut());
                        return Ok(response);
                    }
                }
            }
            200 if is_get => {
                mend(response.headers_mut());
                return self.with_length(response).await;
            }
            status if is_no_object(status, is_get) => StoreAnswer::Status {
                status,
                retry_after: retry_after(response.headers(), SystemTime::now()),
            },
            300.. => return Ok(with_short_text(response, &secrets).await),
            // A token.
            _ if sends => return Ok(with_short_text(response, &[]).await),
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
        // object_store goes on without a token after this refusal.
        let is_optional = self.settings.first_metadata && request.method().as_str() == "PUT";
        let asking = async { Ok(with_short_text(self.client.execute(request).await?, &[]).await) };
        let asked = tokio::time::timeout(metadata::LONGEST, asking).await;
        match asked {
            Ok(Ok(response)) if response.status().is_success() => Ok(response),
            Ok(Ok(response)) if is_optional && response.status().as_u16() == 403 => Ok(response),
            Ok(Ok::<_, HttpError>(_) | Err(_)) | Err(_) => Err(none()),
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
            let most_bytes = self.settings.unsized_bytes_max;
            if (bytes.len() + chunk.len()) as u64 > most_bytes {
                return Err(answered(StoreAnswer::Unsized { most_bytes }));
            }
            bytes.extend_from_slice(&chunk);
            progress::note(chunk.len());
        }
        parts.headers.insert("content-length", HeaderValue::from(bytes.len()));
        Ok(HttpResponse::from_parts(parts, bytes.into()))
    }
}

/// The answer with the beginning of its text. object_store reads all of it into memory, and takes a
/// text that isn't UTF-8, or is packed, for a broken connection.
async fn with_short_text(response: HttpResponse, secrets: &[String]) -> HttpResponse {
    let (mut parts, body) = response.into_parts();
    let is_packed = parts.headers.remove("content-encoding").is_some();
    let (mut chunks, mut bytes) = (body.bytes_stream(), Vec::new());
    let reading = async {
        while bytes.len() < TEXT_BYTES_MAX
            && !is_packed
            && let Ok(Some(chunk)) = chunks.try_next().await
        {
            bytes.extend_from_slice(&chunk[..chunk.len().min(TEXT_BYTES_MAX - bytes.len())]);
        }
    };
    // What arrived before its time was up, or before the end of the connection, is as good.
    let _ended = tokio::time::timeout(TEXT_LONGEST, reading).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // Some servers repeat the request.
    let text = secrets.iter().fold(text, |text, secret| text.replace(secret, "***"));
    parts.headers.insert("content-length", HeaderValue::from(text.len()));
    HttpResponse::from_parts(parts, text.into())
}

/// Whether an answer of this status is told by its status alone.
fn is_no_object(status: u16, is_get: bool) -> bool {
    match status {
        // object_store takes each of them for an object that it asked for as a whole, a part (206)
        // too.
        201..=299 => is_get || status == 206,
        // It has no better words for these, or wrong ones: 405 is no object that isn't there.
        300 | 304..=306 | 405 | 408 | 416 | 429 | 500.. => true,
        _ => false,
    }
}

/// Whether the body is packed for the way, which was never asked for.
fn is_packed(headers: &HeaderMap) -> bool {
    headers.get_all("transfer-encoding").iter().any(|value| {
        value.to_str().map_or(true, |codings| {
            codings.split(',').map(str::trim).any(|coding| {
                !["", "chunked", "identity"].iter().any(|plain| coding.eq_ignore_ascii_case(plain))
            })
        })
    })
}

/// Whether a redirect led to another scheme than http and https. The HTTP client says the same of
/// the request's own address, if that is http and mustn't be, and adds that it followed a redirect
/// only if it compared the two.
fn is_elsewhere(error: &HttpError) -> bool {
    let (mut text, mut source) = (String::new(), error.source());
    while let Some(error) = source {
        text.push_str(&error.to_string());
        source = error.source();
    }
    text.contains("URL scheme is not allowed") && !text.contains("error following redirect")
}

/// What of a request no text may repeat.
fn secrets_of(request: &HttpRequest) -> Vec<String> {
    let headers = ["authorization", "x-amz-security-token"].map(|name| request.headers().get(name));
    let headers = headers.into_iter().flatten().filter_map(|value| value.to_str().ok());
    // Behind the word that says what kind of authorization it is.
    let headers = headers.map(|value| value.split_once(' ').map_or(value, |(_, secret)| secret));
    let queries = request.uri().query().unwrap_or_default().split('&').filter(|parameter| {
        let mut shown = String::new();
        hide_parameters(parameter, &mut shown);
        shown != *parameter
    });
    let queries = queries.map(|text| text.split_once('=').map_or(text, |(_, value)| value));
    let secrets = headers.chain(queries).filter(|secret| secret.len() >= REPEATED_BYTES_MIN);
    secrets.map(str::to_owned).collect()
}

fn answered(answer: StoreAnswer) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, answer)
}

/// Puts right what object_store would refuse the object for.
fn mend(headers: &mut HeaderMap) {
    mend_date(headers);
    mend_tag(headers);
    // Such as a name that isn't ASCII in `Content-Disposition`.
    let is_text = |value: &HeaderValue| value.to_str().is_ok();
    let others = headers.iter().filter(|(_, value)| !is_text(value));
    for name in others.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Writes `Last-Modified` as object_store reads it. It is a hint: a time that is missing or can't
/// be read is the beginning of time, as object_store has it where it doesn't insist on one.
fn mend_date(headers: &mut HeaderMap) {
    let date = headers.get("last-modified").and_then(|date| date.to_str().ok());
    let time = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok());
    let text = httpdate::fmt_http_date(time.unwrap_or(SystemTime::UNIX_EPOCH));
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert("last-modified", value);
    }
}

/// Writes an ETag that isn't ASCII as one that is: two differ if they did. It has the form of a
/// weak one, so it is compared and never sent; and as its quotes are escaped too, no server has
/// such a tag of its own.
fn mend_tag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get("etag").filter(|tag| tag.to_str().is_err()) else { return };
    let text = format!("W/{}", percent_encode(tag.as_bytes(), NON_ALPHANUMERIC));
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert("etag", value);
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
        let mut none = HeaderMap::new();
        mend_date(&mut none);
        assert_eq!(none["last-modified"], "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn a_tag_that_is_not_ascii_still_compares() {
        let mended = |tag: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("etag", HeaderValue::from_bytes(tag).unwrap());
            mend(&mut headers);
            headers["etag"].to_str().unwrap().to_owned()
        };
        assert_eq!(mended(b"\"a\""), "\"a\"");
        assert_eq!(mended(b"\"\xe9\""), "W/%22%E9%22");
        let tags = [&b"\"\xe9\""[..], b"\"\xe8\"", b"\"%E9\"", b"W/\"\xe9\"", b"W/\"%E9\""];
        let all: std::collections::HashSet<_> = tags.iter().map(|tag| mended(tag)).collect();
        assert_eq!(all.len(), tags.len());
    }

    #[test]
    fn only_chunks_are_taken_as_they_come() {
        let packed = |codings: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append("transfer-encoding", HeaderValue::from_static(coding));
            }
            is_packed(&headers)
        };
        for plain in [&[][..], &["chunked"], &["Chunked"], &["identity, chunked"], &[""]] {
            assert!(!packed(plain), "{plain:?}");
        }
        for coded in [&["gzip, chunked"][..], &["gzip", "chunked"], &["x-new;q=1"], &["deflate"]] {
            assert!(packed(coded), "{coded:?}");
        }
    }
}
