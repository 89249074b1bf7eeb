//! What the kernel reports: the files below `/proc` and `/sys` with the formats of their lines, the
//! size of a base page, and the CPU that runs this thread.
//!
//! Promises that a missing or strange file is `None`, never a panic: containers hide files. Readers
//! take the roots as a value, so that tests can use a folder; under Miri, which has no such files,
//! every read is `None`. No file is cached.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::sync::{AtomicU64, Ordering};

/// Where the machine is read: the roots of `/proc` and `/sys`, and the size of a base page.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    pub(crate) proc_dir: PathBuf,
    pub(crate) sys_dir: PathBuf,
    pub(crate) page_bytes: usize,
}

impl Roots {
    /// The real machine.
    pub(crate) fn system() -> Roots {
        Roots { proc_dir: "/proc".into(), sys_dir: "/sys".into(), page_bytes: page_bytes() }
    }

    /// The text of a file below `/proc`.
    pub(crate) fn read_proc(&self, path: &str) -> Option<String> {
        assert!(!path.starts_with('/'), "{path} would leave the root");
        read(&self.proc_dir.join(path))
    }

    /// The text of a file below `/sys`.
    pub(crate) fn read_sys(&self, path: &str) -> Option<String> {
        assert!(!path.starts_with('/'), "{path} would leave the root");
        read(&self.sys_dir.join(path))
    }

    /// A file below `/sys` that holds one number.
    pub(crate) fn sys_number(&self, path: &str) -> Option<usize> {
        number(&self.read_sys(path)?)
    }
}

/// The text of a file, if it can be read and is text.
pub(crate) fn read(path: &Path) -> Option<String> {
    if cfg!(miri) { None } else { std::fs::read_to_string(path).ok() }
}

/// A number that is alone in a file.
pub(crate) fn number(text: &str) -> Option<usize> {
    text.trim().parse().ok()
}

/// The bytes of a line like `MemAvailable:   24332744 kB`. The first line of that name counts.
pub(crate) fn field_bytes(text: &str, name: &str) -> Option<usize> {
    assert!(name.ends_with(':'), "{name} isn't the name of a field");
    let rest = text.lines().find_map(|line| line.trim_start().strip_prefix(name))?;
    let mut words = rest.split_whitespace();
    let kib: usize = words.next()?.parse().ok()?;
    if words.next() != Some("kB") {
        return None;
    }
    kib.checked_mul(1024)
}

/// The first word after `name` on a line like `CapEff:\t000001ffffffffff`.
pub(crate) fn field_word<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    assert!(name.ends_with(':'), "{name} isn't the name of a field");
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

/// The value of a line like `inactive_file 49152`, as `memory.stat` has them.
pub(crate) fn stat_number(text: &str, name: &str) -> Option<usize> {
    assert!(!name.contains(' '), "{name} can't be a key");
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        if key == name { number(value) } else { None }
    })
}

/// The soft limit on a line of `/proc/self/limits`, None when it is unlimited or not there.
pub(crate) fn soft_limit(text: &str, name: &str) -> Option<usize> {
    assert!(name.starts_with("Max "), "{name} isn't the name of a limit");
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    number(rest.split_whitespace().next()?)
}

/// The word in brackets of a file like `always [madvise] never`.
pub(crate) fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(word)
}

/// Bytes of this machine's base pages.
pub(crate) fn page_bytes() -> usize {
    // No lock: a child forked meanwhile would find it held.
    static PAGE_BYTES: AtomicU64 = AtomicU64::new(0);
    let known = PAGE_BYTES.load(Ordering::Relaxed);
    if known != 0 {
        return known as usize;
    }
    // SAFETY: I5. The call takes no pointer and returns a number.
    let asked = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let bytes = usize::try_from(asked).ok().filter(|bytes| bytes.is_power_of_two());
    let bytes = bytes.expect("every machine has a page size");
    PAGE_BYTES.store(bytes as u64, Ordering::Relaxed);
    bytes
}

/// The CPU that runs the calling thread at this moment. Only a pinned thread stays there.
pub(crate) fn current_cpu() -> Option<usize> {
    if cfg!(miri) {
        return None;
    }
    // SAFETY: I5. The call takes no pointer and touches no memory of ours.
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tslipring\nVmPeak:\t  105000 kB\nVmSize:\t  102400 kB\nVmLck:\t       8 kB\nTHP_enabled:\t1\n\
        CapEff:\t000001fffeffffff\n";
    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max data size             unlimited            unlimited            bytes     
Max locked memory         8388608              16777216             bytes     
Max address space         unlimited            unlimited            bytes     
";

    #[test]
    fn fields_in_kb_are_bytes() {
        assert_eq!(field_bytes(STATUS, "VmSize:"), Some(102_400 * 1024));
        assert_eq!(field_bytes(STATUS, "VmLck:"), Some(8192));
        assert_eq!(field_bytes(STATUS, "VmSwap:"), None);
        assert_eq!(field_bytes("VmLck: many kB\n", "VmLck:"), None);
        assert_eq!(
            field_bytes("HugePages_Free:   12\n", "HugePages_Free:"),
            None,
            "that one counts pages"
        );
        assert_eq!(
            field_bytes("VmLck: 18446744073709551615 kB\n", "VmLck:"),
            None,
            "the bytes don't fit"
        );
    }

    #[test]
    fn words_stats_and_choices() {
        assert_eq!(field_word(STATUS, "CapEff:"), Some("000001fffeffffff"));
        assert_eq!(field_word(STATUS, "CapPrm:"), None);
        assert_eq!(
            stat_number("cache 339968\ninactive_file 49152\n", "inactive_file"),
            Some(49152)
        );
        assert_eq!(stat_number("total_inactive_file 49152\n", "inactive_file"), None);
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("always madvise never\n"), None);
        assert_eq!(number("12\n"), Some(12));
        assert_eq!(number("max\n"), None);
    }

    #[test]
    fn soft_limits_and_unlimited() {
        assert_eq!(soft_limit(LIMITS, "Max locked memory"), Some(8_388_608));
        assert_eq!(soft_limit(LIMITS, "Max address space"), None);
        assert_eq!(soft_limit(LIMITS, "Max patience"), None);
    }
}
