//! Why a download failed: the object, the range and the cause; and which [`Cause`] a store's error
//! is.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Range;
use std::time::Duration;

use object_store::client::HttpError;
use object_store::path::Path;
use slipring::class::GetError;

use crate::connector::StoreAnswer;
use crate::redact::printable;

const NOT_FOUND: &str = "not found; check the key, and that the endpoint is the right one";
const NO_FILE: &str = "there is no such file; check the path";

/// A failed download. Its buffer has been given back.
#[derive(Debug)]
#[non_exhaustive]
pub struct DownloadError {
    /// The object.
    pub object: Path,
    /// The range that failed, including its bytes that had arrived; `None` if the error is about
    /// the whole object.
    pub range: Option<Range<u64>>,
    /// Retries of the whole object before this error.
    pub retries: u32,
    /// The cause.
    pub cause: Cause,
}

impl fmt::Display for DownloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}", self.object)?;
        // That there is no such object isn't about a part of it.
        if let Some(range) = self.range.as_ref().filter(|_| !self.cause.is_of_the_whole()) {
            write!(f, ", bytes {} to {}", range.start, range.end)?;
        }
        if self.retries > 0 {
            write!(f, ", after {} retries", self.retries)?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl Error for DownloadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// There is no such object.
    NotFound(object_store::Error),
    /// The credentials don't permit it.
    Denied(object_store::Error),
    /// There are no credentials, or they are invalid.
    Unauthenticated(object_store::Error),
    /// The object was overwritten between two of its ranges.
    Changed {
        /// The property that differs.
        field: &'static str,
        /// Its value in the first answer.
        before: String,
        /// Its value in a later answer.
        now: String,
    },
    /// A range ended too early.
    Short {
        /// The range's length.
        expected_bytes: u64,
        /// Bytes that arrived.
        got_bytes: u64,
    },
    /// More bytes arrived than were asked for.
    Long {
        /// Bytes that were asked for.
        expected_bytes: u64,
    },
    /// Another range arrived than was asked for.
    Shifted {
        /// The range that arrived.
        got: Range<u64>,
        /// Bytes of the whole object, as the answer says; `None` if it doesn't.
        size: Option<u64>,
    },
    /// The server has too many requests: status 429 or 503.
    Throttled {
        /// The status.
        status: u16,
        /// How long it asked to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// The server answered with another error.
    Status {
        /// The status.
        status: u16,
    },
    /// The server sent the whole object instead of a part.
    RangeIgnored,
    /// The endpoint is unencrypted, which has to be allowed.
    PlainHttp,
    /// No credentials are set, and the machine has none.
    NoCredentials {
        /// What to set.
        set: &'static str,
    },
    /// The connection failed.
    Connection(object_store::Error),
    /// No host has this name.
    UnknownHost(object_store::Error),
    /// The two ends agree on no encryption, or the server's certificate isn't trusted.
    Tls(object_store::Error),
    /// The server redirects from https to http.
    InsecureRedirect,
    /// The server redirects too often, or to an address that can't be.
    Redirect(object_store::Error),
    /// The server packs the body for the way, by another `Transfer-Encoding` than `chunked`.
    Packed,
    /// The server doesn't say how long the object is, and it is longer than such an object may be.
    Unsized {
        /// The option.
        unsized_bytes_max: u64,
    },
    /// One request took too long.
    RequestTimeout {
        /// The option.
        request_timeout: Duration,
        /// Bytes of the range that had arrived.
        got_bytes: u64,
    },
    /// The object took too long.
    TotalTimeout {
        /// The option.
        total_timeout: Duration,
    },
    /// It was cancelled.
    Cancelled,
    /// A retry was possible, but the engine's budget of retries is spent.
    Budget {
        /// The option.
        retry_budget: u32,
        /// The last error.
        last: Box<Cause>,
    },
    /// No memory for the object.
    Buffer {
        /// The object's size.
        object_bytes: u64,
        /// Why; `None` if the size exceeds the address space.
        cause: Option<GetError>,
    },
    /// A local file couldn't be read.
    Read(io::Error),
    /// The sink of a stream refused a part.
    Sink(io::Error),
    /// The store's client panicked at a request.
    Panicked {
        /// What it said.
        message: String,
    },
    /// Another error of the store.
    Store(object_store::Error),
}

/// A range and, where it is known, the size of its object: the range may be the one asked for.
fn shifted(got: &Range<u64>, size: Option<u64>) -> String {
    let of = size.map(|size| format!(" of an object of {size}")).unwrap_or_default();
    format!("bytes {} to {}{of} arrived instead", got.start, got.end)
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(cause) => f.write_str(missing(cause)),
            Self::Changed { field, before, now } => write!(
                f,
                "the object changed during the download ({field} was {}, is {}); get it again, or, if nobody writes it, turn `enabled` off: its servers tell different versions",
                printable(before),
                printable(now)
            ),
            Self::Short { expected_bytes, got_bytes } => {
                write!(f, "{got_bytes} of {expected_bytes} bytes arrived")
            }
            Self::Long { expected_bytes } => write!(f, "more than {expected_bytes} bytes arrived"),
            Self::Shifted { got, size } => f.write_str(&shifted(got, *size)),
            Self::Throttled { status, retry_after } => {
                write!(f, "throttled (status {status}")?;
                if let Some(wait) = retry_after {
                    write!(f, ", retry after {wait:?}")?;
                }
                write!(f, "); lower `concurrency`")
            }
            Self::Status { status } => {
                write!(f, "the server answered with status {status}{}", meaning(*status))
            }
            Self::RangeIgnored => write!(f, "the server doesn't serve ranges; turn `enabled` off"),
            Self::Denied(_)
            | Self::Unauthenticated(_)
            | Self::PlainHttp
            | Self::NoCredentials { .. }
            | Self::Connection(_)
            | Self::UnknownHost(_)
            | Self::Tls(_)
            | Self::InsecureRedirect
            | Self::Redirect(_)
            | Self::Packed
            | Self::Panicked { .. } => {
                let (what, cause) = self.unreached();
                f.write_str(&what)?;
                cause.map_or(Ok(()), |cause| write!(f, ": {}", chain(cause)))
            }
            Self::Unsized { unsized_bytes_max } => write!(
                f,
                "the server doesn't say how long the object is, and more than {unsized_bytes_max} bytes arrived; raise `unsized_bytes_max`"
            ),
            Self::RequestTimeout { request_timeout, got_bytes } => write!(
                f,
                "{got_bytes} bytes arrived in {request_timeout:?}; raise `request_timeout` or lower `part_bytes`"
            ),
            Self::TotalTimeout { total_timeout } => {
                write!(f, "not complete in {total_timeout:?}, the `total_timeout`")
            }
            Self::Cancelled => write!(f, "cancelled"),
            Self::Budget { retry_budget, last } => write!(
                f,
                "no retry, the engine's `retry_budget` of {retry_budget} is spent; last: {last}"
            ),
            Self::Buffer { object_bytes, cause: Some(cause) } => {
                write!(f, "no buffer for {object_bytes} bytes: {cause}")
            }
            Self::Buffer { object_bytes, cause: None } => {
                write!(f, "{object_bytes} bytes exceed the address space")
            }
            Self::Read(cause) => write!(f, "the file can't be read: {cause}"),
            Self::Sink(cause) => write!(f, "what arrived can't be taken: {cause}"),
            Self::Store(cause) => write!(f, "{}", chain(cause)),
        }
    }
}

