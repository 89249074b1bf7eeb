//! A load that breaks: its error, and beside it what was answered until then.

use serde_json::{Value, json};

use super::error::LoadError;
use super::report::LoadReport;

/// A load that ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct BrokenLoad {
    /// Why.
    pub error: LoadError,
    /// What was sent and answered until then. Its failures say nothing: the run had no end.
    pub report: Box<LoadReport>,
}

impl BrokenLoad {
    /// As [`LoadError::exit_code`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.error.exit_code()
    }

    /// The report as one object, in which the error is the failure.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut json = self.report.to_json();
        json["failures"] = json!([self.error.to_string()]);
        json
    }
}
