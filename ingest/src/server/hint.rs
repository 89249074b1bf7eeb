//! The hint at the end: how much of a lane's pool was used, and which options would have sufficed.
//!
//! It says nothing about the future: it knows only the bursts that it has seen.

use std::fmt;

use crate::io::PoolUse;
use crate::units::Size;

/// One lane's line, without the lane.
pub(super) struct Hint<'a>(pub(super) &'a PoolUse);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolUse { stats, right_size } = self.0;
        write!(
            f,
            "high water {} of {}",
            Rounded(stats.high_water_bytes),
            Rounded(stats.pool_bytes)
        )?;
        let (pool, window) =
            (Size(right_size.pool_bytes as u64), Size(right_size.window_bytes as u64));
        if right_size.is_lower_bound {
            let times = stats.refused_pool;
            write!(
                f,
                ", full {times} times; clients waited, and only more than --pool {pool} would have served without"
            )
        } else {
            write!(f, "; --pool {pool} --window {window} would have served")
        }
    }
}

/// Bytes for people, with one decimal.
struct Rounded(usize);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..0x10_0000 => (1 << 10, "KiB"),
            0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
            _ => (1 << 30, "GiB"),
        };
        let text = format!("{:.1}", self.0 as f64 / f64::from(unit));
        write!(f, "{} {name}", text.strip_suffix(".0").unwrap_or(&text))
    }
}

#[cfg(test)]
mod tests {
    use slipring::ring::{RingOptions, RingPool};

    use super::*;

    fn used(slices: usize) -> PoolUse {
        let options =
            RingOptions { bytes: 4 << 20, max_slice_bytes: 1 << 10, ..RingOptions::default() };
        let mut pool =
            RingPool::new(&RingOptions { window_bytes: Some(1 << 20), ..options }).unwrap();
        let held: Vec<_> = (0..slices).filter_map(|_| pool.copy_in(&[1; 1 << 10]).ok()).collect();
        let pool = PoolUse { stats: pool.stats(), right_size: pool.right_size() };
        drop(held);
        pool
    }

    #[test]
    fn a_hint_names_the_options_that_would_have_served() {
        let hint = Hint(&used(1200)).to_string();
        assert_eq!(
            hint,
            "high water 1.2 MiB of 4 MiB; --pool 2MiB --window 1MiB would have served"
        );
        let full = Hint(&used(5000)).to_string();
        assert!(full.starts_with("high water 4 MiB of 4 MiB, full 904 times; "), "{full}");
        assert!(full.contains("more than --pool 4MiB"), "{full}");
    }

    #[test]
    fn bytes_are_rounded_for_reading() {
        let texts =
            [0, 4096, 1536, 5 << 18, 64 << 20, 3 << 29].map(|bytes| Rounded(bytes).to_string());
        assert_eq!(texts, ["0 KiB", "4 KiB", "1.5 KiB", "1.2 MiB", "64 MiB", "1.5 GiB"]);
    }
}
