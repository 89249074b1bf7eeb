//! The options of a store's downloads: [`StoreOptions`], from which [`Stores`](crate::Stores) makes
//! its engine.

use crate::engine::RangeEngine;
use crate::options::{OptionsError, RangeOptions};
use crate::pool::BufferPoolOptions;

/// How [`Stores`](crate::Stores) downloads, pool included, so that whoever calls it wires nothing.
/// Feature `serde` reads it from a text with these names.
///
/// The pool is on by default. With a buffer for each object on its way, which is what it comes to
/// where nobody waits, it takes about half of the processor time of no pool, and no more memory at
/// the peak; PERFORMANCE.md ("Object downloads") has the figures and their record. What it costs is
/// that memory stays for 10 to 20 s after the last download: up to `max_buffers_per_class` buffers
/// of each class that was used, as far as objects reached into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The buffer pool. Default [`BufferPoolOptions::default`]; none, or one that isn't `enabled`, for
    /// none.
    pub buffer_pool: Option<BufferPoolOptions>,
    /// How objects are fetched.
    pub range: RangeOptions,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { buffer_pool: Some(BufferPoolOptions::default()), range: RangeOptions::default() }
    }
}

impl StoreOptions {
    /// The engine, with the pool where one is asked for. It holds no memory yet.
    ///
    /// # Errors
    /// [`OptionsError`] names the invalid field.
    pub fn build(&self) -> Result<RangeEngine, OptionsError> {
        let engine = RangeEngine::new(&self.range)?;
        let pool = self.buffer_pool.map(|pool| pool.build()).transpose()?.flatten();
        Ok(match pool {
            Some(pool) => engine.with_buffer_pool(pool),
            None => engine,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_pool_unless_it_is_off() {
        let has_pool = |options: StoreOptions| options.build().unwrap().buffer_pool().is_some();
        assert!(has_pool(StoreOptions::default()));
        assert!(!has_pool(StoreOptions { buffer_pool: None, ..StoreOptions::default() }));
        let off = BufferPoolOptions {
            enabled: false,
            max_buffers_per_class: 0,
            ..BufferPoolOptions::default()
        };
        assert!(!has_pool(StoreOptions { buffer_pool: Some(off), ..StoreOptions::default() }));
    }

    #[test]
    fn each_part_is_checked() {
        let refused = |options: StoreOptions| options.build().unwrap_err().field;
        let pool = BufferPoolOptions { max_buffers_per_class: 0, ..BufferPoolOptions::default() };
        assert_eq!(
            refused(StoreOptions { buffer_pool: Some(pool), ..StoreOptions::default() }),
            "max_buffers_per_class"
        );
        let range = RangeOptions { concurrency: Some(0), ..RangeOptions::default() };
        assert_eq!(refused(StoreOptions { range, ..StoreOptions::default() }), "concurrency");
    }
}
