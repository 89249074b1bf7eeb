//! A long run of one operation over the pool's public interface, and its command line, which says
//! how long.
//!
//! ```text
//!   op i:  allocate 8 vectors of 128 f32 ──▶ store one f32 ──▶ entry i mod 1024 of a plain Vec ──▶ drop the slice that was there
//! ```

use crate::laps::Slices;
use crate::long_run::{Ended, Progress};
use slipring::ring::{RingOptions, RingPool};

/// The program's name. The name of its file begins with it.
pub const NAME: &str = "profile_buffer_pool";
/// Operations of a run without an argument. A build with debug assertions isn't for profiles.
const OPS_DEFAULT: u64 = if cfg!(debug_assertions) { 100_000 } else { 100_000_000 };
const OPS_MAX: u64 = 1 << 48;
const ENTRIES: usize = 1024;
const SLICE_BYTES: usize = 8 * 128 * size_of::<f32>();

/// The number of operations: the one positional argument, if there is one.
///
/// # Errors
/// Anything else is bad usage, except for what cargo and a shell add: `--bench`, and files beside
/// the program whose names begin with its name. The shell expands `profile_buffer_pool-*` to them:
/// each build has a list of its sources there, and older builds stay.
pub fn ops(words: &[String]) -> Result<u64, Ended> {
    let mut given = None;
    for word in words.iter().filter(|word| *word != "--bench" && !is_beside(word)) {
        let wrong = || {
            Ended::Usage(format!(
                "{word:?} isn't a number of operations from 1 to {OPS_MAX}; usage: {NAME} [OPERATIONS], {OPS_DEFAULT} by default"
            ))
        };
        let ops: u64 = word.parse().map_err(|_| wrong())?;
        if !(1..=OPS_MAX).contains(&ops) {
            return Err(wrong());
        }
        if let Some(first) = given.replace(ops) {
            return Err(Ended::Usage(format!("{first} and {ops} operations: give one number")));
        }
    }
    Ok(given.unwrap_or(OPS_DEFAULT))
}

/// Whether the word is a file of one of this program's builds.
fn is_beside(word: &str) -> bool {
    let name = word.rsplit_once('/').map_or(word, |(_, name)| name);
    name.strip_prefix(NAME).is_some_and(|rest| rest.starts_with('-'))
}

/// Runs the operations, verifies what is held at the end, and says how long one took.
///
/// # Errors
/// The machine refuses the pool, or a slice was overwritten.
pub fn whole_run(ops: u64) -> Result<String, Ended> {
    let pool = RingOptions { max_slice_bytes: SLICE_BYTES, ..RingOptions::default() };
    let pool = RingPool::new(&pool).map_err(Ended::failed)?;
    let (mut slices, sizes) = (Slices::<4>::new(pool, ENTRIES), vec![SLICE_BYTES; ENTRIES]);
    // Steps are whole laps, except for the last.
    let mut progress = Progress::start(NAME, ops, ENTRIES as u64);
    while let Some(step) = progress.next() {
        for _ in 0..step / ENTRIES as u64 {
            slices.lap(&sizes);
        }
        let remaining = (step % ENTRIES as u64) as usize;
        if remaining > 0 {
            slices.lap(&sizes[..remaining]);
        }
    }
    let ns = progress.ns_per_iteration();
    let (wrong, held) = slices.verify();
    let expected = ops.min(ENTRIES as u64) as usize;
    match wrong {
        Some(op) => Err(Ended::failed(format!("the slice of operation {op} was overwritten"))),
        None if held != expected => {
            Err(Ended::failed(format!("{held} slices are held, and {expected} should be")))
        }
        None => Ok(format!("{ops} operations, {held} slices held and verified; {ns:.2} ns/op")),
    }
}
