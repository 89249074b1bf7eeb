//! Pinning: binding the calling thread to one CPU, and listing the CPUs to choose from.
//!
//! Promises that an id is checked against the process's mask before the kernel sees it, that a
//! failed pin is an error or a reported downgrade, and that it never panics. It doesn't keep other
//! threads off the CPU: that is up to the administrator (`isolcpus`, cpusets).
//!
//! Two traps shape this module. First, a pinned thread and every thread that it starts see only
//! that CPU. So the mask is read once, before the first pin, and [`unpin_current`] restores it for
//! threads that inherited a pin. Second, the crate core_affinity, which does the work, has masks of
//! 1024 CPUs and panics beyond them. So larger ids and larger machines are handled by system calls
//! with a mask as long as needed.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ptr;

use core_affinity::CoreId;

use super::format::{CpuList, Errno};
use crate::sync::{Ordering, StaticPtr};

/// Crate core_affinity accepts ids below this.
const CORE_AFFINITY_CPUS: usize = 1024;

/// The longest mask, in CPUs; the kernel's own maximum is 8192.
const MASK_CPUS_MAX: usize = 1 << 16;

const WORD_BITS: usize = libc::c_ulong::BITS as usize;

/// The CPUs that the process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuMask {
    cpus: Vec<usize>,
}

impl CpuMask {
    /// The mask that the first caller found on its own thread, so call it before any thread is
    /// pinned. Later calls cost one load. The mask is empty where the kernel doesn't report it (and
    /// under Miri), and then no pin is granted.
    pub fn read() -> &'static CpuMask {
        /// Null, or a mask that lives forever. It is neither a lock nor a `OnceLock`: a child
        /// forked while a thread reads the mask would find that locked forever.
        static MASK: StaticPtr<CpuMask> = StaticPtr::new(ptr::null_mut());
        // SYNC S15: the mask is seen.
        let there = MASK.load(Ordering::Acquire);
        // SAFETY: I49. It is null, or a mask that lives forever.
        if let Some(mask) = unsafe { there.as_ref() } {
            return mask;
        }
        let made = Box::into_raw(Box::new(CpuMask { cpus: cpus_of_current() }));
        // SYNC S15: a thread that finds it sees the mask.
        let kept =
            match MASK.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => made,
                Err(first) => {
                    // SAFETY: I49. No other thread has seen this value.
                    drop(unsafe { Box::from_raw(made) });
                    first
                }
            };
        // SAFETY: I49. It is in the static and lives forever.
        unsafe { &*kept }
    }

    /// The ids, rising.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Whether the process may use this CPU.
    pub fn contains(&self, cpu: usize) -> bool {
        self.cpus.binary_search(&cpu).is_ok()
    }
}

impl fmt::Display for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CpuList(&self.cpus).fmt(f)
    }
}

/// What happens if a pin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PinPolicy {
    /// It is an error.
    Require,
    /// The report has a downgrade.
    #[default]
    Prefer,
}

/// The outcome of a pin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinReport {
    /// The CPU that was asked for; None if none was.
    pub asked: Option<usize>,
    /// The only CPU that the thread now runs on; None if it may run on several.
    pub granted: Option<usize>,
    /// Why a pin that was asked for wasn't granted.
    pub downgrade: Option<PinDowngrade>,
}

impl PinReport {
    /// The report of a thread for which no pin was asked.
    pub fn unpinned() -> PinReport {
        PinReport { asked: None, granted: None, downgrade: None }
    }
}

impl fmt::Display for PinReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.asked, self.granted, &self.downgrade) {
            (_, Some(granted), _) => write!(f, "pinned: cpu {granted}"),
            (None, None, _) => write!(f, "pinned: no, not asked for"),
            (Some(asked), None, Some(cause)) => {
                write!(f, "pinned: no, cpu {asked} was asked for: {cause}")
            }
            (Some(asked), None, None) => write!(f, "pinned: no, cpu {asked} was asked for"),
        }
    }
}

/// Why a preferred pin wasn't granted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinDowngrade {
    /// What [`PinPolicy::Require`] would have returned as an error.
    Failed(PinError),
    /// Miri has no CPUs to pin to.
    NotUnderMiri,
}

impl fmt::Display for PinDowngrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinDowngrade::Failed(cause) => cause.fmt(f),
            PinDowngrade::NotUnderMiri => write!(f, "not under Miri"),
        }
    }
}

/// Why a thread isn't pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinError {
    /// The CPU doesn't exist or isn't in the process's mask.
    NoSuchCpu {
        /// The CPU asked for.
        cpu: usize,
        /// The CPUs that can be asked for.
        allowed: Vec<usize>,
    },
    /// The kernel refused, or removed the CPU from the thread's mask.
    Refused {
        /// The CPU asked for.
        cpu: usize,
        /// The kernel's error number.
        errno: i32,
    },
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinError::NoSuchCpu { cpu, allowed } => write!(
                f,
                "cpu {cpu} isn't among those this process may use: {}; choose one of them, or widen the mask (`taskset`, \
                 cpuset.cpus, AllowedCPUs= in a unit)",
                CpuList(allowed)
            ),
            PinError::Refused { cpu, errno } => write!(
                f,
                "the kernel refused cpu {cpu}: {}; allow sched_setaffinity, or check that the cpu is online and still in \
                 the cpuset",
                Errno(*errno)
            ),
        }
    }
}

impl std::error::Error for PinError {}

