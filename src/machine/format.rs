//! How figures are written: lists of ids as the kernel has them (`0-3,8,10-11`), and byte counts
//! and error numbers for people.

use std::fmt;
use std::io;

/// One more than the largest id accepted in a list; the kernel's own maximum is 8192. It bounds the
/// memory that a malformed file can cost.
const IDS_MAX: usize = 1 << 16;

/// The ids of a list of CPUs or nodes, rising. An empty text is an empty list; a text that isn't a
/// list is None.
pub(crate) fn parse_ids(text: &str) -> Option<Vec<usize>> {
    let mut ids = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if first > last || last >= IDS_MAX {
            return None;
        }
        ids.extend(first..=last);
    }
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() <= IDS_MAX, "a list holds an id twice");
    Some(ids)
}

/// Rising ids, displayed as the kernel writes them; `none` for an empty list.
pub(crate) struct CpuList<'a>(pub(crate) &'a [usize]);

impl fmt::Display for CpuList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        let mut comma = "";
        while let Some(&first) = left.first() {
            let run = left.iter().zip(first..).take_while(|(id, expected)| *id == expected).count();
            assert!(run >= 1, "the first id doesn't equal itself");
            match run {
                1 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{}", first + run - 1)?,
            }
            left = &left[run..];
            comma = ",";
        }
        if self.0.is_empty() { write!(f, "none") } else { Ok(()) }
    }
}

/// A byte count for people: in the largest unit that is exact, or in bytes with the MiB beside
/// them.
pub(crate) struct ByteSize(pub(crate) usize);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ByteSize(bytes) = *self;
        match bytes {
            0 => write!(f, "0 bytes"),
            _ if bytes.is_multiple_of(1 << 30) => write!(f, "{} GiB", bytes >> 30),
            _ if bytes.is_multiple_of(1 << 20) => write!(f, "{} MiB", bytes >> 20),
            _ if bytes.is_multiple_of(1 << 10) && bytes < 1 << 20 => {
                write!(f, "{} KiB", bytes >> 10)
            }
            _ if bytes < 1 << 20 => write!(f, "{bytes} bytes"),
            _ => write!(f, "{bytes} bytes ({} MiB)", bytes >> 20),
        }
    }
}

/// The kernel's error number, displayed as a sentence.
pub(crate) struct Errno(pub(crate) i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use slipring_test_support::random_runs;

    use super::*;

    #[test]
    fn lists_of_the_kernel() {
        assert_eq!(parse_ids("0-1\n"), Some(vec![0, 1]));
        assert_eq!(parse_ids("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_ids("\n"), Some(vec![]));
        assert_eq!(parse_ids("5,1,1-2"), Some(vec![1, 2, 5]));
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["a", "3-1", "1-", "-1", "1-2-3", "0-99999999999", "0-4294967295", "0x3"] {
            assert_eq!(parse_ids(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(random_runs())]

        #[test]
        fn what_is_shown_is_read_back(ids in proptest::collection::btree_set(0usize..40, 1..20)) {
            let ids: Vec<usize> = ids.into_iter().collect();
            prop_assert_eq!(parse_ids(&CpuList(&ids).to_string()), Some(ids));
        }
    }

    #[test]
    fn no_id_is_shown_as_none() {
        assert_eq!(CpuList(&[]).to_string(), "none");
    }
}
