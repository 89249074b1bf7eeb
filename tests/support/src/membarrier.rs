//! A filter of system calls that refuses `membarrier(2)` to the calling thread and the threads that
//! it starts afterwards.
//!
//! Lanes and pools that are started afterwards use fences. Those that were started before, in a
//! process that had registered for the barrier, find that their sleepers can't issue it.
#![allow(unsafe_code)]

use std::io::Error;

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};

/// Installs a filter that answers `membarrier` with EPERM. A filter can't be removed: install it on
/// a thread of the test's own. On a kernel without such filters nothing changes, and the test runs
/// with the barrier.
pub fn forbid_membarrier() {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        // The number of the call is the first field that a filter sees.
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, libc::SYS_membarrier as u32),
        step(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: I91. Integers only. This thread gives up gaining privileges, which the kernel
    // requires before it accepts a filter.
    let given_up = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(given_up, 0, "{}", Error::last_os_error());
    // SAFETY: I91. The filter points at an array that lives to the end of this function.
    let installed =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    if installed != 0 {
        return println!(
            "this kernel accepts no filter of system calls: {}",
            Error::last_os_error()
        );
    }
    // SAFETY: I91. Three integers.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_QUERY, 0, 0) };
    assert_eq!((answer, Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
}
