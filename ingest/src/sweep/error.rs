//! Errors of a sweep.

use std::fmt;

use slipring::pipeline::LaneError;
use slipring::ring::RingError;

/// A sweep that couldn't be run, with the option, the figure and the fix in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SweepError {
    /// An option is invalid: a usage error.
    Option(String),
    /// The system refused, or a payload didn't arrive as it was written.
    Failed(String),
}

impl SweepError {
    /// An error of a lane, with the command line's options instead of the library's fields.
    pub(super) fn lane(error: LaneError) -> Self {
        match error {
            LaneError::Option { field, given, must } => {
                Self::Option(format!("{} is {given}: it must be {must}", flag(field)))
            }
            LaneError::Pool(RingError::Option { field, given, must, limit }) => {
                Self::Option(format!("{} is {given}: it must be {must} {limit}", flag(field)))
            }
            other => Self::Failed(other.to_string()),
        }
    }

    /// 2 for usage, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Option(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

fn flag(field: &'static str) -> &'static str {
    match field {
        "bytes" | "pool.bytes" => "--pool",
        "window_bytes" => "--windows",
        "slots" => "--slots",
        "max_slice_bytes" => "--payload",
        other => other,
    }
}

impl fmt::Display for SweepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for SweepError {}
