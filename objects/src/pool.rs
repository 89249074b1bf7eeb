//! The buffer pool of downloads: [`BufferPoolOptions`], in the words of its configuration.

use std::time::Duration;

use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};
use slipring::region::Pages;

use crate::options::OptionsError;

/// How the pool of a [`RangeEngine`](crate::RangeEngine) is made: classes of 1, 4, 16, 64 and 256
/// MiB.
///
/// Waste: the rest of an object's class, less than three quarters of a buffer; its pages are used
/// only as far as an object reached into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferPoolOptions {
    /// Whether there is one. Default true.
    pub enabled: bool,
    /// Buffers that a class may have, in use or kept. Default 16.
    pub max_buffers_per_class: usize,
    /// Seconds after which buffers that nobody needed give their pages back; 0 for never. Default
    /// 10. Somebody has to call [`ClassPool::tick`], or start a
    /// [`Ticker`](slipring::class::Ticker).
    pub shrink_after_secs: u64,
    /// What happens at the limit. Default [`AtLimit::Fresh`], which can't wait for ever: whoever
    /// keeps all objects of a run needs more buffers than the limit. Whoever lets go of each object
    /// can take [`AtLimit::Wait`], which bounds the memory.
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
    /// The pool, or none if it isn't enabled. It holds no memory yet.
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
            // An object is written by another thread than reads it: nothing is gained by keeping
            // buffers a thread.
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

    /// The one field that a pool's own check may refuse.
    fn refused(&self, limit: String) -> OptionsError {
        OptionsError {
            field: "max_buffers_per_class",
            value: self.max_buffers_per_class.to_string(),
            limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
