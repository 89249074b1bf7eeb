//! Warm-up: buffers get their pages before they are needed.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::error::ClassError;
use super::shared::{Class, Shared};
use super::stats::{ClassWarmUp, WarmUp};

/// Each class separately, the smallest first.
pub(super) fn warm_up(shared: &Arc<Shared>, buffers: usize) -> Result<WarmUp, ClassError> {
    if shared.is_foreign() {
        return Err(ClassError::Forked);
    }
    let start = Instant::now();
    let sized = shared.classes.iter().filter(|class| !class.is_direct);
    let classes =
        sized.map(|class| warm_class(shared, class, buffers)).collect::<Result<Vec<_>, _>>()?;
    Ok(WarmUp { classes, elapsed: start.elapsed() })
}

fn warm_class(
    shared: &Arc<Shared>,
    class: &Class,
    buffers: usize,
) -> Result<ClassWarmUp, ClassError> {
    let wanted = buffers.min(class.store.view().resident_max);
    // All limits are checked before the first page, because populating pages beyond a limit ends
    // the process instead of giving an error.
    class
        .memory
        .check_room(wanted.saturating_sub(class.store.resident()))
        .map_err(ClassError::Region)?;
    let mut touched = 0;
    loop {
        let cold = class.store.move_out_cold(wanted);
        if cold.is_empty() {
            let missing = wanted.saturating_sub(class.store.resident());
            if missing == 0 {
                break;
            }
            let added = {
                let mut growing = class.memory.growing();
                class.store.add_cold(growing.slab(missing).map_err(ClassError::Region)?)
            };
            // Without the lock: waiters are woken.
            shared.finish(class, added);
            continue;
        }
        let (warm, cold, refusal) = class.memory.populate(cold);
        touched += warm.len();
        shared.finish(class, class.store.move_in(cold, warm, Vec::new()));
        if let Some(cause) = refusal {
            return Err(ClassError::Region(cause));
        }
    }
    let resident = class.store.resident();
    Ok(ClassWarmUp { class_bytes: class.class_bytes, asked: buffers, resident, touched })
}
