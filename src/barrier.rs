//! A pair of barriers, one of them free, for two threads: each stores a word of its own and then
//! loads the other thread's word.
//!
//! Promises that at least one of the two sees the other's store, if between its store and its load
//! the frequent side passes [`Barrier::light`] and the rare side passes [`Barrier::try_heavy`],
//! which must return true. The light barrier is a compiler fence. The heavy one is `membarrier(2)`,
//! which makes every core that runs a thread of this process pass a full fence. Where
//! `membarrier(2)` is missing, and under loom and Miri, both are SeqCst fences. (A SeqCst fence or
//! read-modify-write per publish would wait for all earlier stores; this pair costs the frequent
//! side nothing.) The kernel promises that `membarrier(2)` is as strong as a fence on every core.
//!
//! A system call filter that is installed after the process has registered may refuse the heavy
//! barrier, thread by thread, while the frequent side keeps its compiler fence. Then the pair
//! promises nothing, and the rare side manages without it: a sleeper naps and looks again
//! ([`crate::wake`]), and code that can't look again, because it takes over what the other side
//! leaves, naps before it looks ([`Barrier::heavy_or_nap`]).
#![allow(unsafe_code)]

use std::thread;
use std::time::Duration;

use crate::sync::{Ordering, compiler_fence, fence};

/// After this time a store is visible: a thousand times as long as a core can hold it back.
const STORE_VISIBLE_AFTER: Duration = Duration::from_millis(1);

/// How the two sides order their stores and loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// Compiler fence against membarrier.
    Membarrier,
    /// SeqCst fences on both sides.
    Fence,
    /// The heavy side is always refused.
    #[cfg(all(test, not(loom)))]
    Refused,
}

impl Barrier {
    /// Registers this process for expedited membarriers, or falls back to fences.
    pub(crate) fn choose() -> Self {
        if cfg!(any(loom, miri)) {
            return Self::Fence;
        }
        if membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 {
            Self::Membarrier
        } else {
            Self::Fence
        }
    }

    #[inline]
    pub(crate) fn light(self) {
        match self {
            Self::Membarrier => compiler_fence(Ordering::SeqCst),
            Self::Fence => full_fence(),
            #[cfg(all(test, not(loom)))]
            Self::Refused => compiler_fence(Ordering::SeqCst),
        }
    }

    /// Returns false if the kernel refuses it to the calling thread; then nothing is promised.
    #[must_use]
    pub(crate) fn try_heavy(self) -> bool {
        match self {
            Self::Membarrier => membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0,
            Self::Fence => {
                fence(Ordering::SeqCst);
                true
            }
            #[cfg(all(test, not(loom)))]
            Self::Refused => false,
        }
    }

    /// As [`Barrier::try_heavy`], or a nap where the kernel refuses that. A core holds back a store
    /// for less than a microsecond, and an interrupt or a switch to the kernel ends that. So after
    /// the nap the other side's store is visible, if its load ran before our store became visible.
    pub(crate) fn heavy_or_nap(self) {
        if !self.try_heavy() {
            thread::sleep(STORE_VISIBLE_AFTER);
        }
    }
}

/// Out of line, so that callers that don't need a fence contain no locked instruction.
#[cold]
#[inline(never)]
fn full_fence() {
    fence(Ordering::SeqCst);
}

fn membarrier(command: libc::c_int) -> libc::c_long {
    // SAFETY: I47. The call takes three integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}
