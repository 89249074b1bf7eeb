//! Why the service doesn't start.

use std::fmt;
use std::io;

/// A refusal to start, with the option, the figure and the fix in its text.
#[derive(Debug)]
pub enum ServeError {
    /// An option doesn't fit: usage.
    Option(String),
    /// The system, the disk or the network refused.
    Refused(String),
}

impl ServeError {
    pub(super) fn io(what: impl fmt::Display, error: &io::Error, fix: &str) -> Self {
        Self::Refused(format!("{what}: {error}; {fix}"))
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

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(text) | Self::Refused(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ServeError {}
