//! The options of downloads: [`RangeOptions`] (how objects are fetched), [`BufferPoolOptions`] (the
//! pool that they are written to) and [`StoreOptions`] (both). Each is checked in one function.

use std::fmt;
use std::time::Duration;

use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};
use slipring::region::Pages;

/// The most requests in flight of one engine.
pub const CONCURRENCY_MAX: usize = 1024;
/// The smallest part: below it a request's headers are as long as its body.
pub const PART_BYTES_MIN: u64 = 1 << 10;

/// The longest limit of time; more would be no limit.
const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a [`RangeEngine`](crate::RangeEngine) downloads. Every field has a default;
/// [`RangeEngine::new`](crate::RangeEngine::new) checks them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeOptions {
    /// Whether an object is fetched by several concurrent requests. Default true; false is one
    /// request per object.
    pub enabled: bool,
    /// Bytes of a part, at least [`PART_BYTES_MIN`]. Default none: the object's size divided by the
    /// idle turns, from 1 to 16 MiB, and no more than a request has lately received in a quarter of
    /// `request_timeout`.
    pub part_bytes: Option<u64>,
    /// Requests in flight of the engine, over all of its downloads, 1 to [`CONCURRENCY_MAX`].
    /// Default none: it starts with 32, goes up to 128 while more requests receive more bytes per
    /// second, and goes down when a server says that there are too many.
    pub concurrency: Option<usize>,
    /// An object of up to this size is fetched by one request. The first request asks for this many
    /// bytes, or for one part if that is more, before the size is known; no request asks for the
    /// size alone. Default none: `part_bytes` if it is given, else 2 MiB.
    pub threshold_bytes: Option<u64>,
    /// How often a range is retried after an error that may pass. Default 4; 0 for never.
    pub retries: u32,
    /// Retries of the whole engine: each retry takes one, each range that arrives gives one back.
    /// So a broken store isn't asked `retries` times as often. Default 64.
    pub retry_budget: u32,
    /// The wait before the first retry of a range. It doubles with each retry, and is drawn between
    /// half of it and all of it. Default 100 ms.
    pub backoff_first: Duration,
    /// The longest such wait. Default 5 s.
    pub backoff_max: Duration,
    /// The longest `Retry-After` that the engine waits for; a longer one is a refusal. Default 60
    /// s.
    pub retry_after_max: Duration,
    /// How long one request may take, including its body; at most a year. What has arrived by then
    /// is kept, and the rest is asked for again: as a retry, unless 64 KiB or more have arrived,
    /// because a slow store isn't a broken one. Doesn't apply to local files. Default 30 s.
    pub request_timeout: Duration,
    /// How long one object may take, including waits for a turn and for a buffer; at most a year.
    /// Default none.
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

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionsError {
    /// The field's name in [`RangeOptions`] or [`BufferPoolOptions`](crate::BufferPoolOptions), or
    /// in a text that was read.
    pub field: &'static str,
    /// The value that was given.
    pub value: String,
    /// The values that are valid.
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

/// The pool of a [`RangeEngine`](crate::RangeEngine): classes of 1, 4, 16, 64 and 256 MiB.
///
/// Waste: the unused end of an object's buffer, less than three quarters of it. Its pages are used
/// only as far as an object has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferPoolOptions {
    /// Whether there is a pool. Default true.
    pub enabled: bool,
    /// The most buffers per class, in use or free. Default 16.
    pub max_buffers_per_class: usize,
    /// Seconds after which buffers that weren't needed give their pages back; 0 for never. Default
    /// 10. It needs calls of [`ClassPool::tick`], or a [`Ticker`](slipring::class::Ticker).
    pub shrink_after_secs: u64,
    /// What happens at the limit. Default [`AtLimit::Fresh`], which never waits: a caller who keeps
    /// all objects of a run needs more buffers than the limit. A caller who drops each object can
    /// use [`AtLimit::Wait`], which bounds the memory.
    pub at_limit: AtLimit,
}

impl Default for BufferPoolOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            max_buffers_per_class: 16,
            shrink_after_secs: 10,
            at_limit: AtLimit::Fresh,
        }
    }
}

impl BufferPoolOptions {
    /// Makes the pool; `None` if it isn't enabled. It holds no memory yet.
    ///
    /// # Errors
    /// [`OptionsError`] if a class may have no buffer.
    pub fn build(&self) -> Result<Option<ClassPool>, OptionsError> {
        self.check()?;
        if !self.enabled {
            return Ok(None);
        }
        let shrink_after = Duration::from_secs(self.shrink_after_secs);
        let options = ClassOptions {
            table: ClassTable::object(),
            limit: Limit::buffers(self.max_buffers_per_class),
            at_limit: self.at_limit,
            shrink_after: (!shrink_after.is_zero()).then_some(shrink_after),
            // Objects are written and read on different threads, so a bin per thread gains nothing.
            cache_bytes: 0,
            pages: Pages::PreferThp,
            ..ClassOptions::default()
        };
        ClassPool::new(&options).map(Some).map_err(|error| self.refused(error.to_string()))
    }

    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        if self.enabled && self.max_buffers_per_class == 0 {
            return Err(self.refused("1 or more, or leave the pool out".to_owned()));
        }
        Ok(())
    }

    /// The only field that the pool's own check may refuse.
    fn refused(&self, limit: String) -> OptionsError {
        OptionsError {
            field: "max_buffers_per_class",
            value: self.max_buffers_per_class.to_string(),
            limit,
        }
    }
}

/// How [`Stores`](crate::Stores) downloads, including its pool. Feature `serde` reads it from a
/// text with these names.
///
/// The pool is on by default. With a buffer for each object under way it takes about half of the
/// processor time of no pool, and no more memory at the peak; benches/record/REPORT.md ("Object
/// downloads") has the figures. Its cost: memory stays for 10 to 20 s after the last download, up
/// to `max_buffers_per_class` buffers of each class that was used, as far as objects reached into
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The buffer pool. Default [`BufferPoolOptions::default`]; `None`, or one that isn't
    /// `enabled`, is no pool.
    pub buffer_pool: Option<BufferPoolOptions>,
    /// How objects are fetched.
    pub range: RangeOptions,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { buffer_pool: Some(BufferPoolOptions::default()), range: RangeOptions::default() }
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

    #[test]
    fn the_pool_is_as_configured() {
        let pool = BufferPoolOptions::default().build().unwrap().unwrap();
        assert_eq!(pool.table().sizes(), [1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20]);
        assert_eq!(pool.options().limit.buffers, 16);
        assert_eq!(pool.options().shrink_after, Some(Duration::from_secs(10)));
        let never = BufferPoolOptions { shrink_after_secs: 0, ..BufferPoolOptions::default() }
            .build()
            .unwrap()
            .unwrap();
        assert_eq!(never.options().shrink_after, None);
    }

    #[test]
    fn none_is_made_where_none_is_wanted_or_none_would_fit() {
        assert!(
            BufferPoolOptions { enabled: false, ..BufferPoolOptions::default() }
                .build()
                .unwrap()
                .is_none()
        );
        let none = BufferPoolOptions { max_buffers_per_class: 0, ..BufferPoolOptions::default() }
            .build()
            .unwrap_err();
        assert_eq!(
            none.to_string(),
            "`max_buffers_per_class` is 0: give 1 or more, or leave the pool out"
        );
    }
}