impl Cause {
    /// Whether a range that failed says nothing: any other would have failed as well.
    fn is_of_the_whole(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_)
                | Self::Denied(_)
                | Self::Unauthenticated(_)
                | Self::NoCredentials { .. }
                | Self::UnknownHost(_)
                | Self::PlainHttp
        )
    }

    /// Why the store wasn't reached, or let nobody in: what to do, and what the client says.
    fn unreached(&self) -> (Cow<'static, str>, Option<&object_store::Error>) {
        let (what, cause) = match self {
            Self::NoCredentials { set } => {
                let text = format!("no credentials are set, and this machine has none; set {set}");
                return (text.into(), None);
            }
            Self::Panicked { message } => {
                let said = printable(message);
                let text = format!(
                    "the store's client panicked at the request ({said}); check endpoint and credentials, and the files that they name, for characters that no request can have"
                );
                return (text.into(), None);
            }
            Self::Denied(cause) if system_error(cause) == Some(io::ErrorKind::PermissionDenied) => {
                ("this user may not read the file; give it the right to", None)
            }
            Self::Connection(cause)
                if system_error(cause) == Some(io::ErrorKind::ConnectionRefused) =>
            {
                (
                    "nothing listens there; check host and port in the URL or the endpoint, and that the server runs",
                    None,
                )
            }
            Self::Denied(cause) => ("denied; check what the credentials may read", Some(cause)),
            Self::Unauthenticated(cause) => (
                "not authenticated; check the credentials in the environment, or in the URL",
                Some(cause),
            ),
            Self::UnknownHost(cause) => {
                ("no host has this name; check it in the URL or the endpoint", Some(cause))
            }
            Self::Tls(cause) => (
                "no encrypted connection; check that the server speaks https, and that its certificate is trusted here",
                Some(cause),
            ),
            Self::Redirect(cause) => ("a redirect leads nowhere", Some(cause)),
            Self::InsecureRedirect => (
                "the server redirects from https to http, where others can read and change the object; if that is meant, turn `insecure_redirects` on",
                None,
            ),
            Self::PlainHttp => (
                "the endpoint is http and not https; if that is meant, set AWS_ALLOW_HTTP=true, AZURE_ALLOW_HTTP or GOOGLE_ALLOW_HTTP",
                None,
            ),
            Self::Connection(cause) => ("the connection failed", Some(cause)),
            Self::Packed => (
                "the server packs the body for the way (`Transfer-Encoding` other than `chunked`), which nobody asked for; turn that off there, or on the proxy between",
                None,
            ),
            _ => ("", None),
        };
        (what.into(), cause)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotFound(cause)
            | Self::Denied(cause)
            | Self::Unauthenticated(cause)
            | Self::Connection(cause)
            | Self::UnknownHost(cause)
            | Self::Tls(cause)
            | Self::Redirect(cause)
            | Self::Store(cause) => Some(cause),
            Self::Budget { last, .. } => Some(last),
            Self::Buffer { cause: Some(cause), .. } => Some(cause),
            Self::Read(cause) | Self::Sink(cause) => Some(cause),
            _ => None,
        }
    }
}

