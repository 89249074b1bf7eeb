//! Why a download failed: the object, the range and the cause.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Range;
use std::time::Duration;

use object_store::path::Path;
use slipring::class::GetError;

/// A failed download. Its buffer has been given back.
#[derive(Debug)]
#[non_exhaustive]
pub struct DownloadError {
    /// The object.
    pub object: Path,
    /// The part of the object that it was about, the bytes of it that had come included; none if it
    /// was about the object.
    pub range: Option<Range<u64>>,
    /// Retries of the whole object before this.
    pub retries: u32,
    /// Why.
    pub cause: Cause,
}

impl fmt::Display for DownloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}", self.object)?;
        if let Some(range) = &self.range {
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
    /// A range ended before its end.
    Short {
        /// Its length.
        expected_bytes: u64,
        /// What came.
        got_bytes: u64,
    },
    /// More bytes came than were asked for.
    Long {
        /// What was asked for.
        expected_bytes: u64,
    },
    /// Another range came than was asked for.
    Shifted {
        /// What came.
        got: Range<u64>,
    },
    /// The server asks for patience: status 429 or 503.
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
    /// The endpoint is reached without encryption, which has to be allowed.
    PlainHttp,
    /// The connection failed.
    Connection(object_store::Error),
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
    /// It could be tried again, but the engine's budget for that is spent.
    Budget {
        /// The option.
        retry_budget: u32,
        /// What happened last.
        last: Box<Cause>,
    },
    /// No memory for the object.
    Buffer {
        /// The object's size.
        object_bytes: u64,
        /// Why; none if no address space has so many bytes.
        cause: Option<GetError>,
    },
    /// A local file couldn't be read.
    Read(io::Error),
    /// Something else, in the store's own words.
    Store(object_store::Error),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(_) => {
                write!(f, "not found; check the key, and that the endpoint is the right one")
            }
            Self::Denied(cause) => {
                write!(f, "denied; check what the credentials may read: {cause}")
            }
            Self::Unauthenticated(cause) => {
                write!(f, "not authenticated; check the credentials in the environment: {cause}")
            }
            Self::Changed { field, before, now } => {
                write!(
                    f,
                    "the object changed during the download ({field} was {before}, is {now}); get it again"
                )
            }
            Self::Short { expected_bytes, got_bytes } => {
                write!(f, "{got_bytes} of {expected_bytes} bytes came")
            }
            Self::Long { expected_bytes } => write!(f, "more than {expected_bytes} bytes came"),
            Self::Shifted { got } => write!(f, "bytes {} to {} came instead", got.start, got.end),
            Self::Throttled { status, retry_after } => {
                write!(f, "throttled (status {status}")?;
                if let Some(wait) = retry_after {
                    write!(f, ", retry after {wait:?}")?;
                }
                write!(f, "); lower `concurrency`")
            }
            Self::Status { status } => write!(f, "the server answered with status {status}"),
            Self::RangeIgnored => write!(f, "the server doesn't serve ranges; turn `enabled` off"),
            Self::PlainHttp => write!(
                f,
                "the endpoint is http and not https; if that is meant, set AWS_ALLOW_HTTP=true, AZURE_ALLOW_HTTP or GOOGLE_ALLOW_HTTP"
            ),
            Self::Connection(cause) => write!(f, "the connection failed: {}", chain(cause)),
            Self::RequestTimeout { request_timeout, got_bytes } => {
                write!(
                    f,
                    "{got_bytes} bytes came in {request_timeout:?}; raise `request_timeout` or lower `part_bytes`"
                )
            }
            Self::TotalTimeout { total_timeout } => {
                write!(f, "not complete in {total_timeout:?}, the `total_timeout`")
            }
            Self::Cancelled => write!(f, "cancelled"),
            Self::Budget { retry_budget, last } => {
                write!(
                    f,
                    "no retry, the engine's `retry_budget` of {retry_budget} is spent; last: {last}"
                )
            }
            Self::Buffer { object_bytes, cause: Some(cause) } => {
                write!(f, "no buffer for {object_bytes} bytes: {cause}")
            }
            Self::Buffer { object_bytes, cause: None } => {
                write!(f, "no memory has {object_bytes} bytes")
            }
            Self::Read(cause) => write!(f, "the file can't be read: {cause}"),
            Self::Store(cause) => write!(f, "{}", chain(cause)),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotFound(cause)
            | Self::Denied(cause)
            | Self::Unauthenticated(cause)
            | Self::Connection(cause)
            | Self::Store(cause) => Some(cause),
            Self::Budget { last, .. } => Some(last),
            Self::Buffer { cause: Some(cause), .. } => Some(cause),
            Self::Read(cause) => Some(cause),
            _ => None,
        }
    }
}

/// An error and what it came from, each once: some of the crates below repeat their source and some
/// leave it out.
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
    text
}

impl Cause {
    /// Whether the same request may well succeed a little later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Short { .. }
            | Self::Connection(_)
            | Self::RequestTimeout { .. } => true,
            Self::Status { status } => *status == 408 || *status >= 500,
            _ => false,
        }
    }
}
