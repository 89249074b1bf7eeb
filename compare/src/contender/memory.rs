//! Pool memory for contenders that bring none: one anonymous mapping, huge pages asked for, every page touched. The same for all.

use memmap2::{Advice, MmapMut};

const PAGE_BYTES: usize = 4096;

/// Maps and touches `bytes`.
pub fn mapped(bytes: usize) -> Result<MmapMut, String> {
    let mut memory = MmapMut::map_anon(bytes).map_err(|error| format!("{bytes} B of memory: {error}"))?;
    // Best effort: with small pages the same program runs slower, for every contender alike.
    let _ = memory.advise(Advice::HugePage);
    memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    Ok(memory)
}
