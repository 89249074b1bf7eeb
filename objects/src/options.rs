//! The options of a range engine: [`RangeOptions`], checked in one place.

use std::fmt;
use std::time::Duration;

/// The most requests in flight of one engine.
pub const CONCURRENCY_MAX: usize = 1024;
/// The smallest part that can be asked for: below it a request's headers are as long as its body.
pub const PART_BYTES_MIN: u64 = 1 << 10;

/// The longest limit of time: more would be none.
const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a [`RangeEngine`](crate::RangeEngine) downloads. Every field has a default;
/// [`RangeEngine::new`](crate::RangeEngine::new) checks them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeOptions {
    /// Whether an object is fetched by several requests at once. Default true; false is one request
    /// an object.
    pub enabled: bool,
    /// Bytes of a part, at least [`PART_BYTES_MIN`]. Default none: the object's size over the turns
    /// that are idle, from 1 to 16 MiB, and no more than a request has lately brought in a quarter
    /// of `request_timeout`.
    pub part_bytes: Option<u64>,
    /// Requests in flight of the engine, over all of its downloads, 1 to [`CONCURRENCY_MAX`].
    /// Default none: it starts with 32, takes more while that brings more bytes per second, up to
    /// 128, and less when a server says that there are too many.
    pub concurrency: Option<usize>,
    /// An object of up to so many bytes is fetched by one request. The first request asks for so
    /// much, or for one part if that is more, before the size is known: no request is spent on the
    /// size alone. Default none: one part if `part_bytes` says how long that is, else 2 MiB.
    pub threshold_bytes: Option<u64>,
    /// How often one range is asked for again, after what may pass. Default 4; 0 for never.
    pub retries: u32,
    /// Retries of the whole engine: each takes one, each range that arrives gives one back. It is
    /// what keeps a broken store from being asked `retries` times as often. Default 64.
    pub retry_budget: u32,
    /// The wait before the first retry of a range; it doubles from one to the next, and each is
    /// drawn between half of it and all. Default 100 ms.
    pub backoff_first: Duration,
    /// The longest such wait. Default 5 s.
    pub backoff_max: Duration,
    /// The longest `Retry-After` that is waited for; a server that asks for more has refused.
    /// Default 60 s.
    pub retry_after_max: Duration,
    /// How long one request may take, body included, at most a year. What arrived by then is kept,
    /// and the rest is asked for again: as a retry, unless that were 64 KiB or more, since a slow
    /// store isn't a broken one. A local file is read without it. Default 30 s.
    pub request_timeout: Duration,
    /// How long one object may take, waiting for its turn and for a buffer included; at most a
    /// year. Default none.
    pub total_timeout: Option<Duration>,
}

impl Default for RangeOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            part_bytes: None,
            concurrency: None,
            threshold_bytes: None,
            retries: 4,
            retry_budget: 64,
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            retry_after_max: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            total_timeout: None,
        }
    }
}

/// A field that doesn't fit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionsError {
    /// Its name in [`RangeOptions`] or [`BufferPoolOptions`](crate::BufferPoolOptions), or in a text that was
    /// read.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What fits.
    pub limit: String,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, limit } = self;
        write!(f, "`{field}` is {value}: give {limit}")
    }
}

impl std::error::Error for OptionsError {}

impl RangeOptions {
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let refused = |field, value: &dyn fmt::Debug, limit: String| {
            Err(OptionsError { field, value: format!("{value:?}"), limit })
        };
        if let Some(part_bytes) = self.part_bytes
            && !(PART_BYTES_MIN..=isize::MAX as u64).contains(&part_bytes)
        {
            return refused(
                "part_bytes",
                &part_bytes,
                format!("{PART_BYTES_MIN} to {} bytes, or none", isize::MAX),
            );
        }
        if let Some(concurrency) = self.concurrency
            && !(1..=CONCURRENCY_MAX).contains(&concurrency)
        {
            return refused(
                "concurrency",
                &concurrency,
                format!("1 to {CONCURRENCY_MAX}, or none"),
            );
        }
        if let Some(threshold_bytes) = self.threshold_bytes
            && threshold_bytes > isize::MAX as u64
        {
            return refused(
                "threshold_bytes",
                &threshold_bytes,
                format!("at most {}, or none", isize::MAX),
            );
        }
        if self.backoff_first > self.backoff_max {
            return refused(
                "backoff_first",
                &self.backoff_first,
                format!("at most `backoff_max`, {:?}", self.backoff_max),
            );
        }
        for (field, value) in
            [("backoff_max", self.backoff_max), ("retry_after_max", self.retry_after_max)]
        {
            if value > TIMEOUT_MAX {
                return refused(field, &value, "at most a year".to_owned());
            }
        }
        for (field, value) in
            [("request_timeout", Some(self.request_timeout)), ("total_timeout", self.total_timeout)]
        {
            if let Some(value) = value.filter(|value| value.is_zero() || *value > TIMEOUT_MAX) {
                return refused(field, &value, "more than nothing and at most a year".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut RangeOptions)) -> String {
        let mut options = RangeOptions::default();
        change(&mut options);
        options.check().unwrap_err().to_string()
    }

    #[test]
    fn defaults_fit() {
        assert_eq!(RangeOptions::default().check(), Ok(()));
    }

    #[test]
    fn each_field_that_makes_no_sense_is_named() {
        assert_eq!(
            refused(|options| options.part_bytes = Some(0)),
            "`part_bytes` is 0: give 1024 to 9223372036854775807 bytes, or none"
        );
        assert!(refused(|options| options.part_bytes = Some(u64::MAX)).starts_with("`part_bytes`"));
        assert_eq!(
            refused(|options| options.concurrency = Some(0)),
            "`concurrency` is 0: give 1 to 1024, or none"
        );
        assert!(
            refused(|options| options.concurrency = Some(1025))
                .starts_with("`concurrency` is 1025")
        );
        assert!(
            refused(|options| options.threshold_bytes = Some(u64::MAX))
                .starts_with("`threshold_bytes`")
        );
        assert!(
            refused(|options| options.backoff_max = Duration::ZERO)
                .starts_with("`backoff_first` is 100ms: give at most")
        );
        assert!(
            refused(|options| options.request_timeout = Duration::ZERO)
                .starts_with("`request_timeout` is 0ns")
        );
        assert!(
            refused(|options| options.total_timeout = Some(Duration::ZERO))
                .starts_with("`total_timeout`")
        );
        assert!(
            refused(|options| options.request_timeout = Duration::MAX).ends_with("at most a year")
        );
        assert!(
            refused(|options| options.total_timeout = Some(Duration::MAX))
                .ends_with("at most a year")
        );
    }
}
