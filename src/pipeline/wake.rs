//! Sleeping and waking without a lost wake-up and without a fence on the publishing side.
//!
//! ```text
//! waker                                   sleeper
//! store cursor (Release)                  set the sleep word
//! light barrier                           heavy barrier
//! load sleep word (Relaxed)               look again: is there work?
//! set? clear it and unpark                no: sleep until the word is cleared
//! ```
//! One of the two sees the other's store. The light barrier is a compiler fence and the heavy one `membarrier(2)`, which
//! makes every core that runs a thread of this process pass a full fence; where that is missing, and under loom and
//! Miri, both are SeqCst fences. (A SeqCst fence or read-modify-write on each publish costs 32 ns at batch 1; this costs nothing.)
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::error::LaneError;
use crate::sync::{AtomicU32, Mutex, Ordering, Padded, Thread, compiler_fence, current_thread, fence, park};

const AWAKE: u32 = 0;
/// Asleep: wake for events to process.
pub(crate) const ASLEEP: u32 = 1;
/// Asleep with a full ring or pool: wake for anything to reclaim as well.
pub(crate) const ASLEEP_FULL: u32 = 2;

/// How the two sides order their stores and loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// Compiler fence against membarrier.
    Membarrier,
    /// SeqCst fences on both sides.
    Fence,
}

impl Barrier {
    /// Registers this process for expedited membarriers, or settles for fences.
    pub(crate) fn choose() -> Self {
        if cfg!(any(loom, miri)) {
            return Self::Fence;
        }
        if membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 { Self::Membarrier } else { Self::Fence }
    }

    #[inline]
    pub(crate) fn light(self) {
        match self {
            Self::Membarrier => compiler_fence(Ordering::SeqCst),
            Self::Fence => fence(Ordering::SeqCst),
        }
    }

    fn heavy(self) {
        match self {
            Self::Membarrier => {
                let refused = membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
                assert_eq!(refused, 0, "a registered process may call membarrier");
            }
            Self::Fence => fence(Ordering::SeqCst),
        }
    }
}

fn membarrier(command: libc::c_int) -> libc::c_long {
    // SAFETY: I47. The call takes three integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

/// How a party sleeps.
#[derive(Debug)]
enum Bed {
    /// A stage's own thread parks; it registers itself when it first sleeps.
    Thread(Mutex<Option<Thread>>),
    /// The IO thread sleeps in its own poll call, with this eventfd among what it waits for.
    Event(OwnedFd),
}

/// One that may sleep: the thread of a stage, or the IO thread with all its inline stages.
#[derive(Debug)]
pub(crate) struct Party {
    word: Padded<AtomicU32>,
    bed: Bed,
}

impl Party {
    pub(crate) fn thread() -> Self {
        Self { word: Padded(AtomicU32::new(AWAKE)), bed: Bed::Thread(Mutex::new(None)) }
    }

    pub(crate) fn event() -> Result<Self, LaneError> {
        // SAFETY: I47. The call takes two integers and touches no memory of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(LaneError::Os { what: "eventfd", error: std::io::Error::last_os_error() });
        }
        // SAFETY: I48. The descriptor is new and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { word: Padded(AtomicU32::new(AWAKE)), bed: Bed::Event(fd) })
    }

    /// The waker's half. The light barrier comes before it, once for all parties.
    #[inline]
    pub(crate) fn wake_if(&self, least: u32) {
        if self.word.0.load(Ordering::Relaxed) >= least {
            self.wake();
        }
    }

    /// Wakes, whatever it sleeps for.
    #[cold]
    pub(crate) fn wake(&self) {
        // SYNC S6: the sleeper sees what the waker did before.
        if self.word.0.swap(AWAKE, Ordering::AcqRel) == AWAKE {
            return;
        }
        match &self.bed {
            Bed::Thread(sleeper) => {
                if let Some(thread) = lock(sleeper).as_ref() {
                    thread.unpark();
                }
            }
            Bed::Event(fd) => write_event(fd),
        }
    }

    /// The sleeper's half: true if it may sleep now. `ready` looks again, after the barrier.
    pub(crate) fn prepare(&self, barrier: Barrier, level: u32, ready: impl Fn() -> bool) -> bool {
        debug_assert!(level == ASLEEP || level == ASLEEP_FULL);
        if let Bed::Thread(sleeper) = &self.bed {
            lock(sleeper).get_or_insert_with(current_thread);
        }
        self.word.0.store(level, Ordering::Release);
        barrier.heavy();
        if ready() {
            self.word.0.store(AWAKE, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Sleeps until somebody wakes it, or until `ready`, which is asked once a second in case a wake-up was lost:
    /// false says that one was, which is a defect and counted.
    pub(crate) fn sleep(&self, barrier: Barrier, level: u32, ready: impl Fn() -> bool) -> bool {
        if !self.prepare(barrier, level, &ready) {
            return true;
        }
        // SYNC S6: pairs with the waker's swap.
        while self.word.0.load(Ordering::Acquire) != AWAKE {
            let timed_out = park();
            if timed_out && ready() && self.word.0.swap(AWAKE, Ordering::AcqRel) != AWAKE {
                return false;
            }
        }
        true
    }

    /// The IO thread is awake again: the word is cleared and the eventfd drained. It is read even if nobody has cleared the word:
    /// an earlier waker may have written after the last look, and a readable eventfd would end every sleep at once.
    pub(crate) fn awake(&self) {
        self.word.0.store(AWAKE, Ordering::Release);
        if let Bed::Event(fd) = &self.bed {
            read_event(fd);
        }
    }

    /// The eventfd of the IO thread.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.bed {
            Bed::Event(fd) => Some(fd.as_fd()),
            Bed::Thread(_) => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> crate::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write_event(fd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // A full counter (EAGAIN) is readable already, which is all that is wanted.
    // SAFETY: I47. Eight bytes that live for the call, on a descriptor that we own.
    unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

fn read_event(fd: &OwnedFd) {
    let mut count = [0u8; 8];
    // SAFETY: I47. Eight bytes that live for the call, on a descriptor that we own.
    unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}
