//! Lists of CPU or node ids as the kernel writes them: `0-3,8,10-11`.

use std::fmt;

/// One more than the largest id accepted in a list; the kernel's own maximum is 8192. It bounds the
/// memory that a malformed file can cost.
const IDS_MAX: usize = 1 << 16;

/// The ids of a list, ascending. An empty text is an empty list; anything that isn't a list is
/// None.
pub(crate) fn parse(text: &str) -> Option<Vec<usize>> {
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

/// Ascending ids, displayed as the kernel writes them.
pub(crate) struct CpuList<'a>(pub(crate) &'a [usize]);

impl fmt::Display for CpuList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut comma = "";
        while let Some(&first) = rest.first() {
            let run = rest.iter().zip(first..).take_while(|(id, expected)| *id == expected).count();
            assert!(run >= 1, "the first id doesn't equal itself");
            match run {
                1 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{}", first + run - 1)?,
            }
            rest = &rest[run..];
            comma = ",";
        }
        if self.0.is_empty() { write!(f, "none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
