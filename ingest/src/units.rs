//! Sizes, durations and CPU lists of the command line: how they are parsed and printed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longest time that an option accepts. It keeps every sum of nanoseconds within 64 bits.
pub const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What sizes look like, in an error.
const SIZES: &str = "a whole number of bytes, or of a unit: 4096, 64KiB, 64MiB, 2GiB or 1TiB";

/// A number of bytes, as people write it: 4096, 64MiB, 2GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let not_a_size = || format!("{text:?} isn't a size: say {SIZES}");
        let unit: u64 = match &text[digits..] {
            "" | "B" => 1,
            "KiB" | "K" | "k" => 1 << 10,
            "MiB" | "M" => 1 << 20,
            "GiB" | "G" => 1 << 30,
            "TiB" | "T" => 1 << 40,
            unit if digits > 0 && unit.chars().all(char::is_alphabetic) => {
                return Err(format!("{unit:?} isn't a unit: say {SIZES}"));
            }
            _ => return Err(not_a_size()),
        };
        if digits == 0 {
            return Err(not_a_size());
        }
        let count: Option<u64> = text[..digits].parse().ok();
        count.and_then(|count| count.checked_mul(unit)).map(Size).ok_or_else(|| {
            format!("{text} is too large: there are 64 bits, so say less than {}TiB", 1 << 24)
        })
    }
}

impl fmt::Display for Size {
    /// In the largest unit that divides it, so that the text parses to the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(bytes, _)| self.0 > 0 && self.0.is_multiple_of(*bytes)) {
            Some((bytes, unit)) => f.pad(&format!("{}{unit}", self.0 / bytes)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

impl Size {
    /// The size as a length in memory; `usize::MAX` where it doesn't fit.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A time, as the command line writes it: in the largest unit that divides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units = [
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
        ];
        match units.into_iter().find(|(unit, _)| nanos > 0 && nanos.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", nanos / unit),
            None if nanos == 0 => f.write_str("0s"),
            None => write!(f, "{nanos}ns"),
        }
    }
}

/// A parser of whole numbers within these bounds, whose error names them.
pub(crate) fn whole<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + fmt::Display + Clone,
{
    move |text| {
        let number =
            text.parse().ok().filter(|number| (least.clone()..=most.clone()).contains(number));
        number.ok_or_else(|| format!("it must be a whole number from {least} to {most}"))
    }
}

/// As [`whole`], with no bound but that of the type.
pub(crate) fn at_least<T>(least: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + fmt::Display + Clone,
{
    let bits = 8 * size_of::<T>();
    move |text| {
        let number = text.parse().ok().filter(|number| *number >= least);
        number.ok_or_else(|| {
            format!("it must be a whole number, {least} or more, that fits {bits} bits")
        })
    }
}

/// What helps where the system refuses a thread: it says the same for either limit.
pub(crate) const THREAD_FIX: &str =
    "raise the limit of threads (ulimit -u) or of memory (ulimit -v), whichever is set";

/// The value or the limit of an option of the library, as the command line writes it: fields of
/// bytes in their unit.
pub(crate) fn figure(field: &str, value: impl fmt::Display) -> String {
    let text = value.to_string();
    match text.parse() {
        Ok(bytes) if field.ends_with("bytes") => Size(bytes).to_string(),
        _ => text,
    }
}

/// A number of bytes with one decimal, for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundedSize(pub u64);

impl fmt::Display for RoundedSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..0x400 => (1, "bytes"),
            0x400..0x10_0000 => (1 << 10, "KiB"),
            0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
            0x4000_0000..0x100_0000_0000 => (1 << 30, "GiB"),
            _ => (1_u64 << 40, "TiB"),
        };
        let text = format!("{:.1}", self.0 as f64 / unit as f64);
        write!(f, "{} {name}", text.strip_suffix(".0").unwrap_or(&text))
    }
}

/// A list of CPU numbers: 0,2,4-7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuIds(pub Vec<usize>);

impl FromStr for CpuIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut ids = Vec::new();
        for part in text.split(',') {
            let wrong = || format!("{part:?} isn't a CPU: say 0, 0,2 or 0-3");
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) =
                (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
            if first > last || last >= 1 << 16 {
                return Err(wrong());
            }
            ids.extend(first..=last);
        }
        Ok(Self(ids))
    }
}