/// What isn't there: a local file has no key and no endpoint.
fn missing(cause: &object_store::Error) -> &'static str {
    let is_file = system_error(cause) == Some(io::ErrorKind::NotFound);
    if is_file { NO_FILE } else { NOT_FOUND }
}

/// The system's error that an error comes from, if it does.
fn system_error(error: &object_store::Error) -> Option<io::ErrorKind> {
    let mut below = error.source();
    let mut found = None;
    while let Some(source) = below {
        found = source.downcast_ref::<io::Error>().map(io::Error::kind).or(found);
        below = source.source();
    }
    found
}

/// What a status means for who wanted an object, where its number alone doesn't help.
fn meaning(status: u16) -> &'static str {
    match status {
        202 => ", so the object isn't there yet; get it again later",
        203 => ", so a proxy on the way has changed the object; get it past the proxy",
        201..=299 => ", which is no object: only 200, or 206 for a part, is one; check the URL",
        300 => ", so there are several objects to choose from; give the URL of one",
        304 => ", though no cached copy was mentioned; turn the cache on the way off",
        305 | 306 => ", so it wants a proxy; set it in HTTP_PROXY or HTTPS_PROXY",
        405 => ", so there is nothing to get under this URL; check it",
        416 => ", so it doesn't serve this range; turn `enabled` off",
        _ => "",
    }
}

/// An error and its sources, each once and printable: some crates repeat their source in their
/// text, others don't.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    printable(&text)
}

impl Cause {
    /// From what a panic carries.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let message = match payload.downcast_ref::<String>() {
            Some(message) => message,
            None => payload.downcast_ref::<&str>().copied().unwrap_or("without a message"),
        };
        Self::Panicked { message: message.to_owned() }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Short { .. }
            | Self::Connection(_)
            | Self::RequestTimeout { .. } => true,
            // 501 and 505: the server can't do it at all.
            Self::Status { status } => {
                *status == 408 || *status >= 500 && ![501, 505].contains(status)
            }
            _ => false,
        }
    }
}

impl From<object_store::Error> for Cause {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound(error),
            object_store::Error::PermissionDenied { .. } => Self::Denied(error),
            object_store::Error::Unauthenticated { .. } => Self::Unauthenticated(error),
            // Its words are of a write: the object "already exists".
            object_store::Error::AlreadyExists { source, .. } => {
                Self::from_sources(object_store::Error::Generic { store: "storage", source })
            }
            _ => Self::from_sources(error),
        }
    }
}

impl Cause {
    /// Looks through the error's sources: an answer that the connector kept, else a failed
    /// connection, else the store's own error.
    fn from_sources(error: object_store::Error) -> Self {
        let (mut connection, mut text, mut answer) = (false, String::new(), None);
        let mut below = error.source();
        while let Some(source) = below {
            connection |= source.is::<HttpError>();
            text.push_str(&source.to_string());
            text.push('\n');
            answer = answer.or(source.downcast_ref::<StoreAnswer>().copied());
            below = source.source();
        }
        match answer {
            Some(StoreAnswer::RangeIgnored) => Self::RangeIgnored,
            Some(StoreAnswer::Shifted { start, end, size }) => {
                Self::Shifted { got: start..end, size }
            }
            Some(StoreAnswer::Status { status: status @ (429 | 503), retry_after }) => {
                Self::Throttled { status, retry_after }
            }
            Some(StoreAnswer::Status { status, .. }) => Self::Status { status },
            Some(StoreAnswer::Unsized { most_bytes }) => {
                Self::Unsized { unsized_bytes_max: most_bytes }
            }
            Some(StoreAnswer::Packed) => Self::Packed,
            Some(StoreAnswer::Elsewhere) => Self::Redirect(error),
            Some(StoreAnswer::NoCredentials { set }) => Self::NoCredentials { set },
            None => Self::unanswered(error, connection, &text),
        }
    }

