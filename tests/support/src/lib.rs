//! What the tests of several packages share.
//!
//! It doesn't depend on the library: so the library's own unit tests can use it.
//!
//! | for | see |
//! |---|---|
//! | random tests: how many runs, how much to check, numbers from a seed | [`random_runs`], [`looks_after`], [`Draw`] |
//! | bytes that show whether they were overwritten | [`is_filled`], [`write_payload`], [`check_payload`] |
//! | waiting with a limit, so that a hang is a failed test | [`patience`], [`wait_until`], [`within`], [`Watch`] |
//! | a future without a runtime | [`block_on`] |
//! | a check in a forked child | [`in_child`] |
//! | a kernel without `membarrier(2)` | [`forbid_membarrier`] |

mod fork;
mod membarrier;
mod payload;
mod random;
mod wait;

pub use fork::in_child;
pub use membarrier::forbid_membarrier;
pub use payload::{
    PAYLOAD_BYTES_MAX, check_payload, events, is_filled, payload_len, write_payload,
};
pub use random::{Draw, looks_after, random_runs};
pub use wait::{Watch, block_on, patience, wait_until, within};
