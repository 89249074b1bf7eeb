//! Calls whose shape the library may change: each stands here once.

use super::payload::Tag;
use crate::pipeline::{Claim, CloseReport};
use crate::ring::{Grant, Sequence};

/// A lane's reservation.
pub(super) type Reserved<'l> = Grant<'l>;

/// Attached stages that haven't ended die with their lane.
pub(super) const ATTACHED_DIE_WITH_THE_LANE: bool = true;

/// The claim's sequence, or None if its event was discarded because the lane is poisoned.
pub(super) fn stage(claim: Claim<'_, Tag>, tag: Tag) -> Option<Sequence> {
    Some(claim.stage(tag))
}

/// As [`stage`].
pub(super) fn publish(claim: Claim<'_, Tag>, tag: Tag) -> Option<Sequence> {
    Some(claim.publish(tag))
}

/// How a lane ended, as the model has it.
pub(super) struct Ending {
    pub(super) published: u64,
    pub(super) consumed: u64,
    pub(super) discarded: u64,
    pub(super) late: Vec<String>,
    /// Every stage has processed every event that was published, and nothing was discarded.
    pub(super) lost_nothing: bool,
}

impl Ending {
    /// The report says it all, and nothing that isn't so.
    pub(super) fn check(&self, report: &CloseReport) {
        let real = (report.published, report.consumed, report.discarded);
        assert_eq!(real, (self.published, self.consumed, self.discarded), "{report:?}");
        assert_eq!(report.late, self.late, "{report:?}");
        assert_eq!(report.is_drained(), self.lost_nothing && self.late.is_empty(), "{report:?}");
    }
}