    /// Why there is no answer. The HTTP client has no types for these errors, so their texts tell.
    fn unanswered(error: object_store::Error, connection: bool, text: &str) -> Self {
        let is = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        let (redirect, plain_http) =
            (is(&["error following redirect"]), is(&["URL scheme is not allowed"]));
        match (plain_http, redirect) {
            (true, true) => Self::InsecureRedirect,
            (true, false) => Self::PlainHttp,
            (false, true) => Self::Redirect(error),
            (false, false) if is(UNKNOWN_HOST) && !is(&["Temporary failure"]) => {
                Self::UnknownHost(error)
            }
            (false, false) if is(TLS) => Self::Tls(error),
            (false, false) if connection => Self::Connection(error),
            (false, false) => Self::Store(error),
        }
    }
}

/// What the system's resolver says of a name that no host has.
const UNKNOWN_HOST: &[&str] = &["failed to lookup address information"];
/// What the TLS library says when trying again can't help.
const TLS: &[&str] =
    &["invalid peer certificate", "received corrupt message", "received fatal alert"];

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::client::HttpErrorKind;
    use std::io;
    use std::time::Duration;

    fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Cause {
        Cause::from(object_store::Error::Generic { store: "test", source: Box::new(source) })
    }

    #[test]
    fn an_answer_is_found_below_what_wraps_it() {
        let answered = |answer| generic(HttpError::new(HttpErrorKind::Unknown, answer));
        let retry_after = Some(Duration::from_secs(2));
        assert!(matches!(
            answered(StoreAnswer::Status { status: 503, retry_after }),
            Cause::Throttled { status: 503, retry_after: found } if found == retry_after
        ));
        assert!(matches!(
            answered(StoreAnswer::Status { status: 500, retry_after: None }),
            Cause::Status { status: 500 }
        ));
        assert!(matches!(answered(StoreAnswer::RangeIgnored), Cause::RangeIgnored));
    }

    #[test]
    fn a_local_file_has_no_key_and_no_endpoint() {
        let path = || "a".to_owned();
        let of = |kind| io::Error::from(kind);
        let error = |cause: Cause| {
            let object = Path::from("a");
            DownloadError { object, range: Some(0..2_097_152), retries: 0, cause }.to_string()
        };
        let missing = object_store::Error::NotFound {
            path: path(),
            source: of(io::ErrorKind::NotFound).into(),
        };
        assert_eq!(error(missing.into()), format!("object a: {NO_FILE}"));
        let object = object_store::Error::NotFound { path: path(), source: "404".into() };
        assert_eq!(error(object.into()), format!("object a: {NOT_FOUND}"));
        let denied = object_store::Error::PermissionDenied {
            path: path(),
            source: of(io::ErrorKind::PermissionDenied).into(),
        };
        assert!(error(denied.into()).contains("may not read the file"));
        let refused = HttpError::new(HttpErrorKind::Connect, of(io::ErrorKind::ConnectionRefused));
        let said = generic(refused).to_string();
        assert!(said.starts_with("nothing listens there; check") && !said.contains(": "), "{said}");
    }

    #[test]
    fn errors_that_may_pass_are_distinguished() {
        let broken = generic(HttpError::new(HttpErrorKind::Interrupted, io::Error::other("gone")));
        assert!(matches!(broken, Cause::Connection(_)) && broken.may_pass());
        assert!(!generic(io::Error::other("odd")).may_pass());
        let status = |status| Cause::Status { status };
        assert_eq!(
            [408, 416, 418, 500, 599, 501, 505].map(|code| status(code).may_pass()),
            [true, false, false, true, true, false, false]
        );
        assert!(!Cause::Cancelled.may_pass());
    }

    #[test]
    fn what_no_retry_helps_is_told_from_a_broken_connection() {
        let said = |text: &str| {
            generic(HttpError::new(HttpErrorKind::Connect, io::Error::other(text.to_owned())))
        };
        for (text, cause) in [
            ("dns error: failed to lookup address information: Name or service not known", "Unkn"),
            ("failed to lookup address information: Temporary failure in name resolution", "Conn"),
            ("invalid peer certificate: UnknownIssuer", "Tls"),
            ("received corrupt message of type InvalidContentType", "Tls"),
            ("error following redirect: too many redirects", "Redirect"),
            ("error following redirect: URL scheme is not allowed", "Insecure"),
            ("builder error: URL scheme is not allowed", "Plain"),
            ("connection refused", "Conn"),
        ] {
            let got = said(text);
            assert!(format!("{got:?}").starts_with(cause), "{text}: {got:?}");
            assert_eq!(got.may_pass(), cause == "Conn", "{text}");
        }
    }
}
