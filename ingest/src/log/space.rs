//! Room that a full disk must still have: for the end of a segment.
//!
//! Records stop before the disk is full, so that what is written can be sealed. They go on when
//! there is clearly more room than that, not at each block that somebody else frees.

/// For the files that sealing writes besides the segment's end: the next sequence, and folders.
pub const SPACE_KEPT_BYTES: u64 = 128 << 10;

/// Whether records may be written.
#[derive(Debug, Default)]
pub(super) struct SpaceGate {
    is_shut: bool,
}

impl SpaceGate {
    /// Whether a record of `record_bytes` may be written with `free_bytes` on the disk, into a
    /// segment whose end has `end_bytes`.
    pub fn allows(&mut self, free_bytes: u64, record_bytes: u64, end_bytes: u64) -> bool {
        let needed = record_bytes + end_bytes + SPACE_KEPT_BYTES;
        let wanted = if self.is_shut { needed.saturating_mul(2) } else { needed };
        self.is_shut = free_bytes < wanted;
        !self.is_shut
    }

    /// A write was refused although there seemed to be room: quotas aren't seen in what is free.
    pub fn shut(&mut self) {
        self.is_shut = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stop_before_the_disk_is_full_and_go_on_with_clearly_more() {
        let mut gate = SpaceGate::default();
        let needed = SPACE_KEPT_BYTES + 4096 + 100;
        assert!(gate.allows(u64::MAX, 4096, 100) && gate.allows(needed, 4096, 100));
        assert!(!gate.allows(needed - 1, 4096, 100));
        assert!(!gate.allows(needed, 4096, 100) && !gate.allows(2 * needed - 1, 4096, 100));
        assert!(gate.allows(2 * needed, 4096, 100) && gate.allows(needed, 4096, 100));
        gate.shut();
        assert!(!gate.allows(needed, 4096, 100) && gate.allows(u64::MAX, 4096, 100));
        assert!(!gate.allows(0, 0, 0));
    }
}