/// Pins the calling thread to one CPU. Threads that it starts afterwards inherit the pin: they call
/// [`unpin_current`], or pin themselves elsewhere. Costs a few system calls.
///
/// # Errors
/// Under [`PinPolicy::Require`], if the CPU isn't in the mask or the kernel refuses. The thread's
/// mask is then unchanged.
pub fn pin_current(cpu: usize, policy: PinPolicy) -> Result<PinReport, PinError> {
    let mut report = PinReport { asked: Some(cpu), granted: None, downgrade: None };
    if cfg!(miri) {
        report.downgrade = Some(PinDowngrade::NotUnderMiri);
        return Ok(report);
    }
    match (pin(cpu, CpuMask::read()), policy) {
        (Ok(()), _) => report.granted = Some(cpu),
        (Err(cause), PinPolicy::Require) => return Err(cause),
        (Err(cause), PinPolicy::Prefer) => report.downgrade = Some(PinDowngrade::Failed(cause)),
    }
    Ok(report)
}

/// Lets the calling thread run on the whole mask again, as [`CpuMask::read`] first found it.
/// Returns false if the kernel refuses or the mask is unknown.
pub fn unpin_current() -> bool {
    let mask = CpuMask::read();
    !mask.cpus().is_empty() && set_cpus_of_current(mask.cpus()).is_ok()
}

fn pin(cpu: usize, mask: &CpuMask) -> Result<(), PinError> {
    if !mask.contains(cpu) {
        return Err(PinError::NoSuchCpu { cpu, allowed: mask.cpus().to_vec() });
    }
    assert!(cpu < MASK_CPUS_MAX, "the mask holds an id that no mask can hold");
    let result = if cpu < CORE_AFFINITY_CPUS {
        // The crate returns only a bool, but the kernel's error number is still set.
        if core_affinity::set_for_current(CoreId { id: cpu }) {
            Ok(())
        } else {
            Err(errno_of_last())
        }
    } else {
        set_cpus_of_current(&[cpu])
    };
    result.map_err(|errno| PinError::Refused { cpu, errno })?;
    // If a cpuset changes meanwhile, the thread can be elsewhere without an error.
    match cpus_of_current().as_slice() {
        [only] if *only == cpu => Ok(()),
        _ => Err(PinError::Refused { cpu, errno: libc::EINVAL }),
    }
}

/// The calling thread's mask at one moment, to be restored later.
pub(crate) struct Affinity(Vec<usize>);

impl Affinity {
    pub(crate) fn of_current() -> Self {
        Self(cpus_of_current())
    }

    /// Restores the mask as far as the kernel allows.
    pub(crate) fn restore(self) {
        if !self.0.is_empty() {
            let _refused = set_cpus_of_current(&self.0);
        }
    }
}

/// The CPUs that the calling thread may run on at this moment; empty where the kernel doesn't say.
fn cpus_of_current() -> Vec<usize> {
    if cfg!(miri) {
        return Vec::new();
    }
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    let mut cpus: Vec<usize> = ids.iter().map(|core| core.id).collect();
    if cpus.is_empty() {
        // The crate's mask is too short for this kernel.
        cpus = long_mask_of_current(CORE_AFFINITY_CPUS);
    }
    cpus.sort_unstable();
    assert!(cpus.windows(2).all(|pair| pair[0] < pair[1]), "a CPU is listed twice");
    assert!(
        cpus.last().is_none_or(|last| *last < MASK_CPUS_MAX),
        "a mask is longer than masks can be"
    );
    cpus
}

/// The same, through a mask that grows from `mask_cpus` until the kernel accepts it.
fn long_mask_of_current(mut mask_cpus: usize) -> Vec<usize> {
    assert!(mask_cpus > 0, "no number of doublings makes nothing longer");
    while mask_cpus <= MASK_CPUS_MAX {
        let mut words: Vec<libc::c_ulong> = vec![0; mask_cpus.div_ceil(WORD_BITS)];
        // SAFETY: I7. `words` is `size_of_val` bytes of integers, and the kernel writes no more
        // than that.
        let result = unsafe {
            libc::sched_getaffinity(0, size_of_val(&words[..]), words.as_mut_ptr().cast())
        };
        if result == 0 {
            return cpus_in(&words);
        }
        if errno_of_last() != libc::EINVAL {
            break;
        }
        mask_cpus *= 2;
    }
    Vec::new()
}

/// Sets the calling thread's mask, for ids of any size. The error is the kernel's number.
fn set_cpus_of_current(cpus: &[usize]) -> Result<(), i32> {
    if cfg!(miri) {
        return Err(libc::ENOSYS);
    }
    let words = mask_of(cpus).ok_or(libc::EINVAL)?;
    assert!(!words.is_empty(), "a mask without a word allows nothing");
    // SAFETY: I7. `words` is `size_of_val` bytes of integers, and the kernel only reads them.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of_val(&words[..]), words.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(errno_of_last()) }
}

/// The bits of these CPUs, in as many words as the largest id needs. None without CPUs, or for an
/// id that no machine has.
fn mask_of(cpus: &[usize]) -> Option<Vec<libc::c_ulong>> {
    let last = *cpus.iter().max()?;
    if last >= MASK_CPUS_MAX {
        return None;
    }
    let mut words = vec![0; last / WORD_BITS + 1];
    for cpu in cpus {
        words[cpu / WORD_BITS] |= 1 << (cpu % WORD_BITS);
    }
    assert!(words.last() != Some(&0), "the largest id isn't in the mask");
    assert_eq!(cpus_in(&words).len(), cpus.len(), "a CPU was lost or named twice");
    Some(words)
}

/// The CPUs whose bits are set, rising.
fn cpus_in(words: &[libc::c_ulong]) -> Vec<usize> {
    let is_set = |cpu: &usize| words[cpu / WORD_BITS] & (1 << (cpu % WORD_BITS)) != 0;
    (0..words.len() * WORD_BITS).filter(is_set).collect()
}

fn errno_of_last() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests;
