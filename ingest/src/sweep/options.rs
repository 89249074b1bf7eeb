//! The options of `slipring sweep`.

use std::str::FromStr;

use crate::server::StagesWord;
use crate::units::{CpuIds, Size};

/// What is run, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct SweepOptions {
    /// Bytes of the pool
    #[arg(long, default_value = "1GiB", value_name = "SIZE")]
    pub pool: Size,
    /// Bytes of a payload, all written and all read
    #[arg(long, default_value = "512", value_name = "SIZE")]
    pub payload: Size,
    /// Windows to try: 64KiB,1MiB or 64KiB-32MiB, which doubles [default: 64KiB-32MiB, as far as
    /// pool and payload allow]
    #[arg(long, value_name = "LIST")]
    pub windows: Option<WindowList>,
    /// Payloads published together
    #[arg(long, default_value_t = 64)]
    pub batch: u64,
    /// Slots of the ring: a power of two
    #[arg(long, default_value_t = 4096)]
    pub slots: usize,
    /// Payloads of a repeat
    #[arg(long, default_value_t = 2_000_000)]
    pub events: u64,
    /// Repeats of each window, interleaved
    #[arg(long, default_value_t = 5)]
    pub repeats: u32,
    /// Where the stage that reads runs [default: threads, where there are two CPUs]
    #[arg(long, value_enum)]
    pub stages: Option<StagesWord>,
    /// CPUs of the lane and of its stage: 0,1 [default: the first CPUs allowed]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<CpuIds>,
    /// Print JSON, one line a window and one with the result
    #[arg(long)]
    pub json: bool,
}

/// Windows in bytes, rising, none of them 0: `64KiB,1MiB`, or `64KiB-32MiB`, which doubles from the
/// first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowList(Vec<u64>);

impl WindowList {
    /// The windows in bytes, rising.
    #[must_use]
    pub fn bytes(&self) -> &[u64] {
        &self.0
    }
}

impl FromStr for WindowList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut windows = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (Size, Size) = (first.parse()?, last.parse()?);
            if first.0 == 0 {
                return Err("a window of 0 bytes holds nothing: say 64KiB or more".to_owned());
            }
            if first.0 > last.0 {
                return Err(format!("{part}: the first window is larger than the last"));
            }
            let doubled = |window: &u64| window.checked_mul(2);
            windows.extend(
                std::iter::successors(Some(first.0), doubled)
                    .take_while(|&window| window <= last.0),
            );
        }
        windows.sort_unstable();
        windows.dedup();
        Ok(Self(windows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read() {
        let list = |text: &str| {
            text.parse::<WindowList>().map(|list| list.0.iter().map(|bytes| bytes >> 10).collect())
        };
        assert_eq!(list("64KiB-1MiB"), Ok(vec![64, 128, 256, 512, 1024]));
        assert_eq!(list("1MiB,64KiB,1MiB"), Ok(vec![64, 1024]));
        assert_eq!(list("64KiB-100KiB,3MiB"), Ok(vec![64, 3072]));
        for wrong in ["", "0", "0-1MiB", "1MiB,", "2MiB-1MiB", "x", "1MiB-", "-", "1.5MiB"] {
            assert!(wrong.parse::<WindowList>().is_err(), "{wrong:?}");
        }
        // The last doubling would leave 64 bits.
        assert_eq!("8GiB-17179869183GiB".parse::<WindowList>().map(|list| list.0.len()), Ok(31));
    }
}
