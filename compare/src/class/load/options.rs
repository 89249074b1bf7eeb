//! What a load test may choose, and how its words are read.

use std::time::Duration;

use clap::Args;

use crate::case::Size;
use crate::class::table;

/// Many threads on one class pool, every payload verified; fails below a hit rate
#[derive(Args, Clone)]
pub struct Options {
    /// Threads that get and drop
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub workers: u32,
    /// How long they run after their warm-up: 10s, 500ms or 2m
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Classes of the wire table that are asked for: `all`, or some of 2KiB, 4KiB, 8KiB, 16KiB,
    /// 32KiB and 64KiB with commas between them
    #[arg(long, default_value = "all", value_parser = sizes)]
    pub sizes: Sizes,
    /// The least hit rate, in percent of the gets; below it the exit status is 3
    #[arg(long, default_value_t = 99.9, value_parser = percent)]
    pub min_hit_rate: f64,
    /// How often each payload is verified before its buffer goes back
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub operations_per_buffer: u32,
    /// No warm-up: the first gets count too
    #[arg(long)]
    pub cold: bool,
    /// One JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Classes of the wire table, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes(pub Vec<usize>);

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is no time: write a number and its unit, as 10s, 500ms or 2m, 1 ms to 24 h"
        )
    };
    let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
    let of_unit = |(unit, ms): &(&str, u64)| {
        Some(text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*ms))
    };
    let ms = units.iter().find_map(of_unit).flatten().ok_or_else(wrong)?;
    if (1..=24 * 3_600_000).contains(&ms) { Ok(Duration::from_millis(ms)) } else { Err(wrong()) }
}

fn sizes(text: &str) -> Result<Sizes, String> {
    if text == "all" {
        return Ok(Sizes(table::BYTES.to_vec()));
    }
    let class =
        |name: &str| table::BYTES.into_iter().find(|&bytes| Size(bytes).to_string() == name);
    let known = || table::BYTES.map(|bytes| Size(bytes).to_string()).join(", ");
    let each = |name| {
        class(name)
            .ok_or_else(|| format!("`{name}` is no class of the wire table: `all`, or {}", known()))
    };
    let mut sizes = text.split(',').map(each).collect::<Result<Vec<_>, _>>()?;
    sizes.sort_unstable();
    sizes.dedup();
    Ok(Sizes(sizes))
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| format!("`{text}` is no rate in percent: a number from 0 to 100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        let read = |text| duration(text).ok().map(|time| time.as_millis());
        assert_eq!(
            ["10s", "500ms", "2m", "1ms"].map(read),
            [Some(10_000), Some(500), Some(120_000), Some(1)]
        );
        for wrong in [
            "",
            "10",
            "s",
            "0s",
            "-1s",
            "1h",
            "25000m",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(
                duration(wrong).is_err_and(|error| error.contains(&format!("`{wrong}`"))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn sizes_are_classes() {
        assert_eq!(sizes("all").unwrap().0, table::BYTES);
        assert_eq!(sizes("64KiB,2KiB,2KiB").unwrap().0, [2 << 10, 64 << 10]);
        for wrong in ["", "3KiB", "2KiB,", "2048", "128KiB", "ALL"] {
            assert!(sizes(wrong).is_err_and(|error| error.contains("2KiB, 4KiB")), "{wrong}");
        }
    }

    #[test]
    fn rates_are_percents() {
        assert_eq!(
            ["0", "99.9", "100"].map(|text| percent(text).ok()),
            [Some(0.0), Some(99.9), Some(100.0)]
        );
        assert!(["-1", "100.1", "NaN", "inf", ""].iter().all(|text| percent(text).is_err()));
    }
}
