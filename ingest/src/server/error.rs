//! Errors of starting the service.

use std::fmt;
use std::io;

use slipring::pipeline::LaneError;
use slipring::region::RegionError;
use slipring::ring::RingError;

use crate::io::IoBuffersError;

/// A refusal to start. Its text has the option, the figure and the fix.
#[derive(Debug)]
pub enum ServeError {
    /// An option is invalid: a usage error.
    Option(String),
    /// The system, the disk or the network refused.
    Refused(String),
}

impl ServeError {
    pub(super) fn io(what: impl fmt::Display, error: &io::Error, fix: &str) -> Self {
        Self::Refused(format!("{what}: {error}; {fix}"))
    }

    /// An error of a lane, with the command line's options instead of the library's fields.
    pub(super) fn lane(number: u32, error: LaneError) -> Self {
        match error {
            LaneError::Option { field, given, must } => {
                Self::Option(format!("{} is {given}: it must be {must}", flag(field)))
            }
            LaneError::Pool(RingError::Option { field, given, must, limit }) => {
                Self::Option(format!("{} is {given}: it must be {must} {limit}", flag(field)))
            }
            LaneError::Pool(RingError::Region(error @ RegionError::NoSuchNode { node, .. })) => {
                Self::Option(format!("--node {node}: {error}"))
            }
            other => Self::Refused(format!("lane {number}: {other}")),
        }
    }

    /// An error of a lane's class pool.
    pub(super) fn classes(number: u32, error: &IoBuffersError) -> Self {
        Self::Refused(format!(
            "lane {number}: outputs and carry buffers: {error}; or lower --in-flight, --max-vectors or --carry-bytes"
        ))
    }

    /// 2 for usage, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Option(_) => 2,
            Self::Refused(_) => 1,
        }
    }
}

/// The option behind a field of a lane or its pool.
fn flag(field: &'static str) -> &'static str {
    match field {
        "bytes" | "pool.bytes" => "--pool",
        "window_bytes" => "--window",
        "slots" => "--slots",
        "max_slice_bytes" | "width" => "--max-vectors",
        other => other,
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(text) | Self::Refused(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ServeError {}
