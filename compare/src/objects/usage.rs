//! What the kernel has counted for this process: processor time and page faults.
//!
//! Promises the time of all threads in user and system mode, including threads that have ended.
//! Other processes are counted apart: those that this one has started and waited for, and the time
//! of a named one.
#![allow(unsafe_code)]

use std::fs;
use std::mem::MaybeUninit;

/// A reading. The difference of two readings says what happened in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In user and system mode.
    pub cpu_us: u64,
    /// Page faults that found their page in memory, and those that waited for a disk.
    pub faults: u64,
}

impl Usage {
    /// The usage since an earlier reading.
    pub fn since(self, before: Self) -> Self {
        Self { cpu_us: self.cpu_us - before.cpu_us, faults: self.faults - before.faults }
    }
}

/// The usage of all threads since the process started.
pub fn process() -> Usage {
    read(libc::RUSAGE_SELF)
}

/// The usage of the calling thread since it started.
pub fn thread() -> Usage {
    read(libc::RUSAGE_THREAD)
}

/// The usage of all processes that this one has started and waited for, and the largest peak among
/// them of resident memory, in KiB. Each peak is at least this process's own at the start of it.
pub fn children() -> (Usage, u64) {
    let usage = of(libc::RUSAGE_CHILDREN);
    (summed(&usage), usage.ru_maxrss.unsigned_abs())
}

fn read(who: libc::c_int) -> Usage {
    summed(&of(who))
}

fn of(who: libc::c_int) -> libc::rusage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: I142. The place is a local of this function and lives until the call returns.
    let status = unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    assert!(status == 0, "the kernel knows of no process {who}");
    // SAFETY: I142. The structure holds integers: zeros, and what the kernel writes over them.
    unsafe { usage.assume_init() }
}

fn summed(usage: &libc::rusage) -> Usage {
    let us =
        |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
    Usage {
        cpu_us: us(usage.ru_utime) + us(usage.ru_stime),
        faults: usage.ru_minflt.unsigned_abs() + usage.ru_majflt.unsigned_abs(),
    }
}

/// A tick in `/proc` on Linux, whatever the kernel's own tick is.
const TICK_MS: u64 = 10;

/// The processor time of another process, in steps of 10 ms. None if there is no such process.
pub fn cpu_ms_of(process: u32) -> Option<u64> {
    of_stat(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// Reads fields 14 and 15. Field 2, the program's name, may hold spaces and brackets.
fn of_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some((user + system) * TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn work_and_fresh_pages_are_counted() {
        let (before, own) = (process(), thread());
        // Other tests run in this process too, so the counts are at least this test's.
        let pages: Vec<u8> = black_box(vec![1; 8 << 20]);
        while thread().since(own).cpu_us == 0 {
            black_box(pages.iter().map(|&byte| u64::from(byte)).sum::<u64>());
        }
        let spent = process().since(before);
        assert!(
            spent.cpu_us > 0 && spent.faults > 0 && thread().since(own).faults > 0,
            "{spent:?}"
        );
    }

    #[test]
    fn another_process_is_read_in_ticks() {
        let line = "7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0 5 1 1";
        assert_eq!(of_stat(line), Some(420));
        assert_eq!((of_stat(""), of_stat("7 (a) S 1")), (None, None));
        assert!(cpu_ms_of(std::process::id()).is_some());
    }
}