/// Reads a duration: a whole number and its unit, which is us, ms, s, m or h.
///
/// # Errors
///
/// No whole number, no unit, or more than [`TIME_MAX`].
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let microseconds = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return Err("a whole number and its unit: 300us, 500ms, 10s, 2m or 1h".to_string()),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("{number:?} isn't a whole number that fits 64 bits"))?;
    let time = number
        .checked_mul(microseconds)
        .map(Duration::from_micros)
        .filter(|time| *time <= TIME_MAX);
    time.ok_or_else(|| "at most a year (8760h)".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!("64MiB".parse(), Ok(Size(64 << 20)));
        assert_eq!("512".parse(), Ok(Size(512)));
        for wrong in
            ["", "MiB", "1.5MiB", "12XB", "-1", "99999999999999999999", "99999999999999GiB"]
        {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        for (wrong, said) in [
            ("foo", "\"foo\" isn't a size"),
            ("", "\"\" isn't a size"),
            ("-1", "\"-1\" isn't a size"),
            ("1.5MiB", "\"1.5MiB\" isn't a size"),
            ("12XB", "\"XB\" isn't a unit"),
            ("99999999999999GiB", "less than 16777216TiB"),
            ("99999999999999999999", "less than 16777216TiB"),
            ("16777216TiB", "less than 16777216TiB"),
        ] {
            let error = wrong.parse::<Size>().unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
        for text in ["64MiB", "2GiB", "100TiB", "1536KiB", "1000", "0"] {
            assert_eq!(text.parse::<Size>().map(|size| size.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in ["0s", "999us", "1ms", "1500ms", "10s", "2m", "90s", "8760h"] {
            assert_eq!(
                parse_duration(text).map(|time| Time(time).to_string()).as_deref(),
                Ok(text)
            );
        }
        assert_eq!(Time(Duration::from_nanos(1_500)).to_string(), "1500ns");
    }

    #[test]
    fn numbers_that_are_none_are_told_their_bounds() {
        let read = whole(1, 65_535_u32);
        assert_eq!((read("1"), read("65535")), (Ok(1), Ok(65_535)));
        for wrong in ["0", "65536", "-1", "abc", "", "1.5", "99999999999999999999"] {
            let error = read(wrong).unwrap_err();
            assert_eq!(error, "it must be a whole number from 1 to 65535", "{wrong}");
        }
    }

    #[test]
    fn numbers_without_a_most_are_told_their_least() {
        let read = at_least(1_u32);
        assert_eq!((read("1"), read("4294967295")), (Ok(1), Ok(u32::MAX)));
        for wrong in ["0", "4294967296", "-1", "x", ""] {
            let error = read(wrong).unwrap_err();
            assert_eq!(error, "it must be a whole number, 1 or more, that fits 32 bits", "{wrong}");
        }
    }

    #[test]
    fn bytes_are_rounded_for_reading() {
        let sizes = [0, 1000, 4096, 1536, 5 << 18, 64 << 20, 3 << 29, 9 << 40];
        let texts = sizes.map(|bytes| RoundedSize(bytes).to_string());
        let expected =
            ["0 bytes", "1000 bytes", "4 KiB", "1.5 KiB", "1.2 MiB", "64 MiB", "1.5 GiB", "9 TiB"];
        assert_eq!(texts, expected);
    }

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!("0,2-4".parse(), Ok(CpuIds(vec![0, 2, 3, 4])));
        for wrong in ["", "a", "3-1", "1,", "-", "70000"] {
            assert!(wrong.parse::<CpuIds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read() {
        let times = ["0s", "500ms", "2m", "8760h"].map(parse_duration);
        let expected = [0, 500, 120_000, 365 * 24 * 3_600_000];
        assert_eq!(times, expected.map(|millis| Ok(Duration::from_millis(millis))));
        assert_eq!(parse_duration("300us"), Ok(Duration::from_micros(300)));
        for wrong in ["", "10", "s", "-1s", "1.5s", "1d", "8761h", "99999999999999999999s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
