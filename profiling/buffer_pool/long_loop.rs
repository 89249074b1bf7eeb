//! A long run of one operation over the pool's public interface, and its command line: the number
//! of operations.
//!
//! ```text
//!   op i:  allocate 8 vectors of 128 f32 ──▶ store one f32 ──▶ put the slice into entry i mod 1024 of a Vec ──▶ drop the old slice
//! ```

use crate::laps::Slices;
use crate::long_run::{Ended, Progress};
use slipring::ring::{RingOptions, RingPool};

/// The program's name. Its file's name begins with it.
pub const NAME: &str = "profile_buffer_pool";
/// Operations of a run without an argument. A build with debug assertions isn't for profiles.
const OPS_DEFAULT: u64 = if cfg!(debug_assertions) { 100_000 } else { 100_000_000 };
const OPS_MAX: u64 = 1 << 48;
const ENTRIES: usize = 1024;
const SLICE_BYTES: usize = 8 * 128 * size_of::<f32>();

/// The number of operations: the one positional argument, if there is one.
///
/// # Errors
/// Any other word is bad usage, except for the words that cargo and a shell add: `--bench`, and
/// files whose names begin with the program's name. The shell expands `profile_buffer_pool-*` to
/// such files: each build leaves a program and a list of its sources, and older builds stay.
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

/// Whether the word is a file of a build of this program.
fn is_beside(word: &str) -> bool {
    let name = word.rsplit_once('/').map_or(word, |(_, name)| name);
    name.strip_prefix(NAME).is_some_and(|rest| rest.starts_with('-'))
}

/// Runs the operations, verifies the slices that are held at the end, and returns a line with the
/// time per operation.
///
/// # Errors
/// The machine refuses the pool, or a slice was overwritten.
pub fn whole_run(ops: u64) -> Result<String, Ended> {
    let pool = RingOptions { max_slice_bytes: SLICE_BYTES, ..RingOptions::default() };
    let pool = RingPool::new(&pool).map_err(Ended::failed)?;
    let (mut slices, sizes) = (Slices::<4>::new(pool, ENTRIES), vec![SLICE_BYTES; ENTRIES]);
    // All steps but the last are whole laps.
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
            Err(Ended::failed(format!("{held} slices are held instead of {expected}")))
        }
        None => Ok(format!("{ops} operations, {held} slices held and verified; {ns:.2} ns/op")),
    }
}
