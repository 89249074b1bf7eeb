//! Touching: the calling thread populates every page of a mapping now, and measures the time.
//!
//! Promises that no later write waits for a page. It is the first touch, so it decides the NUMA
//! node. It comes after all advice, because huge pages that are requested after the touch come late
//! or never.
#![allow(unsafe_code)]

use super::map::{Advice, Mapping};
use std::time::Instant;

/// How the pages were supplied, and how long it took in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) by_loop: bool,
    pub(crate) touch_ns: u64,
}

/// Touches the whole mapping; the error is the kernel's number. The mapping is fresh: nobody else
/// has its pointer yet.
pub(crate) fn touch(mapping: &Mapping) -> Result<Touched, i32> {
    // Miri has neither real pages nor, isolated, a clock.
    if cfg!(miri) {
        return Ok(Touched { by_loop: false, touch_ns: 0 });
    }
    let start = Instant::now();
    let by_loop = loop {
        match mapping.advise(Advice::PopulateWrite) {
            Ok(()) => break false,
            // A signal came between; the pages supplied so far stay, so this ends.
            Err(libc::EINTR) => {}
            // Linux before 5.14 doesn't know the request.
            Err(libc::EINVAL) => {
                touch_by_loop(mapping);
                break true;
            }
            Err(errno) => return Err(errno),
        }
    };
    let touch_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok(Touched { by_loop, touch_ns })
}

/// Writes a zero into each page: its bytes are zero already, and a read wouldn't supply a page.
pub(crate) fn touch_by_loop(mapping: &Mapping) {
    let (base, len) = (mapping.base(), mapping.len());
    for offset in (0..len).step_by(mapping.page_bytes()) {
        // SAFETY: I1. `offset` is less than the mapping's length, so the sum stays inside it.
        let byte = unsafe { base.add(offset) };
        // SAFETY: I6. The byte is inside our fresh mapping, and nobody else has a pointer to it
        // yet.
        unsafe { byte.write_volatile(0) };
    }
}
